/**
 * The settings for a toolstack that an xl.cfg has, as libxl's JSON has them.
 *
 * Source: xl.cfg(5); Xen's tools/xl/xl_parse.c and tools/libs/light/libxl_types.idl (the meanings, not the code).
 * Gotcha: JSON has libxl's words, which have `_` where xl.cfg has `-`, and another unit for some keys.
 */
import { type LibxlSettings, type LibxlValue, merge, nested, settingAt } from '../guest/libxl-config.js'
import { readChannel, readDisk, readNic, readPci, readSimple } from './xl-cfg-devices.js'
import { listOf, optionalCount, optionalString, refuse, type XlCfgSettings } from './xl-cfg-values.js'

/** Returns the value of a key in JSON. The key is set. */
type Reader = (settings: XlCfgSettings, key: string) => LibxlValue

/** A key: its path in the JSON, its reader, and the type of guest that it is for, if not for both. */
interface Carried {
  readonly path: readonly string[]
  readonly read: Reader
  readonly only?: 'pv' | 'pvh'
}

const number: Reader = (settings, key) => optionalCount(settings, key) as number
const text: Reader = (settings, key) => optionalString(settings, key) as string
const flag: Reader = (settings, key) => (number(settings, key) === 0 ? 'False' : 'True')
const inKib: Reader = (settings, key) => Number(number(settings, key)) * 1024

/** Reads one of a list of words, or its number, which xl still takes where it says so. */
const word =
  (words: readonly string[], { numbered = false } = {}): Reader =>
  (settings, key) => {
    const given = optionalString(settings, key) as string
    const numbers = numbered && /^\d+$/.test(given) ? words[Number(given)] : undefined
    const found = words.find((one) => one === given) ?? numbers
    return found === undefined ? refuse(key, words.join(', '), `'${given}'`) : found.replaceAll('-', '_')
  }

const list =
  (read: (text: string, index: number, key: string) => LibxlValue): Reader =>
  (settings, key) =>
    listOf(settings, key).map((item, index) => read(item, index, key))

const texts: Reader = (settings, key) => [...listOf(settings, key)]

const uuid: Reader = (settings, key) => {
  const given = optionalString(settings, key) as string
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(given)
    ? given.toLowerCase()
    : refuse(key, 'a UUID such as 123e4567-e89b-12d3-a456-426614174000', `'${given}'`)
}

/** START,NUMBER[@GFN], in hexadecimal pages. */
function memoryRange(given: string, _index: number, key: string): LibxlValue {
  const [, start, count, gfn] =
    /^(?:0x)?([0-9a-f]{1,13}),(?:0x)?([0-9a-f]{1,13})(?:@(?:0x)?([0-9a-f]{1,13}))?$/i.exec(given) ?? []
  if (start === undefined || count === undefined) return refuse(key, 'START,NUMBER[@GFN], hexadecimal', `'${given}'`)
  const hex = (digits: string) => Number.parseInt(digits, 16)
  return { start: hex(start), number: hex(count), ...(gfn === undefined ? {} : { gfn: hex(gfn) }) }
}

/** FIRST[-LAST], in hexadecimal ports. */
function portRange(given: string, _index: number, key: string): LibxlValue {
  const [, from, to = from] = /^(?:0x)?([0-9a-f]{1,4})(?:-(?:0x)?([0-9a-f]{1,4}))?$/i.exec(given) ?? []
  const [first, last] = [Number.parseInt(from ?? '', 16), Number.parseInt(to ?? '', 16)]
  return first <= last ? { first, number: last - first + 1 } : refuse(key, 'FIRST[-LAST], hexadecimal', `'${given}'`)
}

const irq = (given: string, _index: number, key: string): LibxlValue =>
  /^\d{1,9}$/.test(given) ? Number(given) : refuse(key, 'numbers', `'${given}'`)

const ACTIONS = word([
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
  'soft-reset',
])
/** libxl turns one of xl.cfg's words round. */
const ACTION: Reader = (settings, key) => {
  const action = ACTIONS(settings, key)
  return action === 'rename_restart' ? 'restart_rename' : action
}
const TSC_MODE = word(['default', 'always_emulate', 'native', 'native_paravirt'], { numbered: true })
const TIMER_MODE = word(
  ['delay_for_missed_ticks', 'no_delay_for_missed_ticks', 'no_missed_ticks_pending', 'one_missed_tick_pending'],
  { numbered: true },
)
const ALTP2M = word(['disabled', 'mixed', 'external', 'limited'], { numbered: true })
const PASSTHROUGH = word(['default', 'disabled', 'enabled', 'sync_pt', 'share_pt'])

const create = (key: string, read: Reader): Carried => ({ path: ['c_info', key], read })
const build = (key: string, read: Reader): Carried => ({ path: ['b_info', key], read })
const scheduler = (key: string): Carried => ({ path: ['b_info', 'sched_params', key], read: number })
const whole = (key: string, read: Reader): Carried => ({ path: [key], read })

