/**
 * WebAssembly functions as JavaScript: the same instructions, for a process that cannot make a WebAssembly memory.
 *
 * Source: WebAssembly Core Specification 1.0, section 4.4 "Instructions", https://www.w3.org/TR/wasm-core-1/
 * Gotcha: an i64 is two halves, `l` and `h`, as signed 32-bit integers. As a bigint it would take twenty times as long.
 */
import { type Defined, flatten, OPCODE, type ValueType } from './wasm.js'

/** The functions over a memory, whose buffer is read at each call. */
type Machine = (memory: { readonly buffer: ArrayBuffer }) => unknown

/** The high half of a product of two unsigned 32-bit integers. */
function highProduct(a: number, b: number): number {
  const aLow = a & 0xffff
  const bLow = b & 0xffff
  const middle = (Math.imul(a >>> 16, bLow) >>> 0) + (Math.imul(aLow, bLow) >>> 16)
  const other = (Math.imul(aLow, b >>> 16) >>> 0) + (middle & 0xffff)
  return (Math.imul(a >>> 16, b >>> 16) + (middle >>> 16) + (other >>> 16)) | 0
}

/** Returns the functions as a maker of machines. @throws EvalError where the host compiles no text. */
export function scriptOf(functions: readonly Defined[]): Machine {
  const texts = functions.map((defined) => new Translation(defined).text())
  const names = functions.map(({ func }) => func.name)
  const make = new Function(
    'memory',
    'highProduct',
    `'use strict'\n${texts.join('\n')}\nreturn { ${names.join(', ')} }`,
  )
  return (memory) => make(memory, highProduct)
}

/** An operand: the names or literals of an i32, or of an i64's halves. */
interface Operand {
  readonly l: string
  readonly h?: string
  /** The same as a condition, of an i32 that is 1 or 0. */
  readonly condition?: string
}

type Wide = Operand & { readonly h: string }

const whether = (condition: string): Operand => ({ l: `${condition} ? 1 : 0`, condition })
const isLiteral = (a: string): boolean => /^\d+$/.test(a)
const unsigned = (a: string): string => (isLiteral(a) ? a : `${a} >>> 0`)
const below = (a: string, b: string): string => `${unsigned(a)} < ${unsigned(b)}`
const loadI32 = (at: string): string => `view.getInt32(${at}, true)`
const storeI32 = (at: string, value: string): string => `view.setInt32(${at}, ${value}, true)`

const LOADS: Readonly<Record<number, (at: string) => Operand>> = {
  [OPCODE.i32Load]: (at) => ({ l: loadI32(at) }),
  [OPCODE.i32Load8U]: (at) => ({ l: `view.getUint8(${at})` }),
  [OPCODE.i64Load]: (at) => ({ l: loadI32(at), h: loadI32(`${at} + 4`) }),
  [OPCODE.i64Load8U]: (at) => ({ l: `view.getUint8(${at})`, h: '0' }),
  [OPCODE.i64Load16U]: (at) => ({ l: `view.getUint16(${at}, true)`, h: '0' }),
  [OPCODE.i64Load32U]: (at) => ({ l: loadI32(at), h: '0' }),
}

const STORES: Readonly<Record<number, (at: string, value: Operand) => string>> = {
  [OPCODE.i32Store]: (at, { l }) => storeI32(at, l),
  [OPCODE.i32Store8]: (at, { l }) => `view.setUint8(${at}, ${l})`,
  [OPCODE.i64Store]: (at, { l, h = '0' }) => `${storeI32(at, l)}; ${storeI32(`${at} + 4`, h)}`,
  [OPCODE.i32Store16]: (at, { l }) => `view.setInt16(${at}, ${l}, true)`,
}

const OF_TWO_I32: Readonly<Record<number, (a: string, b: string) => Operand>> = {
  [OPCODE.i32Eq]: (a, b) => whether(`${a} === ${b}`),
  [OPCODE.i32LtU]: (a, b) => whether(below(a, b)),
  [OPCODE.i32GtU]: (a, b) => whether(below(b, a)),
  [OPCODE.i32GeU]: (a, b) => whether(`${unsigned(a)} >= ${unsigned(b)}`),
  [OPCODE.i32Add]: (a, b) => ({ l: `(${a} + ${b}) | 0` }),
  [OPCODE.i32Sub]: (a, b) => ({ l: `(${a} - ${b}) | 0` }),
  [OPCODE.i32Mul]: (a, b) => ({ l: `imul(${a}, ${b})` }),
  [OPCODE.i32And]: (a, b) => ({ l: `${a} & ${b}` }),
  [OPCODE.i32Or]: (a, b) => ({ l: `${a} | ${b}` }),
  [OPCODE.i32Xor]: (a, b) => ({ l: `${a} ^ ${b}` }),
  [OPCODE.i32Shl]: (a, b) => ({ l: `${a} << ${b}` }),
  [OPCODE.i32ShrS]: (a, b) => ({ l: `${a} >> ${b}` }),
  [OPCODE.i32ShrU]: (a, b) => ({ l: `(${a} >>> ${b}) | 0` }),
}

