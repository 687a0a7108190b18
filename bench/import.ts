/**
 * npm run bench:import: times starting the command and importing the library, next to starting Node in the same run.
 *
 * Source: getrusage(2), ru_utime and ru_stime of waited-for children, as the shell's own `time` gives them.
 * The bounds of the ratios are in budgets.json, with the sizes that test/runtimes/package.long.ts checks.
 * Gotcha: wall-clock time varies on a busy machine. This measures CPU time, in turns, and takes the median.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const dist = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url))
const importing = (name: string): string[] => ['--input-type=module', '-e', `import ${JSON.stringify(dist(name))}`]

/** The arguments for Node, by the name of the case. */
const CASES: Readonly<Record<string, readonly string[]>> = {
  'node -e 0': ['-e', '0'],
  'xdb --help': [dist('package/cli/main.js'), '--help'],
  'xen-domain-builder': importing('package/index.js'),
  ...Object.fromEntries(
    ['node', 'live', 'runner', 'testing'].map((name) => [
      `xen-domain-builder/${name}`,
      importing(`package/${name}/index.js`),
    ]),
  ),
  'the library, file by file': importing('lib/index.js'),
}

const budgets = JSON.parse(readFileSync(dist('../bench/budgets.json'), 'utf8')) as {
  readonly entries: Readonly<Record<string, { readonly ratio: number }>>
}

/** Milliseconds of user and system time of one run. */
function cpu(args: readonly string[]): number {
  const script = 'TIMEFORMAT="%U %S"; time "$@" >/dev/null'
  const { stderr } = spawnSync('bash', ['-c', script, 'time', process.execPath, ...args], { encoding: 'utf8' })
  const [user = Number.NaN, system = Number.NaN] = (stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number)
  return 1000 * (user + system)
}

const runs = Number(process.argv[2] ?? 31)
const taken = new Map(Object.keys(CASES).map((name) => [name, [] as number[]]))
for (let run = 0; run < runs; run++) {
  for (const [name, args] of Object.entries(CASES)) taken.get(name)?.push(cpu(args))
}
const medians = [...taken].map(([name, times]) => ({
  name,
  median: times.sort((a, b) => a - b)[runs >> 1] ?? Number.NaN,
}))
const [{ median: node } = { median: Number.NaN }] = medians
console.log(`CPU milliseconds, medians of ${runs} runs in turns, Node ${process.versions.node}\n`)
for (const { name, median } of medians) {
  const over = `${(median - node).toFixed(0).padStart(5)} over ${(median / node).toFixed(2).padStart(7)} x`
  const most = budgets.entries[name]?.ratio
  console.log(
    `${name.padEnd(36)}${median.toFixed(0).padStart(5)}${over}${most === undefined ? '' : `, at most ${most} x`}`,
  )
}
