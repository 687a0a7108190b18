/**
 * Functions over a memory, and the memory: WebAssembly, or the same functions as JavaScript where a process has no room.
 *
 * Source: WebAssembly JavaScript Interface, https://www.w3.org/TR/wasm-js-api-1/
 * Gotcha: V8 reserves 10 GiB of addresses for each WebAssembly memory, to save the check of each access. Never keep one
 * longer than a piece of work. Where addresses are limited (`ulimit -v`) this fails, but plain memory still fits.
 */
import { lazy } from '../lazy.js'
import { scriptOf } from './script.js'
import { assemble, type Defined, WASM_PAGE } from './wasm.js'

/** Memory in a plain buffer. Growth copies it; a page that was never written takes no memory. */
export class PlainMemory {
  buffer: ArrayBuffer

  constructor(pages: number) {
    this.buffer = new ArrayBuffer(pages * WASM_PAGE)
  }

  /** Adds so many pages. @throws RangeError if the process has no memory for them. */
  grow(pages: number): void {
    const grown = new ArrayBuffer(this.buffer.byteLength + pages * WASM_PAGE)
    new Uint8Array(grown).set(new Uint8Array(this.buffer))
    this.buffer = grown
  }
}

/** Memory that starts at address 0. Growth replaces the buffer. */
export type LinearMemory = PlainMemory | WebAssembly.Memory

/** WebAssembly memory ends at 4 GiB. */
export const PAGES_MAX = 2 ** 32 / WASM_PAGE

/** Memory for a machine. @throws RangeError if the process has none. */
export function machineMemory(pages: number): LinearMemory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: PAGES_MAX })
  } catch {
    return new PlainMemory(pages)
  }
}

/** Returns a maker of machines, which are these functions over a memory. The functions are compiled at the first use. */
export function machineOf<Exports>(build: () => readonly Defined[]): (memory: LinearMemory) => Exports {
  const module = lazy(() => new WebAssembly.Module(assemble(build())))
  const script = lazy(() => scriptOf(build()))
  return (memory) =>
    memory instanceof PlainMemory
      ? (script()(memory) as Exports)
      : (new WebAssembly.Instance(module(), { env: { memory } }).exports as Exports)
}
