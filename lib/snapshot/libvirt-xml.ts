/**
 * libvirt's description of a guest, as XML.
 *
 * Source: https://libvirt.org/formatdomain.html; the defaults of libvirt 9.0, which adds USB and a balloon otherwise.
 * Gotcha: the devices are those of the stream's machine alone. QEMU refuses a stream without a device's section, and
 * starts a device that is not in the stream in its reset state.
 */
import { QEMU_MACHINES, type QemuMachine, type QemuMachineName } from '../abi/qemu-machines.js'
import type { Domain } from '../guest/domain.js'
import { domainUuid } from '../guest/libxl-config.js'

/** The namespace of words for QEMU's command line. */
const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'

/**
 * Returns the XML of a guest that QEMU emulates. Its serial port is the console. A guest that ends is gone, as for
 * `xdb run`.
 * @param bytes the machine's memory.
 */
export function libvirtXml(domain: Domain, machine: QemuMachineName, bytes: number): string {
  const { name, options }: QemuMachine = QEMU_MACHINES[machine]
  const words = options.flatMap((option) => ['-machine', option])
  return [
    `<domain type='qemu' xmlns:qemu='${QEMU_NAMESPACE}'>`,
    `  <name>${escaped(domainName(domain))}</name>`,
    `  <uuid>${domainUuid(domain)}</uuid>`,
    `  <memory unit='KiB'>${bytes / 1024}</memory>`,
    `  <vcpu placement='static'>${domain.vcpus.length}</vcpu>`,
    '  <os>',
    `    <type arch='x86_64' machine='${name}'>hvm</type>`,
    '  </os>',
    '  <features>',
    '    <acpi/>',
    '    <apic/>',
    '  </features>',
    "  <clock offset='utc'/>",
    ...['poweroff', 'reboot', 'crash'].map((event) => `  <on_${event}>destroy</on_${event}>`),
    '  <devices>',
    "    <controller type='usb' model='none'/>",
    "    <serial type='pty'/>",
    "    <memballoon model='none'/>",
    '  </devices>',
    '  <qemu:commandline>',
    ...words.map((word) => `    <qemu:arg value='${escaped(word)}'/>`),
    '  </qemu:commandline>',
    '</domain>',
    '',
  ].join('\n')
}

/** libvirt takes a name without slashes, and XML takes no control characters. */
const domainName = ({ name }: Domain): string => name.replace(/[/\p{C}]/gu, '_') || 'guest'

const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** Returns the guest's name in such XML, or an empty text. Nothing else of it is read. */
export function nameInXml(xml: string): string {
  const text = /<name>([^<]{0,1024})<\/name>/.exec(xml)?.[1] ?? ''
  return text.replace(/&(?:#(\d{1,7})|([a-z]{1,4}));/g, (all, code?: string, name?: string) => {
    if (code === undefined) return NAMED[name ?? ''] ?? all
    return Number(code) <= 0x10ffff ? String.fromCodePoint(Number(code)) : all
  })
}
