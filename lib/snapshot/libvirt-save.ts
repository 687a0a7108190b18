/**
 * The libvirt format: the file of `virsh save`, which `virsh restore` starts. It has QEMU's stream.
 *
 * Source: ../abi/libvirt-save.ts.
 * Gotcha: libvirt gives its guests whole MiB, and QEMU takes a stream only for memory of the same size. libvirt knows no
 * microvm.
 */
import { LIBVIRT_MAGIC, LIBVIRT_PADDING, LIBVIRT_VERSIONS, LibvirtHeader } from '../abi/libvirt-save.js'
import type { QemuMachineName } from '../abi/qemu-machines.js'
import { concat, encodeLatin1, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, LIBVIRT_XML } from '../guest/domain.js'
import { shown } from '../units.js'
import { atOnce, type Slices } from '../work.js'
import type { ByteSource } from './byte-source.js'
import type { SnapshotFormat, WriteOptions } from './format.js'
import { isLibvirtSave, readLibvirtHead } from './libvirt-head.js'
import { libvirtXml, nameInXml } from './libvirt-xml.js'
import { machineMemory } from './qemu-machine.js'
import { streamParts } from './qemu-stream.js'
import { openQemuStream } from './qemu-stream-guest.js'
import { isQemuStream } from './qemu-stream-reader.js'
import { SnapshotFile, solid } from './snapshot-file.js'

/** The machines of a stream that libvirt knows, the default first. */
export const LIBVIRT_MACHINES = ['pc', 'q35'] as const satisfies readonly QemuMachineName[]

/** The options for writing a file of libvirt. */
export interface LibvirtOptions extends WriteOptions {
  /** The machine that the guest finds. Default: pc. */
  readonly machine?: (typeof LIBVIRT_MACHINES)[number]
}

/** libvirt's unit of memory. */
const MEMORY_UNIT = 1 << 20

/**
 * Returns a guest as a save file of libvirt.
 * @throws DomainBuilderError `bad-config` for a machine that libvirt lacks; `does-not-fit` for a guest that needs Xen, or
 *   that the machine has no room for.
 */
export function writeLibvirt(domain: Domain, options: LibvirtOptions = {}): SnapshotFile {
  return atOnce(saveSlices(domain, options))
}

/** Makes the same in slices, as the stream is made. */
function* saveSlices(domain: Domain, options: LibvirtOptions = {}): Slices<SnapshotFile> {
  const { machine = LIBVIRT_MACHINES[0] } = options
  if (!LIBVIRT_MACHINES.includes(machine)) {
    throw new DomainBuilderError('bad-config', 'the machine is not one of libvirt', {
      expected: LIBVIRT_MACHINES.join(', '),
      found: shown(machine),
    })
  }
  const stream = yield* streamParts(withXml(domain), { ...options, machine })
  const bytes = machineMemory(machine, domain)
  if (bytes % MEMORY_UNIT !== 0) {
    throw new DomainBuilderError('does-not-fit', 'libvirt gives a guest whole MiB of memory', {
      expected: `a multiple of ${MEMORY_UNIT} bytes`,
      found: `${bytes}`,
    })
  }
  const xml = encodeUtf8(`${libvirtXml(domain, machine, bytes)}\0`)
  const data_len = xml.length + LIBVIRT_PADDING
  const header = LibvirtHeader.encode({
    ...LibvirtHeader.zero,
    magic: encodeLatin1(LIBVIRT_MAGIC),
    version: LIBVIRT_VERSIONS[1],
    data_len,
    was_running: 1,
  })
  return new SnapshotFile('', [solid(concat([header, xml, new Uint8Array(LIBVIRT_PADDING)])), ...stream], options)
}

/**
 * Returns the guest in a save file of libvirt whose stream is not compressed.
 * @throws DomainBuilderError as openQemuStream() does.
 */
function openLibvirt(source: ByteSource): Domain {
  const { xml, body } = readLibvirtHead(source)
  if (!isQemuStream(source, body)) {
    throw new DomainBuilderError('bad-snapshot', "libvirt: QEMU's stream is missing", { offset: body })
  }
  const guest = openQemuStream(source, body)
  // The XML has no room for every name that a guest of this library may have.
  return { ...withXml(guest, xml), name: guest.type === 'hvm' ? nameInXml(xml) : guest.name }
}

/** Returns the guest with that description by libvirt among what was saved with it, in place of any other. */
function withXml({ saved, ...guest }: Domain, xml?: string): Domain {
  const others = (saved?.records ?? []).filter(({ name }) => name !== LIBVIRT_XML)
  const records = xml === undefined ? others : [...others, { name: LIBVIRT_XML, body: encodeUtf8(xml) }]
  return records.length === 0 && saved?.config === undefined ? guest : { ...guest, saved: { ...saved, records } }
}

/** The format that libvirt saves guests of QEMU in. */
export const libvirtFormat: SnapshotFormat<LibvirtOptions> = {
  name: 'libvirt',
  summary: "libvirt's save file of a QEMU guest, for virsh restore",
  extensions: ['libvirt'],
  files: [''],
  purpose: 'vmm',
  sniff: ({ main }) => isLibvirtSave(main),
  open: ({ main }) => openLibvirt(main),
  *write(domain, options) {
    return [yield* saveSlices(domain, options)]
  },
}
