/**
 * The main use in one file: builds a guest from a kernel's bytes, writes it to disk, describes it and draws its map.
 *
 * Source: README.md; the default kernel is hello-kernel.ts next to this file.
 * Gotcha: nothing here needs Xen or starts the image; test/xen does.
 *
 *     npm start                                # our own tiny kernel, 32 MiB
 *     npm start -- /boot/vmlinuz 256M          # any Xen PV kernel, any size
 */
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  buildDomain,
  type Domain,
  DomainBuilderError,
  domainText,
  kernelText,
  mapPicture,
  parseSize,
  pictureOptions,
  readKernel,
  readStartInfo,
  readVirtual,
  translate,
} from 'xen-domain-builder'
import { writeSnapshotFile } from 'xen-domain-builder/node'
import { helloKernel } from './hello-kernel.js'

const hex = (value: number | bigint): string => `0x${value.toString(16)}`
const title = (text: string): void => console.log(`\n${text}\n${'='.repeat(text.length)}`)

async function main(file: string | undefined, size: string): Promise<void> {
  title(file === undefined ? 'The kernel: our own, which says hello from start_info' : `The kernel: ${file}`)
  const kernel = await readKernel(file === undefined ? helloKernel() : readFileSync(file))
  console.log(kernelText(kernel).join('\n'))

  title('The guest at its first instant')
  const domain = buildDomain(kernel, { memory: parseSize(size), cmdline: 'console=hvc0', name: 'hello' })
  console.log(domainText(domain).join('\n'))

  title('The state at its first instruction')
  showFirstInstant(domain)

  title('Written')
  const image = join(mkdtempSync(join(tmpdir(), 'xen-domain-builder-')), 'guest.img')
  await writeSnapshotFile(domain, image)
  console.log(`${image}\n  memory, in pfn order, with holes where nothing was written`)
  console.log(`${image}.json\n  registers, regions, start_info: enough to resume it`)
  console.log(`\nTo look at it again:\n  npx xen-domain-builder inspect '${image}'`)

  title('Where everything is')
  console.log(mapPicture(domain, pictureOptions(process.stdout, process.env)).join('\n'))
}

/** The path of a virtual address through each level of the page tables to a physical one: p != v. */
function showFirstInstant(domain: Domain): void {
  const [vcpu] = domain.vcpus
  if (!vcpu) return
  const { rip, rsi } = vcpu.registers
  for (const [register, vaddr] of Object.entries({ rip, rsi })) {
    const found = translate(domain, vaddr)
    if (!found) throw new Error(`${register} ${hex(vaddr)} is not mapped`)
    const path = found.path.map(({ level, index }) => `L${level}[${index}]`)
    console.log(`${register}  ${hex(vaddr)} -> ${path.join(' -> ')} -> ${hex(found.paddr)}`)
  }
  console.log(`\nat rip   ${Buffer.from(readVirtual(domain, rip, 16)).toString('hex')}`)
  const { magic, nr_pages, console_mfn } = readStartInfo(domain)
  console.log(`at rsi   '${magic}', ${nr_pages} pages, console in machine frame ${hex(console_mfn)}`)
}

const [, , file, size = file === undefined ? '32M' : '128M'] = process.argv
try {
  await main(file, size)
} catch (error) {
  // Refusals of the library and errors of the file system are one line. Any other error is a bug and keeps its stack.
  if (!(error instanceof DomainBuilderError) && !(error instanceof Error && 'syscall' in error)) throw error
  console.error(error instanceof DomainBuilderError ? `${error.code}: ${error.message}` : error.message)
  process.exitCode = 1
}
