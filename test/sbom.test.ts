/**
 * The SBOM of the package and its licences: valid, whole, and equal to what npm itself lists.
 *
 * Source: the JSON schema of CycloneDX 1.5, in fixtures/cyclonedx; npm-sbom(1); https://tc39.es/ecma426/.
 * Gotcha: npm sbom omits packages that a development tool needs too, such as debug. The source maps name all that is bundled.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import type { Locked, LockedPackage } from '../bundle/packages.js'
import { type Manifest, sbomOf } from '../bundle/sbom.js'
import { npmEnvironment } from './peer/npm.js'
import { projectRoot } from './peer/paths.js'

interface Component {
  readonly name: string
  readonly version: string
  readonly purl: string
  readonly scope: string
  readonly hashes: readonly { readonly alg: string; readonly content: string }[]
  readonly licenses: readonly { readonly license?: { readonly id: string }; readonly expression?: string }[]
  readonly properties: readonly { readonly name: string; readonly value: string }[]
}
interface Sbom {
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

const dist = join(projectRoot, 'dist/package')
const json = <T>(...path: readonly string[]): T => JSON.parse(readFileSync(join(projectRoot, ...path), 'utf8')) as T
const text = readFileSync(join(dist, 'sbom.cdx.json'), 'utf8')
const sbom = JSON.parse(text) as Sbom
const manifest = json<Manifest>('package.json')
const { packages: locked } = json<{ packages: Locked }>('package-lock.json')
const isBundled = ({ properties }: Component): boolean =>
  properties.some(({ name, value }) => name === 'cdx:npm:package:bundled' && value === 'true')

/** The packages whose code is in the files, by the source maps of the files. */
function mapped(): string[] {
  const maps = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.map'))
  const sources = maps.flatMap((name) => json<{ sources: string[] }>('dist/package', name).sources)
  return [...new Set(sources.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []))].sort()
}

t.test('the SBOM is valid CycloneDX', async (t) => {
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true })
  for (const name of ['spdx', 'jsf-0.82']) ajv.addSchema(json('test/fixtures/cyclonedx', `${name}.schema.json`))
  const validate = ajv.compile(json('test/fixtures/cyclonedx/bom-1.5.schema.json'))
  t.ok(validate(sbom), ajv.errorsText(validate.errors))
  t.notOk(validate({ ...sbom, components: [{ ...sbom.components[0], licenses: [{ license: { id: 'MINE' } }] }] }))
})

t.test('the SBOM and the licences name each package whose code is in the files', async (t) => {
  const bundled = mapped()
  t.ok(bundled.includes('debug') && bundled.includes('ms'), bundled.join(' '))
  t.same(
    sbom.components.filter(isBundled).map(({ name }) => name),
    bundled,
  )
  const licences = readFileSync(join(dist, 'THIRD-PARTY-LICENSES.md'), 'utf8')
  t.same(
    [...licences.matchAll(/^## (.+)$/gm)].map(([, name]) => name),
    bundled,
  )

  /** A sentence of each licence. */
  const SENTENCES: Readonly<Record<string, RegExp>> = {
    MIT: /The above copyright notice and this permission notice shall be/,
    Zlib: /This notice may not be removed or altered from any source distribution/,
  }
  for (const { name, licenses } of sbom.components.filter(isBundled)) {
    const [, section = ''] = licences.split(`## ${name}\n`)
    const [own = ''] = section.split('\n## ')
    t.match(own, /Copyright/, `${name}: the author`)
    const ids = licenses.flatMap(({ license, expression = '' }) => license?.id ?? expression.match(/[\w.-]+/g) ?? [])
    for (const id of ids.filter((one) => !/^(?:AND|OR)$/.test(one))) {
      t.match(own.replace(/\s+/g, ' '), SENTENCES[id] ?? id, `${name}: ${id}`)
    }
  }
})

t.test('the SBOM lists each dependency with the version and the hash of package-lock.json', async (t) => {
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    const { version } = locked[`node_modules/${name}`] as LockedPackage
    t.ok(
      sbom.components.some((one) => one.name === name && one.version === version),
      `${name} ${version}`,
    )
  }
  for (const { name, version, scope, hashes } of sbom.components) {
    const entry = locked[`node_modules/${name}`] as LockedPackage
    const integrity = hashes.map(({ content }) => `sha512-${Buffer.from(content, 'hex').toString('base64')}`)
    t.same([version, integrity], [entry.version, [entry.integrity]], name)
    t.equal(scope === 'optional', /koffi/.test(name), `${name} is ${scope}`)
  }
  const known = new Set([`pkg:npm/${manifest.name}@${manifest.version}`, ...sbom.components.map(({ purl }) => purl)])
  t.same(new Set(sbom.dependencies.map(({ ref }) => ref)), known)
  t.same(
    sbom.dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !known.has(ref)),
    [],
  )
})

