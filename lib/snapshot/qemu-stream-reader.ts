/**
 * Reads QEMU's migration stream: the places of all pages in one pass over their headers, and the sections of the devices
 * by the description at the end.
 *
 * Source: QEMU migration/savevm.c, qemu_loadvm_state_main(), and migration/ram.c, ram_load_precopy();
 * ../abi/qemu-stream.ts.
 * Gotcha: the section of a device does not say how long it is. The description does, and it ends with the file.
 */
import {
  HARMLESS_COMMANDS,
  PAGE_HEADER,
  QEMU_STREAM_MAGIC,
  QEMU_STREAM_VERSION,
  RAM_FLAG,
  RAM_FLAGS,
  RAM_SECTION,
  SECTION,
  ZERO_PAGE_BYTES,
} from '../abi/qemu-stream.js'
import { PFINFO_NOTAB, PFINFO_XALLOC } from '../abi/save-stream.js'
import { decodeLatin1, decodeUtf8, equal } from '../bytes.js'
import { DomainBuilderError, type ErrorDetail } from '../errors.js'
import { hex, narrow, PAGE_SIZE, U32_MAX } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { JsonValue } from './json-value.js'
import { PageIndex } from './page-index.js'
import { zeroPages } from './qemu-zero-pages.js'
import { readBytes } from './records.js'
import { DeviceState, readLayout, stateLength } from './vmstate-reader.js'

/** A block of memory in a stream, by pages from its start. */
interface StreamBlock {
  readonly bytes: number
  /** Where each page that was sent has its content. */
  readonly pages: PageIndex
}

/** The description at the end. */
interface Description {
  readonly json: JsonValue
  readonly offset: number
}

/** The content of a stream. */
export interface QemuStream {
  /** The machine, such as pc-i440fx-7.2; absent in streams of machines before 2.5. */
  readonly machine: string | undefined
  readonly blocks: ReadonlyMap<string, StreamBlock>
  /** The description of the devices, and its place in the file. */
  readonly description: Description
  /** Returns the state of a device of that name and number. @throws DomainBuilderError `bad-snapshot`. */
  device(name: string, instance?: number): DeviceState | undefined
  /** Returns the numbers of the devices of that name, sorted. */
  instances(name: string): number[]
}

/** The bytes that a stream is recognised by. */
const START_BYTES = 8
/** The most bytes of a description: far above any machine's. */
const DESCRIPTION_MAX = 64 << 20
/** The most bytes of the state of a device whose fields are read. */
const STATE_MAX = 1 << 16
/** Bytes read at a time: of a run of zero pages, and of a header between two pages with content. */
const AHEAD = { zeros: 1 << 16, data: 64 } as const
/** The records of zero pages that are read one at a time before many are compared at once. */
const SINGLE_ZEROS = 64

function refuse(what: string, offset: number, detail: ErrorDetail = {}): never {
  throw new DomainBuilderError('bad-snapshot', `QEMU's stream: ${what}`, { offset, ...detail })
}

function unsupported(what: string, instead: string, offset: number): never {
  throw new DomainBuilderError('unknown-format', `QEMU's stream has ${what}, which is not supported`, {
    expected: instead,
    offset,
  })
}

/** Returns whether a stream begins at that offset of a file. */
export function isQemuStream(source: ByteSource, at = 0): boolean {
  if (at + START_BYTES > source.size) return false
  const view = new DataView(readBytes(source, at, START_BYTES, "QEMU's stream").buffer)
  return view.getUint32(0) === QEMU_STREAM_MAGIC && view.getUint32(4) === QEMU_STREAM_VERSION
}

/**
 * Returns the content of a stream. Pages are only located.
 * @param start file offset of the stream, which goes to the end of the file.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset; `unknown-format` for a stream without a
 *   description, and for pages that were compressed or sent over other channels.
 */
export function readQemuStream(source: ByteSource, start: number): QemuStream {
  return new StreamReader(source, start).read()
}

/** Runs code that knows nothing of files; its errors name the description. */
export function withinDescription<T>(offset: number, part: () => T): T {
  try {
    return part()
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.offset !== undefined) throw error
    return refuse(error.message, offset, { cause: error })
  }
}

