/**
 * Compares the guest of an xl.cfg as we read it with xl's: the same guest, the same refusals, the same keys.
 *
 * Source: xl.ts: Debian's xl, in a dry run. docs/xl-cfg.md names the differences, and each is tested here.
 * Gotcha: xl only warns of some invalid values and ignores them; we refuse the file.
 */
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { readXlCfg } from '../../lib/protocol/xl-cfg-guest.js'
import { builderKeys, hvmKeys, otherKeys } from '../../lib/protocol/xl-cfg-keys.js'
import { settingKeys } from '../../lib/protocol/xl-cfg-settings.js'
import { requirePeer } from './require-peer.js'
import { findXl, settingsOf, type XlAnswer } from './xl.js'

const KIB = 1024
const MIB = 2 ** 20

/** A short description of a guest, or of its refusal. */
type Answer = Readonly<Record<string, string | number | undefined>> | 'refused'

function ours(text: string): Answer {
  try {
    const { kernel, ramdisk, config } = readXlCfg(text)
    const { type, memory, maxmem = memory, vcpus = 1, cmdline, name } = config
    return { type, kernel, ramdisk, cmdline, name, memory, maxmem, vcpus }
  } catch (error) {
    if (error instanceof DomainBuilderError && error.code === 'bad-config') return 'refused'
    throw error
  }
}

