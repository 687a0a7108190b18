/**
 * npm run man: writes the man pages beside itself, into dist/man, where package.json names them.
 *
 * Source: package.json(5) of npm, "man"; .so in man(7).
 * Gotcha: made at each build and checked in nowhere, so that no page is of another version than its command.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { loadCommands, PROGRAM, SHORT_NAME } from '../lib/cli/commands.js'
import { manPage, shortPage } from './page.js'

const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const { version } = JSON.parse(readFileSync(beside('../../package.json'), 'utf8')) as { version: string }
writeFileSync(beside(`${PROGRAM}.1`), manPage(await loadCommands(), version))
writeFileSync(beside(`${SHORT_NAME}.1`), shortPage)
