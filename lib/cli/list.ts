/**
 * list: the domains of this Xen host.
 *
 * Source: xl(1), "list"; ../toolstack/hypervisor.ts.
 * Gotcha: the name of a domain is text of others, which the printer escapes.
 */
import { SHUTDOWN } from '../abi/hypercall.js'
import { defined } from '../defined.js'
import type { DomainInfo } from '../toolstack/hypervisor.js'
import { nameOf } from '../toolstack/store-nodes.js'
import { PAGE_SIZE } from '../units.js'
import type { Command } from './command.js'
import { withXen } from './host.js'

/** The states of a domain in the order of xl's letters. */
const STATES = {
  running: ({ running }) => running,
  blocked: ({ blocked }) => blocked,
  paused: ({ paused }) => paused,
  shutdown: ({ shutdown }) => shutdown !== undefined,
  crashed: ({ shutdown }) => shutdown === SHUTDOWN.crash,
  dying: ({ dying }) => dying,
} as const satisfies Readonly<Record<string, (info: DomainInfo) => boolean>>

/** A domain of the list. */
interface Listed {
  readonly name: string | undefined
  readonly info: DomainInfo
}

const statesOf = (info: DomainInfo): string[] =>
  Object.entries(STATES).flatMap(([state, isIn]) => (isIn(info) ? [state] : []))

const describe = ({ name, info }: Listed) =>
  defined({
    domid: info.domid,
    name,
    uuid: info.uuid,
    memory: info.pages * PAGE_SIZE,
    vcpus: info.onlineVcpus,
    states: statesOf(info),
    cpuTime: secondsOf(info),
  })

const secondsOf = ({ cpuTime }: DomainInfo): number => Number(cpuTime) / 1e9

const row = (name: string, id: string, memory: string, vcpus: string, state: string, time: string): string =>
  `${name.padEnd(40)} ${id.padStart(5)} ${memory.padStart(5)} ${vcpus.padStart(5)}  ${state.padEnd(9)} ${time.padStart(8)}`

function line({ name, info }: Listed): string {
  const letters = Object.entries(STATES).map(([state, isIn]) => (isIn(info) ? state.charAt(0) : '-'))
  const mib = Math.floor((info.pages * PAGE_SIZE) / 2 ** 20)
  const numbers = [info.domid, mib, info.onlineVcpus].map(String) as [string, string, string]
  return row(name ?? '(null)', ...numbers, letters.join(''), secondsOf(info).toFixed(1))
}

export const command: Command = {
  usage: 'list',
  help: `Lists the domains of this Xen host, with the MiB of memory that each has and the seconds that its vcpus have run.
State is a letter or - for each of: running, blocked, paused, shutdown, crashed, dying.`,
  options: {},
  operands: [],
  examples: ['list', 'list --json'],
  async run({ answer }) {
    const domains = await withXen(async (xen) =>
      Promise.all((await xen.listDomains()).map(async (info) => ({ info, name: await nameOf(xen.store, info.domid) }))),
    )
    answer('list', {
      json: () => ({ domains: domains.map(describe) }),
      text: () => [row('Name', 'ID', 'Mem', 'VCPUs', 'State', 'Time(s)'), ...domains.map(line)],
    })
  },
}
