/**
 * The guest of an xl.cfg: its grammar, the keys of a guest, the settings of libxl, and one refusal for each rule.
 *
 * Source: xen docs/man/xl.cfg.5.pod.in, xl-disk-configuration.5.pod.in and xl-network-configuration.5.pod.in.
 * test/peer/xl-cfg*.test.ts compares the same keys with xl itself, where it is installed.
 * Gotcha: xl ignores some invalid values with a warning; here they are refused.
 */
import t, { type Test } from 'tap'
import { decodeXlCfg, parseXlCfg } from '../../lib/protocol/xl-cfg.js'
import { readXlCfg, type XlCfgOverrides } from '../../lib/protocol/xl-cfg-guest.js'
import { refuses } from '../kernel/refusal.js'

const MIB = 2 ** 20
const MARK = '\ufeff'

t.test('the grammar: strings, numbers, lists, comments, and what joins them', async (t) => {
  const values = (text: string) => Object.fromEntries(parseXlCfg(text))
  t.same(values(''), {})
  t.same(values('# only a comment\n\n;;\n'), {})
  t.same(values('a = "x"; b = 0x10 # comment\nc = \'y\'\n'), { a: 'x', b: '0x10', c: 'y' })
  t.same(values('a = [ "x",\n  5, [\n], ["y"], ]\n'), { a: ['x', '5', [], ['y']] })
  t.same(values('a = "x"\na += "y"\nb += "z"\n'), { a: 'xy', b: 'z' })
  t.same(values('a = ["x"]\na += ["y", "z"]\n'), { a: ['x', 'y', 'z'] })
  t.same(values('a = "x"\na = "y"'), { a: 'y' }, 'the last one wins')
  t.same(values(String.raw`a = "\a\b\f\n\r\t\v\\\'\""`), { a: '\x07\b\f\n\r\t\v\\\'"' })
})

t.test('what breaks the grammar is refused by line and column', async (t) => {
  const bad = (text: string, at: string, expected: string, found: string) =>
    refuses(
      t,
      () => parseXlCfg(text),
      'bad-config',
      `the xl.cfg is invalid at ${at}: expected ${expected}, found ${found}`,
    )
  await bad('\n "a" = 5\n', 'line 2, column 2', 'a key', "'a'")
  await bad('a : 5\n', 'line 1, column 3', 'a name, a number, a string or one of = += [ ] , ;', "': 5'")
  await bad('a ]', 'line 1, column 3', '= or +=', "']'")
  await bad('a', 'line 1, column 2', '= or +=', 'the end')
  await bad('a =\n', 'line 1, column 4', 'a string, a number or [', 'the end of the line')
  await bad('a = "x" "y"\n', 'line 1, column 9', 'the end of the line, or ;', "'y'")
  await bad('a = ["x" "y"]\n', 'line 1, column 10', ', or ]', "'y'")
  await bad(`a = ${'['.repeat(17)}`, 'line 1, column 21', 'lists at most 16 deep', "'['")
  await bad('a = "x"\na += ["y"]\n', 'line 2, column 1', 'the kind of value that a already has', "'a'")
  await bad('a = ["x"]\na += "y"\n', 'line 2, column 1', 'the kind of value that a already has', "'a'")
  await bad('a = 5 # no newline', 'line 1, column 7', 'a newline after the comment', "'# no newline'")
  await bad(String.raw`a = "\x"`, 'line 1, column 6', String.raw`one of \a \b \f \n \r \t \v \\`, String.raw`'\x'`)
})

