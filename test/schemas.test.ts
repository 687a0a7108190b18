/**
 * The schemas of the command's answers: sound, strict, one for each answer, and never changed after publication.
 *
 * Source: JSON Schema, draft 2020-12; ../lib/inspect/answers.ts.
 * Gotcha: only the list of checksums shows a change of a schema, so never update it automatically.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { ANSWERS, type AnswerName, schemaOf } from '../lib/inspect/answers.js'
import { ajv, SCHEMA_FILES } from './cli/answers.js'
import { projectRoot } from './peer/paths.js'

const LIST = path.join(projectRoot, 'test/fixtures/schemas.json')
/** The sha-256 of every schema ever published, by the name of its file. */
const listed = JSON.parse(readFileSync(LIST, 'utf8')) as Record<string, string>
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

t.test('no schema has changed', async (t) => {
  const now = Object.fromEntries(Object.entries(SCHEMA_FILES).map(([name, text]) => [name, sha256(text)]))
  if (process.env.SCHEMAS_ADD === '1') {
    writeFileSync(LIST, `${JSON.stringify({ ...now, ...listed }, null, 2)}\n`)
    Object.assign(listed, { ...now, ...listed })
  }
  for (const [name, sum] of Object.entries(listed)) {
    const [, answer = '', version = ''] = /^(.+)-(\d+)\.json$/.exec(name) ?? []
    const next = Number(version) + 1
    t.equal(
      now[name],
      sum,
      `schemas/${name} is as it was. Programs rely on it: put another shape into schemas/${answer}-${next}.json, set ${answer}: ${next} in lib/inspect/answers.ts, and add its sha-256 by SCHEMAS_ADD=1 npx tap dist/test/schemas.test.js`,
    )
  }
  t.same(
    Object.keys(now).filter((name) => !Object.hasOwn(listed, name)),
    [],
    'every schema is listed: SCHEMAS_ADD=1 npx tap dist/test/schemas.test.js adds the new ones',
  )
})

interface Schema {
  readonly $schema?: string
  readonly $id?: string
  readonly title?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, unknown>>
}

t.test('there is one for every answer that is given, and all are sound', async (t) => {
  for (const name of Object.keys(ANSWERS) as AnswerName[]) {
    t.type(ajv.getSchema(schemaOf(name)), 'function', `schemas/${name}-${ANSWERS[name]}.json`)
  }
  for (const [name, text] of Object.entries(SCHEMA_FILES)) {
    const schema = JSON.parse(text) as Schema
    t.equal(schema.$id, `xen-domain-builder/${name.replace(/-(\d+)\.json$/, '/$1')}`, name)
    t.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema')
    t.ok((schema.title ?? '').length > 3 && (schema.description ?? '').length > 10, `${name} says what it is`)
    t.same(schema.properties?.schema, { const: schema.$id })
    t.ok(ajv.validateSchema(schema), ajv.errorsText())
  }
})

/** Yields the paths of objects in a schema that allow unknown members. */
function* openObjects(value: unknown, where: string): Iterable<string> {
  if (typeof value !== 'object' || value === null) return
  const one = value as Readonly<Record<string, unknown>>
  const closed = ['additionalProperties', 'unevaluatedProperties'].some((keyword) => Object.hasOwn(one, keyword))
  // An object that another schema refers to is closed there.
  if (one.type === 'object' && !closed && !where.endsWith('/$defs/guest')) yield where
  for (const [key, inner] of Object.entries(one)) yield* openObjects(inner, `${where}/${key}`)
}

t.test('no object takes a member that its schema does not know', async (t) => {
  t.same(
    Object.entries(SCHEMA_FILES).flatMap(([name, text]) => [...openObjects(JSON.parse(text), name)]),
    [],
  )
})

t.test('the package has them', async (t) => {
  const { exports, files } = JSON.parse(readFileSync(path.join(projectRoot, 'package.json'), 'utf8')) as {
    exports: Record<string, unknown>
    files: string[]
  }
  t.equal(exports['./schemas/*'], './schemas/*')
  t.ok(files.includes('schemas'))
})