const either = (a: string, operator: '|' | '^', b: string): string => {
  if (a === '0') return b
  return b === '0' ? a : `${a} ${operator} ${b}`
}

/** Adds a product, unless it is 0. */
const times = (a: string, b: string): string => (b === '0' ? '' : ` + imul(${a}, ${b})`)

const OF_TWO_I64: Readonly<Record<number, (a: Wide, b: Wide) => Operand>> = {
  [OPCODE.i64Ne]: (a, b) => whether(`${a.l} !== ${b.l} || ${a.h} !== ${b.h}`),
  [OPCODE.i64LtU]: (a, b) => {
    const low = `${a.h} === ${b.h} && ${below(a.l, b.l)}`
    return whether(b.h === '0' ? low : `${below(a.h, b.h)} || (${low})`)
  },
  [OPCODE.i64Add]: (a, b) => ({
    l: `(${a.l} + ${b.l}) | 0`,
    h: `(${a.h} + ${b.h} + ((${a.l} >>> 0) + (${b.l} >>> 0) > 0xffffffff ? 1 : 0)) | 0`,
  }),
  [OPCODE.i64Sub]: (a, b) => ({
    l: `(${a.l} - ${b.l}) | 0`,
    h: `(${a.h} - ${b.h} - (${below(a.l, b.l)} ? 1 : 0)) | 0`,
  }),
  [OPCODE.i64Mul]: (a, b) => ({
    l: `imul(${a.l}, ${b.l})`,
    h: `(highProduct(${a.l}, ${b.l})${times(a.l, b.h)}${times(b.l, a.h)}) | 0`,
  }),
  [OPCODE.i64And]: (a, b) => ({ l: `${a.l} & ${b.l}`, h: a.h === '0' || b.h === '0' ? '0' : `${a.h} & ${b.h}` }),
  [OPCODE.i64Or]: (a, b) => ({ l: `${a.l} | ${b.l}`, h: either(a.h, '|', b.h) }),
  [OPCODE.i64Xor]: (a, b) => ({ l: `${a.l} ^ ${b.l}`, h: either(a.h, '^', b.h) }),
}

/** Shifts of an i64, by 1 to 31 bits and by 32 to 63. JavaScript uses the lower five bits of a distance. */
interface Shift {
  readonly near: (a: Wide, by: string) => Wide
  readonly far: (a: Wide, by: string) => Wide
}
const turned = (a: string, b: string, by: string): string => `(${a} << ${by}) | (${b} >>> (32 - ${by}))`
const lowered = ({ l, h }: Wide, by: string): string => `(${l} >>> ${by}) | (${h} << (32 - ${by}))`
const SHIFTS: Readonly<Record<number, Shift>> = {
  [OPCODE.i64Shl]: {
    near: ({ l, h }, by) => ({ l: `${l} << ${by}`, h: turned(h, l, by) }),
    far: ({ l }, by) => ({ l: '0', h: `${l} << ${by}` }),
  },
  [OPCODE.i64ShrU]: {
    near: (a, by) => ({ l: lowered(a, by), h: `(${a.h} >>> ${by}) | 0` }),
    far: ({ h }, by) => ({ l: `(${h} >>> ${by}) | 0`, h: '0' }),
  },
  [OPCODE.i64ShrS]: {
    near: (a, by) => ({ l: lowered(a, by), h: `${a.h} >> ${by}` }),
    far: ({ h }, by) => ({ l: `${h} >> ${by}`, h: `${h} >> 31` }),
  },
  [OPCODE.i64Rotl]: {
    near: ({ l, h }, by) => ({ l: turned(l, h, by), h: turned(h, l, by) }),
    far: ({ l, h }, by) => ({
      l: `${by} === 32 ? ${h} : ${turned(h, l, `(${by} - 32)`)}`,
      h: `${by} === 32 ? ${l} : ${turned(l, h, `(${by} - 32)`)}`,
    }),
  },
}

/** The translation of one function. */
class Translation {
  readonly #func: Defined['func']
  readonly #types: readonly ValueType[]
  readonly #code: Uint8Array
  #at = 0
  readonly #lines: string[] = []
  readonly #stack: Operand[] = []
  /** The open blocks, the innermost last: the statement that jumps to each. */
  readonly #blocks: string[] = []
  #labels = 0
  /** The i64 locals whose high half is always 0. */
  readonly #narrow: Set<number>
  /** The temporaries of the next statement. */
  readonly #temporaries: string[] = []
  /** The most temporaries of a statement. */
  #most = 0

