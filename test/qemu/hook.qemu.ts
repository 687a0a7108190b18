/**
 * Tests of the hook alone: many moves of every size and distance in one guest. Its whole memory is then compared with
 * the expected one, byte by byte, and the registers after each hook, too.
 */
import { existsSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { BootParams } from '../../lib/abi/boot-params.js'
import { mem, registers as R } from '../../lib/asm/assembler.js'
import { SystemAssembler } from '../../lib/asm/system.js'
import { buildDomain, readBootParams, readKernel } from '../../lib/index.js'
import { type HookMove, hookCode } from '../../lib/protocol/hook.js'
import { qemuArguments } from '../../lib/snapshot/qemu.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { parseReport, stateCode } from '../fixtures/state-kernel.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, runInQemu, runQemu, withDirectory, writeQemuFiles } from './harness.js'

const MiB = 2 ** 20
const MEMORY = 192 * MiB
/** The addresses of the driver, of its report, and of the first move. */
const DRIVER = 0x1000000
const REPORT = 0x1100000
const MOVES = 0x1200000
/** The lowest compared address; the memory below has structures of the boot ROM and of the image. */
const LOWEST = 0x100000
const BOOT_PARAMS = 0x1180000
const CODE32_START = BOOT_PARAMS + 0x214
/** ebx, esp, ebp, esi, edi, code32_start, and the six segment registers. */
const FIELDS = 12
const GIVEN = { esp: 0x11223344, ebp: 0x55667788, esi: BOOT_PARAMS, edi: 0x99aabbcc } as const
const LANDING_BYTES = 5

/** A case with its addresses; the hook is right after the image. */
interface Move extends HookMove {
  readonly hook: number
}

/** Assigns separate addresses to sizes and distances; the last case is that of a kernel of more than 16 MiB. */
function placed(cases: readonly { bytes: number; distance: number }[]): { moves: Move[]; end: number } {
  let at = MOVES
  const moves = cases.map(({ bytes, distance }) => {
    const to = at
    const from = to + distance
    const hook = from + bytes
    at = hook + 0x200
    return { from, to, bytes, hook }
  })
  return { moves, end: at }
}

/** Returns code that jumps to each hook in turn, and records the registers after it. */
function driver(moves: readonly Move[]): { code: Uint8Array; returns: readonly number[] } {
  const a = new SystemAssembler(DRIVER, 32)
  const jump = (target: number) => {
    a.mov(R.eax, target)
    a.jmpTo(R.eax)
  }
  const returns = moves.map(({ hook }, i) => {
    a.mov(R.eax, 0)
    a.mov(R.edx, CODE32_START)
    a.mov(mem(R.edx), R.eax)
    // As at code32_start: only CS is loaded, and the direction flag may be set.
    for (const segment of ['fs', 'gs'] as const) a.toSegment(segment, R.eax)
    a.bytes(0xfd) // std
    a.mov(R.ebx, 0xdeadbeef)
    for (const [name, value] of Object.entries(GIVEN)) a.mov(R[name as keyof typeof GIVEN], value)
    jump(hook)
    a.label(`back ${i}`)
    const field = (index: number) => REPORT + (i * FIELDS + index) * 4
    const save = (index: number, from: typeof R.eax) => {
      a.mov(R.ecx, field(index))
      a.mov(mem(R.ecx), from)
    }
    ;[R.ebx, R.esp, R.ebp, R.esi, R.edi].forEach((register, index) => {
      save(index, register)
    })
    a.mov(R.edx, CODE32_START)
    a.mov(R.eax, mem(R.edx))
    save(5, R.eax)
    ;(['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).forEach((segment, index) => {
      a.fromSegment(R.eax, segment)
      save(6 + index, R.eax)
    })
    return Number(a.addressOf(`back ${i}`))
  })
  for (const char of Buffer.from('DONE\n')) {
    a.mov(R.edx, 0x3f8)
    a.mov(R.al, char)
    a.outb()
  }
  a.label('halt').hlt()
  a.jmp('halt')
  return { code: a.assemble(), returns }
}

/** Returns the start of each image: jmp rel32, back to the driver. */
function landing(at: number, target: number): Uint8Array {
  const out = new Uint8Array(LANDING_BYTES)
  out[0] = 0xe9
  new DataView(out.buffer).setInt32(1, target - at - LANDING_BYTES, true)
  return out
}

/** Waits for a line of the guest's output. */
async function untilFileSays(path: string, text: string): Promise<void> {
  while (!existsSync(path) || !readFileSync(path, 'latin1').includes(text)) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Tells QEMU's monitor to write the guest's memory to a file, and then to quit. */
function saveMemory(socket: string, start: number, bytes: number, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const monitor = connect(socket, () => monitor.write(`pmemsave ${start} ${bytes} "${file}"\nquit\n`))
    monitor.on('error', reject).on('close', () => resolve())
    monitor.resume()
  })
}