t.test('a file is UTF-8 without a mark, and of a length that a configuration may have', async (t) => {
  t.equal(decodeXlCfg(Buffer.from('name = "é"')), 'name = "é"')
  const bad = (act: () => unknown, text: string) => refuses(t, act, 'bad-config', text)
  await bad(
    () => parseXlCfg(`${MARK}a = 5`),
    'begins with a byte order mark: expected UTF-8 without one, found that of UTF-8',
  )
  await bad(() => decodeXlCfg(Uint8Array.of(0xff, 0xfe, 0x61, 0)), 'found that of UTF-16')
  await bad(() => parseXlCfg(' '.repeat(MIB + 1)), `is too long: expected at most ${MIB} characters, found ${MIB + 1}`)
  await bad(() => decodeXlCfg(new Uint8Array(3 * MIB + 1)), `found ${3 * MIB + 1} bytes`)
})

t.test('the guest: memory, vcpus, files, command line', async (t) => {
  const guest = readXlCfg(
    'name = "g"\nkernel = "/boot/k"\nramdisk = "/boot/r"\nmemory = 0x40\nmaxmem = "0200"\nvcpus = 2\nmaxvcpus = 4\nextra = "quiet"\nroot = "/dev/xvda1"\n',
  )
  t.same(guest, {
    kernel: '/boot/k',
    ramdisk: '/boot/r',
    config: {
      type: 'pv',
      settings: {
        b_info: {
          kernel: '/boot/k',
          ramdisk: '/boot/r',
          cmdline: 'root=/dev/xvda1 quiet',
          avail_vcpus: [0, 1],
        },
      },
      memory: 64 * MIB,
      maxmem: 128 * MIB,
      vcpus: 4,
      cmdline: 'root=/dev/xvda1 quiet',
      name: 'g',
    },
    unused: [],
    notCarried: [],
    unknown: [],
    warnings: [],
  })
  t.same(readXlCfg('').config, { type: 'pv' })
  t.same(readXlCfg('root = "/dev/xvda1"').config.cmdline, 'root=/dev/xvda1')
  t.same(readXlCfg('extra = "quiet"').config.cmdline, 'quiet')
  t.equal(readXlCfg('maxmem = 32').config.memory, 32 * MIB, 'maxmem is the memory too')
  t.equal(readXlCfg('maxvcpus = 3').config.vcpus, 3)
  t.equal(readXlCfg('vcpus = 3').config.vcpus, 3)
  t.equal(readXlCfg('vcpus = 0').config.vcpus, undefined)
})

t.test('the type, by the file or by the caller', async (t) => {
  const typeOf = (text: string, overrides: XlCfgOverrides = {}) => readXlCfg(text, overrides).config.type
  t.equal(typeOf(''), 'pv')
  t.equal(typeOf('type = "pvh"'), 'pvh')
  t.equal(typeOf('builder = "generic"\ntype = "pv"'), 'pv')
  t.equal(typeOf('type = "pvh"\npvshim = 0'), 'pvh')
  for (const type of ['pv', 'pvh', 'linux', 'auto'] as const) {
    t.equal(typeOf('type = "hvm"\nbuilder = "hvm"\npvshim = 1', { type }), type, 'those keys are not read then')
  }
  const linux = readXlCfg('kernel = "k"\non_crash = "destroy"\nvif = []\nmemory = 5', { type: 'linux' })
  t.notOk('settings' in linux.config, 'settings are for a guest on Xen')
  t.same(linux.unused, ['on_crash', 'vif'])
  const without = readXlCfg('kernel = "k"\nramdisk = "r"', { without: ['ramdisk'] })
  t.same(without.config, { type: 'pv' }, 'settings name all of the files or none')
  t.equal(without.ramdisk, undefined)
  await refusals(t, [
    ['builder = "linux"', "builder is invalid: expected generic, found 'linux'"],
    [
      'builder = "generic"\ntype = "pvh"',
      "builder is invalid: expected a builder that agrees with type 'pvh', found 'generic'",
    ],
    ['builder = "hvm"', "builder is invalid: expected generic: an hvm guest starts in firmware, found 'hvm'"],
    ['type = "hvm"', "type is invalid: expected pv or pvh: an hvm guest starts in firmware, found 'hvm'"],
    ['type = "pvh"\npvshim = 1', "pvshim is invalid: expected 0: xl starts Xen's shim with this kernel as its module"],
  ])
})

