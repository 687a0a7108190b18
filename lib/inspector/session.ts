/**
 * Session: the files that are open, and the answers about them; the same as those of the command.
 *
 * Source: ../inspect has the text of each answer.
 * Gotcha: nothing here knows a page or a worker, so that tests run it anywhere.
 */

import { encodeUtf8 } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { DEFAULT_MEMORY } from '../guest/libxl-config.js'
import { schemaOf } from '../inspect/answers.js'
import { describeDomain, domainText, kernelText, notesText } from '../inspect/describe.js'
import { describeVerdict, verdictText } from '../inspect/describe-verdicts.js'
import { diffDomains, differencesText, diffText } from '../inspect/diff.js'
import { diffKernels } from '../inspect/diff-kernels.js'
import { mapHtml } from '../inspect/map-html.js'
import { mapSvg } from '../inspect/map-svg.js'
import { nameDifferences } from '../inspect/name-differences.js'
import { readPages, soundText, violationsText } from '../inspect/soundness.js'
import { validate } from '../inspect/validate.js'
import type { Kernel } from '../kernel/kernel.js'
import { bootVerdicts, type Verdict } from '../kernel/verdict.js'
import { jsonText } from '../printable.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import type { ByteSource } from '../snapshot/byte-source.js'
import { SNAPSHOT_FORMATS } from '../snapshot/formats.js'
import { readKernelSource } from '../snapshot/kernel-source.js'
import { openSnapshot, refuseForeignSource, sniffSnapshot } from '../snapshot/open.js'
import { SnapshotFile, solid } from '../snapshot/snapshot-file.js'
import { makeSnapshot } from '../snapshot/write.js'
import { findSymbols } from '../symbols/find-symbols.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { parseSize } from '../units.js'
import type { Part, WorkOptions } from '../work.js'
import type { GuestWords, Lines, Product, ShownVerdict, Subject } from './messages.js'

/** A file by its name. */
interface NamedSource {
  readonly name: string
  readonly source: ByteSource
}

/** A file that was made. */
interface MadeFile {
  readonly name: string
  readonly file: SnapshotFile
}

/** A guest as the map's page, and as `build` or `inspect` describes it. */
interface GuestMap {
  readonly map: string
  readonly lines: Lines
}

/** How work is stopped and watched. */
export interface Watch {
  readonly signal: AbortSignal
  /** @param doing such as `decompressing vmlinuz`. */
  onProgress(doing: string, part: Part): void
}

type Opened = { readonly name: string; readonly kernel: Kernel } | { readonly name: string; readonly domain: Domain }

/** The name of files that are made from a kernel. */
const GUEST = 'guest'
/** The suffixes of a snapshot's further files. */
const SUFFIXES = [...new Set(Object.values(SNAPSHOT_FORMATS).flatMap(({ files }) => files.slice(1)))]

const workOf = ({ signal, onProgress }: Watch, doing: string): WorkOptions => ({
  signal,
  onProgress: (part) => onProgress(doing, part),
})

const show = (verdict: Verdict): ShownVerdict => {
  const { type, ok } = verdict
  if (!verdict.ok) return { type, ok, said: `${verdict.code}: ${verdict.reason}`, needs: [] }
  const { entry } = describeVerdict(verdict)
  return { type, ok, said: entry === undefined ? 'its setup code' : `entry ${entry}`, needs: verdict.needs }
}

/** The files of a reader, and what is made of them. */
export class Session {
  #opened: readonly Opened[] = []
  #symbols = new Map<string, Promise<SymbolTable | undefined>>()

