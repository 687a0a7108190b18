/**
 * The settings of a live domain: each one that libxl knows is obeyed or refused with the reason.
 *
 * Source: the keys that an xl.cfg may have (lib/protocol/xl-cfg-settings.ts).
 * Gotcha: a setting that is ignored would make another guest than the one that was asked for.
 */
import t from 'tap'
import type { DomainBuilderError } from '../../lib/errors.js'
import type { LibxlSettings } from '../../lib/guest/libxl-config.js'
import { readXlCfg } from '../../lib/index.js'
import { settingKeys } from '../../lib/protocol/xl-cfg-settings.js'
import { type LiveSettings, liveSettings } from '../../lib/toolstack/live-settings.js'

const defaults = liveSettings()

/** Returns the settings of an xl.cfg with these lines. */
const settingsOf = (type: 'pv' | 'pvh', line: string): LibxlSettings =>
  (readXlCfg(`type="${type}"\nkernel="k"\nmemory=64\n${line}\n`).config as { settings?: LibxlSettings }).settings ?? {}

const obeyed: readonly [line: string, changed: Partial<LiveSettings>][] = [
  ['uuid="123e4567-e89b-12d3-a456-426614174000"', { uuid: '123e4567-e89b-12d3-a456-426614174000' }],
  ['max_event_channels=4096', { maxEventChannel: 4096 }],
  ['max_grant_frames=64', { maxGrantFrames: 64 }],
  ['max_maptrack_frames=0', { maxMaptrackFrames: 0 }],
  ['max_grant_version=1', { maxGrantVersion: 1 }],
  ['nestedhvm=1', { nestedVirtualization: true }],
  ['msr_relaxed=1', { msrRelaxed: true }],
  ['nomigrate=1', { disableMigrate: true }],
  ['shadow_memory=8', { pagingPoolKib: 8192 }],
  ['timer_mode="one_missed_tick_pending"', { timerMode: 3 }],
  ['tsc_mode="native"', { tscMode: 2 }],
  ['altp2m="external"', { altp2m: 2 }],
  ['vcpus=1\nmaxvcpus=3', { availableVcpus: [0] }],
  ['on_poweroff="preserve"', { onPoweroff: 'preserve' }],
  ['on_reboot="destroy"', { onReboot: 'destroy' }],
  ['on_crash="restart"', { onCrash: 'restart' }],
  ['on_watchdog="preserve"', { onWatchdog: 'preserve' }],
]

/** Lines that a live domain has anyway. */
const harmless: readonly string[] = [
  'hap=1',
  'oos=1',
  'driver_domain=0',
  'pool="Pool-0"',
  'passthrough="disabled"',
  'xend_suspend_evtchn_compat=0',
  'acpi=1',
  'localtime=0',
  'rtc_timeoffset=0',
  'vmtrace_buf_kb=0',
  'vpmu=0',
  'videoram=0',
  'e820_host=0',
  'on_soft_reset="soft-reset"',
]

const refused: readonly string[] = [
  'disk=["/dev/vg/web,raw,xvda,rw"]',
  'vif=["bridge=xenbr0"]',
  'vfb=["vnc=1"]',
  'pci=["0000:01:00.0"]',
  'channel=["connection=pty,name=a"]',
  'dtdev=["/a"]',
  'p9=["tag=a,path=/a,security_model=none"]',
  'usbctrl=["version=2"]',
  'vtpm=["backend=a"]',
  'hap=0',
  'oos=0',
  'driver_domain=1',
  'pool="other"',
  'passthrough="enabled"',
  'xend_suspend_evtchn_compat=1',
  'acpi=0',
  'localtime=1',
  'rtc_timeoffset=1',
  'vmtrace_buf_kb=64',
  'vpmu=1',
  'videoram=4',
  'e820_host=1',
  'iomem=["a0,1"]',
  'ioports=["2f8-2ff"]',
  'irqs=[5]',
  'cap=50',
  'cpu_weight=512',
  'extratime=1',
  'latency=1',
  'period=1',
  'slice=1',
  'on_poweroff="coredump-destroy"',
  'on_crash="rename-restart"',
  'on_soft_reset="destroy"',
  'device_model_version="qemu-xen"',
  'tsc_mode="native_paravirt"',
]

const keyOf = (line: string): string => line.split('=')[0] as string
const onlyPv = (line: string): 'pv' | 'pvh' => (['e820_host'].includes(keyOf(line)) ? 'pv' : 'pvh')

t.test('settings that are obeyed', async (t) => {
  for (const [line, changed] of obeyed)
    t.same(liveSettings(settingsOf(onlyPv(line), line)), { ...defaults, ...changed }, line)
})

t.test('settings that every live domain has', async (t) => {
  for (const line of harmless) t.same(liveSettings(settingsOf(onlyPv(line), line)), defaults, line)
})

t.test('settings that are refused, each by its name', async (t) => {
  for (const line of refused) {
    const settings = settingsOf(onlyPv(line), line)
    t.throws(() => liveSettings(settings), { code: 'bad-config', message: /^settings\.\w/ }, line)
  }
  t.match(
    (() => {
      try {
        return liveSettings(settingsOf('pvh', 'disk=["/dev/vg/web,raw,xvda,rw"]'))
      } catch (error) {
        return (error as DomainBuilderError).message
      }
    })(),
    /^settings\.disks is not supported for a live domain: this library makes no devices: expected none; attach them/,
  )
})

t.test('each key of an xl.cfg that becomes a setting is in one of these lists', async (t) => {
  const listed = new Set([...obeyed.map(([line]) => line), ...harmless, ...refused].map(keyOf))
  const rest = [...new Set([...settingKeys('pv'), ...settingKeys('pvh')])].filter((key) => !listed.has(key))
  const deviceModel = /^(?:device_model|stubdomain|dm_|device_tree)/
  t.same(
    rest.filter((key) => !deviceModel.test(key)),
    [],
  )
  for (const key of rest) {
    const settings = settingsOf('pvh', key.endsWith('args') || key.includes('args_') ? `${key}=["a"]` : `${key}=1`)
    t.throws(() => liveSettings(settings), { code: 'bad-config' }, key)
  }
})

t.test('values of a wrong kind', async (t) => {
  for (const settings of [
    { b_info: { event_channels: 'many' } },
    { b_info: { event_channels: -1 } },
    { b_info: { nested_hvm: 1 } },
    { b_info: { tsc_mode: 'sometimes' } },
    { on_crash: 'shrug' },
    { disks: 'one' },
    { unknown: 1 },
    { b_info: { unknown: 'x' } },
  ])
    t.throws(() => liveSettings(settings as LibxlSettings), { code: 'bad-config' }, JSON.stringify(settings))
})
