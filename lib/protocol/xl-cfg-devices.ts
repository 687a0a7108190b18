/**
 * The devices of an xl.cfg, as libxl's JSON has them.
 *
 * Source: xl-disk-configuration(5), xl-network-configuration(5), xl-pci-configuration(5); tools/libs/util/libxlu_disk_l.l and tools/xl/xl_parse.c
 * (the meanings, not the code).
 * Gotcha: `target=` takes the rest of a disk's text, commas included. The other parts end at a comma.
 */
import { type LibxlSettings, type LibxlValue, merge, nested } from '../guest/libxl-config.js'
import { refuse } from './xl-cfg-values.js'

type Fields = Record<string, LibxlValue>

const FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty']
const BACKENDS = ['phy', 'tap', 'qdisk', 'standalone']

/** Deprecated prefixes of a disk's target, and the format that each stands for. */
const PREFIXES: Readonly<Record<string, string>> = {
  phy: 'raw',
  file: 'raw',
  raw: 'raw',
  qcow: 'qcow',
  qcow2: 'qcow2',
  vhd: 'vhd',
}

/** Returns a disk. @throws DomainBuilderError `bad-config` for text that xl refuses, and for the keys of COLO. */
export function readDisk(text: string, _index: number, key: string): LibxlSettings {
  const disk: Fields = { readwrite: 1 }
  const wrong = (expected: string, found: string): never => refuse(key, expected, `'${found}'`)
  const places = [
    (value: string) => setTarget(disk, value),
    (value: string) => setFormat(disk, value, wrong),
    (value: string) => setVdev(disk, value, wrong),
    (value: string) => setAccess(disk, value, wrong),
  ]
  let place = 0
  let rest = text.trim()
  while (rest !== '') {
    if (/^target=/.test(rest)) {
      setTarget(disk, rest.slice('target='.length))
      break
    }
    const end = rest.indexOf(',')
    const part = (end < 0 ? rest : rest.slice(0, end)).trim()
    rest = end < 0 ? '' : rest.slice(end + 1).trimStart()
    const [, name, value = ''] = /^([a-z-]+)=(.*)$/.exec(part) ?? []
    if (name !== undefined) setNamed(disk, name, value, wrong)
    else if (FLAGS.has(part)) Object.assign(disk, FLAGS.get(part))
    else {
      const set = places[place++] ?? (() => wrong('at most four parts without a name', part))
      const [, prefix, after = ''] = place === 1 ? (/^([a-z0-9]+):(.*)$/.exec(part) ?? []) : []
      const format = prefix === undefined ? undefined : PREFIXES[prefix]
      if (format === undefined) set(part)
      else {
        // A target with a prefix has no part for its format.
        disk.format = format
        setTarget(disk, after)
        place = 2
      }
    }
  }
  if (disk.vdev === undefined) wrong('a disk with a vdev', text)
  const isEmptyDrive = disk.is_cdrom !== undefined && disk.pdev_path === undefined
  if (disk.pdev_path === undefined && !isEmptyDrive) wrong('a disk with a target, or an empty CD drive', text)
  if (isEmptyDrive) disk.format = 'empty'
  disk.format ??= 'raw'
  if (disk.readwrite === 0 || disk.is_cdrom !== undefined) delete disk.readwrite
  return disk
}

type Wrong = (expected: string, found: string) => never

const CDROM = { is_cdrom: 1, removable: 1 }
const FLAGS = new Map<string, Fields>([
  ['cdrom', CDROM],
  ['discard', { discard_enable: 'True' }],
  ['no-discard', { discard_enable: 'False' }],
  ['direct-io-safe', { direct_io_safe: 1 }],
])

function setTarget(disk: Fields, value: string): void {
  if (value !== '') disk.pdev_path = value
}

function setFormat(disk: Fields, value: string, wrong: Wrong): void {
  if (value === '') return
  disk.format = FORMATS.find((format) => format === value) ?? wrong(`a format: ${FORMATS.join(', ')}`, value)
}

function setVdev(disk: Fields, value: string, wrong: Wrong): void {
  const [vdev = '', kind] = value.split(':')
  if (vdev === '') return
  if (kind === 'cdrom') Object.assign(disk, CDROM)
  else if (kind !== undefined && kind !== 'disk') wrong('a vdev that ends in :cdrom or :disk, or in neither', value)
  disk.vdev = vdev
}

function setAccess(disk: Fields, value: string, wrong: Wrong): void {
  if (/^(w|rw)$/.test(value)) disk.readwrite = 1
  else if (/^(r|ro)$/.test(value)) disk.readwrite = 0
  else if (value !== '') wrong('an access: r, ro, w, rw', value)
}

