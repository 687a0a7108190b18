/**
 * The settings of libxl that a live domain gets from this library. Others are refused with the reason.
 *
 * Source: Xen tools/libs/light/libxl_types.idl; libxl_create.c and libxl_x86.c for the defaults.
 * Gotcha: devices are not made here. xl attaches disks and network interfaces to a domain that exists.
 */
import { isSettings, type LibxlSettings, type LibxlValue } from '../guest/libxl-config.js'
import { badConfig } from '../protocol/config-values.js'
import { shown } from '../units.js'

/** The action on a domain that has ended. */
export type EndAction = 'destroy' | 'restart' | 'preserve'

/** The settings, with libxl's defaults. */
export interface LiveSettings {
  readonly uuid: string | undefined
  readonly maxEventChannel: number
  readonly maxGrantFrames: number | undefined
  readonly maxMaptrackFrames: number | undefined
  readonly maxGrantVersion: number
  readonly nestedVirtualization: boolean
  readonly msrRelaxed: boolean
  /** The guest never moves to another host. */
  readonly disableMigrate: boolean
  readonly tscMode: number
  readonly timerMode: number
  readonly altp2m: number
  /** The vcpus that the guest may bring up at first; undefined: all. */
  readonly availableVcpus: readonly number[] | undefined
  /** KiB of Xen's memory for the guest's page tables. */
  readonly pagingPoolKib: number | undefined
  readonly onPoweroff: EndAction
  readonly onReboot: EndAction
  readonly onCrash: EndAction
  readonly onWatchdog: EndAction
}

type Writable = { -readonly [K in keyof LiveSettings]: LiveSettings[K] }
/** Takes a value into the settings. */
type Take = (value: LibxlValue, key: string, into: Writable) => void

const wrong = (key: string, expected: string, value: LibxlValue) =>
  badConfig(`settings.${key} is not supported for a live domain`, expected, shown(value))

const count =
  (name: 'maxEventChannel' | 'maxGrantFrames' | 'maxMaptrackFrames' | 'maxGrantVersion' | 'pagingPoolKib'): Take =>
  (value, key, into) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) throw wrong(key, 'a number', value)
    into[name] = value
  }
const flag =
  (name: 'nestedVirtualization' | 'msrRelaxed' | 'disableMigrate'): Take =>
  (value, key, into) => {
    if (value !== 'True' && value !== 'False') throw wrong(key, 'True or False', value)
    into[name] = value === 'True'
  }
/** The words of a setting, each with its number. */
const numbered =
  (name: 'tscMode' | 'timerMode' | 'altp2m', words: readonly string[]): Take =>
  (value, key, into) => {
    const index = words.indexOf(String(value))
    if (index < 0) throw wrong(key, words.join(', '), value)
    into[name] = index
  }
const action =
  (name: 'onPoweroff' | 'onReboot' | 'onCrash' | 'onWatchdog'): Take =>
  (value, key, into) => {
    const found = (['destroy', 'restart', 'preserve'] as const).find((one) => one === value)
    if (found === undefined) throw wrong(key, 'destroy, restart or preserve', value)
    into[name] = found
  }
/** A setting that changes nothing with these values. */
const only =
  (instead: string, ...values: readonly LibxlValue[]): Take =>
  (value, key) => {
    if (!values.includes(value)) throw wrong(key, instead, value)
  }
/** For xl alone: the files of a guest that it starts again. */
const forXl: Take = (value, key) => {
  if (typeof value !== 'string') throw wrong(key, 'text', value)
}
const numbers: Take = (value, key, into) => {
  const isNumber = (one: LibxlValue): one is number => typeof one === 'number'
  if (!Array.isArray(value) || !value.every(isNumber)) throw wrong(key, 'a list of numbers', value)
  into.availableVcpus = value
}
const noDevices: Take = (value, key) => {
  if (Array.isArray(value) && value.length === 0) return
  throw badConfig(
    `settings.${key} is not supported for a live domain: this library makes no devices`,
    'none; attach them with xl block-attach or xl network-attach, or use xl create',
    Array.isArray(value) ? `${value.length}` : shown(value),
  )
}

