/**
 * The page that takes a kernel, in a real browser: its answers and its files are those of the command.
 *
 * Source: docs/inspector.md; the command is run on the same files in the same test.
 * Gotcha: the page is opened from a file, so that a request of any kind would be one too many.
 */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Locator, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { patternBytes } from '../../lib/testing/index.js'
import { KINDS } from '../bounds/inputs.js'
import { faults, findBrowser } from '../browser.js'
import { runCommand } from '../cli/command.js'
import { blocksOf } from '../docs/blocks.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { findKernel } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'
import { answered, choose, download, fill, folder, openInspector, PAGE, said, words } from './inspector.js'

const file = (name: string): string => join(folder, name)
const sha256 = (name: string): string => createHash('sha256').update(readFileSync(name)).digest('hex')
const xdb = (...args: readonly string[]) => runCommand(args, { cwd: folder })

t.test('the page is at most 1 MiB', async (t) => {
  const { size } = statSync(PAGE)
  t.ok(size <= 2 ** 20, `${size} bytes`)
})

/** Faults that axe-core finds, in the page and in its frame. */
async function axe(page: Page): Promise<string[]> {
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  const found: string[] = []
  for (const frame of page.frames()) {
    await frame.evaluate(source)
    found.push(
      ...(await frame.evaluate(async () => {
        const { violations } = await (
          globalThis as unknown as {
            axe: {
              run(
                options: object,
              ): Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }>
            }
          }
        ).axe.run({ iframes: false })
        return violations.map(
          ({ id, nodes }) => `${id}: ${nodes.length} x ${nodes[0]?.html.slice(0, 120)}: ${nodes[0]?.failureSummary}`,
        )
      })),
    )
  }
  return found
}

t.test('nothing is cut off or overlaps, and axe-core finds nothing', async (t) => {
  if (!(await findBrowser(t))) return
  writeFileSync(file('text.txt'), 'not a kernel\n')
  for (const [width, scheme] of [
    [1280, 'light'],
    [1280, 'dark'],
    [400, 'light'],
    [400, 'dark'],
  ] as const) {
    const page = await openInspector(t, { width, scheme })
    const left = (at: Locator): Promise<number> => at.evaluate((one) => one.getBoundingClientRect().left)
    const indent = await left(page.frameLocator('iframe').locator('h1'))
    t.equal((await left(page.locator('iframe'))) + indent, await left(page.locator('h1')), 'the map is in line')
    const check = async (state: string): Promise<void> => {
      for (const frame of page.frames()) t.same(await faults(frame), [], `${state} at ${width}, ${scheme}`)
      t.same(await axe(page), [], `${state} at ${width}, ${scheme}: axe`)
    }
    await check('a PV kernel')
    for (const [index, name] of [
      [1, 'hello-pvh.elf'],
      [2, 'hello.bzImage'],
    ] as const) {
      await page.click(`[data-example="${index}"]`)
      await answered(page, name)
      for (const details of await page.locator('summary').all()) await details.click()
      await check(name)
    }
    await fill(page, { memory: 'lots' })
    t.match(await words(page, '#guest-refusal'), /^bad-config: the memory size is invalid: .*, found 'lots'$/)
    t.equal(await page.locator('iframe, #built:visible').count(), 0, 'no guest of other values')
    await check('a refused form')
    await choose(page, file('text.txt'))
    t.match(await words(page, '#refusal'), /^not-a-kernel: the file is not a kernel/)
    await check('a refused file')
    await page.close()
  }
})

/** Compares a product of the page with the file that the command makes. */
async function same(t: Test, page: Page, product: string, output: string, args: readonly string[]): Promise<void> {
  const ran = xdb(...args)
  t.equal(ran.code, 0, ran.err)
  const names = product === 'raw' ? [output, `${output}.json`] : [output]
  const got = await download(page, product, names.length)
  t.same([...got.keys()].sort(), [...names].sort(), `${product}: ${await words(page, '#save-refusal')}`)
  for (const [name, path] of got) t.equal(sha256(path), sha256(file(name)), `${args.join(' ')}: ${name}`)
}

/** Draws the picture of the documentation. */
async function draw(page: Page): Promise<void> {
  await fill(page, { type: 'pvh', memory: '256M', cmdline: 'console=ttyS0' })
  await page.screenshot({
    path: join(projectRoot, 'docs/inspector.png'),
    clip: { x: 0, y: 0, width: 1280, height: 1240 },
    fullPage: true,
  })
}

