/**
 * LiME dumps: ranges of physical memory, each after a header.
 *
 * Source: https://github.com/504ensicsLabs/LiME/blob/master/doc/README.md, "Spec".
 * Gotcha: e_addr is the last byte of the range, not the first one after it.
 */
import { pad, struct, u32, u64 } from './struct.js'

export const LIME_MAGIC = 0x4c694d45
export const LIME_VERSION = 1
export const LimeHeader = struct('lime_mem_range_header', 32, {
  magic: u32,
  version: u32,
  s_addr: u64,
  e_addr: u64,
  _reserved: pad(8),
})
