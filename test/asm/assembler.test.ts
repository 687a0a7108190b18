/** The assembler against GNU as: the same source must become the same bytes. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { Assembler, mem, registers } from '../../lib/testing/index.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const { rax, rcx, rbx, rsp, rbp, rsi, rdi, r8, r12, r13, r15, eax, ecx, edx, r9d, al, sil, r10b } = registers

/** One instruction of ours beside the same in GNU's Intel syntax, with the encoding pinned where several exist. */
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