t.test('npm lists the same', async (t) => {
  const { stdout, stderr, status } = spawnSync(
    'npm',
    ['sbom', '--omit=dev', '--package-lock-only', '--sbom-format=cyclonedx'],
    { cwd: projectRoot, encoding: 'utf8', env: npmEnvironment() },
  )
  t.equal(status, 0, stderr)
  const listed = (JSON.parse(stdout) as Sbom).components
  t.ok(listed.length >= 4, `${listed.length} packages`)
  for (const { name, version, purl, scope, hashes, licenses } of listed) {
    const ours = sbom.components.find((one) => one.name === name)
    t.match(ours, { version, purl, scope, hashes }, name)
    // npm takes an expression for an id, which the schema refuses.
    if (!licenses[0]?.license?.id?.includes(' ')) t.same(ours?.licenses, licenses, `${name}: licence`)
  }
})

t.test('the SBOM depends on the lock file alone', async (t) => {
  const bundled = sbom.components.filter(isBundled).map(({ name }) => `node_modules/${name}`)
  t.same(sbomOf(manifest, locked, bundled), sbom)
  t.notMatch(text, /timestamp|https?:(?!\/\/cyclonedx\.org\/schema\/)/, 'no time, no address')
  const other = { ...locked, 'node_modules/ms': { ...(locked['node_modules/ms'] as LockedPackage), version: '2.1.4' } }
  t.not(
    (sbomOf(manifest, other, bundled) as { serialNumber: string }).serialNumber,
    json<{ serialNumber: string }>('dist/package/sbom.cdx.json').serialNumber,
  )
})

t.test('a package that is needed in two versions is listed in both', async (t) => {
  const own = { version: '1.0.0', integrity: (locked['node_modules/ms'] as LockedPackage).integrity, license: 'MIT' }
  const two: Locked = {
    'node_modules/a': { ...own, dependencies: { b: '^2' } },
    'node_modules/a/node_modules/b': { ...own, version: '2.0.0', dependencies: { c: '^1' } },
    'node_modules/b': own,
    'node_modules/c': own,
  }
  const made = sbomOf({ ...manifest, dependencies: { a: '^1', b: '^1' }, peerDependencies: {} }, two, []) as Sbom
  t.same(
    made.components.map(({ purl }) => purl),
    ['pkg:npm/a@1.0.0', 'pkg:npm/b@1.0.0', 'pkg:npm/b@2.0.0', 'pkg:npm/c@1.0.0'],
  )
  t.same(made.dependencies.find(({ ref }) => ref === 'pkg:npm/a@1.0.0')?.dependsOn, ['pkg:npm/b@2.0.0'])
  t.throws(
    () => sbomOf({ ...manifest, dependencies: {}, peerDependencies: {} }, two, ['node_modules/a']),
    /is no dependency/,
  )
  t.throws(() => sbomOf({ ...manifest, dependencies: { d: '1' }, peerDependencies: {} }, two, []), /d is missing/)
})
