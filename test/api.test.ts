/**
 * The public surface is the stored one: a change of it shows in a commit, and in CHANGELOG.md.
 *
 * Source: fixtures/api, which `npm run api` writes.
 * Gotcha: the declarations of the last build are compared, so build first.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { apiReports } from '../bundle/api-report.js'
import { projectRoot } from './peer/paths.js'

const folder = join(projectRoot, 'test/fixtures/api')
const made = apiReports()

t.test('the public surface is the stored one', async (t) => {
  t.same(
    readdirSync(folder).sort(),
    Object.keys(made)
      .map((name) => `${name}.md`)
      .sort(),
  )
  for (const [name, text] of Object.entries(made)) {
    const stored = readFileSync(join(folder, `${name}.md`), 'utf8')
    t.equal(
      text,
      stored,
      `test/fixtures/api/${name}.md is up to date. The public surface has changed: run \`npm run api\`, look at the difference, and note it in CHANGELOG.md if users notice it`,
    )
  }
})

t.test('a report has every value that the entry point exports', async (t) => {
  for (const [name, text] of Object.entries(made)) {
    const path = name === 'index' ? 'index.js' : `${name}/index.js`
    const values = Object.keys((await import(`../lib/${path}`)) as object)
    const [, exported = ''] = text.split('\n## ')
    const wrong = values.filter(
      (value) =>
        !new RegExp(`^export (?:(?:const|function|class|abstract class) ${value}\\b|\\{ ${value} \\} from)`, 'm').test(
          exported,
        ),
    )
    t.ok(values.length > 0, `${name}: ${values.length} values`)
    t.same(wrong, [], name)
  }
})

t.test('each type that a signature mentions is in a report', async (t) => {
  const all = Object.values(made).join('\n')
  // Of the language, of Node and of the declarations of the reports.
  const declared = new Set(
    [...all.matchAll(/^(?:export )?(?:abstract )?(?:type|interface|class|const|function|enum) (\w+)/gm)].map(
      ([, name]) => name,
    ),
  )
  const missing = [...all.matchAll(/\btypeof (\w+)/g)].flatMap(([, name]) => (declared.has(name) ? [] : [name]))
  t.same(missing, [])
})