  /**
   * Opens files: a kernel or a snapshot, or two of one kind to compare. A snapshot of several files is one of them.
   * @throws DomainBuilderError for a file that is refused, `bad-config` for more than two; the signal's reason.
   */
  async open(files: readonly NamedSource[], watch: Watch): Promise<Subject> {
    this.#opened = []
    this.#symbols = new Map()
    const mains = mainFiles(files)
    if (mains.length === 0 || mains.length > 2) {
      throw new DomainBuilderError('bad-config', 'the number of files is invalid', {
        expected: 'one kernel or snapshot, or two to compare',
        found: `${mains.length}`,
      })
    }
    const opened: Opened[] = []
    for (const main of mains) opened.push(await openOne(main, files, watch))
    this.#opened = opened
    const name = opened.map((one) => one.name).join(' and ')
    const [first, second] = opened as [Opened, Opened?]
    if (second !== undefined) {
      if ('kernel' in first === 'kernel' in second) return { kind: 'two', name }
      throw new DomainBuilderError('bad-config', 'the two files are of different kinds', {
        expected: 'two kernels or two snapshots',
        found: opened.map((one) => `${one.name}: a ${'kernel' in one ? 'kernel' : 'snapshot'}`).join(', '),
      })
    }
    if ('domain' in first) return { kind: 'guest', name }
    return { kind: 'kernel', name, verdicts: bootVerdicts(first.kernel).map(show) }
  }

  /** Yields the answers of the commands about the open files. @throws as the commands do; the signal's reason. */
  async *answers(watch: Watch): AsyncGenerator<Lines> {
    const [first, second] = this.#opened
    if (first === undefined) return
    if (second !== undefined) {
      yield { command: `diff ${first.name} ${second.name}`, lines: await diff(first, second, watch) }
      return
    }
    const { name } = first
    if ('kernel' in first) {
      const { kernel } = first
      yield { command: `inspect ${name}`, lines: kernelText(kernel) }
      yield { command: `check ${name}`, lines: [...verdictText(bootVerdicts(kernel)), ...notesText(kernel)] }
      return
    }
    const { domain } = first
    const symbols = await this.#symbolsOf(domain, watch.signal)
    yield { command: `inspect ${name}`, lines: domainText(domain, symbols) }
    const bytes = await readPages(domain, workOf(watch, `reading ${name}`))
    const lines = domain.type === 'pv' ? violationsText(domain, validate(domain), symbols) : soundText(domain, bytes)
    yield { command: `check ${name}`, lines }
  }

  /**
   * Returns the map of the open snapshot, or of the guest that the words and the open kernel make, and its text.
   * @throws DomainBuilderError for a kernel or words that are refused.
   */
  async map(words: GuestWords, ramdisks: readonly Uint8Array[], { signal }: Watch): Promise<GuestMap> {
    const domain = this.#guest(words, ramdisks)
    const symbols = await this.#symbolsOf(domain, signal)
    return {
      map: mapHtml(domain, defined({ symbols })),
      lines: { command: 'build', lines: domainText(domain, symbols) },
    }
  }