t.test('every byte is moved, nothing else is touched, the registers are kept', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const size = fc.oneof(fc.integer({ min: LANDING_BYTES, max: 70 }), fc.integer({ min: LANDING_BYTES, max: 100_000 }))
  const one = fc.record({ bytes: size, distance: fc.oneof(fc.integer({ min: LANDING_BYTES, max: 200_000 })) })
  const { moves, end } = placed([
    ...fc.sample(one, { numRuns: 100, seed: 1 }),
    { bytes: 17 * MiB + 4099, distance: MiB },
    { bytes: MiB + 1, distance: MiB },
    { bytes: MiB, distance: MiB },
    { bytes: MiB - 1, distance: MiB },
    { bytes: 33 * MiB + 1, distance: 1 * MiB + 3 },
  ])
  t.ok(moves.filter(({ from, to, bytes }) => from < to + bytes).length > 20, 'many overlap')
  t.ok(end < MEMORY, 'there is room')
  const { code, returns } = driver(moves)
  const model = new Uint8Array(MEMORY)
  model.set(patternBytes(end - MOVES, 5), MOVES)
  moves.forEach((move, i) => {
    model.set(landing(move.to, returns[i] ?? 0), move.from)
    model.set(hookCode(move.hook, move), move.hook)
  })
  const elf = buildElf({
    class: 32,
    entry: DRIVER,
    segments: [
      { paddr: DRIVER, data: code },
      { paddr: MOVES, data: model.slice(MOVES, end) },
    ],
  })
  const domain = buildDomain(await readKernel(elf), { type: 'linux', memory: MEMORY })
  const found = await withDirectory(async (directory) => {
    const file = join(directory, 'guest')
    await writeQemuFiles(domain, file)
    const [socket, serial, dump] = ['monitor', 'serial', 'dump'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ]
    const instead: Readonly<Record<string, string>> = {
      '-monitor': `unix:${socket},server,nowait`,
      '-serial': `file:${serial}`,
    }
    const args = qemuArguments(domain, file)
    const ended = runQemu(args.map((word, i) => instead[args[i - 1] ?? ''] ?? word))
    // If QEMU cannot start, `ended` rejects with its message.
    await Promise.race([ended, untilFileSays(serial, 'DONE')])
    await saveMemory(socket, LOWEST, MEMORY - LOWEST, dump)
    await ended
    return readFileSync(dump)
  })
  const expected = domain.memory.read(LOWEST, MEMORY - LOWEST)
  for (const { from, to, bytes } of moves) expected.copyWithin(to - LOWEST, from - LOWEST, from - LOWEST + bytes)
  const words = new DataView(expected.buffer, expected.byteOffset)
  words.setUint32(CODE32_START - LOWEST, moves.at(-1)?.to ?? 0, true)
  const { esp, ebp, esi, edi } = GIVEN
  moves.forEach(({ to }, i) => {
    // ebx is 0, the four registers are kept, code32_start is the image again, every segment except cs is loaded.
    ;[0, esp, ebp, esi, edi, to, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18].forEach((value, field) => {
      words.setUint32(REPORT - LOWEST + (i * FIELDS + field) * 4, value, true)
    })
  })
  const differs = expected.findIndex((byte, i) => byte !== found[i])
  t.equal(differs, -1, `${moves.length} moves; all memory from 1 MiB is as it must be`)
  t.equal(found.length, expected.length)
})

t.test('a whole kernel of more than 16 MiB finds itself at 1 MiB', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  const code = stateCode({ bits: 32, address: 0x100000, ring0: true })
  const payload = Buffer.concat([code, patternBytes(17 * MiB + 77)])
  for (const protocol of [0x20f, 0x204, 0x201]) {
    const header = { payload_length: 0, payload_offset: 0, relocatable_kernel: 0, pref_address: 0n, init_size: 0 }
    const file = buildBzImage({ payload, payloadOffset: 0, protocol, header })
    const domain = buildDomain(await readKernel(file), {
      type: 'linux',
      entry: 32,
      memory: 64 * MiB,
      cmdline: 'hooked',
      reserve: [{ start: 0x100000, end: 0x101000 }],
    })
    const { fields, bootParams } = parseReport(await runInQemu(domain), 32)
    t.equal(fields.rsi, BigInt(domain.boot.bootParams), 'boot_params')
    for (const name of ['rbx', 'rbp', 'rdi', 'rsp']) t.equal(fields[name], 0n, name)
    t.ok((fields.ip ?? 0n) >= 0x100000n && (fields.ip ?? 0n) < 0x101000n, 'it runs at 1 MiB')
    t.equal(BootParams.decode(bootParams).hdr.code32_start, 0x100000, 'and reads so')
    t.equal(
      domain.vcpus[0]?.registers.rip,
      BigInt(readBootParams(domain).hdr.code32_start),
      'the hook is entered first',
    )
  }
})
