/**
 * The table of commands, with a short summary of each.
 *
 * Source: the files in this directory, one command each.
 * Gotcha: a command is loaded only by its own function: --help must load none of them.
 */
import type { Command, NamedCommand } from './command.js'

interface Entry {
  readonly summary: string
  readonly load: () => Promise<{ command: Command }>
}

/** The commands by name, in the order of --help. */
export const COMMANDS: Readonly<Record<string, Entry>> = {
  inspect: { summary: 'says what a kernel or a snapshot holds', load: () => import('./inspect.js') },
  check: { summary: 'says how a kernel can boot, or whether a snapshot is sound', load: () => import('./check.js') },
  extract: { summary: 'extracts the ELF from a bzImage or a compressed file', load: () => import('./extract.js') },
  map: { summary: 'shows the layout of a guest', load: () => import('./map.js') },
  validate: { summary: "says whether Xen would accept a guest's page tables", load: () => import('./validate.js') },
  build: { summary: 'builds a guest and writes a snapshot', load: () => import('./build.js') },
  test: { summary: 'checks guests, and runs them, with expectations', load: () => import('./test.js') },
  convert: { summary: 'writes a snapshot in another format', load: () => import('./convert.js') },
  read: { summary: 'prints bytes of a guest, by physical or virtual address', load: () => import('./read.js') },
  search: {
    summary: "finds text, bytes or a regular expression in a guest's memory",
    load: () => import('./search.js'),
  },
  strings: { summary: "prints the readable text in a guest's memory", load: () => import('./strings.js') },
  diff: { summary: 'says what differs between two snapshots or two kernels', load: () => import('./diff.js') },
  stats: { summary: "counts a guest's pages, and says how well they compress", load: () => import('./stats.js') },
  create: { summary: 'creates a domain on this Xen host', load: () => import('./create.js') },
  list: { summary: 'lists the domains of this Xen host', load: () => import('./list.js') },
  capture: { summary: 'writes a snapshot of a domain that runs', load: () => import('./capture.js') },
  destroy: { summary: 'ends a domain at once', load: () => import('./destroy.js') },
  watch: { summary: 'waits for the end of a domain that create made', load: () => import('./watch.js') },
  run: { summary: 'starts a qemu snapshot', load: () => import('./run.js') },
  completion: { summary: 'prints a completion script for bash, zsh or fish', load: () => import('./completion.js') },
}

/** Returns every command, loaded. */
export function loadCommands(): Promise<NamedCommand[]> {
  return Promise.all(
    Object.entries(COMMANDS).map(async ([name, { summary, load }]) => ({
      name,
      summary,
      command: (await load()).command,
    })),
  )
}
