/**
 * A delta: the difference between two guests, to be applied to the first one. The format is ours.
 *
 * Source: our own format, docs/formats.md, "The delta format"; version 1.
 * Gotcha: everything is little-endian. The parts follow one another without padding, so pages are not aligned.
 */
import { bytes, struct, u32, u64 } from './struct.js'

export const DELTA_MAGIC = 'xdbdelta'
export const DELTA_VERSION = 1

/** The header. After it: the state, the runs, the pages' numbers, and the pages. */
export const DeltaHeader = struct('delta_header', 136, {
  magic: bytes(8),
  version: u32,
  /** Bytes of the state: the rest of the guest as JSON, under gzip. */
  state_bytes: u32,
  /** The number of runs, each a DeltaRun. */
  runs: u64,
  /** The number of pages that are elsewhere in the base, each a u64. */
  moved: u64,
  /** The number of pages that are in the delta itself. */
  own: u64,
  /** The identities of the base and of the guest: SHA-256. */
  base: bytes(32),
  guest: bytes(32),
  /** The SHA-256 of everything else in the file. */
  sha256: bytes(32),
})

/** Consecutive pages of one kind. */
export const DeltaRun = struct('delta_run', 16, { pfn: u64, pages: u32, kind: u32 })

/** The kinds of pages. */
export const DELTA_KIND = {
  /** As in the base, at the same frame. */
  SAME: 0,
  /** Zeros. */
  ZERO: 1,
  /** As at another frame of the base, whose number follows the runs; DELTA_ZERO for zeros. */
  MOVED: 2,
  /** In the delta. */
  OWN: 3,
} as const

/** In place of a frame's number: a page of zeros. */
export const DELTA_ZERO = 2 ** 53 - 1