/** A section of a device, of which the description has the length. */
interface FoundSection {
  readonly name: string
  readonly instance: number
  readonly body: number
  readonly layout: ReturnType<typeof readLayout>
}

class StreamReader {
  readonly #source: ByteSource
  readonly #blocks = new Map<string, StreamBlock>()
  readonly #sections = new Map<string, FoundSection>()
  #machine: string | undefined
  #description: Description | undefined
  #layouts: ReadonlyMap<string, JsonValue> = new Map()
  #at: number
  /** The block of the last page, which later sections of pages go on with. */
  #block: string | undefined
  /** Bytes of the file from `#start` on. */
  #window: Uint8Array = new Uint8Array(0)
  #start = 0
  #ahead: number = AHEAD.zeros
  /** The records of zero pages that were read one at a time since many were compared. */
  #singleZeros = 0
  readonly #putZeroPages = zeroPages()
  readonly #expected = new Uint8Array(AHEAD.zeros)

  constructor(source: ByteSource, start: number) {
    this.#source = source
    this.#at = start + START_BYTES
  }

  read(): QemuStream {
    while (this.#section()) {
      // One section after another.
    }
    for (const { pages } of this.#blocks.values()) pages.finish()
    const description = this.#described()
    const sections = this.#sections
    return {
      machine: this.#machine,
      blocks: this.#blocks,
      description,
      device: (name, instance = 0) => {
        const found = sections.get(keyOf(name, instance))
        if (found === undefined) return undefined
        const length = stateLength(found.layout)
        if (length > STATE_MAX) {
          refuse(`section ${name} is too long`, found.body, { expected: `at most ${STATE_MAX}`, found: `${length}` })
        }
        return new DeviceState(this.#source, found.layout, found.body)
      },
      instances: (wanted) =>
        [...sections.values()]
          .filter(({ name }) => name === wanted)
          .map(({ instance }) => instance)
          .sort((a, b) => a - b),
    }
  }

  /** Reads one section; returns false after the last. */
  #section(): boolean {
    const start = this.#at
    const type = this.#number(1)
    switch (type) {
      case SECTION.EOF:
        return false
      case SECTION.CONFIGURATION:
        this.#configuration()
        return true
      case SECTION.COMMAND:
        this.#command(start)
        return true
      case SECTION.START:
      case SECTION.FULL: {
        const id = this.#number(4)
        const name = this.#counted()
        const instance = this.#number(4)
        const version = this.#number(4)
        if (type === SECTION.FULL) this.#device(name, instance, start)
        else if (name !== RAM_SECTION.name)
          unsupported(`a section '${name}' in parts`, 'a stream of memory alone', start)
        else if (version !== RAM_SECTION.version) {
          refuse('the version of the memory is unknown', start, {
            expected: `${RAM_SECTION.version}`,
            found: `${version}`,
          })
        } else this.#pages()
        this.#footer(id)
        return true
      }
      case SECTION.PART:
      case SECTION.END: {
        const id = this.#number(4)
        this.#pages()
        this.#footer(id)
        return true
      }
      default:
        refuse('a section has an unknown type', start, { found: hex(type) })
    }
  }

  #configuration(): void {
    const start = this.#at
    this.#machine = this.#text(this.#number(4))
    if (this.#peek() === SECTION.SUBSECTION) {
      this.#number(1)
      unsupported(`a configuration '${this.#counted()}'`, 'a stream with the default capabilities', start)
    }
  }

