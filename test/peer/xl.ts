/**
 * The peer: xl itself, from Debian's xen-utils, in a dry run without a hypervisor.
 *
 * Source: xl(1), -N; oracle/xl-dry-run.c, which answers the requests of a dry run to Xen.
 * Gotcha: xl exits with 0 if it only warns, so its warnings are part of the answer.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { LibxlSettings } from '../../lib/guest/libxl-config.js'
import type { XlCfgGuest } from '../../lib/protocol/xl-cfg-guest.js'
import { peerSources } from './paths.js'
import type { Found } from './require-peer.js'
import { findXenUtils } from './verify-stream.js'

/** The part of xl's printed configuration that a builder uses; an absent value means xl's default. */
export interface XlConfig {
  readonly c_info: { readonly type: string; readonly name: string }
  readonly b_info: {
    readonly max_vcpus?: number
    readonly avail_vcpus?: readonly number[]
    readonly max_memkb?: number
    readonly target_memkb?: number
    readonly kernel?: string
    readonly ramdisk?: string
    readonly cmdline?: string
    readonly 'type.pvh'?: { readonly pvshim?: string }
  }
}

/** xl's configuration of a file, undefined if it refuses the file, and its messages. */
export interface XlAnswer {
  readonly config: XlConfig | undefined
  readonly said: string
}

export interface Xl {
  create(text: string): XlAnswer
  /** Returns the keys that it reads, in a file and in /etc/xen/xl.conf. */
  keys(text: string): ReadonlySet<string>
}

/** Returns xl, fetched if needed, with the library for its dry run, compiled. */
export async function findXl(t: Test): Promise<Found<Xl>> {
  const utils = await findXenUtils()
  if ('missing' in utils) return utils
  const program = join(utils.found, 'bin', 'xl')
  const folder = mkdtempSync(join(tmpdir(), 'xl-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const library = join(folder, 'dry-run.so')
  try {
    const source = join(peerSources, 'oracle', 'xl-dry-run.c')
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, source], { stdio: 'pipe' })
  } catch {
    return { missing: 'a C compiler, to run xl without a hypervisor' }
  }
  const file = join(folder, 'guest.cfg')
  const keys = join(folder, 'keys')
  const run = (text: string) => {
    writeFileSync(file, text)
    rmSync(keys, { force: true })
    const env = { ...process.env, LD_PRELOAD: library, XL_KEYS: keys }
    return spawnSync(program, ['-N', 'create', file], { encoding: 'utf8', env })
  }
  if (!run('').stderr.includes('Domain name must be specified')) {
    return { missing: `libxenmisc (libxen-dev), to run xl: ${run('').stderr}` }
  }
  return {
    found: {
      create(text) {
        const { status, stdout, stderr } = run(text)
        return { config: status === 0 ? (JSON.parse(stdout) as XlConfig) : undefined, said: stderr }
      },
      keys(text) {
        run(text)
        return new Set(existsSync(keys) ? readFileSync(keys, 'utf8').split('\n').filter(Boolean) : [])
      },
    },
  }
}

/** Returns the settings for the toolstack that an xl.cfg has. */
export const settingsOf = ({ config }: XlCfgGuest): LibxlSettings | undefined =>
  'settings' in config ? config.settings : undefined