t.test('keys that are unknown, unused or not carried, and warnings', async (t) => {
  const text = 'memroy = 5\nzzzzzzzzzzzzzz = 1\ncpus = "1"\nboot = "c"\nfeatures = "a"\ncmdline = "x"\nextra = "y"\n'
  const guest = readXlCfg(text)
  t.same(guest.unknown, [{ key: 'memroy', meant: 'memory' }, { key: 'zzzzzzzzzzzzzz' }])
  t.same(guest.notCarried, ['cpus'])
  t.same(guest.unused, ['boot'])
  t.same(guest.warnings, [
    'extra is ignored, since cmdline is set',
    'features is used for a PV guest only, and xl ignores it',
  ])
  t.equal(guest.config.cmdline, 'x')
  const many = Array.from(
    { length: 101 },
    (_, i) => `memory${String.fromCharCode(97 + (i >> 4), 97 + (i & 15))} = 1`,
  ).join('\n')
  const { unknown } = readXlCfg(many)
  t.equal(unknown.length, 101)
  t.equal(unknown[99]?.meant, 'memory')
  t.equal(unknown[100]?.meant, undefined, 'a search for the first hundred alone')
  t.same(readXlCfg('cmdline = "x"\nroot = "a"\nextra = "b"\nbootloader = "pygrub"').warnings, [
    'root and extra are ignored, since cmdline is set',
    "bootloader 'pygrub' is ignored: name the kernel that it finds on the guest's disk",
  ])
  t.same(readXlCfg('firmware = "pvgrub32"').warnings, [
    "firmware 'pvgrub32' is ignored: name the kernel file that comes with xl",
  ])
  t.same(readXlCfg('firmware = "pvgrub64"').kernel, undefined)
})

/** Checks that each text is refused in a message about its key. */
async function refusals(t: Test, cases: readonly (readonly [text: string, message: string])[]): Promise<void> {
  for (const [text, message] of cases)
    await refuses(t, () => readXlCfg(text), 'bad-config', `the xl.cfg's ${message}`, text)
}

t.test('values of the wrong kind', async (t) => {
  await refusals(t, [
    ['memory = [5]', 'memory is invalid: expected one value, found a list'],
    ['memory = "1x"', "memory is invalid: expected a whole number, found '1x'"],
    ['memory = 1\nmemory += 2', "memory is invalid: expected a number set by =, found '12' joined by +="],
    ['vif = "x"', "vif is invalid: expected a list, found 'x'"],
    ['vif = [["x"]]', 'vif is invalid: expected a list of values, found a list of lists'],
    ['vcpus = 4\nmaxvcpus = 2', 'maxvcpus is invalid: expected at least vcpus, which is 4, found 2'],
    ['firmware = "ovmf"', "firmware is invalid: expected pvgrub32 or pvgrub64, found 'ovmf'"],
    [
      'kernel = "k"\nfirmware = "pvgrub64"',
      "firmware is invalid: expected either firmware or kernel, not both, found 'pvgrub64'",
    ],
    ['uuid = "1"', "uuid is invalid: expected a UUID such as 123e4567-e89b-12d3-a456-426614174000, found '1'"],
    ['on_crash = "explode"', 'on_crash is invalid: expected destroy, restart, rename-restart, preserve'],
    ['tsc_mode = 9', "tsc_mode is invalid: expected default, always_emulate, native, native_paravirt, found '9'"],
    ['iomem = ["x"]', "iomem is invalid: expected START,NUMBER[@GFN], hexadecimal, found 'x'"],
    ['ioports = ["9-8"]', "ioports is invalid: expected FIRST[-LAST], hexadecimal, found '9-8'"],
    ['ioports = ["x"]', "ioports is invalid: expected FIRST[-LAST], hexadecimal, found 'x'"],
    ['irqs = ["x"]', "irqs is invalid: expected numbers, found 'x'"],
  ])
})

