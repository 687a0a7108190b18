/**
 * Compares the settings of an xl.cfg with xl's: each key that is carried, disks and interfaces of many forms, and the
 * keys that are not carried.
 *
 * Source: xl.ts: Debian's xl, in a dry run, which prints the JSON of libxl.
 * Gotcha: libxl's JSON leaves out a value that equals libxl's default, such as `destroy`. The comparison does so too.
 */
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { type LibxlSettings, merge, OWN_SETTINGS, XL_DEFAULTS } from '../../lib/guest/libxl-config.js'
import { readXlCfg } from '../../lib/protocol/xl-cfg-guest.js'
import { hvmKeys, otherKeys } from '../../lib/protocol/xl-cfg-keys.js'
import { settingKeys } from '../../lib/protocol/xl-cfg-settings.js'
import { requirePeer } from './require-peer.js'
import { findXl, settingsOf, type Xl } from './xl.js'

const TYPES = ['pv', 'pvh'] as const
type Type = (typeof TYPES)[number]
const start = (type: Type): string => `name = "g"\nkernel = "k"\nmemory = 64\ntype = "${type}"\n`

/** The settings that xl adds without a key, or that it chooses by chance. */
const XLS_OWN = [
  ...OWN_SETTINGS,
  ['c_info', 'uuid'],
  ['c_info', 'run_hotplug_scripts'],
  ['b_info', 'claim_mode'],
  ['b_info', 'numa_placement'],
].map((path) => path.join('.'))
/** libxl's defaults, which its JSON omits. */
const OMITTED: Readonly<Record<string, unknown>> = {
  on_poweroff: 'destroy',
  on_soft_reset: 'destroy',
  'b_info.arch_x86.msr_relaxed': 'False',
}
const hasUuid = (text: string): boolean => /^uuid/m.test(text)

