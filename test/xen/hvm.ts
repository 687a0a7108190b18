/**
 * HVM guests that xl saved, with QEMU for their device model: read by us, taken through every format, and restored by
 * xl.
 *
 * Source: ../../lib/snapshot/xen-save-hvm.ts reads the file; xen-hvmctx(1) says what Xen itself has of the vcpus.
 * Gotcha: a guest that is paused before the save may wait for QEMU inside an instruction, and cannot be saved. It has
 * no driver that suspends it, so xl stops it at any instruction; left paused afterwards, it is in the saved state.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { CR0_PE, EFER_LMA } from '../../lib/abi/x86.js'
import type { Vcpu } from '../../lib/guest/vcpu.js'
import {
  bytesSource,
  type Domain,
  describeDomain,
  diffDomains,
  mapText,
  readVirtual,
  translate,
} from '../../lib/index.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { FIRMWARE_REGISTERS, HIGH_HALF, hvmFirmware } from '../fixtures/hvm-firmware.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream } from '../peer/verify-stream.js'
import type { CheckedCase } from './check.js'
import { checkCarried, rewritten, saveBytes } from './saved.js'

/** The settings of every guest here: no screen, and a crashed guest remains for inspection. */
const machine = { type: 'hvm', vga: 'none', vnc: 0, sdl: 0, on_crash: 'preserve' } as const

const EMULATORS_LOG = '{ cat /var/log/xen/qemu-dm-$NAME.log; false; }'
const CREATE = ['hvm_ready', `xl create guest.cfg || ${EMULATORS_LOG}`] as const
/** Steps that save a guest, and record Xen's state of its vcpus at the same instant. */
const SAVE = [
  'xl save -p $NAME saved',
  'xen-hvmctx $(domid) >context',
  'xl destroy $NAME',
  'give context saved',
] as const
const RESTORE = ['ask rewritten', `xl restore rewritten || ${EMULATORS_LOG}`] as const

/** Returns the vcpus' registers from hvmctx's output, in the form of our Vcpu. */
function shownVcpus(context: string): Partial<Vcpu>[] {
  const parts = context.split(/^Entry \d+: /m).filter((part) => part.startsWith('type 2 '))
  return parts.map((part) => {
    const found = (pattern: string): bigint[] =>
      (new RegExp(pattern).exec(part) ?? []).slice(1).map((digits) => BigInt(`0x${digits}`))
    const number = '(?:0x)?([0-9a-f]+)'
    const register = (name: string): bigint => found(` ${name} +${number}`)[0] ?? -1n
    const segment = (name: string) => {
      const [selector = -1n, base = 0n, limit = 0n, attributes = 0n] = found(
        ` ${name} +${number} \\( *${number} \\+ *${number} / *${number}\\)`,
      )
      const descriptor = { base, limit: Number(limit), attributes: Number(attributes) }
      return { selector: Number(selector), ...(base || limit || attributes ? { descriptor } : {}) }
    }
    const names = ['ax', 'bx', 'cx', 'dx', 'si', 'di', 'bp', 'sp', 8, 9, 10, 11, 12, 13, 14, 15, 'ip', 'flags']
    const [base = 0n, limit = 0n] = found(` gdtr +\\( *${number} \\+ *${number}\\)`)
    return {
      registers: Object.fromEntries(
        names.map((name) => [`r${name}`, register(`r${name}`)]),
      ) as unknown as Vcpu['registers'],
      segments: Object.fromEntries(
        ['cs', 'ss', 'ds', 'es', 'fs', 'gs'].map((name) => [name, segment(name)]),
      ) as unknown as Vcpu['segments'],
      tr: segment('tr'),
      ...(base || limit ? { gdtr: { base, limit: Number(limit) } } : {}),
      ...{ cr0: register('cr0'), cr3: register('cr3'), cr4: register('cr4') },
      ...{ dr6: register('dr6'), dr7: register('dr7'), efer: register('efer') },
    }
  })
}