const settingsOf = (text: string, type: 'pv' | 'pvh' = 'pv') => readXlCfg(text, { type }).config.settings

t.test('settings of libxl, in its words and units', async (t) => {
  t.equal(settingsOf('memory = 5'), undefined)
  const text = [
    'uuid = "123E4567-E89B-12D3-A456-426614174000"',
    'pool = "p"',
    'hap = 0',
    'passthrough = "sync_pt"',
    'iomem = [ "f0,2", "0x10,0x1@20" ]',
    'ioports = [ "2f8-2ff", 70 ]',
    'irqs = [ 5, 7 ]',
    'shadow_memory = 8',
    'tsc_mode = 2',
    'altp2m = "mixed"',
    'device_model_args = [ "-a", "b" ]',
    'device_model_version = "qemu-xen"',
    'cpu_weight = 300',
    'on_crash = "rename-restart"',
    'on_reboot = "soft-reset"',
    'dtdev = [ "/a" ]',
  ].join('\n')
  t.same(settingsOf(text), {
    c_info: {
      uuid: '123e4567-e89b-12d3-a456-426614174000',
      pool_name: 'p',
      hap: 'False',
      passthrough: 'sync_pt',
    },
    b_info: {
      iomem: [
        { start: 0xf0, number: 2 },
        { start: 0x10, number: 1, gfn: 0x20 },
      ],
      ioports: [
        { first: 0x2f8, number: 8 },
        { first: 0x70, number: 1 },
      ],
      irqs: [5, 7],
      shadow_memkb: 8192,
      tsc_mode: 'native',
      altp2m: 'mixed',
      extra: ['-a', 'b'],
      device_model_version: 'qemu_xen',
      sched_params: { weight: 300 },
    },
    on_crash: 'restart_rename',
    on_reboot: 'soft_reset',
    dtdevs: [{ path: '/a' }],
  })
  t.same(settingsOf('timer_mode = 1\ne820_host = 1', 'pvh'), { b_info: { timer_mode: 'no_delay_for_missed_ticks' } })
  t.same(settingsOf('timer_mode = 1\ne820_host = 1'), { b_info: { 'type.pv': { e820_host: 'True' } } })
})

