/** Compares the assembler with GNU as: the same source must become the same bytes. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { Assembler, mem, registers, SystemAssembler } from '../../lib/testing/index.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const { rax, rcx, rbx, rsp, rbp, rsi, rdi, r8, r12, r13, r15, eax, ecx, edx, edi, r9d, al, sil, r10b } = registers

/** One of our instructions and the same in GNU's Intel syntax, with the encoding pinned where several exist. */
const instructions: readonly (readonly [ours: (a: Assembler) => Assembler, gnu: string])[] = [
  [(a) => a.mov(rbp, rsi), 'mov rbp, rsi'],
  [(a) => a.mov(r15, rax), 'mov r15, rax'],
  [(a) => a.mov(ecx, r9d), 'mov ecx, r9d'],
  [(a) => a.mov(eax, 18), 'mov eax, 18'],
  [(a) => a.mov(rdi, 0xffffffffn), 'mov edi, 0xffffffff'],
  [(a) => a.mov(r8, 0xffff800000000000n), 'movabs r8, 0xffff800000000000'],
  [(a) => a.mov(sil, 7), 'mov sil, 7'],
  [(a) => a.mov(al, 7), 'mov al, 7'],
  [(a) => a.mov(rax, mem(rbp, 32)), 'mov rax, [rbp+32]'],
  [(a) => a.mov(rax, mem(rbp)), 'mov rax, [rbp]'],
  [(a) => a.mov(rax, mem(r13)), 'mov rax, [r13]'],
  [(a) => a.mov(rax, mem(rsp, 8)), 'mov rax, [rsp+8]'],
  [(a) => a.mov(rax, mem(r12)), 'mov rax, [r12]'],
  [(a) => a.mov(rax, mem(r8, 0, rax, 8)), 'mov rax, [r8+rax*8]'],
  [(a) => a.mov(mem(rbx, 0xc0c), eax), 'mov [rbx+0xc0c], eax'],
  [(a) => a.mov(mem(rbx, 1024, r12), r10b), 'mov [rbx+r12+1024], r10b'],
  [(a) => a.mov(mem(rdi), sil), 'mov [rdi], sil'],
  [(a) => a.mov(al, mem(rsi, -1)), 'mov al, [rsi-1]'],
  [(a) => a.mov(edx, mem(rbx, -129, rcx, 4)), 'mov edx, [rbx+rcx*4-129]'],
  [(a) => a.lea(rsi, a.at('end')), 'lea rsi, [rip+end]'],
  [(a) => a.lea(rsi, a.at('start', 3)), 'lea rsi, [rip+start+3]'],
  [(a) => a.add(rax, rbx), 'add rax, rbx'],
  [(a) => a.add(rax, mem(rbx, 8)), 'add rax, [rbx+8]'],
  [(a) => a.add(r12, -1), 'add r12, -1'],
  [(a) => a.sub(rcx, rsi), 'sub rcx, rsi'],
  [(a) => a.or(edx, 0x1000), 'or edx, 0x1000'],
  [(a) => a.and(edx, 2047), 'and edx, 2047'],
  [(a) => a.and(edx, 15), 'and edx, 15'],
  [(a) => a.xor(eax, eax), 'xor eax, eax'],
  [(a) => a.cmp(al, 10), '.byte 0x80, 0xf8, 10 # cmp al, 10 without the short form for al'],
  [(a) => a.cmp(rax, a.at('end')), 'cmp rax, [rip+end]'],
  [(a) => a.shl(rax, 12), 'shl rax, 12'],
  [(a) => a.shr(r9d, 4), 'shr r9d, 4'],
  [(a) => a.inc(rdi), 'inc rdi'],
  [(a) => a.dec(r10b), 'dec r10b'],
  [(a) => a.push(rsi), 'push rsi'],
  [(a) => a.push(r12), 'push r12'],
  [(a) => a.pop(r13), 'pop r13'],
  [(a) => a.pop(rbx), 'pop rbx'],
  [(a) => a.repeCmpsb(), 'repe cmpsb'],
  [(a) => a.repMovsb(), 'rep movsb'],
  [(a) => a.syscall(), 'syscall'],
  [(a) => a.call('start'), 'call start'],
  [(a) => a.jmp('start'), '{disp32} jmp start'],
  [(a) => a.jcc('ne', 'end'), '{disp32} jne end'],
  [(a) => a.jcc('b', 'start'), '{disp32} jb start'],
  [(a) => a.jcc('ae', 'start'), '{disp32} jae start'],
  [(a) => a.label('here').loop('here'), 'here: loop here'],
  [(a) => a.ret(), 'ret'],
]