t.test("Debian's kernel: verdicts, and guests of each type as the command builds them", async (t) => {
  if (!(await findBrowser(t))) return
  const vmlinuz = await requirePeer(t, () => findKernel('debian-cloud-amd64'))
  if (vmlinuz === undefined) return
  copyFileSync(vmlinuz, file('vmlinuz'))
  writeFileSync(file('initrd'), patternBytes(1 << 20))
  const page = await openInspector(t)
  await choose(page, file('vmlinuz'))
  const verdicts = await words(page, '#verdicts')
  for (const type of ['pv', 'pvh', 'linux']) t.match(verdicts, new RegExp(`${type}\\s+boots`))
  t.equal(`${await said(page, 'inspect')}\n`, xdb('inspect', 'vmlinuz').text, 'inspect')
  t.equal(`${await said(page, 'check')}\n`, xdb('check', 'vmlinuz').text, 'check')
  if (process.env.DOCS_WRITE === '1') await draw(page)
  const options = ['--memory', '256M', '--vcpus', '2', '--cmdline', 'console=hvc0 quiet', '--ramdisk', 'initrd']
  for (const type of ['pv', 'pvh', 'linux']) {
    await fill(page, { type, memory: '256M', vcpus: '2', cmdline: 'console=hvc0 quiet', ramdisk: file('initrd') })
    t.equal(await words(page, '#guest-refusal'), '')
    const build = (output: string) => ['build', 'vmlinuz', '-o', output, '--type', type, ...options]
    await same(t, page, 'elf-core', 'guest.core', build('guest.core'))
    if (type === 'linux') await same(t, page, 'qemu-stream', 'guest.mig', build('guest.mig'))
    else await same(t, page, 'xl', 'guest.xl', build('guest.xl'))
    if (type === 'pv') await same(t, page, 'raw', 'guest.img', build('guest.img'))
  }
  xdb('build', 'vmlinuz', '-o', 'drawn.img', '--type', 'linux', ...options)
  await same(t, page, 'svg', 'guest.svg', ['map', 'drawn.img', '-o', 'guest.svg'])
  t.equal(await page.evaluate(() => location.hash), '#type=linux&memory=256M&vcpus=2&cmdline=console%3Dhvc0+quiet')
  await page.close()
})

t.test('snapshots of one file and of two, their formats, and the difference of two', async (t) => {
  if (!(await findBrowser(t))) return
  spawnSync('env', [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    join(projectRoot, 'dist/examples/write-hello-kernel.js'),
    file('hello.elf'),
  ])
  for (const [output, memory] of [
    ['a.img', '32'],
    ['b.xl', '64'],
  ] as const) {
    const ran = xdb('build', 'hello.elf', '-o', output, '--memory', memory)
    t.equal(ran.code, 0, ran.err)
  }
  const page = await openInspector(t)
  await choose(page, file('a.img'), file('a.img.json'))
  t.equal(`${await said(page, 'inspect')}\n`, xdb('inspect', 'a.img').text)
  t.equal(`${await said(page, 'check')}\n`, xdb('check', 'a.img').text)
  t.equal(await page.locator('#form').isVisible(), false)
  await same(t, page, 'elf-core', 'a.core', ['convert', 'a.img', '-o', 'a.core'])
  const [json] = (await download(page, 'json', 1)).values()
  t.equal(readFileSync(json as string, 'utf8'), xdb('inspect', 'a.img', '--json').text)
  await choose(page, file('b.xl'))
  t.equal(`${await said(page, 'check')}\n`, xdb('check', 'b.xl').text)
  await same(t, page, 'raw', 'b.img', ['convert', 'b.xl', '-o', 'b.img'])
  await choose(page, file('a.img'), file('a.img.json'), file('b.xl'))
  t.equal(`${await said(page, 'diff')}\n`, xdb('diff', 'a.img', 'b.xl').text)
  t.equal(await page.locator('iframe').count(), 0, 'no map of one of them')
  await choose(page, file('a.img'), file('a.img.json'), file('hello.elf'))
  t.match(await words(page, '#refusal'), /^bad-config: the two files are of different kinds/)
  await page.close()
})