function setNamed(disk: Fields, name: string, value: string, wrong: Wrong): void {
  const named: Readonly<Record<string, () => void>> = {
    format: () => setFormat(disk, value, wrong),
    vdev: () => setVdev(disk, value, wrong),
    access: () => setAccess(disk, value, wrong),
    script: () => {
      disk.script = value
    },
    backend: () => {
      disk.backend_domname = value
    },
    backendtype: () => {
      disk.backend = BACKENDS.find((type) => type === value) ?? wrong(`a backendtype: ${BACKENDS.join(', ')}`, value)
    },
    devtype: () => {
      if (value === 'cdrom') Object.assign(disk, CDROM)
      else if (value === 'disk') for (const part of Object.keys(CDROM)) delete disk[part]
      else wrong('a devtype: cdrom, disk', value)
    },
  }
  if (Object.hasOwn(named, name)) named[name]?.()
  else wrong(`a key of a disk: target, ${Object.keys(named).join(', ')}`, `${name}=${value}`)
}

/** Returns the parts of a device's text, KEY=VALUE after a comma each. */
function partsOf(text: string, key: string): { readonly name: string; readonly value: string }[] {
  const parts = text.split(',').map((one) => one.trim())
  return parts.flatMap((part) => {
    if (part === '') return []
    const [, name, value = ''] = /^([\w-]+)=(.*)$/.exec(part) ?? []
    return name === undefined ? refuse(key, 'parts such as KEY=VALUE', `'${part}'`) : [{ name, value }]
  })
}

type FieldReader = (value: string) => LibxlValue | undefined
const asText: FieldReader = (value) => value
const asNumber: FieldReader = (value) => (/^\d{1,9}$/.test(value) ? Number(value) : undefined)
const asFlag: FieldReader = (value) => (/^\d{1,9}$/.test(value) ? (Number(value) === 0 ? 'False' : 'True') : undefined)
const asOneOf =
  (...words: readonly string[]): FieldReader =>
  (value) =>
    words.find((word) => word === value)

/** A device of simple parts: the field of each part, and whether the device has a number. */
interface SimpleDevice {
  readonly numbered: boolean
  readonly fields: Readonly<Record<string, readonly [path: string, read: FieldReader]>>
}

const SIMPLE = {
  vtpm: { numbered: true, fields: { backend: ['backend_domname', asText], uuid: ['uuid', asText] } },
  p9: {
    numbered: false,
    fields: {
      backend: ['backend_domname', asText],
      tag: ['tag', asText],
      path: ['path', asText],
      security_model: ['security_model', asText],
    },
  },
  usbctrl: {
    numbered: true,
    fields: {
      type: ['type', asOneOf('auto', 'pv', 'devicemodel', 'qusb')],
      version: ['version', asNumber],
      ports: ['ports', asNumber],
    },
  },
  vfb: {
    numbered: true,
    fields: {
      vnc: ['vnc.enable', asFlag],
      vnclisten: ['vnc.listen', asText],
      vncpasswd: ['vnc.passwd', asText],
      vncdisplay: ['vnc.display', asNumber],
      vncunused: ['vnc.findunused', asFlag],
      sdl: ['sdl.enable', asFlag],
      opengl: ['sdl.opengl', asFlag],
      display: ['sdl.display', asText],
      xauthority: ['sdl.xauthority', asText],
      keymap: ['keymap', asText],
    },
  },
} as const satisfies Readonly<Record<string, SimpleDevice>>

/** Returns the reader of a device. It throws DomainBuilderError `bad-config` for an unknown part or an invalid value. */
export const readSimple =
  (kind: keyof typeof SIMPLE) =>
  (text: string, index: number, key: string): LibxlSettings => {
    const { numbered, fields }: SimpleDevice = SIMPLE[kind]
    let device: LibxlSettings = numbered ? { devid: index } : {}
    for (const { name, value } of partsOf(text, key)) {
      const field = Object.hasOwn(fields, name) ? fields[name] : undefined
      if (field === undefined) return refuse(key, `parts ${Object.keys(fields).join(', ')}`, `'${name}=${value}'`)
      const [path, read] = field
      const found = read(value) ?? refuse(key, `a valid ${name}`, `'${value}'`)
      device = merge(device, nested(path.split('.'), found))
    }
    return device
  }

/** Returns a channel, whose connection is the name of a member. @throws DomainBuilderError `bad-config`. */
export function readChannel(text: string, index: number, key: string): LibxlSettings {
  const { name, backend, connection, path, ...others } = Object.fromEntries(
    partsOf(text, key).map((part) => [part.name, part.value]),
  )
  const [other] = Object.keys(others)
  if (other !== undefined) refuse(key, 'parts name, backend, connection, path', `'${other}'`)
  if (name === undefined) refuse(key, 'a channel with a name', `'${text}'`)
  if (connection !== 'pty' && connection !== 'socket') refuse(key, 'connection=pty or socket', `'${text}'`)
  return {
    devid: index,
    ...(backend === undefined ? {} : { backend_domname: backend }),
    name: name as string,
    [`connection.${connection}`]: connection === 'socket' && path !== undefined ? { path } : {},
  }
}