/** Returns xl's messages about values of keys that a builder reads. */
const complaints = ({ said }: XlAnswer): string[] =>
  said.split('\n').filter((line) => {
    const key = /: warning: .*parameter `(\w+)'/.exec(line)?.[1]
    return key !== undefined && builderKeys().includes(key)
  })

function theirs(answer: XlAnswer): Answer {
  const { config } = answer
  if (!config || complaints(answer).length > 0 || config.c_info.type === 'hvm') return 'refused'
  const { kernel, ramdisk, cmdline, max_memkb, target_memkb = max_memkb, max_vcpus = 1, ...build } = config.b_info
  if (build['type.pvh']?.pvshim === 'True') return 'refused'
  return {
    type: config.c_info.type,
    // Firmware names stand for files in xl's own folder.
    kernel: kernel?.startsWith('/usr/lib/xen') ? undefined : kernel,
    ramdisk,
    cmdline,
    name: config.c_info.name,
    memory: target_memkb === undefined ? undefined : target_memkb * KIB,
    maxmem: max_memkb === undefined ? undefined : max_memkb * KIB,
    vcpus: max_vcpus,
  }
}

t.test('the same guests and refusals as xl', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  const number = fc.constantFrom('64', '"64"', '0x40', '"0100"', '0', '128', '1', '2', '"08"', '""', '"1x"', '[64]', '" +7"', '99999999999999999999') // biome-ignore format: one line of values
  const text = fc.constantFrom('"a"', '"b c"', '""', '5', '["a"]', "'x'")
  const valued = (keys: readonly string[], values: fc.Arbitrary<string>) =>
    fc.tuple(fc.constantFrom(...keys), fc.constantFrom('=', '=', '=', '=', '+='), values)
  const line = fc.oneof(
    { weight: 4, arbitrary: valued(['memory', 'maxmem', 'vcpus', 'maxvcpus'], number) },
    { weight: 4, arbitrary: valued(['ramdisk', 'cmdline', 'root', 'extra', 'kernel', 'name'], text) },
    { weight: 2, arbitrary: valued(['type'], fc.constantFrom('"pv"', '"pvh"', '"pvh"', '"hvm"', '"xen"', '["pv"]')) },
    { weight: 1, arbitrary: valued(['builder'], fc.constantFrom('"generic"', '"generic"', '"hvm"', '"linux"')) },
    { weight: 1, arbitrary: valued(['firmware'], fc.constantFrom('"pvgrub32"', '"pvgrub64"', '"ovmf"', '["a"]')) },
    { weight: 1, arbitrary: valued(['pvshim', 'bootloader'], fc.constantFrom('0', '1', '"pygrub"', '["a"]')) },
    { weight: 1, arbitrary: valued(['vkb', 'on_crash', 'memroy'], fc.constantFrom('"destroy"', '["a"]')) },
  )
  const start = fc.constantFrom('name="g"\nkernel="k"\n', 'name="g"\nkernel="k"\n', 'name="g"\nfirmware="pvgrub64"\n')
  const texts = fc
    .tuple(start, fc.array(line, { maxLength: 5 }))
    .map(([first, lines]) => first + lines.map((parts) => `${parts.join('')}\n`).join(''))
    // xl checks the values of vkb, which is not carried. It ignores a list of on_crash, which we refuse.
    .filter((whole) => !/^(vkb=\["a"|on_crash\+?=\["a"|vkb\+=)/m.test(whole))
  const seen = { refused: 0, taken: 0, hidden: 0 }
  for (const whole of fc.sample(texts, { numRuns: 400, seed: 4242 })) {
    const answer = xl.create(whole)
    const mine = ours(whole)
    t.same(mine, theirs(answer), JSON.stringify(whole))
    seen[mine === 'refused' ? 'refused' : 'taken']++
    if (mine === 'refused') continue
    const hidden = readXlCfg(whole).warnings.some((warning) => warning.endsWith('since cmdline is set'))
    t.equal(hidden, answer.said.includes('ignoring root= and extra='), 'cmdline hides root and extra')
    if (hidden) seen.hidden++
  }
  t.ok(seen.refused > 100 && seen.taken > 100 && seen.hidden > 2, JSON.stringify(seen))
})

t.test('where the two differ, each as docs/xl-cfg.md says', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  const guest = (lines: string): string => `name = "g"\nkernel = "k"\n${lines}\n`
  const both = (text: string) => {
    const answer = xl.create(text)
    return { answer, config: answer.config, mine: ours(text) }
  }
  const taken = (text: string): Exclude<Answer, 'refused'> => {
    const mine = ours(text)
    return mine === 'refused' ? {} : mine
  }
  t.match(both('kernel = "k"\n').answer.said, /Domain name must be specified/)
  t.equal(taken('kernel = "k"\n').name, undefined, 'a guest needs no name')
  t.match(both('name = "g"\n').answer.said, /Neither kernel nor bootloader/)
  t.equal(taken('name = "g"\n').kernel, undefined, 'nor a kernel: it can be named in addition to the file')
  for (const lines of ['memory = "1x"', 'memory = [64]', 'memory += 64', 'kernel = ["k", "l"]', 'vcpus = "08"']) {
    const { answer, mine } = both(guest(`bootloader = "pygrub"\n${lines}`))
    t.ok(answer.config && complaints(answer).length === 1, `xl warns: ${lines}`)
    t.equal(mine, 'refused', `we refuse: ${lines}`)
  }
  for (const [type, meant] of [
    ['p', 'pv'],
    ['', 'hvm'],
  ] as const) {
    const { config, mine } = both(guest(`type = "${type}"`))
    t.equal(config?.c_info.type, meant, `xl takes the beginning of a type, '${type}'`)
    t.equal(mine, 'refused')
  }
  for (const lines of ['type = "hvm"', 'type = "pvh"\npvshim = 1']) {
    const { config, mine } = both(guest(lines))
    t.ok(config, lines)
    t.equal(mine, 'refused', `starts in something else than its kernel: ${lines}`)
  }
  t.match(both('name = "g"\nfirmware = "pvgrub64"\n').config?.b_info.kernel, /pvgrub64\.bin$/)
  t.match(readXlCfg('firmware = "pvgrub64"\n').warnings, [/firmware 'pvgrub64' is ignored/])
  t.match(readXlCfg(guest('bootloader = "pygrub"')).warnings, [/'pygrub'/])
  t.notOk(xl.keys(guest('features = "x"')).has('features'), 'xl does not ask for features')
  t.match(readXlCfg(guest('features = "x"')).warnings, [/^features/])
  t.ok(both(guest('memory = "-5"')).config, 'xl takes negative numbers')
  t.equal(ours(guest('memory = "-5"')), 'refused')
  t.ok(both(guest('memory = 64\nmaxmem = 32')).config, 'xl takes maxmem below memory; a build refuses it')
  t.match(taken(guest('memory = 64\nmaxmem = 32')), { memory: 64 * MIB, maxmem: 32 * MIB })
})

t.test('the keys that xl asks for are known, and no others', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  // xl reads no keys of an invalid file, so these are keys of xl.conf.
  const global = xl.keys('=\n')
  const asked = new Set<string>()
  for (const type of ['pv', 'pvh', 'hvm']) {
    // The last three keys make xl read further ones.
    const text = `name = "g"\nkernel = "k"\ntype = "${type}"\nvnc = 1\nsdl = 1\nspice = 1\n`
    for (const key of xl.keys(text)) if (!global.has(key)) asked.add(key)
  }
  t.ok(asked.size > 140, `${asked.size} keys`)
  const known = new Set([...builderKeys(), ...settingKeys('pv'), ...settingKeys('pvh'), ...otherKeys(), ...hvmKeys()])
  t.same(
    [...asked].filter((key) => !known.has(key)),
    [],
    'each is known here',
  )
  // Keys of a later xl than Debian's, or keys that xl reads in /etc/xen/xl.conf as well.
  const later = [
    ...['altp2m_count', 'arm_sci', 'bootloader_restrict', 'bootloader_user', 'hvm_pirq', 'llc_colors', 'nr_spis'],
    ...['smbios', 'sve', 'trap_unmapped_accesses', 'virtio', 'xen_platform_pci_bar_uc'],
    ...['xenstore_feature_mask', 'xenstore_quota', 'max_grant_frames', 'max_grant_version', 'max_maptrack_frames'],
  ]
  t.same([...known].filter((key) => !asked.has(key)).sort(), ['features', ...later].sort(), 'and xl asks for each')
  const carried = new Set([...settingKeys('pv'), ...settingKeys('pvh')]).size
  t.equal(known.size, builderKeys().length + carried + otherKeys().length + hvmKeys().length, 'no key is listed twice')
})

t.test('misspelt keys are told from those that are for others', async (t) => {
  const guest = readXlCfg(
    'memroy = 5\nserial = 1\nvkb = []\ndisk = []\nfrobnicate = 1\non_crahs = "x"\nramdisk_ = "y"\nvcpu = 2\n',
  )
  t.same(guest.unused, ['serial'])
  t.same(guest.notCarried, ['vkb'])
  t.same(settingsOf(guest), { disks: [] })
  t.same(guest.unknown, [
    { key: 'frobnicate' },
    { key: 'memroy', meant: 'memory' },
    { key: 'on_crahs', meant: 'on_crash' },
    { key: 'ramdisk_', meant: 'ramdisk' },
    { key: 'vcpu', meant: 'vcpus' },
  ])
})
