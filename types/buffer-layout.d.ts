/** What lib/abi/struct.ts uses of buffer-layout 1.2.2, which ships no types. */
declare module 'buffer-layout' {
  import type { BufferView } from '../lib/abi/buffer.js'

  export class Layout<T = unknown> {
    constructor(span: number, property?: string)
    readonly span: number
    readonly property?: string
    decode(b: BufferView, offset?: number): T
    encode(src: T, b: BufferView, offset?: number): number
  }
  export type Structure = Layout<Record<string, unknown>>
  type Factory = (property?: string) => Layout<number>
  const library: {
    readonly Layout: typeof Layout
    readonly u8: Factory
    readonly u16: Factory
    readonly u32: Factory
    readonly s32: Factory
    struct(fields: readonly Layout[], property?: string): Structure
    seq<T>(elementLayout: Layout<T>, count: number, property?: string): Layout<T[]>
  }
  export default library
}
