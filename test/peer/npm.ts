/**
 * The environment in which a test runs npm.
 *
 * Source: npm's config(7), "cache".
 * Gotcha: npm cannot even pack without a cache that it may write to, and not every home is one.
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

/** This process's environment, with a cache that npm may write to. */
export function npmEnvironment(): NodeJS.ProcessEnv {
  const cache = process.env.npm_config_cache ?? join(homedir(), '.npm')
  const usable = isWritable(cache) ? cache : join(tmpdir(), `npm-cache-${process.getuid?.()}`)
  return { ...process.env, npm_config_cache: usable }
}

/** Whether there is more of a network than the loopback. */
const isConnected = (): boolean =>
  Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ internal }) => !internal))

/** The same, for what may be refused: npm asks for minutes, even where there is no network to ask. */
export const impatientNpm = (): NodeJS.ProcessEnv => ({
  ...npmEnvironment(),
  npm_config_fetch_retries: isConnected() ? '2' : '0',
  npm_config_fetch_retry_mintimeout: '1000',
  npm_config_fetch_retry_maxtimeout: '5000',
})