t.test('disks', async (t) => {
  const disks = (text: string) => settingsOf(`disk = [ '${text}' ]`)?.disks
  const cases: readonly (readonly [text: string, disk: object])[] = [
    ['/a,raw,xvda,w', { readwrite: 1, pdev_path: '/a', format: 'raw', vdev: 'xvda' }],
    ['/a,,xvda', { readwrite: 1, pdev_path: '/a', format: 'raw', vdev: 'xvda' }],
    ['/a,qcow2,xvda,ro', { pdev_path: '/a', format: 'qcow2', vdev: 'xvda' }],
    ['/a,,xvda,', { readwrite: 1, pdev_path: '/a', format: 'raw', vdev: 'xvda' }],
    ['phy:/dev/a,xvda,w', { readwrite: 1, format: 'raw', pdev_path: '/dev/a', vdev: 'xvda' }],
    ['http:/a,raw,xvda', { readwrite: 1, pdev_path: 'http:/a', format: 'raw', vdev: 'xvda' }],
    ['/a,raw,hdc:cdrom', { pdev_path: '/a', format: 'raw', is_cdrom: 1, removable: 1, vdev: 'hdc' }],
    ['/a,raw,hda:disk', { readwrite: 1, pdev_path: '/a', format: 'raw', vdev: 'hda' }],
    ['vdev=hdc,cdrom', { vdev: 'hdc', is_cdrom: 1, removable: 1, format: 'empty' }],
    ['cdrom,devtype=disk,vdev=hdc,/a', { readwrite: 1, vdev: 'hdc', pdev_path: '/a', format: 'raw' }],
    [
      'vdev=xvda,devtype=cdrom,access=rw,format=vhd,target=/a,b',
      { vdev: 'xvda', is_cdrom: 1, removable: 1, format: 'vhd', pdev_path: '/a,b' },
    ],
    [
      'vdev=xvda,script=s,backend=b,backendtype=tap,discard,direct-io-safe,target=/a',
      {
        readwrite: 1,
        vdev: 'xvda',
        script: 's',
        backend_domname: 'b',
        backend: 'tap',
        discard_enable: 'True',
        direct_io_safe: 1,
        pdev_path: '/a',
        format: 'raw',
      },
    ],
  ]
  for (const [text, disk] of cases) t.same(disks(text), [disk], text)
  const bad = async (text: string, message: string) =>
    refusals(t, [[`disk = [ '${text}' ]`, `disk is invalid: expected ${message}`]])
  await bad('/a,raw,xvda,w,more', "at most four parts without a name, found 'more'")
  await bad('/a,raw,,w', "a disk with a vdev, found '/a,raw,,w'")
  await bad('/a,raw', "a disk with a vdev, found '/a,raw'")
  await bad('vdev=xvda', "a disk with a target, or an empty CD drive, found 'vdev=xvda'")
  await bad('/a,zip,xvda', "a format: raw, qcow, qcow2, vhd, qed, empty, found 'zip'")
  await bad('/a,raw,xvda:tape', "a vdev that ends in :cdrom or :disk, or in neither, found 'xvda:tape'")
  await bad('/a,raw,xvda,x', "an access: r, ro, w, rw, found 'x'")
  await bad('backendtype=x', "a backendtype: phy, tap, qdisk, standalone, found 'x'")
  await bad('devtype=x', "a devtype: cdrom, disk, found 'x'")
  await bad(
    'colour=red',
    "a key of a disk: target, format, vdev, access, script, backend, backendtype, devtype, found 'colour=red'",
  )
})

t.test('network cards', async (t) => {
  const nics = (text: string) => settingsOf(`vif = [ '${text}' ]`)?.nics
  t.same(nics(''), [{ devid: 0 }])
  t.same(nics('mac=0:1:2:a:B:cc, bridge=br0,ip=10.0.0.1,script=s,model=e1000,vifname=v,backend=b,gatewaydev=g'), [
    {
      devid: 0,
      mac: '00:01:02:0a:0b:cc',
      bridge: 'br0',
      ip: '10.0.0.1',
      script: 's',
      model: 'e1000',
      ifname: 'v',
      backend_domname: 'b',
      gatewaydev: 'g',
    },
  ])
  t.same(nics('devid=3,mtu=9000,type=vif'), [{ devid: 3, mtu: 9000, nictype: 'vif' }])
  t.same(nics('type=ioemu'), [{ devid: 0, nictype: 'vif_ioemu' }])
  const rate = (value: string) => nics(`rate=${value}`)
  t.same(rate('10Mb/s'), [{ devid: 0, rate_bytes_per_interval: 62_500, rate_interval_usecs: 50_000 }])
  t.same(rate('1MB/s@20ms'), [{ devid: 0, rate_bytes_per_interval: 20_000, rate_interval_usecs: 20_000 }])
  t.same(rate('8B/s@1s'), [{ devid: 0, rate_bytes_per_interval: 8, rate_interval_usecs: 1_000_000 }])
  const bad = async (text: string, message: string) =>
    refusals(t, [[`vif = [ '${text}' ]`, `vif is invalid: expected ${message}`]])
  await bad('mac', "parts such as KEY=VALUE, found 'mac'")
  await bad('mac=x', "a MAC, found 'mac=x'")
  await bad('mtu=x', "a number, found 'mtu=x'")
  await bad('type=x', "a type: vif, ioemu, found 'type=x'")
  await bad('rate=fast', "a rate such as 10Mb/s or 1MB/s@20ms, found 'rate=fast'")
  await bad('colour=red', 'a key of a vif: mac, devid, mtu, type, rate, bridge')
})