  constructor({ func, body }: Defined) {
    this.#func = func
    this.#types = [...func.params, ...func.locals]
    this.#code = flatten(body)
    const isLocal = (index: number): boolean => index >= func.params.length && this.#types[index] === 'i64'
    this.#narrow = new Set([...this.#types.keys()].filter(isLocal))
  }

  /** The function in JavaScript. An i64 goes in and out as a bigint, as in WebAssembly's own interface. */
  text(): string {
    // Every local begins as a narrow one. Those that are set to something else are not, and the others may follow.
    for (let narrow = -1; narrow !== this.#narrow.size; ) {
      narrow = this.#narrow.size
      this.#at = 0
      this.#labels = 0
      this.#lines.length = 0
      while (this.#at < this.#code.length) this.#instruction(this.#byte())
      if (this.#stack.length > 0) this.#return()
    }
    const { name, params } = this.#func
    const variables = this.#types.map((type, i) => {
      if (i >= params.length) return type === 'i32' ? `l${i} = 0` : `l${i} = 0, h${i} = 0`
      if (type === 'i32') return `l${i} = p${i} | 0`
      return `l${i} = Number(BigInt.asIntN(32, p${i})), h${i} = Number(BigInt.asIntN(32, p${i} >> 32n))`
    })
    const temporaries = Array.from({ length: this.#most }, (_, i) => `t${i} = 0`)
    return [
      `function ${name}(${params.map((_, i) => `p${i}`).join(', ')}) {`,
      'const view = new DataView(memory.buffer), imul = Math.imul',
      `let ${[...variables, ...temporaries].join(', ')}`,
      ...this.#lines,
      '}',
    ].join('\n')
  }

  #byte(): number {
    return this.#code[this.#at++] as number
  }

  /** The next number, in LEB128. */
  #number(signed: boolean): bigint {
    let value = 0n
    for (let shift = 0; ; shift += 7) {
      const byte = this.#byte()
      value |= BigInt(byte & 0x7f) << BigInt(shift)
      if (byte < 0x80) return signed ? BigInt.asIntN(shift + 7, value) : value
    }
  }

  #index(): number {
    return Number(this.#number(false))
  }