  #command(start: number): void {
    const command = this.#number(2)
    const length = this.#number(2)
    if (!HARMLESS_COMMANDS.includes(command)) {
      unsupported(`command ${command} of postcopy or COLO`, 'a stream that was written to a file', start)
    }
    this.#skip(length)
  }

  #device(name: string, instance: number, start: number): void {
    const key = keyOf(name, instance)
    const { offset } = this.#described()
    const entry = this.#layouts.get(key)
    if (entry === undefined) {
      refuse('the description lacks a device', start, { expected: `${name}, instance ${instance}` })
    }
    const layout = withinDescription(offset, () => readLayout(entry))
    this.#sections.set(key, { name, instance, body: this.#at, layout })
    this.#skip(stateLength(layout))
  }

  /** Returns the description, which is found from the end of the file. */
  #described(): Description {
    if (this.#description !== undefined) return this.#description
    const offset = descriptionStart(this.#source, this.#at)
    if (offset === undefined) {
      unsupported(
        'no description of its devices at its end',
        'a whole stream of a machine without suppress-vmdesc=on',
        this.#at,
      )
    }
    const length = this.#source.size - offset
    if (length > DESCRIPTION_MAX) {
      refuse('the description is too long', offset, { expected: `at most ${DESCRIPTION_MAX}`, found: `${length}` })
    }
    const text = decodeUtf8(readBytes(this.#source, offset, length, 'description'))
    this.#description = withinDescription(offset, () => {
      const json = JsonValue.parse(text, 'description')
      const devices = json.at('devices').list()
      this.#layouts = new Map(
        devices.map((device) => [
          keyOf(device.at('name').string(), device.at('instance_id').integer(0, U32_MAX)),
          device,
        ]),
      )
      return { json, offset }
    })
    return this.#description
  }

  /** Reads pages up to the end of a section. */
  #pages(): void {
    for (;;) {
      const start = this.#at
      const high = this.#number(4)
      const low = this.#number(4)
      const flags = low & RAM_FLAGS
      const address = high * 2 ** 32 + low - flags
      if (flags & RAM_FLAG.END) return
      if (flags & RAM_FLAG.SIZES) this.#sizes(address)
      else if (flags & RAM_FLAG.MULTIFD_FLUSH) unsupported('pages of other channels', 'a stream without multifd', start)
      else if (flags & RAM_FLAG.COMPRESSED) unsupported('compressed pages', 'a stream without compress', start)
      else if (flags & RAM_FLAG.XBZRLE) unsupported('pages of XBZRLE', 'a stream without xbzrle', start)
      else if (flags & (RAM_FLAG.PAGE | RAM_FLAG.ZERO)) this.#page(address, flags, start)
      else if (!(flags & RAM_FLAG.HOOK)) refuse('a page has unknown flags', start, { found: hex(flags) })
    }
  }

  /** Reads the list of blocks, whose sizes are `total` bytes. */
  #sizes(total: number): void {
    for (let left = total; left > 0; ) {
      const start = this.#at
      const name = this.#counted()
      const bytes = this.#size(start)
      if (bytes % PAGE_SIZE !== 0 || bytes === 0 || bytes > left || this.#blocks.has(name)) {
        refuse(`the block '${name}' has an invalid size`, start, { found: hex(bytes) })
      }
      this.#blocks.set(name, { bytes, pages: new PageIndex(PAGE_HEADER + PAGE_SIZE) })
      left -= bytes
    }
  }

  #size(start: number): number {
    const high = this.#number(4)
    return narrow((BigInt(high) << 32n) | BigInt(this.#number(4)), "QEMU's stream: the size of a block", {
      offset: start,
    })
  }

  #page(address: number, flags: number, start: number): void {
    if (!(flags & RAM_FLAG.SAME_BLOCK)) this.#block = this.#counted()
    const block = this.#blocks.get(this.#block ?? '')
    if (block === undefined) refuse(`a page lies in an unknown block '${this.#block ?? ''}'`, start)
    if (address >= block.bytes) {
      refuse(`a page lies outside its block`, start, { expected: `below ${hex(block.bytes)}`, found: hex(address) })
    }
    const pfn = address / PAGE_SIZE
    if (flags & RAM_FLAG.PAGE) {
      block.pages.add(pfn, 1, PFINFO_NOTAB, this.#at)
      this.#ahead = AHEAD.data
      this.#skip(PAGE_SIZE)
      return
    }
    this.#ahead = AHEAD.zeros
    const byte = this.#number(1)
    if (byte !== 0) unsupported('pages of one byte repeated', 'a stream of QEMU 1.6 or later', start)
    block.pages.add(pfn, 1, PFINFO_XALLOC, 0)
    if (++this.#singleZeros === SINGLE_ZEROS) {
      this.#singleZeros = 0
      this.#followingZeros(block, pfn + 1)
    }
  }

  /** Reads records of zero pages from a page on, as long as the bytes read at a time hold nothing else. */
  #followingZeros(block: StreamBlock, from: number): void {
    for (let pfn = from; ; ) {
      if (this.#start + this.#window.length - this.#at < SINGLE_ZEROS * ZERO_PAGE_BYTES) this.#fetch(0)
      const window = this.#window.subarray(this.#at - this.#start)
      const pages = Math.min(Math.floor(window.length / ZERO_PAGE_BYTES), block.bytes / PAGE_SIZE - pfn)
      const length = pages * ZERO_PAGE_BYTES
      const expected = this.#expected.subarray(0, length)
      this.#putZeroPages(expected, pfn * PAGE_SIZE)
      if (pages === 0 || !equal(expected, window.subarray(0, length))) return
      block.pages.add(pfn, pages, PFINFO_XALLOC, 0)
      this.#at += length
      pfn += pages
    }
  }

  #footer(id: number): void {
    const start = this.#at
    const found = this.#number(1)
    if (found !== SECTION.FOOTER) {
      refuse('the end of a section is missing', start, { expected: hex(SECTION.FOOTER), found: hex(found) })
    }
    const number = this.#number(4)
    if (number !== id)
      refuse('the end of a section has another number', start, { expected: `${id}`, found: `${number}` })
  }

  #counted(): string {
    return this.#text(this.#number(1))
  }

  #text(length: number): string {
    const bytes = readBytes(this.#source, this.#at, length, "QEMU's stream")
    this.#at += length
    return decodeLatin1(bytes)
  }

  #skip(length: number): void {
    if (this.#at + length > this.#source.size) this.#tooShort(length)
    this.#at += length
  }

  #peek(): number {
    const value = this.#number(1)
    this.#at--
    return value
  }

  /** Returns an integer of at most four bytes. */
  #number(size: number): number {
    if (this.#at < this.#start || this.#at + size > this.#start + this.#window.length) this.#fetch(size)
    let value = 0
    for (let i = this.#at - this.#start; i < this.#at - this.#start + size; i++) {
      value = value * 256 + (this.#window[i] as number)
    }
    this.#at += size
    return value
  }

  #fetch(size: number): void {
    const length = Math.min(this.#ahead, this.#source.size - this.#at)
    if (length < size) this.#tooShort(size)
    this.#start = this.#at
    this.#window = this.#window.length === length ? this.#window : new Uint8Array(length)
    this.#source.readInto(this.#at, this.#window)
  }

  #tooShort(length: number): never {
    throw new DomainBuilderError('truncated', "QEMU's stream: the file ends too early", {
      expected: `${length} bytes`,
      found: `${Math.max(0, this.#source.size - this.#at)}`,
      offset: this.#at,
    })
  }
}

const keyOf = (name: string, instance: number): string => `${instance} ${name}`

/** The type and the length in front of the description, and its first character. */
const BEFORE_DESCRIPTION = 5
const BRACE = 0x7b

/** Returns the offset of the description: its length leads to the end of the file. */
function descriptionStart(source: ByteSource, from: number): number | undefined {
  const block = new Uint8Array(AHEAD.zeros)
  // The blocks overlap, so that each place is whole in one of them.
  const step = block.length - BEFORE_DESCRIPTION
  for (let end = source.size; end - from > BEFORE_DESCRIPTION; end -= step) {
    const start = Math.max(from, end - block.length)
    const bytes = block.subarray(0, end - start)
    source.readInto(start, bytes)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let at = bytes.length - BEFORE_DESCRIPTION - 1; at >= 0; at--) {
      if (bytes[at] !== SECTION.DESCRIPTION || bytes[at + BEFORE_DESCRIPTION] !== BRACE) continue
      const place = start + at + BEFORE_DESCRIPTION
      if (place + view.getUint32(at + 1) === source.size) return place
    }
    if (start === from) break
  }
  return undefined
}
