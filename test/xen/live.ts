/**
 * Guests that our library creates on the Xen below, from Node in dom0: they are what `xl create` makes of the same file.
 *
 * Source: in-dom0 has the programs, which import this package by its name; build-node.sh makes what they need.
 * Gotcha: a program must not start a line with a number in brackets: such a line of the log is a step.
 */
import { join } from 'node:path'
import type { Test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import type { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { probeKernel } from '../fixtures/probe-kernel.js'
import { kernelPath } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import type { CheckedCase } from './check.js'
import { forXl, type GuestSpec, lostKernel } from './guests.js'
import { type XenResult, xenBuild } from './harness.js'
import { checkLinuxConsole, saveAndRestore } from './linux.js'
import { captureCases, captureCases32 } from './live-capture.js'
import { openXenCase } from './open-xen.js'
import { programs } from './programs.js'

/** The case of a guest that is described for xl, with programs. */
const forNode = (spec: GuestSpec, ...names: readonly string[]): Pick<Required<CheckedCase>, 'files' | 'config'> => {
  const { files, config } = forXl(spec)
  return { files: { ...files, ...programs(...names) }, config }
}

/** Starts a program that makes the guest and waits for its end; its words go to a file. */
const CREATE = 'node create.mjs guest.cfg >said 2>&1 &'

/** A guest that ends by itself is made by xl, then by us; both have the same output, and leave nothing. */
export function createdAsByXl(
  name: string,
  spec: GuestSpec,
  ending: string,
  compare: (t: Test, byXl: string, byUs: string, result: XenResult) => void,
): CheckedCase {
  return {
    name,
    ...forNode(spec, 'create'),
    steps: [
      'node_ready',
      'host=$(state_of_host)',
      'xl create guest.cfg',
      'gone 60',
      'cp $CONSOLE by-xl',
      'node create.mjs guest.cfg',
      'gone 5',
      'cp $CONSOLE by-both',
      'give by-xl by-both',
      'same_state "$host"',
    ],
    seconds: 240,
    check(t, result) {
      const [byXl, both] = ['by-xl', 'by-both'].map((file) => Buffer.from(result.file(file)).toString('latin1'))
      t.match(result.log, new RegExp(`^ended: ${ending}$`, 'm'), 'our program saw its end')
      compare(t, byXl ?? '', (both ?? '').slice(byXl?.length), result)
    },
  }
}

/** The same text on the console. */
export const sameConsole =
  (said: RegExp) =>
  (t: Test, byXl: string, byUs: string): void => {
    t.match(byUs, said)
    t.equal(byUs, byXl, `the same ${byXl.length} bytes`)
  }

/** Linux, created by us: it reaches its /init, and xl saves and restores it. */
export const liveLinux = (name: string, spec: GuestSpec): CheckedCase => ({
  name,
  ...forNode(spec, 'create'),
  steps: [
    'node_ready',
    'host=$(state_of_host)',
    CREATE,
    'console GUEST-READY 120',
    'cat said',
    'xl list $NAME',
    ...saveAndRestore(),
    'xl destroy $NAME',
    'gone',
    'same_state "$host"',
  ],
  seconds: 300,
  check(t, { console, log }) {
    checkLinuxConsole(t, console, spec)
    t.match(log, /^launched in [\d.]+ s$/m)
    t.equal(console.match(/GUEST-ALIVE 1\r?\n/g)?.length, 1, 'it went on, and did not start again')
  },
})

/** A hundred PV guests and twenty PVH ones, made and destroyed: the host is as before. */
const liveRounds = (): CheckedCase => ({
  name: 'live-rounds',
  files: { ...programs('rounds'), pv: helloKernel(), pvh: probeKernel('pvh') },
  steps: [
    'node_ready',
    // The first guest of a host leaves a file and folders of libxl.
    'node rounds.mjs pv pv 1',
    'host=$(state_of_host)',
    'node rounds.mjs pv pv 100',
    'node rounds.mjs pvh pvh 20',
    'same_state "$host"',
  ],
  seconds: 600,
  check(t, { log }) {
    t.match(log, /^100 rounds of pv, .*\ndomains: 1 before, 1 after$/m)
    t.match(log, /^20 rounds of pvh, .*\ndomains: 1 before, 1 after$/m)
  },
})

/** Processes that get a signal, each at another call. */
const SIGNALS = 8
/** The last of these calls: later ones may come after the guest's start, which a killed process does not take back. */
const LAST_CALL = { pv: 24, pvh: 36 } as const

/** A failed call, and a signal, at many calls of a launch: nothing is left. */
const liveFaults = (type: 'pv' | 'pvh'): CheckedCase => ({
  name: `live-faults-${type}`,
  files: { ...programs('faults', 'killed'), kernel: type === 'pvh' ? probeKernel('pvh') : helloKernel() },
  steps: [
    'node_ready',
    'host=$(state_of_host)',
    `node faults.mjs kernel ${type}`,
    `node killed.mjs kernel ${type} SIGTERM ${SIGNALS} ${LAST_CALL[type]}`,
    `node killed.mjs kernel ${type} SIGKILL ${SIGNALS} ${LAST_CALL[type]}`,
    'same_state "$host"',
  ],
  seconds: 600,
  check(t, { log }) {
    const injected = Number(new RegExp(`^(\\d+) faults injected into ${type}$`, 'm').exec(log)?.[1])
    t.ok(injected > LAST_CALL[type], `${injected} faults`)
    t.match(log, new RegExp(`^${SIGNALS} processes of ${type} ended by SIGTERM, 0 domains removed afterwards$`, 'm'))
    t.match(
      log,
      new RegExp(`^${SIGNALS} processes of ${type} ended by SIGKILL, [1-9] domains removed afterwards$`, 'm'),
    )
    t.equal(log.match(/^left: nothing$/gm)?.length, 3, 'nothing is left')
  },
})

const SAVE = saveAndRestore()
/** Debian's Xen has no shadow paging, without which no PV guest migrates, also none of xl. */
const MIGRATE = [
  'xl migrate -s "" $NAME "xl migrate-receive"',
  // xenconsoled keeps the name that a domain has while it arrives.
  'CONSOLE=/share/out/console/guest-$NAME--incoming.log console GUEST-ALIVE 60 2',
]

/** The commands of xl on a domain that our library created. */
const liveByXl = (name: string, spec: GuestSpec): CheckedCase => ({
  name,
  ...forNode(spec, 'create'),
  steps: [
    'node_ready',
    'host=$(state_of_host)',
    CREATE,
    'console GUEST-READY 120',
    'xl list -l $NAME >listed; grep -q "\\"name\\": \\"$NAME\\"" listed',
    'xl vcpu-list $NAME',
    ...(spec.type === 'pvh' ? MIGRATE : SAVE),
    'xl shutdown -w $NAME',
    'gone',
    `cat said; ${CREATE}`,
    'console GUEST-READY 120 2',
    'xl reboot $NAME',
    'gone 60',
    'wait; cat said',
    'same_state "$host"',
  ],
  seconds: 400,
  check(t, { log }) {
    t.match(log, /^ended: gone, destroy$/m, 'the migrated domain is another one')
    t.match(log, /^ended: reboot, restart$/m)
  },
})

/** The time from the call to the start, next to that of `xl create` for the same file. */
const liveSpeed = (memoryMiB: number, spec: GuestSpec): CheckedCase => ({
  name: `live-speed-${memoryMiB}`,
  ...forNode({ ...spec, memoryMiB }, 'speed'),
  steps: [
    'node_ready',
    // Once unmeasured, so that the files are in memory.
    'xl create -q guest.cfg',
    'xl destroy $NAME',
    'gone',
    'sleep 3',
    'begun=$(uptime_ms); xl create -q guest.cfg; echo "xl create: $(($(uptime_ms) - begun)) ms"',
    'xl destroy $NAME',
    'gone',
    'node speed.mjs guest.cfg 4',
    'gone',
  ],
  seconds: 240,
  check(t, { log }) {
    const byXl = Number(/^xl create: (\d+) ms$/m.exec(log)?.[1])
    const byUs = Array.from(log.matchAll(/^launched in (\d+) ms$/gm), ([, ms]) => Number(ms))
    const ratio = (ms: number): string => `${ms} ms, ${(ms / byXl).toFixed(2)} times`
    t.comment(`${memoryMiB} MiB: xl create ${byXl} ms; launches of one process ${byUs.map(ratio).join('; ')}`)
    t.equal(byUs.length, 4, 'each launch says its time')
  },
})

/** A kernel that does not end by itself, made by us: it says so, and xl destroys it. */
const liveUntil = (name: string, spec: GuestSpec, until: string): CheckedCase => ({
  name,
  ...forNode(spec, 'create'),
  steps: ['node_ready', CREATE, `console "${until}" 120`, 'xl destroy $NAME', 'gone', 'wait; cat said'],
  seconds: 240,
  check: (t, { log }) => void t.match(log, /^ended: gone, destroy$/m),
})

/** Xen's own shim, which asks Xen for its memory map; it runs a PV guest, its module. */
const liveShim = (): CheckedCase => ({
  name: 'live-xen-shim',
  files: { ...programs('create'), ramdisk: helloKernel() },
  config: {
    type: 'pvh',
    kernel: 'kernel',
    ramdisk: 'ramdisk',
    memory: 128,
    vcpus: 1,
    cmdline: 'pv-shim console=xen,pv',
    // It reads MSRs that the emulated processor does not have.
    msr_relaxed: 1,
  },
  steps: [
    'node_ready',
    'cp /usr/lib/xen-*/boot/xen-shim kernel',
    CREATE,
    'console nr_pages 120',
    'gone 60',
    'wait; cat said',
  ],
  seconds: 240,
  check(t, { console, log }) {
    t.match(console, /hello from start_info, nr_pages=0x/)
    t.match(log, /^ended: poweroff, destroy$/m)
  },
})

/** The commands of a Xen host, as a user types them. */
const liveCommands = (spec: GuestSpec): CheckedCase => ({
  name: 'live-commands',
  ...forXl(spec),
  steps: [
    'node_ready',
    'host=$(state_of_host)',
    'xdb create guest.cfg --json >created; cat created',
    'console GUEST-READY 120',
    'xdb list',
    'xdb capture $NAME -o file.core; ls file.core',
    'xdb map domain:$NAME >map; grep start_info map',
    'xdb capture $NAME -o file.xl',
    'lines=$(grep -c GUEST-ALIVE $CONSOLE); console GUEST-ALIVE 60 $((lines + 2))',
    'xdb destroy $NAME',
    'gone',
    'xl restore file.xl',
    'lines=$(grep -c GUEST-ALIVE $CONSOLE); console GUEST-ALIVE 60 $((lines + 2))',
    'xl destroy $NAME',
    'xdb create guest.cfg',
    'console GUEST-READY 120 2',
    'xl reboot $NAME',
    'console GUEST-READY 120 3',
    'xl shutdown -w $NAME',
    'gone',
    'refused xdb destroy $NAME',
    'same_state "$host"',
  ],
  seconds: 500,
  check(t, { log }) {
    t.match(log, /"schema": "xen-domain-builder\/create\/1"/)
    t.match(log, /no-domain: /, 'the guest is gone')
  },
})

/**
 * A script for a host: openXenHost runs guests by it, in dom0 itself. Nothing is left of them.
 * @param steps more steps, before nothing is left.
 */
const byScript = (
  name: string,
  files: Readonly<Record<string, Uint8Array | string>>,
  expected: readonly object[],
  steps: readonly string[] = [],
): CheckedCase => ({
  name,
  files: { ...programs('run-guests'), 'xen-host.sh': join(projectRoot, 'examples/xen-host.sh'), ...files },
  steps: [
    'node_ready',
    'host=$(state_of_host)',
    `chmod +x xen-host.sh; node run-guests.mjs ./xen-host.sh ${Object.keys(files).join(' ')}`,
    ...steps,
    'same_state "$host"',
  ],
  seconds: 300,
  check(t, { log }) {
    const lines = Array.from(log.matchAll(/^\{.*\}$/gm), ([line]) => JSON.parse(line))
    t.equal(lines.length, expected.length)
    t.match(lines, expected)
  },
})
const shutdown = (reason: keyof typeof SHUTDOWN): object => ({ kind: 'shutdown', reason })

const liveByScript = (): CheckedCase =>
  byScript(
    'live-by-script',
    {
      hello: helloKernel(),
      lost: lostKernel(),
      probe: probeKernel('pvh'),
      linux: linux.kernel,
      ramdisk: linux.ramdisk ?? '',
    },
    [
      { kernel: 'hello', ending: shutdown('poweroff'), text: 'hello from start_info, nr_pages=0x2000\n' },
      { kernel: 'lost', ending: shutdown('crash'), text: '' },
      { kernel: 'probe', ending: shutdown('reboot'), text: /^\s*eax 0/ },
      { kernel: 'linux', ending: { kind: 'enough' }, text: /^GUEST-/ },
      { kernel: 'linux', ending: { kind: 'timeout' } },
    ],
    [
      "xdb test hello --type pv --memory 32 --xen ./xen-host.sh --expect-console 'hello from start_info' --ends poweroff",
      'refused xdb test lost --type pv --memory 32 --xen ./xen-host.sh --ends poweroff',
    ],
  )

const hello: GuestSpec = { kernel: helloKernel(), memoryMiB: 32 }
const linux: GuestSpec = {
  kernel: join(xenBuild, 'vmlinux'),
  memoryMiB: 128,
  ramdisk: join(xenBuild, 'guest.cpio'),
  cmdline: 'console=hvc0 quiet',
}

/** Returns the cases for a Xen that has 64-bit guests. */
export const liveCases = (): CheckedCase[] => [
  openXenCase(),
  createdAsByXl('live-hello', hello, 'poweroff, destroy', sameConsole(/^hello from start_info, nr_pages=0x2000\n$/)),
  liveLinux('live-pvh', { ...linux, type: 'pvh', memoryMiB: 160, vcpus: 4 }),
  liveCommands(linux),
  liveByXl('live-by-xl-pvh', { ...linux, type: 'pvh', memoryMiB: 160 }),
]

/** Returns more cases, for which one release of Xen is enough. */
export const liveMoreCases = (): CheckedCase[] => [
  liveUntil('live-grub-pvh', { type: 'pvh', kernel: kernelPath('grub-i386-xen_pvh'), memoryMiB: 64 }, 'grub>'),
  liveShim(),
  liveByScript(),
  ...captureCases(),
  liveLinux('live-linux', { ...linux, vcpus: 4 }),
  liveByXl('live-by-xl', linux),
  liveRounds(),
  liveFaults('pv'),
  liveFaults('pvh'),
  liveSpeed(128, linux),
  liveSpeed(1024, linux),
]

/** Returns the cases for a Xen that has 32-bit PV guests. */
export const livePv32Cases = (grub: GuestSpec): CheckedCase[] => [
  createdAsByXl('live-grub32', grub, 'poweroff, destroy', sameConsole(/GRUB-HELLO i386-xen/)),
  ...captureCases32(grub.kernel as string),
  byScript('live-by-script-32', { grub: grub.kernel }, [
    { kernel: 'grub', ending: shutdown('poweroff'), text: /GRUB-HELLO i386-xen/ },
  ]),
]