/** Checks the properties of every file that xl saved of an HVM guest. */
async function checkSaved(
  t: Test,
  file: Uint8Array,
  context: string,
  vcpus: number,
  memoryMiB: number,
): Promise<Domain> {
  const guest = openXl(bytesSource(file))
  t.equal(guest.type, 'hvm')
  t.equal(guest.vcpus.length, vcpus)
  const online = guest.vcpus.filter((vcpu) => vcpu.online).map(({ id: _, online: __, ...state }) => state)
  t.ok(online.length > 0)
  t.same(online, shownVcpus(context), 'every register of every vcpu is what Xen has')
  const { pageCount } = guest.memory
  t.ok(Math.abs(pageCount - memoryMiB * 256) <= 64, `${pageCount} pages, special ones included, of ${memoryMiB} MiB`)
  const names = guest.saved?.records.map(({ name }) => name) ?? []
  for (const name of ['X86_CPUID_POLICY', 'X86_TSC_INFO', 'HVM_CONTEXT', 'EMULATOR_CONTEXT'])
    t.ok(names.includes(name), `${name} is kept`)
  checkCarried(t, guest)
  const again = openXl(bytesSource(saveBytes(guest)))
  t.same(diffDomains(guest, again), { fields: [], entries: [], entriesFound: 0, pages: [] })
  t.equal(describeDomain(guest).type, 'hvm')
  t.ok(mapText(guest).length > 8)
  const verify = await requirePeer(t, findVerifyStream)
  if (verify) {
    const directory = mkdtempSync(join(tmpdir(), 'hvm-'))
    try {
      writeFileSync(join(directory, 'rewritten'), saveBytes(guest))
      t.equal(verify(join(directory, 'rewritten')), undefined, "Xen's own checker has nothing against our file")
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
  return guest
}

/** Our own firmware, with a vcpu in 64-bit mode and one in real mode; restored from our file, it continues. */
export function savedFirmwareCase(name: string): CheckedCase {
  return {
    name,
    files: { firmware: hvmFirmware() },
    config: { ...machine, memory: 16, vcpus: 2, firmware_override: '/tmp/case/firmware' },
    steps: [...CREATE, 'said "firmware alive"', ...SAVE, ...RESTORE, 'said "firmware alive"'],
    answers: { rewritten },
    seconds: 300,
    async check(t, result) {
      const guest = await checkSaved(t, result.file('saved'), Buffer.from(result.file('context')).toString(), 2, 16)
      const [first, second] = guest.vcpus
      t.equal(guest.abi, 'x86_64')
      t.ok((first?.efer ?? 0n) & BigInt(EFER_LMA), 'vcpu 0 is in 64-bit mode')
      t.equal((second?.cr0 ?? 0n) & BigInt(CR0_PE), 0n, 'vcpu 1 is in real mode')
      t.match(first?.registers, FIRMWARE_REGISTERS)
      const { rip = 0n } = first?.registers ?? {}
      t.equal(translate(guest, HIGH_HALF + rip)?.paddr, Number(rip), 'its page tables lead there a second time')
      t.same(readVirtual(guest, HIGH_HALF + rip, 16), guest.memory.read(Number(rip), 16))
      const alive = new Set(Array.from(result.xen.matchAll(/\((d\d+)\) firmware alive/g), ([, id]) => id))
      const began = new Set(Array.from(result.xen.matchAll(/\((d\d+)\) firmware began/g), ([, id]) => id))
      t.equal(alive.size, 2, 'it lived before it was saved, and after')
      t.equal(began.size, 1, 'it went on, and did not start again')
    },
  }
}

/** hvmloader and SeaBIOS, with which every HVM guest begins: stopped midway, restored from our file, and continued. */
export function savedBiosCase(name: string): CheckedCase {
  return {
    name,
    config: { ...machine, memory: 16, vcpus: 2 },
    steps: [...CREATE, 'said "HVM Loader"', ...SAVE, ...RESTORE, 'said "SeaBIOS"'],
    answers: { rewritten },
    seconds: 300,
    async check(t, result) {
      await checkSaved(t, result.file('saved'), Buffer.from(result.file('context')).toString(), 2, 16)
    },
  }
}
