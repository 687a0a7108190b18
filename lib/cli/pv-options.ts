/**
 * The options that only a Xen PV guest has.
 *
 * Source: ../protocol/pv-config.ts has their meanings.
 * Gotcha: the words of a p2m file are little-endian, as on every machine that Node runs on.
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { P2mSpec } from '../guest/p2m.js'
import { invalidValue, type Options, text, type Values } from './command.js'
import { readInput } from './files.js'

const types = ['pv'] as const

export const pvOptions = {
  features: {
    type: 'string',
    value: 'LIST',
    help: 'features to request from the kernel, joined with |',
    types,
  },
  p2m: {
    type: 'string',
    value: 'SPEC',
    help: 'identity, offset:N, or file:PATH (u64 little-endian, one mfn for each page, all ones for a hole)',
    types,
  },
} as const satisfies Options

/** Returns the part of a configuration that these options set. */
export function readPv(values: Values): { readonly features?: string; readonly p2m?: P2mSpec } {
  const features = text(values, 'features')
  const p2m = text(values, 'p2m')
  return defined({ features, p2m: p2m === undefined ? undefined : readP2m(p2m) })
}

function readP2m(spec: string): P2mSpec {
  if (spec === 'identity') return spec
  const offset = /^offset:(\d{1,13}|0x[0-9a-f]{1,11})$/i.exec(spec)
  if (offset) return { offset: Number(offset[1]) }
  if (!spec.startsWith('file:')) throw invalidValue('--p2m', spec, 'identity, offset:N or file:PATH')
  const bytes = readInput(spec.slice('file:'.length))
  if (bytes.length % 8 !== 0) {
    throw new DomainBuilderError('bad-config', 'the p2m file is not a list of u64', {
      expected: 'a multiple of 8 bytes',
      found: `${bytes.length}`,
    })
  }
  return { table: new BigUint64Array(bytes.slice().buffer) }
}
