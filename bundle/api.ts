/**
 * npm run api: writes the public surface into test/fixtures/api, one file for each entry point.
 *
 * Source: api-report.ts.
 * Gotcha: the reports are made of the declarations of the last build.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { apiReports } from './api-report.js'
import { root } from './common.js'

const out = `${root}test/fixtures/api`
rmSync(out, { recursive: true, force: true })
mkdirSync(out)
for (const [name, text] of Object.entries(apiReports())) writeFileSync(`${out}/${name}.md`, text)
