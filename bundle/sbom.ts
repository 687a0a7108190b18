/**
 * The software bill of materials: each package whose code is bundled or that npm may install next to ours.
 *
 * Source: https://cyclonedx.org/docs/1.5/json/; https://github.com/package-url/purl-spec; package-lock.json(5) of npm.
 * Gotcha: the same lock file gives the same bytes, so there is no time, and the serial number is made from the content.
 */
import { createHash } from 'node:crypto'
import { folderOf, type Locked, type LockedPackage } from './packages.js'

/** The part of package.json that the bill needs. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
  readonly description: string
  readonly dependencies: Readonly<Record<string, string>>
  /** Optional, all of them. */
  readonly peerDependencies: Readonly<Record<string, string>>
}

const purl = (name: string, version: string): string => `pkg:npm/${name.replace('@', '%40')}@${version}`

/** A licence by its SPDX id, or several in an SPDX expression. */
const licences = (spdx: string): readonly object[] =>
  /^[\w.+-]+$/.test(spdx) ? [{ license: { id: spdx } }] : [{ expression: spdx }]

/** Returns the hash of the lock file, such as `sha512-jCs9...`, as hexadecimal digits. */
function hashOf({ integrity }: LockedPackage): object {
  const [, content] = /^sha512-([\w+/]{86}==)$/.exec(integrity) ?? []
  if (content === undefined) throw new Error(`package-lock.json: the hash ${integrity} is not one of SHA-512`)
  return { alg: 'SHA-512', content: Buffer.from(content, 'base64').toString('hex') }
}

/** Yields each package that is needed from `from` on, once, by its folder, with the folders that it needs. */
function* neededBy(
  locked: Locked,
  from: string,
  names: readonly string[],
  seen: Set<string>,
): Iterable<[string, string[]]> {
  const folders = names.map((name) => folderOf(locked, from, name))
  for (const folder of folders.filter((one) => !seen.has(one))) {
    seen.add(folder)
    const { dependencies, optionalDependencies } = locked[folder] as LockedPackage
    const next = Object.keys({ ...dependencies, ...optionalDependencies })
    yield [folder, next.map((name) => folderOf(locked, folder, name))]
    yield* neededBy(locked, folder, next, seen)
  }
}

const by =
  <T>(key: (one: T) => string) =>
  (a: T, b: T): number =>
    key(a) < key(b) ? -1 : 1

/** A UUID of the custom version 8, made from a text. */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** Returns the bill of materials. @param bundled the folders of the packages whose code is in the files. */
export function sbomOf(manifest: Manifest, locked: Locked, bundled: readonly string[]): object {
  const seen = new Set<string>()
  const required = [...neededBy(locked, '', Object.keys(manifest.dependencies), seen)]
  const missing = bundled.filter((folder) => !seen.has(folder))
  if (missing.length > 0) throw new Error(`package.json: the bundled ${missing} is no dependency`)
  const optional = [...neededBy(locked, '', Object.keys(manifest.peerDependencies), seen)]
  const nameOf = (folder: string): string => folder.replace(/^.*node_modules\//, '')
  const refOf = (folder: string): string => purl(nameOf(folder), (locked[folder] as LockedPackage).version)
  const component = (folder: string, scope: 'required' | 'optional') => {
    const one = locked[folder] as LockedPackage
    return {
      type: 'library',
      'bom-ref': refOf(folder),
      name: nameOf(folder),
      version: one.version,
      scope,
      hashes: [hashOf(one)],
      licenses: licences(one.license),
      purl: refOf(folder),
      properties: [{ name: 'cdx:npm:package:bundled', value: String(bundled.includes(folder)) }],
    }
  }
  const root = purl(manifest.name, manifest.version)
  const needs = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
  const bill = {
    version: 1,
    metadata: {
      component: {
        type: 'library',
        'bom-ref': root,
        name: manifest.name,
        version: manifest.version,
        description: manifest.description,
        licenses: licences(manifest.license),
        purl: root,
      },
    },
    components: [
      ...required.map(([folder]) => component(folder, 'required')),
      ...optional.map(([folder]) => component(folder, 'optional')),
    ].sort(by(({ purl }) => purl)),
    dependencies: [
      { ref: root, dependsOn: needs.map((name) => refOf(folderOf(locked, '', name))).sort() },
      ...[...required, ...optional]
        .map(([folder, folders]) => ({ ref: refOf(folder), dependsOn: folders.map(refOf).sort() }))
        .sort(by(({ ref }) => ref)),
    ],
  }
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(bill))}`
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    serialNumber,
    ...bill,
  }
}