const hexadecimal = (digits: string | undefined): number => Number.parseInt(digits ?? '0', 16)

/** The parts of a PCI device that are a flag. */
const PCI_FLAGS = ['msitranslate', 'power_mgmt', 'permissive', 'seize']

/** Returns a PCI device, [DDDD:]BB:DD.F[@VSLOT] and its parts. @throws DomainBuilderError `bad-config`. */
export function readPci(text: string, _index: number, key: string): LibxlSettings {
  const [address = '', ...parts] = text.split(',')
  const [, domain, bus, dev, func, slot] =
    /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7*])(?:@([0-9a-f]{1,2}))?$/i.exec(address.trim()) ?? []
  if (bus === undefined) refuse(key, '[DDDD:]BB:DD.F[@VSLOT]', `'${address}'`)
  const pci: Fields = {
    domain: hexadecimal(domain),
    bus: hexadecimal(bus),
    dev: hexadecimal(dev),
    func: func === '*' ? 0 : hexadecimal(func),
    vdevfn: hexadecimal(slot) << 3,
    vfunc_mask: func === '*' ? 0xffff_ffff : 1,
    rdm_policy: 'strict',
  }
  for (const { name, value } of partsOf(parts.join(','), key)) {
    if (PCI_FLAGS.includes(name) && /^[01]$/.test(value)) pci[name] = value === '1'
    else if (name === 'rdm_policy' && /^(strict|relaxed)$/.test(value)) pci[name] = value
    else refuse(key, `parts ${PCI_FLAGS.join(', ')} of 0 or 1, rdm_policy`, `'${name}=${value}'`)
  }
  return pci
}

/** The keys of a network interface whose text is carried unchanged. */
const NIC_TEXTS: Readonly<Record<string, string>> = {
  bridge: 'bridge',
  ip: 'ip',
  script: 'script',
  model: 'model',
  vifname: 'ifname',
  backend: 'backend_domname',
  gatewaydev: 'gatewaydev',
}

/** Returns a network interface. @throws DomainBuilderError `bad-config` for text that xl refuses, and for others' keys. */
export function readNic(text: string, index: number, key: string): LibxlSettings {
  const nic: Fields = { devid: index }
  for (const { name, value } of partsOf(text, key)) {
    const wrong = (expected: string): never => refuse(key, expected, `'${name}=${value}'`)
    if (Object.hasOwn(NIC_TEXTS, name)) nic[NIC_TEXTS[name] as string] = value
    else if (name === 'mac') nic.mac = /^([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}$/i.test(value) ? macOf(value) : wrong('a MAC')
    else if (name === 'devid' || name === 'mtu') nic[name] = /^\d{1,9}$/.test(value) ? Number(value) : wrong('a number')
    else if (name === 'type') {
      if (value !== 'vif' && value !== 'ioemu') wrong('a type: vif, ioemu')
      nic.nictype = value === 'vif' ? 'vif' : 'vif_ioemu'
    } else if (name === 'rate') Object.assign(nic, rateOf(value) ?? wrong('a rate such as 10Mb/s or 1MB/s@20ms'))
    else wrong(`a key of a vif: mac, devid, mtu, type, rate, ${Object.keys(NIC_TEXTS).join(', ')}`)
  }
  return nic
}

const macOf = (value: string): string =>
  value
    .split(':')
    .map((byte) => byte.padStart(2, '0').toLowerCase())
    .join(':')

const SCALES: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9 }
const MICROSECONDS: Readonly<Record<string, number>> = { s: 1e6, ms: 1e3, us: 1 }
const DEFAULT_INTERVAL = 50_000

/** Returns a rate, as bytes in an interval of microseconds. */
function rateOf(value: string): Fields | undefined {
  const [, count, scale = '', unit, interval] =
    /^(\d{1,9})([KMG]?)([Bb])\/s(?:@(\d{1,9}(?:us|ms|s)))?$/.exec(value) ?? []
  if (count === undefined) return undefined
  const [, time = '', timeUnit = ''] = /^(\d+)(us|ms|s)$/.exec(interval ?? '') ?? []
  const usecs = interval === undefined ? DEFAULT_INTERVAL : Number(time) * (MICROSECONDS[timeUnit] as number)
  const bytesPerSecond = (Number(count) * (SCALES[scale] as number)) / (unit === 'b' ? 8 : 1)
  return { rate_bytes_per_interval: Math.floor((bytesPerSecond * usecs) / 1e6), rate_interval_usecs: usecs }
}