/** Every key that is carried. */
const CARRIED: Readonly<Record<string, Carried>> = {
  uuid: create('uuid', uuid),
  pool: create('pool_name', text),
  driver_domain: create('driver_domain', flag),
  hap: create('hap', flag),
  oos: create('oos', flag),
  xend_suspend_evtchn_compat: create('xend_suspend_evtchn_compat', flag),
  passthrough: create('passthrough', PASSTHROUGH),
  acpi: build('acpi', flag),
  altp2m: build('altp2m', ALTP2M),
  iomem: build('iomem', list(memoryRange)),
  ioports: build('ioports', list(portRange)),
  irqs: build('irqs', list(irq)),
  localtime: build('localtime', flag),
  max_event_channels: build('event_channels', number),
  max_grant_frames: build('max_grant_frames', number),
  max_grant_version: build('max_grant_version', number),
  max_maptrack_frames: build('max_maptrack_frames', number),
  nestedhvm: build('nested_hvm', flag),
  nomigrate: build('disable_migrate', flag),
  rtc_timeoffset: build('rtc_timeoffset', number),
  shadow_memory: build('shadow_memkb', inKib),
  timer_mode: { ...build('timer_mode', TIMER_MODE), only: 'pvh' },
  tsc_mode: build('tsc_mode', TSC_MODE),
  vmtrace_buf_kb: build('vmtrace_buf_kb', number),
  vpmu: build('vpmu', flag),
  device_model_args: build('extra', texts),
  device_model_args_hvm: build('extra_hvm', texts),
  device_model_args_pv: build('extra_pv', texts),
  device_model_override: build('device_model', text),
  device_model_stubdomain_override: build('device_model_stubdomain', flag),
  device_model_stubdomain_seclabel: build('device_model_ssid_label', text),
  device_model_user: build('device_model_user', text),
  device_model_version: build('device_model_version', word(['qemu-xen', 'qemu-xen-traditional'])),
  device_tree: build('device_tree', text),
  dm_restrict: build('dm_restrict', flag),
  stubdomain_cmdline: build('stubdomain_cmdline', text),
  stubdomain_kernel: build('stubdomain_kernel', text),
  stubdomain_memory: build('stubdomain_memkb', inKib),
  stubdomain_ramdisk: build('stubdomain_ramdisk', text),
  videoram: build('video_memkb', inKib),
  e820_host: { path: ['b_info', 'type.pv', 'e820_host'], read: flag, only: 'pv' },
  msr_relaxed: { path: ['b_info', 'arch_x86', 'msr_relaxed'], read: flag },
  cap: scheduler('cap'),
  cpu_weight: scheduler('weight'),
  extratime: scheduler('extratime'),
  latency: scheduler('latency'),
  period: scheduler('period'),
  slice: scheduler('slice'),
  on_crash: whole('on_crash', ACTION),
  on_poweroff: whole('on_poweroff', ACTION),
  on_reboot: whole('on_reboot', ACTION),
  on_soft_reset: whole('on_soft_reset', ACTION),
  on_watchdog: whole('on_watchdog', ACTION),
  disk: whole('disks', list(readDisk)),
  vif: whole('nics', list(readNic)),
  channel: whole('channels', list(readChannel)),
  dtdev: whole(
    'dtdevs',
    list((path) => ({ path })),
  ),
  p9: whole('p9s', list(readSimple('p9'))),
  pci: whole('pcidevs', list(readPci)),
  usbctrl: whole('usbctrls', list(readSimple('usbctrl'))),
  vfb: whole('vfbs', list(readSimple('vfb'))),
  vtpm: whole('vtpms', list(readSimple('vtpm'))),
}

/** The keys that are carried for a type of guest. */
export const settingKeys = (type: 'pv' | 'pvh'): string[] =>
  Object.entries(CARRIED).flatMap(([key, { only = type }]) => (only === type ? [key] : []))

/**
 * Returns the settings of a file for a type of guest.
 * @param derived settings of b_info that several keys decide.
 * @throws DomainBuilderError `bad-config` for a value that xl refuses or ignores.
 */
export function readToolstackSettings(
  settings: XlCfgSettings,
  type: 'pv' | 'pvh',
  derived: LibxlSettings,
): LibxlSettings {
  let found: LibxlSettings = Object.keys(derived).length === 0 ? {} : { b_info: derived }
  for (const key of settingKeys(type)) {
    const { path, read } = CARRIED[key] as Carried
    if (settings.has(key)) found = merge(found, nested(path, read(settings, key)))
  }
  // A frame buffer of xl brings a keyboard, and a PCI device of a PV guest the host's memory map.
  const keyboards = Array.isArray(found.vfbs) ? found.vfbs.map((_, devid) => ({ devid })) : []
  if (keyboards.length > 0) found = merge(found, { vkbs: keyboards })
  const hasPci = Array.isArray(found.pcidevs) && found.pcidevs.length > 0
  const hostMap = ['b_info', 'type.pv', 'e820_host']
  if (type === 'pv' && hasPci && settingAt(found, hostMap) === undefined) found = merge(found, nested(hostMap, 'True'))
  return found
}