  #pop(): Operand {
    const operand = this.#stack.pop()
    if (operand === undefined) throw new TypeError(`${this.#func.name}: the stack is empty`)
    return operand
  }

  /** Pops an i64, whose halves are names or literals. */
  #popWide(): Wide {
    const { l, h = '0' } = this.#pop()
    return { l: this.#named(l), h: this.#named(h) }
  }

  /** Names an expression that may be used more than once. */
  #named(expression: string): string {
    if (/^-?\w+$/.test(expression)) return expression
    this.#temporaries.push(expression)
    return `t${this.#temporaries.length - 1}`
  }

  /** Pushes an expression. An i32 is computed where it is used; of an i64, each half is used more than once. */
  #push({ l, h, ...rest }: Operand): void {
    this.#stack.push(h === undefined ? { l: `(${l})`, ...rest } : { l: this.#named(l), h: this.#named(h) })
  }

  #popCondition(): string {
    const { l, condition = l } = this.#pop()
    return condition
  }

  /** Adds a statement, and before it the temporaries that it uses more than once. It contains the others. */
  #state(line: string): void {
    // Nothing is computed too late: the assembler leaves nothing on the stack before a statement.
    if (this.#stack.length > 0) throw new TypeError(`${this.#func.name}: a statement within an expression`)
    const kept = [line]
    for (const [i, expression] of [...this.#temporaries.entries()].reverse()) {
      const name = new RegExp(`\\bt${i}\\b`, 'g')
      const uses = kept.flatMap((text) => text.match(name) ?? []).length
      if (uses > 1) kept.unshift(`t${i} = ${expression}`)
      if (uses === 1)
        kept.forEach((text, at) => {
          kept[at] = text.replace(name, `(${expression})`)
        })
    }
    this.#most = Math.max(this.#most, this.#temporaries.length)
    this.#lines.push(...kept)
    this.#temporaries.length = 0
  }

  #set(index: number): void {
    const { l, h } = this.#pop()
    const low = `l${index} = ${l}`
    if (h === undefined) this.#state(low)
    else if (this.#narrow.has(index)) {
      if (h !== '0') this.#narrow.delete(index)
      this.#state(low)
    } else if (!this.#uses(l, `h${index}`)) this.#state(`h${index} = ${h}; ${low}`)
    else if (!this.#uses(h, `l${index}`)) this.#state(`${low}; h${index} = ${h}`)
    else this.#state(`;[l${index}, h${index}] = [${l}, ${h}]`)
  }

  /** Whether an expression reads a variable, also through temporaries. */
  #uses(expression: string, variable: string): boolean {
    return (expression.match(/\b[lht]\d+\b/g) ?? []).some(
      (name) =>
        name === variable || (name[0] === 't' && this.#uses(this.#temporaries[Number(name.slice(1))] ?? '', variable)),
    )
  }

  #return(): void {
    const { l, h } = this.#pop()
    this.#state(`return ${h === undefined ? l : `(BigInt(${h}) << 32n) | BigInt(${l} >>> 0)`}`)
  }

  #open(opening: string, jump: 'break' | 'continue'): void {
    this.#byte()
    const label = `b${this.#labels++}`
    this.#blocks.push(`${jump} ${label}`)
    this.#state(`${label}: ${opening} {`)
  }

  #close(): void {
    const jump = this.#blocks.pop()
    // A loop that comes to its end does not repeat.
    if (jump?.startsWith('continue')) this.#state(jump.replace('continue', 'break'))
    this.#state('}')
  }

  #jump(): string {
    return this.#blocks.at(-1 - this.#index()) as string
  }

  /** Pops an address, and adds the instruction's constant offset. */
  #address(): string {
    this.#byte()
    const offset = this.#index()
    const { l } = this.#pop()
    if (isLiteral(l)) return `${Number(l) + offset}`
    return offset === 0 ? `${l} >>> 0` : `(${l} >>> 0) + ${offset}`
  }

  #shift({ near, far }: Shift): void {
    const distance = this.#pop().l
    const a = this.#popWide()
    if (isLiteral(distance)) {
      const known = Number(distance) % 64
      this.#push(known === 0 ? a : (known < 32 ? near : far)(a, `${known}`))
      return
    }
    const by = this.#named(`${distance} & 63`)
    const [whenNear, whenFar] = [near(a, by), far(a, by)]
    const choose = (half: 'l' | 'h'): string =>
      `${by} > 31 ? ${whenFar[half]} : ${by} === 0 ? ${a[half]} : ${whenNear[half]}`
    this.#push({ l: choose('l'), h: choose('h') })
  }

  #instruction(opcode: number): void {
    const [load, store] = [LOADS[opcode], STORES[opcode]]
    const [ofTwo, ofTwoWide, shift] = [OF_TWO_I32[opcode], OF_TWO_I64[opcode], SHIFTS[opcode]]
    if (load) this.#push(load(this.#named(this.#address())))
    else if (store) {
      const value = this.#pop()
      const at = this.#address()
      this.#state(store(value.h === undefined ? at : this.#named(at), value))
    } else if (ofTwo) {
      const b = this.#pop()
      this.#push(ofTwo(this.#pop().l, b.l))
    } else if (ofTwoWide) {
      const b = this.#popWide()
      this.#push(ofTwoWide(this.#popWide(), b))
    } else if (shift) this.#shift(shift)
    else this.#control(opcode)
  }

  /** Locals, constants and blocks. */
  #control(opcode: number): void {
    switch (opcode) {
      case OPCODE.block:
        this.#open('', 'break')
        break
      case OPCODE.loop:
        this.#open('for (;;)', 'continue')
        break
      case OPCODE.if:
        this.#open(`if (${this.#popCondition()})`, 'break')
        break
      case OPCODE.else:
        this.#state('} else {')
        break
      case OPCODE.end:
        this.#close()
        break
      case OPCODE.br:
        this.#state(this.#jump())
        break
      case OPCODE.brIf:
        this.#state(`if (${this.#popCondition()}) ${this.#jump()}`)
        break
      case OPCODE.return:
        this.#return()
        break
      case OPCODE.localGet: {
        const index = this.#index()
        const l = `l${index}`
        if (this.#types[index] === 'i32') this.#stack.push({ l })
        else this.#stack.push({ l, h: this.#narrow.has(index) ? '0' : `h${index}` })
        break
      }
      case OPCODE.localSet:
        this.#set(this.#index())
        break
      case OPCODE.select: {
        const { l: condition } = this.#pop()
        const no = this.#pop()
        const yes = this.#pop()
        const chosen = this.#named(condition)
        const l = `${chosen} ? ${yes.l} : ${no.l}`
        this.#push(yes.h === undefined ? { l } : { l, h: `${chosen} ? ${yes.h} : ${no.h}` })
        break
      }
      case OPCODE.i32Const:
        this.#stack.push({ l: `${this.#number(true)}` })
        break
      case OPCODE.i64Const: {
        const value = this.#number(true)
        this.#stack.push({ l: `${BigInt.asIntN(32, value)}`, h: `${BigInt.asIntN(32, value >> 32n)}` })
        break
      }
      case OPCODE.i32WrapI64:
        this.#stack.push({ l: this.#pop().l })
        break
      case OPCODE.i64ExtendI32U:
        this.#stack.push({ l: this.#pop().l, h: '0' })
        break
      default:
        throw new TypeError(`${this.#func.name}: instruction 0x${opcode.toString(16)} has no translation`)
    }
  }
}
