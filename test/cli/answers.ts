/**
 * Checks JSON answers against the published schemas.
 *
 * Source: schemas/; JSON Schema, draft 2020-12; ajv.
 * Gotcha: a schema may refer to another, so one ajv knows them all.
 */
import { readdirSync, readFileSync } from 'node:fs'
import * as path from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { projectRoot } from '../peer/paths.js'

const folder = path.join(projectRoot, 'schemas')

/** The text of every schema, by the name of its file. */
export const SCHEMA_FILES: Readonly<Record<string, string>> = Object.fromEntries(
  readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), 'utf8')]),
)

export const ajv = new Ajv2020({ strict: true, strictRequired: true, allErrors: true })
for (const text of Object.values(SCHEMA_FILES)) ajv.addSchema(JSON.parse(text) as object)

/** A validated answer. */
export interface Answer {
  readonly schema: string
  readonly [member: string]: unknown
}

/** Returns the object on standard output. @throws Error unless it is exactly one, of an existing schema, and valid. */
export function requireAnswer(out: string): Answer {
  // Anything but a single object throws here.
  const value = JSON.parse(out) as Partial<Answer> | null
  if (typeof value?.schema !== 'string') {
    throw new Error(`the answer is no object with a member schema: ${out.slice(0, 200)}`)
  }
  const validate: ValidateFunction | undefined = ajv.getSchema(value.schema)
  if (!validate) throw new Error(`there is no schema ${value.schema}`)
  validate(value)
  if (validate.errors) {
    throw new Error(`${value.schema}: ${ajv.errorsText(validate.errors)}\n${out.slice(0, 4000)}`)
  }
  return value as Answer
}
