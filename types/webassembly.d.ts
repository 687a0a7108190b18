/**
 * The part of WebAssembly that this library uses: TypeScript declares it only in its browser library.
 *
 * Source: WebAssembly JavaScript Interface 1.0, https://www.w3.org/TR/wasm-js-api-1/
 */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>)
  }
  class Instance {
    constructor(module: Module, imports?: Readonly<Record<string, Readonly<Record<string, unknown>>>>)
    readonly exports: Readonly<Record<string, unknown>>
  }
  /** A trap: out of bounds, unreachable. */
  class RuntimeError extends Error {}
  class Memory {
    /** Counted in pages of 64 KiB. */
    constructor(descriptor: { readonly initial: number; readonly maximum?: number })
    /** Another one after each growth: the one before is detached. */
    readonly buffer: ArrayBuffer
    grow(pages: number): number
  }
}
