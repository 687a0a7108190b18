/** What lib/abi/struct.ts uses of buffer-layout 1.2.2, which ships no types. */
declare module 'buffer-layout' {
  export class Layout<T = unknown> {
    constructor(span: number, property?: string)
    readonly span: number
    readonly property?: string
    decode(b: Buffer, offset?: number): T
    encode(src: T, b: Buffer, offset?: number): number
    replicate(property: string): this
  }
  export class Structure extends Layout<Record<string, unknown>> {
    offsetOf(property: string): number | undefined
  }
  export function u8(property?: string): Layout<number>
  export function u16(property?: string): Layout<number>
  export function u32(property?: string): Layout<number>
  export function s32(property?: string): Layout<number>
  export function struct(fields: readonly Layout[], property?: string): Structure
  export function seq<T>(elementLayout: Layout<T>, count: number, property?: string): Layout<T[]>
}
