/**
 * The house rule "one home": no export without a user, and no constant that two files write.
 *
 * Source: CONTRIBUTING.md; the sources are parsed by the TypeScript compiler.
 * Gotcha: only literals are compared. A constant made from another one has its home there.
 */
import * as path from 'node:path'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import ts from 'typescript'
import { sources, textOf } from './sources.js'

type Files = Readonly<Record<string, string>>

const parse = (file: string, text: string): ts.SourceFile =>
  ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)

/** Returns the names that a file declares and exports; what it exports from other files is theirs. */
function exportsOf(source: ts.SourceFile): string[] {
  const bound = (name: ts.BindingName): string[] =>
    ts.isIdentifier(name) ? [name.text] : name.elements.flatMap((e) => (ts.isBindingElement(e) ? bound(e.name) : []))
  return source.statements.filter(isExported).flatMap((node) => {
    if (ts.isVariableStatement(node)) return node.declarationList.declarations.flatMap(({ name }) => bound(name))
    const { name } = node as ts.DeclarationStatement
    return name === undefined ? [] : [name.text]
  })
}

/** Calls `use` for each name that a file takes from another one, however it imports it. */
function eachUse(file: string, source: ts.SourceFile, use: (file: string, name: string) => void): void {
  const target = ({ text }: ts.StringLiteral): string => path.join(path.dirname(file), text).replace(/\.js$/, '.ts')
  const spaces = new Map<string, string>()
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const from = target(node.moduleSpecifier)
      const bindings = node.importClause?.namedBindings
      if (bindings && ts.isNamespaceImport(bindings)) spaces.set(bindings.name.text, from)
      else for (const { propertyName, name } of bindings?.elements ?? []) use(from, (propertyName ?? name).text)
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
      if (!node.exportClause || !ts.isNamedExports(node.exportClause)) throw new Error(`${file}: export *`)
      for (const { propertyName, name } of node.exportClause.elements)
        use(target(node.moduleSpecifier), (propertyName ?? name).text)
    } else if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const from = spaces.get(node.expression.text)
      if (from !== undefined) use(from, node.name.text)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && node.qualifier) {
      if (ts.isStringLiteral(node.argument.literal)) use(target(node.argument.literal), node.qualifier.getText())
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      // A command is loaded when it runs: commands.ts takes that one name.
      const [from] = node.arguments
      if (from && ts.isStringLiteral(from)) use(target(from), 'command')
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
}

function unusedExports(lib: Files, others: Files): string[] {
  const used = new Set<string>()
  const exported: string[] = []
  for (const [file, text] of Object.entries({ ...lib, ...others })) {
    const source = parse(file, text)
    eachUse(file, source, (from, name) => {
      if (from !== file) used.add(`${from}: ${name}`)
    })
    // The declarations of a file that the build makes are imported by that file's name.
    if (file in lib) exported.push(...exportsOf(source).map((name) => `${file.replace(/\.d\.ts$/, '.ts')}: ${name}`))
  }
  return exported.filter((name) => !used.has(name))
}

/** Returns the value of an expression that consists of literals, as text that is equal for equal values. */
function literalValue(node: ts.Expression): string | undefined {
  const isLiteral = (node: ts.Expression): boolean => {
    if (ts.isNumericLiteral(node) || ts.isBigIntLiteral(node) || ts.isStringLiteralLike(node)) return true
    if (ts.isParenthesizedExpression(node)) return isLiteral(node.expression)
    if (ts.isPrefixUnaryExpression(node)) return isLiteral(node.operand)
    if (ts.isBinaryExpression(node)) return isLiteral(node.left) && isLiteral(node.right)
    if (ts.isArrayLiteralExpression(node)) return node.elements.every(isLiteral)
    if (ts.isCallExpression(node))
      return node.expression.getText() === 'Uint8Array.of' && node.arguments.every(isLiteral)
    return (
      ts.isObjectLiteralExpression(node) &&
      node.properties.every(
        (member) =>
          ts.isPropertyAssignment(member) && !ts.isComputedPropertyName(member.name) && isLiteral(member.initializer),
      )
    )
  }
  let bare = node
  while (ts.isAsExpression(bare) || ts.isSatisfiesExpression(bare)) bare = bare.expression
  if (!isLiteral(bare)) return undefined
  const value: unknown = runInNewContext(`(${bare.getText()})`)
  if (typeof value === 'object' && value !== null && 'BYTES_PER_ELEMENT' in value)
    return JSON.stringify([...(value as Uint8Array)])
  // A number and a bigint of one value are one literal.
  return JSON.stringify(value, (_, member) => (typeof member === 'bigint' ? `${member}` : member)).replaceAll('"', '')
}