/** Returns every value by its path, sorted, without what the guest and libxl's defaults decide. */
function flat(settings: object, keepUuid: boolean): Record<string, unknown> {
  const found: [string, unknown][] = []
  const walk = (at: unknown, path: string): void => {
    if (typeof at !== 'object' || at === null) return void found.push([path, at])
    for (const [key, value] of Object.entries(at)) walk(value, path === '' ? key : `${path}.${key}`)
  }
  walk(settings, '')
  const kept = found.filter(([path, value]) => {
    if (path === 'c_info.uuid') return keepUuid
    return !XLS_OWN.includes(path) && OMITTED[path] !== value && !isOmitted(path, value)
  })
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Returns whether libxl's JSON omits a value: a zero, no, or an enumeration's first word. */
const isOmitted = (path: string, value: unknown): boolean =>
  value === false ||
  (path.startsWith('usbctrls.') && value === 'auto') ||
  (value === 0 && !path.endsWith('devid') && path !== 'b_info.rtc_timeoffset') ||
  (['default', 'disabled'].includes(String(value)) &&
    /(tsc_mode|altp2m|passthrough)$/.test(path) &&
    value !== 'disabled')

function ours(text: string): Record<string, unknown> | 'refused' {
  try {
    return flat(merge(XL_DEFAULTS, settingsOf(readXlCfg(text)) ?? {}), hasUuid(text))
  } catch (error) {
    if (error instanceof DomainBuilderError && error.code === 'bad-config') return 'refused'
    throw error
  }
}

function theirs(xl: Xl, text: string): Record<string, unknown> | 'refused' {
  const { config } = xl.create(text)
  return config === undefined ? 'refused' : flat(config as unknown as LibxlSettings, hasUuid(text))
}

/** Lines for every key that is carried. */
const LINES = `
uuid = "123e4567-e89b-12d3-a456-426614174000"
pool = "P"
driver_domain = 1
hap = 0
oos = 0
xend_suspend_evtchn_compat = 1
passthrough = "disabled"
passthrough = "sync_pt"
acpi = 0
altp2m = "external"
altp2m = 1
iomem = ["f0000,1", "10,20@30"]
ioports = ["2f8-2ff", "80"]
irqs = [4, "5"]
localtime = 1
max_event_channels = 100
max_grant_frames = 32
max_grant_version = 1
max_maptrack_frames = 512
nestedhvm = 1
nomigrate = 1
rtc_timeoffset = 5
shadow_memory = 5
tsc_mode = "native"
tsc_mode = 2
tsc_mode = "always_emulate"
vmtrace_buf_kb = 64
vpmu = 1
e820_host = 1
msr_relaxed = 1
cap = 50
cpu_weight = 0x200
extratime = 1
latency = 3
period = 10
slice = 5
on_crash = "coredump-restart"
on_poweroff = "rename-restart"
on_reboot = "preserve"
on_soft_reset = "destroy"
on_watchdog = "soft-reset"
disk = ["/dev/vg/web,raw,xvda,rw"]
vif = ["bridge=xenbr0"]
ramdisk = "r"
cmdline = "c d"
root = "/dev/xvda1"
channel = ["name=a,connection=pty", "name=b,connection=socket,path=/p,backend=d"]
dtdev = ["a"]
p9 = ["tag=a,path=/b,security_model=none,backend=d"]
pci = ["01:00.0", "0000:02:03.4@5,permissive=1,msitranslate=0,power_mgmt=1,seize=1,rdm_policy=relaxed"]
pci = ["01:00.*"]
usbctrl = ["type=pv,version=1,ports=4", "type=auto"]
vfb = ["vnc=1,vnclisten=1.2.3.4:5,vncpasswd=p,vncdisplay=3,vncunused=1,sdl=1,opengl=0,display=:0,keymap=de", "sdl=0"]
vtpm = ["backend=x,uuid=123e4567-e89b-12d3-a456-426614174000"]
device_model_args = ["a", "b"]
device_model_args_hvm = ["a"]
device_model_args_pv = ["a"]
device_model_override = "/q"
device_model_stubdomain_override = 1
device_model_stubdomain_seclabel = "x"
device_model_user = "u"
device_model_version = "qemu-xen-traditional"
device_tree = "d"
dm_restrict = 1
stubdomain_cmdline = "c"
stubdomain_kernel = "k"
stubdomain_memory = 32
stubdomain_ramdisk = "r"
videoram = 8
timer_mode = "one_missed_tick_pending"
timer_mode = 0
`
  .trim()
  .split('\n')

t.test('each key that is carried has the value that xl gives it', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  for (const type of TYPES) {
    const keys = new Set(LINES.map((line) => line.split(' ')[0]))
    for (const key of settingKeys(type)) t.ok(keys.has(key), `${key} has a line`)
    for (const line of LINES) {
      if (type === 'pv' && line.startsWith('timer_mode')) continue
      const text = `${start(type)}${line}\n`
      t.same(ours(text), theirs(xl, text), `${type}: ${line}`)
    }
    const some = `${start(type)}${LINES.filter((line) => /^(on_|max_|cap|disk|vif|vpmu)/.test(line)).join('\n')}\n`
    t.same(ours(some), theirs(xl, some), 'many at once')
    const online = `${start(type)}vcpus = 2\nmaxvcpus = 4\n`
    t.same(settingsOf(readXlCfg(online))?.b_info, { kernel: 'k', avail_vcpus: [0, 1] })
    t.same(xl.create(online).config?.b_info.avail_vcpus, [0, 1], 'vcpus that are offline at first')
  }
})

