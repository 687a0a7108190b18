/**
 * npm run man: writes the man pages next to itself, into dist/man, where package.json names them.
 *
 * Source: package.json(5) of npm, "man"; .so in man(7).
 * Gotcha: a page under version control could be older than its command, so the pages are made at each build.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { loadCommands } from '../lib/cli/commands.js'
import { PROGRAM, SHORT_NAME } from '../lib/cli/program.js'
import { manPage, shortPage } from './page.js'

const near = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const { version } = JSON.parse(readFileSync(near('../../package.json'), 'utf8')) as { version: string }
writeFileSync(near(`${PROGRAM}.1`), manPage(await loadCommands(), version))
writeFileSync(near(`${SHORT_NAME}.1`), shortPage)
