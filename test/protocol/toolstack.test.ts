/**
 * Settings for the toolstack and processor policies: they reach the save file and come back, or are refused.
 *
 * Source: libxl-config.ts; test/peer/xl-cfg-settings.test.ts compares the settings with xl's.
 * Gotcha: libxl's defaults are not xl's, so a file without settings has some too.
 */
import t from 'tap'
import type { Domain } from '../../lib/guest/domain.js'
import { describeDomain } from '../../lib/inspect/describe.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { buildDomain } from '../../lib/protocol/build.js'
import type { DomainConfig } from '../../lib/protocol/config.js'
import { policiesOf } from '../../lib/protocol/toolstack-config.js'
import { readXlCfg } from '../../lib/protocol/xl-cfg-guest.js'
import { writeXl } from '../../lib/snapshot/xen-save.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { mainOf, openMain, openPair, sidecarOf, sourceOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const pv = await readKernel(pvKernelFile())
const pvh = await readKernel(pvhKernelFile())
const CPUID = { name: 'X86_CPUID_POLICY', body: new Uint8Array(48).fill(7) }
const MSR = { name: 'X86_MSR_POLICY', body: new Uint8Array(16).fill(9) }

interface Config {
  readonly c_info?: { readonly uuid?: string }
  readonly b_info?: { readonly arch_x86?: unknown }
  readonly on_crash?: string
  readonly on_reboot?: string
  readonly on_soft_reset?: string
}
const configOf = ({ saved }: Domain): Config => JSON.parse(saved?.config ?? '{}') as Config
const throughXl = (guest: Domain): Domain => openMain(sourceOf(mainOf(guest, 'xl')))
const throughRaw = (guest: Domain): Domain => openPair(sidecarOf(guest, 'raw'), sourceOf(mainOf(guest, 'raw')))

t.test("xl's defaults are in every file", async (t) => {
  const config = configOf(throughXl(buildDomain(pv, { type: 'pv', memory: 32 * MiB, purpose: 'restore' })))
  t.same(config.b_info?.arch_x86, { msr_relaxed: 'False' })
  t.equal(config.on_reboot, 'restart')
  t.equal(config.on_soft_reset, 'soft_reset')
})

t.test('settings and policies come back', async (t) => {
  const settings = { on_crash: 'preserve', b_info: { nested_hvm: 'True', arch_x86: { msr_relaxed: 'True' } } }
  const common = { memory: 32 * MiB, purpose: 'restore', settings, policies: [CPUID, MSR], name: 'web' } as const
  for (const guest of [buildDomain(pv, { type: 'pv', ...common }), buildDomain(pvh, { type: 'pvh', ...common })]) {
    for (const found of [guest, throughXl(guest), throughRaw(guest)]) {
      const config = configOf(found)
      t.equal(config.on_crash, 'preserve')
      t.equal(config.on_reboot, 'restart')
      t.match(config.b_info, { nested_hvm: 'True', arch_x86: { msr_relaxed: 'True' }, max_memkb: 32 * 1024 })
      t.match(config.c_info, { name: 'web', type: guest.type, uuid: /^[0-9a-f]{8}-/ })
      t.same(policiesOf(found), [CPUID, MSR])
    }
    t.match(describeDomain(guest).saved, {
      config: [
        { name: 'b_info.arch_x86.msr_relaxed', value: 'True' },
        { name: 'b_info.nested_hvm', value: 'True' },
        { name: 'on_crash', value: 'preserve' },
      ],
    })
  }
  const partly = { on_crash: undefined, b_info: { nested_hvm: 'True', tsc_mode: undefined } } as never
  const absent = configOf(buildDomain(pv, { type: 'pv', memory: 32 * MiB, purpose: 'restore', settings: partly }))
  t.match(absent, { on_reboot: 'restart', b_info: { nested_hvm: 'True' } }, 'undefined is absent')
  t.notOk('on_crash' in absent)
  t.notOk('tsc_mode' in (absent.b_info ?? {}))
  const uuid = '123e4567-e89b-12d3-a456-426614174000'
  const named = buildDomain(pv, { type: 'pv', memory: 32 * MiB, settings: { c_info: { uuid } } })
  t.equal(configOf(named).c_info?.uuid, uuid)
  t.notOk(buildDomain(pv, { type: 'pv', memory: 32 * MiB }).saved, 'a guest without either keeps nothing')
})

t.test('an xl.cfg gives the settings', async (t) => {
  const { config } = readXlCfg('on_reboot = "preserve"\nmemory = 32\nvif = [ "mac=0:1:2:3:4:5" ]\n')
  const guest = buildDomain(pv, { memory: 32 * MiB, ...config })
  t.match(configOf(guest), { on_reboot: 'preserve', nics: [{ mac: '00:01:02:03:04:05', devid: 0 }] })
})

