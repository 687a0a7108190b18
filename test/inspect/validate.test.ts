/**
 * validate on tables damaged on purpose, one rule at a time: it names each kind, with its path from cr3.
 *
 * Source: lib/inspect/validate.ts; test/xen/damaged-tables.ts has Xen's answers to the same guests.
 * Gotcha: damage may break more than one rule; its rule must only be among those reported. A sound guest breaks none.
 */
import t from 'tap'
import { buildDomain, readKernel, showPath, validate } from '../../lib/index.js'
import { damagedGuest, damages, linearGuest, soundGuest, withVcpu } from '../fixtures/damage.js'
import { pvKernelFile } from '../fixtures/kernels.js'

t.test('a sound guest has no violation', async (t) => {
  t.same(validate(await soundGuest(64)), [])
  t.same(validate(await soundGuest(32)), [])
})

t.test('a top table that maps itself read-only is sound, and damage is still found', async (t) => {
  const guest = await linearGuest()
  t.same(validate(guest), [])
  const top = Number(guest.vcpus[0]?.cr3)
  guest.memory.write(top + 301 * 8, guest.memory.read(top + 300 * 8, 8).with(0, 0x67))
  t.same(
    validate(guest).map(({ rule, path }) => ({ rule, path: showPath(path) })),
    [{ rule: 'two-levels', path: 'cr3 -> L4[301]' }],
  )
})

t.test(`${damages.length} kinds of damage, each named`, async (t) => {
  for (const [, kind] of damages) {
    const { what, rule, path } = kind
    const found = validate(await damagedGuest(kind)).find((violation) => violation.rule === rule)
    t.ok(found, `${what}: ${rule}`)
    if (path !== undefined) t.equal(found?.path.length, path, `${what}: its way from cr3`)
  }
})

t.test('a PAE L3 above 4 GiB, without extended cr3', async (t) => {
  const built = buildDomain(await readKernel(pvKernelFile({ class: 32 })), {
    type: 'pv',
    memory: 32 * 2 ** 20,
    p2m: { offset: 0x100000 },
  })
  t.same(validate(built), [], 'with it, anywhere')
  const [vcpu] = built.vcpus
  const without = withVcpu(built, { pv: { ...vcpu?.pv, vmAssist: 0 } })
  t.same(
    validate(without).map(({ rule }) => rule),
    ['pae-l3-high'],
  )
})