t.test('disks and interfaces of every form', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  const joined = (parts: fc.Arbitrary<string[]>): fc.Arbitrary<string> => parts.map((all) => all.join(','))
  const target = fc.constantFrom('/dev/vg/web', 'phy:/dev/x', 'file:/a b.img', 'qcow2:/q', 'vhd:/v', 'raw:/r')
  const format = fc.constantFrom('', 'raw', 'qcow2', 'qcow', 'vhd', 'qed', 'empty', 'zip')
  const vdev = fc.constantFrom('xvda', 'hdc', 'xvdb:cdrom', 'sda:disk', 'xvdc:tape')
  const access = fc.constantFrom('', 'r', 'ro', 'w', 'rw', 'x')
  const named = fc.constantFrom(
    'format=qcow2', 'vdev=xvdq', 'access=ro', 'script=block-x', 'backend=d1', 'backendtype=qdisk', 'backendtype=phy',
    'backendtype=none', 'devtype=cdrom', 'devtype=disk', 'cdrom', 'discard', 'no-discard', 'direct-io-safe',
    'target=/x,y', 'color=red',
  ) // biome-ignore format: one line of values
  const disks = fc.oneof(
    joined(fc.tuple(target, format, vdev, access)),
    joined(fc.tuple(target, vdev, access)),
    joined(fc.tuple(target, format, vdev, access, named)),
    joined(fc.array(named, { minLength: 1, maxLength: 4 })),
    joined(fc.tuple(fc.constant('vdev=xvda'), named, named)),
  )
  const part = fc.constantFrom(
    'mac=00:16:3E:01:02:03', 'bridge=br0', 'ip=10.0.0.1', 'script=vif-route', 'model=e1000', 'vifname=v0',
    'rate=1MB/s', 'rate=10Mb/s@20ms', 'rate=100B/s@1s', 'rate=x', 'backend=d1', 'devid=3', 'gatewaydev=e', 'mtu=1400',
    'type=vif', 'type=ioemu',
  ) // biome-ignore format: one line of values
  const vifs = joined(fc.array(part, { maxLength: 4 }))
  let taken = 0
  const compare = (line: string): void => {
    const text = `${start('pv')}${line}\n`
    const mine = ours(text)
    t.same(mine, theirs(xl, text), line)
    if (mine !== 'refused') taken++
  }
  for (const disk of fc.sample(disks, { numRuns: 300, seed: 18 })) compare(`disk = ["${disk}"]`)
  for (const pair of fc.sample(fc.tuple(vifs, vifs), { numRuns: 150, seed: 18 })) {
    compare(`vif = [${pair.map((vif) => `"${vif}"`).join(', ')}]`)
  }
  for (const line of ['vif = ["mac=zz"]', 'vif = ["type=x"]', 'disk = [",raw,xvda,rw"]', 'disk = ["phy:/dev/x,,w"]']) {
    t.equal(ours(`${start('pv')}${line}\n`), 'refused', line)
    t.not(theirs(xl, `${start('pv')}${line}\n`), 'refused', `${line}: xl goes on without it`)
  }
  t.ok(taken > 150, `${taken} of 450 are valid`)
})

/** Values that xl takes, of keys that are not carried. */
const VALUES: Readonly<Record<string, string>> = {
  vkb: '["backend-type=linux"]',
  pvcalls: '["backend=d"]',
  cpuid: '"host,htt=0"',
  seclabel: '"s"',
}

t.test('a key that is not carried, and the keys that change nothing', async (t) => {
  const xl = await requirePeer(t, () => findXl(t))
  if (!xl) return
  for (const type of TYPES) {
    const plain = theirs(xl, start(type))
    for (const [key, value] of Object.entries(VALUES)) {
      const text = `${start(type)}${key} = ${value}\n`
      t.same(readXlCfg(text).notCarried, [key], `${key} is not carried`)
      t.not(JSON.stringify(theirs(xl, text)), JSON.stringify(plain), `${key} counts for xl`)
    }
    for (const key of hvmKeys()) {
      const text = `${start(type)}${key} = ${/^(usbdevice|serial)$/.test(key) ? '["a"]' : '1'}\n`
      t.same(readXlCfg(text).unused, [key], `${key} is not used`)
      t.same(theirs(xl, text), plain, `${key} changes nothing for xl`)
    }
  }
  t.notOk(
    otherKeys().some((key) => hvmKeys().includes(key)),
    'no key is in two lists',
  )
})