t.test('what cannot be done is refused', async (t) => {
  const base = { type: 'pv', memory: 32 * MiB } as const
  const loop: Record<string, unknown> = {}
  loop.loop = loop
  const wide = Array.from({ length: 5 }).reduce<unknown>((inner) => ({ list: Array(20).fill(inner) }), {})
  const cases: readonly [Record<string, unknown>, RegExp][] = [
    [{ settings: 'on_reboot' }, /settings cannot be used/],
    [{ settings: ['on_reboot'] }, /settings cannot be used/],
    [{ settings: loop }, /settings\.loop\..*loop is invalid/],
    [{ settings: { text: 'x'.repeat(2 ** 20) } }, /settings\.text is too long/],
    [{ settings: { list: Array(70_000).fill(0) } }, /settings\.list is too long/],
    [{ settings: wide }, /settings are too many/],
    [{ settings: { on_crash: 5n } }, /settings\.on_crash is invalid/],
    [{ settings: { on_crash: null } }, /settings\.on_crash is invalid/],
    [{ settings: { cap: Number.NaN } }, /settings\.cap is invalid/],
    [{ settings: { b_info: [] } }, /settings\.b_info is invalid: expected an object/],
    [{ settings: { c_info: { name: 'other' } } }, /settings\.c_info\.name is set by the guest itself/],
    [{ settings: { b_info: { max_memkb: 1 } } }, /settings\.b_info\.max_memkb is set/],
    [{ settings: { b_info: { vpmu: 'True' } }, xen: '4.15' }, /vpmu is unknown to Xen 4\.15: expected Xen 4\.16/],
    [{ settings: { b_info: { arch_x86: { msr_relaxed: 'True' } } }, xen: '4.14' }, /unknown to Xen 4\.14/],
    [{ policies: [{ name: 'HVM_CONTEXT', body: CPUID.body }] }, /policy's name is invalid/],
    [{ policies: [{ ...CPUID, body: new Uint8Array(25) }] }, /size of X86_CPUID_POLICY is invalid/],
    [{ policies: [{ ...MSR, body: new Uint8Array(0) }] }, /size of X86_MSR_POLICY is invalid/],
    [{ policies: [CPUID, MSR, MSR] }, /policies is too long/],
    [{ policies: [CPUID, CPUID] }, /given twice/],
    [{ type: 'pvh', platform: 'pc', settings: {} }, /settings are invalid for a PVH guest of platform pc/],
    [{ type: 'pvh', platform: 'pc', policies: [CPUID] }, /policies are invalid/],
    [{ dom0: {}, settings: {} }, /settings are invalid for a dom0/],
    [{ dom0: {}, policies: [CPUID] }, /policies are invalid for a dom0/],
    [{ type: 'pvh', platform: 'pc', maxmem: 64 * MiB }, /maxmem is invalid/],
    [{ type: 'linux', maxmem: 64 * MiB }, /maxmem is invalid for type linux/],
  ]
  for (const [words, message] of cases) {
    const config = { ...base, ...words } as unknown as DomainConfig
    t.throws(() => buildDomain(pv, config), { code: 'bad-config', message }, String(message))
  }
  t.throws(() => policiesOf(buildDomain(pv, base)), { code: 'bad-config', message: /no processor policies/ })
  const guest = buildDomain(pv, { ...base, policies: [CPUID], purpose: 'restore' })
  t.throws(() => writeXl(guest, { version: 2 }), { code: 'bad-config', message: /not supported by Xen before 4\.14/ })
})

t.test('a PVH guest is told of all of its maxmem', async (t) => {
  const config = { type: 'pvh', memory: 40 * MiB, maxmem: 4000 * MiB } as const
  const created = buildDomain(pvh, config)
  t.equal(created.target, 40 * MiB, 'a created one is populated on demand')
  const whole = buildDomain(pvh, { type: 'pvh', memory: 4000 * MiB })
  t.equal(whole.target, undefined)
  t.same(describeDomain(created).boot, describeDomain(whole).boot, 'it boots as a guest of that size')
  t.equal(created.memory.pageCount, whole.memory.pageCount)
  const { target } = throughRaw(created)
  t.equal(target, 40 * MiB)
  const restored = buildDomain(pvh, { ...config, purpose: 'restore' })
  t.equal(restored.target, undefined, 'a restored one begins with all of it')
  const { b_info } = configOf(throughXl(restored))
  t.match(b_info, { max_memkb: 4000 * 1024, target_memkb: 4000 * 1024 })
  t.equal(buildDomain(pv, { ...config, type: 'pv' }).memory.pageCount, (40 * MiB) / 4096, 'a PV guest finds its p2m')
})