  /**
   * Makes a file, or the files of a format that has several. Their bytes are made when they are read.
   * @throws DomainBuilderError; the signal's reason.
   */
  async save(
    product: Product,
    words: GuestWords,
    ramdisks: readonly Uint8Array[],
    watch: Watch,
  ): Promise<readonly MadeFile[]> {
    const [first] = this.#opened
    const base = first !== undefined && 'domain' in first ? stem(first.name) : GUEST
    if (product === 'svg') return [textFile(`${base}.svg`, mapSvg(this.#guest(words, ramdisks)))]
    if (product === 'json') {
      const domain = this.#guest(words, ramdisks)
      const symbols = await this.#symbolsOf(domain, watch.signal)
      const json = { schema: schemaOf('guest'), ...describeDomain(domain, symbols) }
      return [textFile(`${base}.json`, `${jsonText(json, 2)}\n`)]
    }
    const { extensions, purpose } = SNAPSHOT_FORMATS[product] as (typeof SNAPSHOT_FORMATS)['qemu']
    const [extension] = extensions as readonly string[]
    const name = extension === undefined ? base : `${base}.${extension}`
    const domain = this.#guest(words, ramdisks, purpose)
    const symbols = product === 'elf-core' ? await this.#symbolsOf(domain, watch.signal) : undefined
    const files = await makeSnapshot(domain, product, {
      name,
      signal: watch.signal,
      ...defined({ symbols }),
    })
    return files.map((file) => ({ name: name + file.suffix, file }))
  }

  /** Returns the symbols in a guest's memory; those of one kernel are the same for each guest of a type. */
  #symbolsOf(domain: Domain, signal: AbortSignal): Promise<SymbolTable | undefined> {
    const { type } = domain
    const symbols = this.#symbols.get(type) ?? findSymbols(domain, { signal })
    this.#symbols.set(type, symbols)
    // A search that was stopped is begun again.
    symbols.catch(() => this.#symbols.delete(type))
    return symbols
  }

  #guest(words: GuestWords, ramdisk: readonly Uint8Array[], purpose?: DomainConfig['purpose']): Domain {
    const [first] = this.#opened
    if (first === undefined) throw new DomainBuilderError('bad-config', 'the kernel is missing')
    if ('domain' in first) return first.domain
    return buildDomain(first.kernel, { ...configOf(words), ramdisk, ...defined({ purpose }) } as DomainConfig)
  }
}

/** Returns the names of files without those that belong to another: `guest.img.json` next to `guest.img`. */
function mainFiles(files: readonly NamedSource[]): readonly NamedSource[] {
  const names = new Set(files.map(({ name }) => name))
  return files.filter(
    ({ name }) => !SUFFIXES.some((suffix) => name.endsWith(suffix) && names.has(name.slice(0, -suffix.length))),
  )
}

async function openOne({ name, source }: NamedSource, files: readonly NamedSource[], watch: Watch): Promise<Opened> {
  const beside = Object.fromEntries(
    files
      .filter((other) => SUFFIXES.some((suffix) => other.name === name + suffix))
      .map((other) => [other.name.slice(name.length), other.source]),
  )
  if ((await sniffSnapshot(source, { beside })) !== undefined) {
    return { name, domain: await openSnapshot(source, { beside, ...workOf(watch, `reading ${name}`) }) }
  }
  await refuseForeignSource(source)
  const kernel = await readKernelSource(source, {
    signal: watch.signal,
    onProgress: ({ step, ...part }) =>
      watch.onProgress(`${step === 'hash' ? 'hashing' : 'decompressing'} ${name}`, part),
  })
  return { name, kernel }
}

async function diff(a: Opened, b: Opened, watch: Watch): Promise<readonly string[]> {
  if ('kernel' in a && 'kernel' in b) return differencesText(diffKernels(a.kernel, b.kernel))
  if ('kernel' in a || 'kernel' in b) return []
  const { signal } = watch
  const named = async ({ domain }: { domain: Domain }) => ({ domain, symbols: await findSymbols(domain, { signal }) })
  const found = diffDomains(a.domain, b.domain, workOf(watch, 'comparing'))
  return diffText(nameDifferences(found, await named(a), await named(b)))
}

/** Returns the configuration; buildDomain() checks it. @throws DomainBuilderError `bad-config`. */
function configOf({ type, memory, vcpus, cmdline }: GuestWords) {
  if (!/^\d{0,9}$/.test(vcpus.trim())) {
    throw new DomainBuilderError('bad-config', 'the number of vcpus is invalid', {
      expected: 'a whole number',
      found: `'${vcpus}'`,
    })
  }
  return {
    type,
    memory: parseSize(memory.trim() || DEFAULT_MEMORY),
    ...(vcpus.trim() === '' ? {} : { vcpus: Number(vcpus) }),
    ...(cmdline === '' ? {} : { cmdline }),
  }
}

/** Returns a file's name without its last extension. */
const stem = (name: string): string => name.replace(/(?<=.)\.[^.]*$/, '')

const textFile = (name: string, text: string): MadeFile => ({
  name,
  file: new SnapshotFile('', [solid(encodeUtf8(text))]),
})
