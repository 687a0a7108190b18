/**
 * The case that makes empty domains on the Xen below dom0, with every request of openXen that does not start them.
 *
 * Source: in-dom0/open-xen.ts prints a line for each.
 * Gotcha: Xen counts free memory in pages, and `xl info` prints MiB.
 */
import type { CheckedCase } from './check.js'
import { programs } from './programs.js'

const UUID = '12345678-9abc-def0-1122-334455667788'
const STORE = [
  'domains: ["Domain-0"]',
  'store: ["text",["a","c"],null]',
  'tries: [2,"2"]',
  'many: 300',
  'removed: [[],true,true]',
]
const CLOSED = 'closed: "DomainBuilderError: the connection to Xen is closed"'

/** Returns the lines of open-xen.ts about a domain of that type. */
const made = (type: 'pv' | 'pvh'): (string | RegExp)[] => [
  'channels: [1,2]',
  `populated: ${type === 'pv' ? 4096 : 8}`,
  'frames: 0',
  /^absent frame: "DomainBuilderError: the map of frame 0xfffffff of domain \d+ is refused: E/,
  'types: [0,0,0]',
  'policy: [true,true]',
  'policy of the domain: [true,true]',
  /^wrong policy: "DomainBuilderError: set_cpu_policy of domain \d+ is refused: EINVAL .*: leaf 0x0"$/,
  'tsc: 0',
  'online: [false,false]',
  ...(type === 'pv'
    ? ['hypercall page: true', 'moved: true', 'context: true']
    : ['highest: 4095', 'param: [7,true]', 'hvm context: 0']),
  `info: ["${UUID}",${type === 'pvh'},true,1,4096,null]`,
  'listed: true',
  'gone: true',
  /^destroyed again: "DomainBuilderError: domain \d+ does not exist \(destroydomain: ESRCH\)"$/,
]

export function openXenCase(): CheckedCase {
  return {
    name: 'live-open-xen',
    files: programs('open-xen'),
    steps: ['node_ready', 'xl info free_memory', 'node open-xen.mjs', 'xl info free_memory'],
    check(t, { log, release }) {
      const said = log.split('\n').filter((line) => /^[\w ]+: ["[\d tf]/i.test(line))
      t.match(said, [`Xen: ["${release}",true,false]`, ...STORE, ...made('pv'), ...made('pvh'), CLOSED])
      const [before, after] = [...log.matchAll(/^(\d+)$/gm)].map(([, mib]) => mib)
      t.ok(before !== undefined && before === after, `${before} MiB are free before and after`)
    },
  }
}
