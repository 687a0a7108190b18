/**
 * The note that lets a core read back as the same guest: the sidecar of the raw format, inside the file.
 *
 * Source: our own, ./guest-json.ts; readers that do not know its owner ignore it, as the ELF specification asks.
 * Gotcha: the note says which memory exists, the file's own tables say which of it has content; both are checked.
 */

import { GUEST_NOTE_OWNER, NT_GUEST_JSON } from '../abi/core-files.js'
import { decodeUtf8, encodeUtf8 } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { type CoreNote, type FoundNote, withinElf } from './elf-file.js'
import { GUEST_JSON_VERSION, guestJson, openGuest, openRanges } from './guest-json.js'
import { JsonValue } from './json-value.js'

/** @param more what the format says of memory in addition to its ranges. */
export function guestNote(
  domain: Domain,
  type = NT_GUEST_JSON,
  more: Readonly<Record<string, unknown>> = {},
): CoreNote {
  const ranges = domain.memory.ranges.map(({ start, end }) => [start, end])
  const desc = encodeUtf8(JSON.stringify({ version: GUEST_JSON_VERSION, ...guestJson(domain, { ranges, ...more }) }))
  return { owner: GUEST_NOTE_OWNER, type, desc }
}

/**
 * Returns the guest that such a note describes.
 * @param place puts the file's content into the guest's memory, of which the note says more in `json`.
 * @throws DomainBuilderError `bad-snapshot` with the offset of the note, or of the part that contradicts it.
 */
export function coreGuest(note: FoundNote, place: (memory: GuestMemory, json: JsonValue) => GuestMemory): Domain {
  return withinElf(note.offset, () => {
    const json = JsonValue.parse(decodeUtf8(note.desc), 'guest note')
    const memory = json.at('memory')
    return openGuest(json, place(new GuestMemory(openRanges(memory)), memory))
  })
}
