/**
 * The packages of other authors: those whose code is bundled, those that npm installs next to ours, and their licences.
 *
 * Source: package-lock.json(5) of npm; https://esbuild.github.io/api/#metafile
 * Gotcha: a package may be locked in several versions, each in the folder of the package that needs it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Metafile } from 'esbuild'
import { root } from './common.js'

/** The entry of a package in the lock file. */
export interface LockedPackage {
  readonly version: string
  readonly integrity: string
  readonly license: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

/** The folders of packages, as the lock file names them: `node_modules/debug`. */
export type Locked = Readonly<Record<string, LockedPackage>>

/** Returns the files whose code is in a bundle. */
export const bundledFiles = (metafiles: readonly Metafile[]): string[] =>
  metafiles.flatMap(({ outputs }) => Object.values(outputs).flatMap(({ inputs }) => Object.keys(inputs)))

/** Returns the folders of the packages of these files, sorted. */
export function foldersOf(files: readonly string[]): string[] {
  const folders = files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file) ?? [])
  return [...new Set(folders)].sort()
}

/** Returns the folder of a package that the package in `from` needs: the nearest one, as Node finds it. */
export function folderOf(locked: Locked, from: string, name: string): string {
  const near = `${from === '' ? '' : `${from}/`}node_modules/${name}`
  if (near in locked) return near
  if (from === '') throw new Error(`package-lock.json: ${name} is missing`)
  return folderOf(locked, from.replace(/(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/]+$/, ''), name)
}

/** Returns a package's licence as the package states it: a file, or the end of its README. */
function licenceFile(folder: string): string {
  const file = readdirSync(root + folder).find((entry) => /^licen[cs]e/i.test(entry))
  if (file !== undefined) return readFileSync(`${root}${folder}/${file}`, 'utf8')
  const [, section] = readFileSync(`${root}${folder}/README.md`, 'utf8').split(/^#+ *licen[cs]e *$/im)
  if (section === undefined) throw new Error(`${folder} does not state its licence`)
  return section
}

/** Returns the licences in comments of a file's sources. The author's bundler removes them and leaves its source map. */
function noticesIn(file: string): string[] {
  if (!existsSync(`${root}${file}.map`)) return []
  const { sourcesContent = [] } = JSON.parse(readFileSync(`${root}${file}.map`, 'utf8')) as {
    sourcesContent?: string[]
  }
  const comments = sourcesContent.flatMap((source) => source.match(/^(?:\/\/.*\n)+/gm) ?? [])
  return comments.filter((comment) => /without any express or implied/.test(comment))
}

/** Returns all licences of a package, some of whose files are bundled. */
export function licencesOf(folder: string, files: readonly string[]): string {
  const notices = files.filter((file) => file.startsWith(`${folder}/`)).flatMap(noticesIn)
  const texts = [licenceFile(folder), ...notices.map((notice) => notice.replace(/^\/\/ ?/gm, ''))]
  return [...new Set(texts.map((text) => text.trim()))].join('\n\n')
}