test('every instruction as GNU as encodes it', async (t) => {
  if (!(await requirePeer(t, () => findCommand('as', 'binutils')))) return
  const dir = mkdtempSync(join(tmpdir(), 'asm-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const run = (command: string, ...args: readonly string[]): void => {
    const done = spawnSync(command, args, { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`${command}: ${done.stderr}`)
  }
  const source = ['.intel_syntax noprefix', 'start:', ...instructions.map(([, gnu]) => gnu), 'end:', ''].join('\n')
  writeFileSync(join(dir, 'a.s'), source)
  run('as', '--64', '-o', join(dir, 'a.o'), join(dir, 'a.s'))
  run('objcopy', '-O', 'binary', '-j', '.text', join(dir, 'a.o'), join(dir, 'a.bin'))
  const theirs = readFileSync(join(dir, 'a.bin'))

  const a = new Assembler().label('start')
  const ends = instructions.map(([ours, gnu]) => {
    const from = Number(a.label(`before ${gnu}`).addressOf(`before ${gnu}`))
    ours(a)
    return { gnu, from, to: Number(a.label(`after ${gnu}`).addressOf(`after ${gnu}`)) }
  })
  const ours = Buffer.from(a.label('end').assemble())
  for (const { gnu, from, to } of ends) {
    t.equal(ours.toString('hex', from, to), theirs.toString('hex', from, to), gnu)
  }
  t.equal(ours.length, theirs.length, 'and nothing more')
})

/** The same for instructions that set up a processor; the third item is the mode, unless it is both. */
const system: readonly (readonly [ours: (a: SystemAssembler) => SystemAssembler, gnu: string, bits?: 16 | 32 | 64])[] =
  [
    [(a) => a.toControl(3, eax), 'mov cr3, eax', 32],
    [(a) => a.toControl(4, rax), 'mov cr4, rax', 64],
    [(a) => a.fromControl(ecx, 0), 'mov ecx, cr0', 32],
    [(a) => a.rdmsr().wrmsr(), 'rdmsr; wrmsr'],
    [(a) => a.lgdt(a.at('start')), 'lgdt [start]', 32],
    [(a) => a.lgdt(a.at('start')), 'lgdt [rip+start]', 64],
    [(a) => a.sgdt(a.at('start', 2)), 'sgdt [start+2]', 32],
    [(a) => a.sidt(mem(rdi)), 'sidt [rdi]', 64],
    [(a) => a.smsw(eax), 'smsw eax'],
    [(a) => a.ltr(eax), 'ltr ax'],
    [(a) => a.str(edx), 'str edx'],
    [(a) => a.lar(ecx, eax), 'lar ecx, eax'],
    [(a) => a.lsl(eax, edx), 'lsl eax, edx'],
    [(a) => a.toSegment('ds', eax), 'mov ds, eax'],
    [(a) => a.toSegment('ss', ecx), 'mov ss, ecx'],
    [(a) => a.fromSegment(eax, 'gs'), 'mov eax, gs'],
    [(a) => a.invlpg(mem(rbx)), 'invlpg [rbx]', 64],
    [(a) => a.clts().rdtsc(), 'clts; rdtsc'],
    [(a) => a.swapgs(), 'swapgs', 64],
    [(a) => a.callAt(mem(rcx, 0, rax, 8)), 'call [rcx+rax*8]', 64],
    [(a) => a.jmpAt(mem(rcx, 0, rax, 8)), 'jmp [rcx+rax*8]', 64],
    [(a) => a.pushAt(a.at('start')), 'push qword ptr [rip+start]', 64],
    [(a) => a.movzx8(eax, mem(rsi, 1)), 'movzx eax, byte ptr [rsi+1]', 64],
    [(a) => a.movzx16(r9d, mem(rsi, 1)), 'movzx r9d, word ptr [rsi+1]', 64],
    [(a) => a.bt(mem(rbx, 8), edx), 'bt [rbx+8], edx', 64],
    [(a) => a.bts(mem(rbx, 8), r9d), 'bts [rbx+8], r9d', 64],
    [(a) => a.btr(mem(rbx, 8), edx), 'btr [rbx+8], edx', 64],
    [(a) => a.repMovsq().repStosq(), 'rep movsq; rep stosq', 64],
    [(a) => a.pushImmediate(0x12345678), 'push 0x12345678'],
    [(a) => a.pushf(), 'pushf'],
    [(a) => a.popf(), 'popf'],
    [(a) => a.iret(), 'iretd', 32],
    [(a) => a.iret(), 'iretq', 64],
    [(a) => a.ljmp(0x10, 'start'), '.byte 0xea; .long start; .word 0x10', 32],
    [(a) => a.ljmp(8, 0x12345678), '.byte 0xea; .long 0x12345678; .word 8', 32],
    [(a) => a.movAddress(eax, 'start'), 'mov eax, offset start', 32],
    [(a) => a.mov(eax, a.at('start', 4)), '.byte 0x8b, 0x05; .long start + 4', 32],
    [(a) => a.jmpTo(eax), 'jmp eax', 32],
    [(a) => a.cld(), 'cld'],
    [(a) => a.cli().hlt().outb().inb(), 'cli; hlt; out dx, al; in al, dx'],
  ]

/** 16-bit code: operands and addresses of 32 bits, by their prefixes. */
const real: typeof system = [
  [(a) => a.mov(eax, 0x12345678).mov(al, 7), 'mov eax, 0x12345678; mov al, 7'],
  [(a) => a.mov(mem(edi, 100), eax), 'mov [edi+100], eax'],
  [(a) => a.mov(eax, mem(edi)), 'mov eax, [edi]'],
  [(a) => a.mov(al, mem(edi)), 'mov al, [edi]'],
  [(a) => a.shl(eax, 16).or(eax, 0x1234), '.byte 0x66; shl ax, 16; .byte 0x66, 0x81, 0xc8; .long 0x1234'],
  [(a) => a.push(eax).pop(edi), 'push eax; pop edi'],
  [(a) => a.pushDs().popDs(), 'push ds; pop ds'],
  [(a) => a.pushImmediate(2).popf(), '.byte 0x66, 0x68; .long 2; popfd'],
  [(a) => a.pushf(), 'pushfd'],
  [(a) => a.toSegment('es', eax).fromSegment(eax, 'cs'), '.byte 0x66; mov es, ax; mov eax, cs'],
  [(a) => a.cli().cld().repMovsb().retf(), 'cli; cld; rep movsb; retf'],
  [(a) => a.ljmp(0x1020, 0x10), '.byte 0x66, 0xea; .long 0x10; .word 0x1020'],
  [(a) => a.lgdt(mem(edi, 8)), '.byte 0x67, 0x66, 0x0f, 0x01, 0x57, 8'],
]

for (const bits of [16, 32, 64] as const) {
  test(`${bits}-bit instructions of the system as GNU as encodes them`, async (t) => {
    if (!(await requirePeer(t, () => findCommand('as', 'binutils')))) return
    const dir = mkdtempSync(join(tmpdir(), 'asm-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const mine = bits === 16 ? real : system.filter(([, , only]) => only === undefined || only === bits)
    const mode = bits === 16 ? '.code16' : ''
    const source = ['.intel_syntax noprefix', mode, 'start:', ...mine.map(([, gnu]) => gnu), ''].join('\n')
    writeFileSync(join(dir, 'a.s'), source)
    const run = (command: string, ...args: readonly string[]) => {
      const done = spawnSync(command, args, { encoding: 'utf8' })
      if (done.status !== 0) throw new Error(`${command}: ${done.stderr}`)
    }
    run('as', `--${bits === 16 ? 32 : bits}`, '-o', join(dir, 'a.o'), join(dir, 'a.s'))
    // Absolute addresses are relocations until it is linked.
    const elf = bits !== 64 ? 'elf_i386' : 'elf_x86_64'
    run('ld', '-m', elf, '-Ttext=0x100000', '-e', 'start', '-o', join(dir, 'a.elf'), join(dir, 'a.o'))
    run('objcopy', '-O', 'binary', '-j', '.text', join(dir, 'a.elf'), join(dir, 'a.bin'))
    const a = new SystemAssembler(0x100000, bits)
    a.label('start')
    for (const [ours] of mine) ours(a)
    t.equal(Buffer.from(a.assemble()).toString('hex'), readFileSync(join(dir, 'a.bin')).toString('hex'))
  })
}

test('32-bit code has no 64-bit registers', async (t) => {
  t.throws(() => new Assembler(0, 32).mov(rax, rbx), { code: 'bad-config' })
  t.throws(() => new Assembler(0, 32).inc(r9d), { code: 'bad-config' })
})

test('data, labels and alignment', async (t) => {
  const a = new Assembler(0xffffffff80100000n)
  a.text('hi').align(8).label('words').u32(1, 0xffffffff).zeros(2)
  t.equal(a.addressOf('words'), 0xffffffff80100008n)
  t.same([...a.assemble()], [0x68, 0x69, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 0])
})

test('what cannot be encoded is refused', async (t) => {
  const refused = { code: 'bad-config' }
  t.throws(() => new Assembler().jmp('nowhere').assemble(), refused)
  t.throws(() => new Assembler().label('a').label('a'), refused)
  t.throws(() => new Assembler().label('a').zeros(200).loop('a').assemble(), refused)
  t.throws(() => new Assembler().mov(eax, 1n << 32n), refused)
  t.throws(() => new Assembler().mov(eax, rbx), refused)
  t.throws(() => new Assembler().add(rax, 0x80000000), refused)
  t.throws(() => new Assembler().mov(rax, mem(rbx, 0, rsp)), refused)
})