/** Every setting that is known, by its path. */
const KNOWN: Readonly<Record<string, Take>> = {
  'c_info.uuid': (value, _key, into) => {
    into.uuid = String(value)
  },
  'c_info.hap': only('True', 'True'),
  'c_info.oos': only('True', 'True'),
  'c_info.driver_domain': only('False', 'False'),
  'c_info.pool_name': only('Pool-0', 'Pool-0'),
  'c_info.passthrough': only('disabled', 'default', 'disabled'),
  'c_info.xend_suspend_evtchn_compat': only('False', 'False'),
  'b_info.kernel': forXl,
  'b_info.ramdisk': forXl,
  'b_info.cmdline': forXl,
  'b_info.avail_vcpus': numbers,
  'b_info.acpi': only("True; acpi: 'none' makes a PVH guest without ACPI", 'True'),
  'b_info.altp2m': numbered('altp2m', ['disabled', 'mixed', 'external', 'limited']),
  'b_info.localtime': only('False', 'False'),
  'b_info.rtc_timeoffset': only('0', 0),
  'b_info.event_channels': count('maxEventChannel'),
  'b_info.max_grant_frames': count('maxGrantFrames'),
  'b_info.max_maptrack_frames': count('maxMaptrackFrames'),
  'b_info.max_grant_version': count('maxGrantVersion'),
  'b_info.nested_hvm': flag('nestedVirtualization'),
  'b_info.disable_migrate': flag('disableMigrate'),
  'b_info.shadow_memkb': count('pagingPoolKib'),
  'b_info.timer_mode': numbered('timerMode', [
    'delay_for_missed_ticks',
    'no_delay_for_missed_ticks',
    'no_missed_ticks_pending',
    'one_missed_tick_pending',
  ]),
  'b_info.tsc_mode': numbered('tscMode', ['default', 'always_emulate', 'native']),
  'b_info.vmtrace_buf_kb': only('0', 0),
  'b_info.vpmu': only('False', 'False'),
  'b_info.video_memkb': only('0', 0),
  'b_info.arch_x86.msr_relaxed': flag('msrRelaxed'),
  'b_info.type.pv.e820_host': only('False', 'False'),
  on_poweroff: action('onPoweroff'),
  on_reboot: action('onReboot'),
  on_crash: action('onCrash'),
  on_watchdog: action('onWatchdog'),
  on_soft_reset: only('soft_reset', 'soft_reset'),
}

const DEVICES = ['disks', 'nics', 'channels', 'dtdevs', 'p9s', 'pcidevs', 'usbctrls', 'vfbs', 'vkbs', 'vtpms']

/** libxl's defaults, and xl's for the ends of a domain. */
const DEFAULTS: LiveSettings = {
  uuid: undefined,
  maxEventChannel: 1023,
  maxGrantFrames: undefined,
  maxMaptrackFrames: undefined,
  maxGrantVersion: 2,
  nestedVirtualization: false,
  msrRelaxed: false,
  disableMigrate: false,
  tscMode: 0,
  timerMode: 1,
  altp2m: 0,
  availableVcpus: undefined,
  pagingPoolKib: undefined,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  onWatchdog: 'destroy',
}

/** @throws DomainBuilderError `bad-config` for a setting that a live domain would not get. */
export function liveSettings(settings: LibxlSettings = {}): LiveSettings {
  const into: Writable = { ...DEFAULTS }
  const take = (value: LibxlValue, path: string): void => {
    const known = DEVICES.includes(path) ? noDevices : KNOWN[path]
    if (known !== undefined) known(value, path, into)
    else if (!isSettings(value)) throw wrong(path, 'no such key, or xl create', value)
    else for (const [key, inner] of Object.entries(value)) take(inner, path === '' ? key : `${path}.${key}`)
  }
  take(settings, '')
  return into
}
