/**
 * The note that makes a core read back as the guest it was: the sidecar of the raw format, inside the file.
 *
 * Source: our own, ./guest-json.ts; readers that do not know its owner pass it over, as the ELF specification asks.
 * Gotcha: it says what memory there is, the file's own tables say which of it has content; both are checked.
 */
import { GUEST_NOTE_OWNER, NT_GUEST_JSON } from '../abi/core-files.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { FRAMES_MAX, type Pfn, type Range } from '../units.js'
import type { CoreNote } from './elf-file.js'
import { guestJson, openGuest } from './guest-json.js'
import { JsonValue } from './json.js'

const MAX_RANGES = 1 << 20

export function guestNote(domain: Domain): CoreNote {
  const ranges = domain.memory.ranges.map(({ start, end }) => [start, end])
  const desc = new Uint8Array(Buffer.from(JSON.stringify(guestJson(domain, { ranges }))))
  return { owner: GUEST_NOTE_OWNER, type: NT_GUEST_JSON, desc }
}

/**
 * The guest that such a note describes.
 * @param place puts what the file holds into its memory.
 */
export function coreGuest(note: CoreNote, place: (memory: GuestMemory) => GuestMemory): Domain {
  const json = JsonValue.parse(Buffer.from(note.desc).toString(), 'guest note')
  const ranges: Range<Pfn>[] = []
  for (const range of json.at('memory').at('ranges').list(MAX_RANGES)) {
    const [start, end] = range.list(2).map((value) => value.integer(0, FRAMES_MAX))
    if (start === undefined || end === undefined || start < (ranges.at(-1)?.end ?? 0) || end <= start) {
      return range.refuse('sorted, disjoint ranges of pfn')
    }
    ranges.push({ start, end })
  }
  if (ranges.length === 0) json.at('memory').refuse('memory')
  return openGuest(json, place(new GuestMemory(ranges)))
}