interface Constant {
  readonly file: string
  readonly name: string
  readonly exported: boolean
  readonly value: string | undefined
}

const constantsOf = (file: string, text: string): Constant[] =>
  parse(file, text).statements.flatMap((node) =>
    ts.isVariableStatement(node)
      ? node.declarationList.declarations.flatMap(({ name, initializer }) =>
          ts.isIdentifier(name) && initializer && /^[A-Z]/.test(name.text)
            ? [{ file, name: name.text, exported: isExported(node), value: literalValue(initializer) }]
            : [],
        )
      : [],
  )

/** Pairs of exported constants that are equal by coincidence, and why that is one. */
const EQUAL_BY_COINCIDENCE: Readonly<Record<string, string>> = {
  'PADDR_MAX PTE_GUEST_KERNEL': 'the end of physical addresses; the first bit of a page table entry after an address',
  'BLOCK BLOCK': 'bytes compared at a time, and bytes of a scratch file in one piece',
  'BLOCK_AT ROM_BYTES': "zstd's place of a block in its memory, and a boot ROM",
  'BLOCK_AT WASM_PAGE': "zstd's place of a block in its memory, which need not begin a page",
  'BOOT_FLAG OPTION_ROM_MAGIC': "a boot sector's last bytes, and an option ROM's first",
  'CR0_PG RECORD_OPTIONAL': 'bit 31 of a register, and of a record type',
  'CR4_LA57 PTI_USER_CR3': 'bit 12 of two registers',
  'FLAT_HEADER_BYTES PTI_USER_CR3': 'the header of a flattened dump, and bit 12 of a register',
  'HOLE64 LIBXC_MARKER': 'a page that is missing, and the start of a stream: both are all ones',
  'KERNEL_HALF_32 KERNEL_IMAGE_SIZE': 'an address, and a size',
  'KERNEL_HALF_32 P2M_MARKED32': 'an address, and a mark in an entry',
  'MAX_VCPUS PTI_USER_CR3': 'a count, and bit 12 of a register',
  'PTI_USER_CR3 XENSTORE_PAYLOAD_MAX': 'bit 12 of a register, and the bytes of a message',
  'CR4_LA57 MAX_VCPUS': 'bit 12 of a register, and a count',
  'CR4_LA57 XENSTORE_PAYLOAD_MAX': 'bit 12 of a register, and the bytes of a message',
  'CR4_LA57 FLAT_HEADER_BYTES': 'bit 12 of a register, and the header of a flattened dump',
  'FLAT_HEADER_BYTES MAX_VCPUS': 'the header of a flattened dump, and a count',
  'FLAT_HEADER_BYTES XENSTORE_PAYLOAD_MAX': 'the header of a flattened dump, and the bytes of a message',
  'FLAT_LIMIT U32_MAX': 'the last byte of 4 GiB, and the largest u32',
  'GUEST_NOTE_OWNER PROGRAM': 'a file format, which must not change when the command is renamed',
  'KERNEL_IMAGE_SIZE P2M_MARKED32': 'the most bytes of a kernel, and bit 30 of a frame number',
  'LOAD_HIGH_ADDRESS PAE_L3_MFN_END': '1 MiB as an address, and 4 GiB as a frame number',
  'MAX_VCPUS XENSTORE_PAYLOAD_MAX': 'a count, and the bytes of a message',
  'MAX_DEPTH MAX_DEPTH': 'lists in an xl.cfg, and objects in the JSON of a saved domain',
  'PN_XNUM REAL_MODE_LIMIT': 'a count that an ELF header cannot hold, and the last byte of a segment',
  'ROM_BYTES WASM_PAGE': 'a boot ROM, and a page of WebAssembly memory',
}