t.test('every refusal of docs/errors.md that has a file reads the same', async (t) => {
  if (!(await findBrowser(t))) return
  const blocks = blocksOf(readFileSync(join(projectRoot, 'docs/errors.md'), 'utf8'))
  const program = blocks.find((block) => 'name' in block && block.name === 'broken.mjs')
  if (program === undefined || !('text' in program)) return t.fail('no broken.mjs')
  writeFileSync(file('broken.mjs'), program.text)
  symlinkSync(projectRoot, join(folder, 'xen-domain-builder'))
  symlinkSync(folder, join(folder, 'node_modules'))
  t.equal(spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, 'broken.mjs'], { cwd: folder }).status, 0)
  const page = await openInspector(t)
  let compared = 0
  for (const block of blocks) {
    for (const { command, shown: output } of 'commands' in block ? block.commands : []) {
      const [, verb, name, rest = ''] = /^xdb (inspect|build|check) (\S+\.(?:elf|bz|mjs|img))(.*)$/.exec(command) ?? []
      const [refusal] = output
      if (name === undefined || refusal === undefined || verb === 'check' || /--(?!type)/.test(rest)) continue
      if (rest.includes('no/such')) continue
      await choose(page, file(name))
      const type = /--type (\w+)/.exec(rest)?.[1] ?? 'auto'
      if (verb === 'build' && (await page.locator('#form').isVisible())) await fill(page, { type })
      const told = (await words(page, '.refusal:visible')).trim()
      if (refusal.startsWith('xen-domain-builder: ')) {
        compared++
        t.equal(`xen-domain-builder: ${told}`, refusal, command)
      } else t.equal(told, '', command)
    }
  }
  t.ok(compared >= 10, `${compared} refusals`)
  await page.close()
})

t.test('hostile files are answered or refused, and the page goes on', async (t) => {
  if (!(await findBrowser(t))) return
  const page = await openInspector(t)
  for (const { name, make } of KINDS) {
    const { files } = await make(1)
    const chosen = Object.entries(files).map(([name, { bytes, size }]) => {
      const at = file(`hostile-${name}`)
      writeFileSync(at, bytes)
      if (size !== undefined) spawnSync('truncate', ['-s', String(size), at])
      return at
    })
    for (const at of chosen.filter((one) => !one.endsWith('.json'))) {
      const beside = chosen.filter((one) => one === `${at}.json`)
      await choose(page, at, ...beside)
      t.notMatch(await words(page, '.refusal:visible'), /^internal/, `${name}: ${at}`)
    }
  }
  await page.click('[data-example="0"]')
  await answered(page, 'hello.elf')
  t.match(await words(page, '#verdicts'), /pv\s+boots/)
  await page.close()
})

t.test('a file that is dropped anywhere is opened, and the page says that it may be dropped', async (t) => {
  if (!(await findBrowser(t))) return
  const page = await openInspector(t)
  const dataTransfer = await page.evaluateHandle(
    (bytes) => {
      const made = new DataTransfer()
      made.items.add(new File([new Uint8Array(bytes)], 'dropped.elf'))
      return made
    },
    [...pvhKernelFile()],
  )
  await page.dispatchEvent('footer', 'dragover', { dataTransfer })
  t.ok(await page.evaluate(() => document.body.classList.contains('dropping')))
  await page.dispatchEvent('footer', 'drop', { dataTransfer })
  await answered(page, 'dropped.elf')
  t.match(await words(page, '#verdicts'), /pvh\s+boots/)
  t.notOk(await page.evaluate(() => document.body.classList.contains('dropping')))
  await page.close()
})

t.test('the link carries the form, and long work can be stopped', async (t) => {
  if (!(await findBrowser(t))) return
  const page = await openInspector(t, { hash: '#memory=1G&cmdline=quiet' })
  t.equal(await page.inputValue('#memory'), '1G')
  t.match(await words(page, '#built'), /1 GiB/)
  t.match(await words(page, '#built'), /cmd_line +"quiet"/)
  writeFileSync(file('large'), patternBytes(128 << 20))
  await fill(page, { memory: '512', ramdisk: file('large') })
  t.equal(await page.evaluate(() => location.hash), '#memory=512&cmdline=quiet')
  await page.click('[data-product="kdump"]')
  await page.waitForSelector('#cancel:visible')
  await page.click('#cancel')
  await answered(page)
  t.equal(await words(page, '#made'), '')
  await fill(page, { memory: '256' })
  const got = await download(page, 'xl', 1)
  t.same([...got.keys()], ['guest.xl'])
  await page.close()
})