t.test('other devices', async (t) => {
  t.same(settingsOf("vtpm = [ 'backend=b,uuid=u', 'backend=c' ]")?.vtpms, [
    { devid: 0, backend_domname: 'b', uuid: 'u' },
    { devid: 1, backend_domname: 'c' },
  ])
  t.same(settingsOf("p9 = [ 'tag=t,path=/p,security_model=none' ]")?.p9s, [
    { tag: 't', path: '/p', security_model: 'none' },
  ])
  t.same(settingsOf("usbctrl = [ 'type=qusb,version=2,ports=8' ]")?.usbctrls, [
    { devid: 0, type: 'qusb', version: 2, ports: 8 },
  ])
  t.match(settingsOf("vfb = [ 'vnc=1,vncdisplay=3,sdl=0', '' ]"), {
    vfbs: [{ devid: 0, vnc: { enable: 'True', display: 3 }, sdl: { enable: 'False' } }, { devid: 1 }],
    vkbs: [{ devid: 0 }, { devid: 1 }],
  })
  t.same(settingsOf("channel = [ 'name=c,connection=socket,path=/s,backend=b', 'name=d,connection=pty' ]")?.channels, [
    { devid: 0, backend_domname: 'b', name: 'c', 'connection.socket': { path: '/s' } },
    { devid: 1, name: 'd', 'connection.pty': {} },
  ])
  await refusals(t, [
    ["usbctrl = [ 'version=x' ]", "usbctrl is invalid: expected a valid version, found 'x'"],
    ["usbctrl = [ 'type=x' ]", "usbctrl is invalid: expected a valid type, found 'x'"],
    ["vfb = [ 'vnc=x' ]", "vfb is invalid: expected a valid vnc, found 'x'"],
    ["vtpm = [ 'x=1' ]", "vtpm is invalid: expected parts backend, uuid, found 'x=1'"],
    ["channel = [ 'name=c,x=1' ]", "channel is invalid: expected parts name, backend, connection, path, found 'x'"],
    ["channel = [ 'connection=pty' ]", "channel is invalid: expected a channel with a name, found 'connection=pty'"],
    ["channel = [ 'name=c' ]", "channel is invalid: expected connection=pty or socket, found 'name=c'"],
  ])
})

t.test("PCI devices, with which a PV guest gets the host's memory map", async (t) => {
  const pci = (text: string, more = '') => settingsOf(`pci = [ '${text}' ]\n${more}`)
  const device = { domain: 0, bus: 3, dev: 0x1f, func: 2, vdevfn: 0, vfunc_mask: 1, rdm_policy: 'strict' }
  const map = (value: string) => ({ b_info: { 'type.pv': { e820_host: value } } })
  t.same(pci('03:1f.2'), { pcidevs: [device], ...map('True') })
  t.same(pci('03:1f.2', 'e820_host = 0'), { pcidevs: [device], ...map('False') }, 'unless the file says otherwise')
  t.same(settingsOf('pci = []'), { pcidevs: [] })
  t.same(settingsOf("pci = [ '03:1f.2' ]", 'pvh'), { pcidevs: [device] })
  t.same(pci('0001:03:1f.*@5,seize=1,permissive=0,rdm_policy=relaxed')?.pcidevs, [
    {
      ...device,
      domain: 1,
      func: 0,
      vdevfn: 5 << 3,
      vfunc_mask: 0xffffffff,
      seize: true,
      permissive: false,
      rdm_policy: 'relaxed',
    },
  ])
  await refusals(t, [
    ["pci = [ 'x' ]", "pci is invalid: expected [DDDD:]BB:DD.F[@VSLOT], found 'x'"],
    [
      "pci = [ '03:1f.2,seize=2' ]",
      'pci is invalid: expected parts msitranslate, power_mgmt, permissive, seize of 0 or 1',
    ],
  ])
})
