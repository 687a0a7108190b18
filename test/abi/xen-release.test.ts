/** The table of releases: its rows, and the page that shows it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { NEWEST_XEN, XEN_DIFFERENCES, XEN_RELEASES, type XenDifferenceName, xenHas } from '../../lib/abi/xen-release.js'
import { projectRoot } from '../peer/paths.js'

const rows = Object.entries(XEN_DIFFERENCES)

t.test('each row tells releases apart', (t) => {
  t.equal(XEN_RELEASES.at(-1), NEWEST_XEN)
  for (const [name, { since, until }] of rows) {
    const having = XEN_RELEASES.filter((release) => xenHas(release, name as XenDifferenceName))
    t.ok(having.length > 0 && having.length < XEN_RELEASES.length, name)
    if (since) t.equal(having[0], since, name)
    if (until) t.equal(having.at(-1), until, name)
  }
  t.end()
})

t.test('the page has the table', (t) => {
  const page = readFileSync(join(projectRoot, 'docs', 'xen-releases.md'), 'utf8')
  const shown = page.split('\n').filter((line) => line.startsWith('| `'))
  t.same(
    shown,
    rows.map(
      ([name, { since, until, what }]) =>
        `| \`${name}\` | ${[since && `from ${since}`, until && `to ${until}`].filter(Boolean).join(' ')} | ${what} |`,
    ),
  )
  t.end()
})
