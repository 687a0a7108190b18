/**
 * The environment in which a test runs npm.
 *
 * Source: npm's config(7), "cache".
 * Gotcha: npm cannot even pack without a writable cache, and some homes are not writable.
 */
import { accessSync, constants, mkdirSync } from 'node:fs'
import { homedir, networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'

function isWritable(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Returns this process's environment, with a writable cache for npm, and with scripts even in `npm run --ignore-scripts`. */
export function npmEnvironment(): NodeJS.ProcessEnv {
  const cache = process.env.npm_config_cache ?? join(homedir(), '.npm')
  const usable = isWritable(cache) ? cache : join(tmpdir(), `npm-cache-${process.getuid?.()}`)
  return { ...process.env, npm_config_cache: usable, npm_config_ignore_scripts: 'false' }
}

/** Whether there is a network other than the loopback. */
const isConnected = (): boolean =>
  Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ internal }) => !internal))

/** The same, for requests that may fail: by default, npm retries for minutes, even without a network. */
export const impatientNpm = (): NodeJS.ProcessEnv => ({
  ...npmEnvironment(),
  npm_config_fetch_retries: isConnected() ? '2' : '0',
  npm_config_fetch_retry_mintimeout: '1000',
  npm_config_fetch_retry_maxtimeout: '5000',
})