/** Small numbers are equal without meaning the same. */
const isTelling = (value: string): boolean => !/^-?\d+$/.test(value) || Math.abs(Number(value)) >= 0x1000

/** Returns the repeats, by the names of both. */
function repeatedConstants(lib: Files): Map<string, string> {
  const all = Object.entries(lib).flatMap(([file, text]) => constantsOf(file, text))
  const found = new Map<string, string>()
  for (const [i, a] of all.entries()) {
    for (const b of all.slice(i + 1)) {
      const sameName = a.name === b.name
      const sameValue = a.value !== undefined && a.value === b.value
      const bothExported = a.exported && b.exported
      const repeats = bothExported ? sameName || (sameValue && isTelling(a.value)) : sameName && sameValue
      if (repeats) found.set([a.name, b.name].sort().join(' '), `${a.file} and ${b.file}`)
    }
  }
  return found
}

const filesIn = (...folders: readonly string[]): Files =>
  Object.fromEntries(folders.flatMap(sources).map((file) => [file, textOf(file)]))

t.test('every export of lib has a user in another file', async (t) => {
  t.same(unusedExports(filesIn('lib'), filesIn('test', 'bench', 'examples', 'man', 'bundle')), [])
})

t.test('every constant has one home', async (t) => {
  const found = repeatedConstants(filesIn('lib'))
  t.same(
    [...found].filter(([pair]) => !(pair in EQUAL_BY_COINCIDENCE)),
    [],
  )
  t.same(
    Object.keys(EQUAL_BY_COINCIDENCE).filter((pair) => !found.has(pair)),
    [],
    'no reason for a pair that is gone',
  )
})

t.test('an unused export is found, however others are imported', async (t) => {
  const lib = {
    'lib/a.ts':
      'export const A = 1, B = 2\nexport interface C {}\nexport function d() {}\nexport const { e, f } = { e: 1 }',
    'lib/b.ts': "import { A, type C as D } from './a.js'\nexport { d } from './a.js'\nexport class Unused {}",
    'lib/c.ts': "import * as a from './a.js'\nexport const used = a.e",
  }
  const others = { 'test/a.test.ts': "import { used } from '../lib/c.js'" }
  t.same(unusedExports(lib, others), ['lib/a.ts: B', 'lib/a.ts: f', 'lib/b.ts: Unused'])
})

t.test('a repeated constant is found, however it is written', async (t) => {
  const repeats = (a: string, b: string): boolean => repeatedConstants({ 'lib/a.ts': a, 'lib/b.ts': b }).size > 0
  for (const [a, b] of [
    ['export const A = 0x100000', 'export const B = 1 << 20'],
    ['export const A = 0x100000n', 'export const B: number = 2 ** 20'],
    ["export const A = 'Xen'", "export const B = 'Xen' as const"],
    ['export const A = { start: 256, end: 272 } as const', 'export const B = { start: 256, end: 0x110 }'],
    ['export const A = Uint8Array.of(1, 2)', 'export const B = [1, 2]'],
    ['export const A = 1', 'export const A = 2'],
    ['const A = 4096', 'const A = 0x1000'],
  ] as const)
    t.ok(repeats(a, b), `${a}, ${b}`)
  for (const [a, b] of [
    ['export const A = 0xfff', 'export const B = 4095'],
    ['export const A = 4096', 'export const B = A'],
    ['const A = 4096', 'const A = 8192'],
    ['const A = 4096', 'const B = 4096'],
  ] as const)
    t.notOk(repeats(a, b), `${a}, ${b}`)
})
