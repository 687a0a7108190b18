/**
 * The raw format: guest-physical memory in pfn order, sparse, and a sidecar JSON that describes it.
 *
 * Source: our own format, docs/formats.md, "The raw format"; version 1.
 * Gotcha: an unused page is a hole in the file; `memory.data` lists the others, so that reading a 64 GiB guest back
 * does not mean reading 64 GiB.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { PAGE_SIZE, paddrOf } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { placeFile } from './file-memory.js'
import type { SnapshotFormat, SnapshotSource, WriteOptions } from './format.js'
import { GUEST_JSON_VERSION, guestJson, openGuest, openPair, openRanges } from './guest-json.js'
import type { JsonValue } from './json-value.js'
import { isLime, openLime } from './memory-image.js'
import { hasSidecar, readSidecar, SIDECAR_SUFFIX, sidecarBytes } from './sidecar.js'
import { type Part, SnapshotFile, solid } from './snapshot-file.js'

/** `format` of a sidecar of the raw format. */
const RAW_FORMAT = 'xen-domain-builder/raw'
/** The main file's name in a sidecar, where the caller gives none. */
export const DEFAULT_NAME = 'guest'

/** The sidecar: the input of JSON.stringify. Addresses and u64 are hex strings, counts are numbers. */
export interface RawSidecar {
  /** The member that the file is detected by. */
  readonly format: string
  /** The version of the format; docs/formats.md lists the content of each. */
  readonly version: typeof GUEST_JSON_VERSION
  readonly [field: string]: unknown
}

/**
 * Returns the sidecar of a guest.
 * @param file name of the image next to it.
 */
export function rawSidecar(domain: Domain, file: string): RawSidecar {
  const { memory } = domain
  const { ranges } = memory
  const oneBlock = ranges.length === 1 && ranges[0]?.start === 0
  return {
    format: RAW_FORMAT,
    version: GUEST_JSON_VERSION,
    ...guestJson(domain, {
      file,
      ...defined({ ranges: oneBlock ? undefined : ranges.map(({ start, end }) => [start, end]) }),
      data: [...memory.pages()].map(({ pfn, pages }) => [pfn, pages]),
    }),
  }
}

/** Returns guest-physical memory as part of a file, at its own address. */
const memoryPart = ({ memory }: Domain): Part => ({
  length: memory.endPfn * PAGE_SIZE,
  content: memory.placedBytes,
  *stretches() {
    for (const { paddr, length, content } of memory.placed()) yield { offset: paddr, length, content }
  },
})

function writeRaw(domain: Domain, options: WriteOptions = {}): readonly SnapshotFile[] {
  const sidecar = sidecarBytes(rawSidecar(domain, options.name ?? DEFAULT_NAME))
  return [new SnapshotFile('', [memoryPart(domain)], options), new SnapshotFile(SIDECAR_SUFFIX, [solid(sidecar)])]
}

/**
 * Returns the guest in a sidecar and image; pages are read on demand.
 * @throws DomainBuilderError `bad-snapshot` for a sidecar that contradicts itself, `truncated` for a short image.
 */
function openRaw(files: SnapshotSource): Domain {
  const json = readSidecar(files, RAW_FORMAT)
  return openGuest(json, openMemory(json.at('memory'), files.main))
}

function openMemory(json: JsonValue, image: ByteSource): GuestMemory {
  const memory = new GuestMemory(openRanges(json))
  if (image.size !== memory.endPfn * PAGE_SIZE) {
    throw new DomainBuilderError('truncated', 'the image size does not match the sidecar', {
      expected: `${memory.endPfn * PAGE_SIZE} bytes`,
      found: `${image.size}`,
    })
  }
  const runs = json.at('data').list()
  const pieces = runs.map(openPair).map(([pfn, pages]) => {
    const paddr = paddrOf(pfn)
    return { paddr, offset: paddr, length: pages * PAGE_SIZE }
  })
  return placeFile(memory, image, pieces, (i, expected) => (runs[i] as JsonValue).refuse(expected))
}

/** Guest memory in pfn order, and a sidecar. Memory without one is read as well. */
export const rawFormat: SnapshotFormat = {
  name: 'raw',
  summary: 'guest memory in pfn order, sparse, and a JSON sidecar',
  extensions: ['img'],
  files: ['', SIDECAR_SUFFIX],
  sniff: (files) => hasSidecar(files, RAW_FORMAT) || isLime(files.main),
  open: (files) => (hasSidecar(files, RAW_FORMAT) || !isLime(files.main) ? openRaw(files) : openLime(files.main)),
  write: writeRaw,
}
