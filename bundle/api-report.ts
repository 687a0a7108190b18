/**
 * The public surface as text: all that the entry points export, with full signatures, and the types that these mention.
 *
 * Source: the exports of package.json; the declarations that tsc writes into dist/lib.
 * Gotcha: a signature can mention a type that is not exported. A change of that type is a change for users too.
 */
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { root } from './common.js'

interface Entry {
  /** The name by which users import it: `xen-domain-builder/node`. */
  readonly specifier: string
  /** The name of its report: `node`. */
  readonly name: string
  /** Its declarations: `dist/lib/node/index.d.ts`. */
  readonly types: string
}

/** Returns the entry points with types, the main one first, as package.json has them. */
function entryPoints(): Entry[] {
  const { name, exports } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    name: string
    exports: Readonly<Record<string, string | { readonly types: string }>>
  }
  return Object.entries(exports).flatMap(([path, to]) =>
    typeof to === 'string'
      ? []
      : [{ specifier: name + path.slice(1), name: path === '.' ? 'index' : path.slice(2), types: to.types.slice(2) }],
  )
}

const printer = ts.createPrinter({ removeComments: true })

/** Returns a declaration without its private members, whose names and number are no concern of users. */
function publicPart(node: ts.Declaration): ts.Node {
  if (ts.isVariableDeclaration(node)) return node.parent.parent
  if (!ts.isClassDeclaration(node)) return node
  const members = node.members.filter(
    (member) =>
      !(ts.canHaveModifiers(member) && member.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword)),
  )
  return ts.factory.updateClassDeclaration(
    node,
    node.modifiers,
    node.name,
    node.typeParameters,
    node.heritageClauses,
    members,
  )
}

/** A program of declarations alone: names are resolved, and no type is computed. */
class Surface {
  readonly #checker: ts.TypeChecker
  readonly #program: ts.Program

  constructor(entries: readonly Entry[]) {
    this.#program = ts.createProgram({
      rootNames: entries.map(({ types }) => root + types),
      options: { module: ts.ModuleKind.NodeNext, noLib: true, types: [] },
    })
    this.#checker = this.#program.getTypeChecker()
  }

  #target = (symbol: ts.Symbol): ts.Symbol =>
    symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol

  /** Returns the exports of an entry point, by their names there. */
  exportsOf({ types }: Entry): Map<string, ts.Symbol> {
    const file = this.#program.getSourceFile(root + types)
    const module = file && this.#checker.getSymbolAtLocation(file)
    if (module === undefined) throw new Error(`${types} is missing: npm run build makes it`)
    return new Map(this.#checker.getExportsOfModule(module).map((symbol) => [symbol.name, this.#target(symbol)]))
  }

  /** Returns the declarations of a symbol as text. */
  textOf(symbol: ts.Symbol): string {
    const parts = (symbol.declarations ?? []).map((node) =>
      printer.printNode(ts.EmitHint.Unspecified, publicPart(node), node.getSourceFile()),
    )
    return parts.join('\n').replace(/^(?:export )?(?:declare )?/gm, '')
  }

  /** Yields the declarations of this package that a symbol's declarations mention. */
  *mentionedBy(symbol: ts.Symbol): Iterable<ts.Symbol> {
    const nodes: ts.Node[] = (symbol.declarations ?? []).map(publicPart)
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      ts.forEachChild(node, (child) => void nodes.push(child))
      const found = ts.isIdentifier(node) ? this.#checker.getSymbolAtLocation(node) : undefined
      const target = found && this.#target(found)
      const [declared] = target?.declarations ?? []
      if (target === undefined || declared === undefined || !declared.getSourceFile().fileName.startsWith(root))
        continue
      const statement = ts.isVariableDeclaration(declared) ? declared.parent.parent : declared
      if (ts.isSourceFile(statement.parent)) yield target
    }
  }
}

const byName = ([a]: readonly [string, ...unknown[]], [b]: readonly [string, ...unknown[]]): number => (a < b ? -1 : 1)

/** Returns the report of each entry point, by its name. A type is in the first report that needs it. */
export function apiReports(): Record<string, string> {
  const entries = entryPoints()
  const surface = new Surface(entries)
  const home = new Map<ts.Symbol, string>()
  const mentioned = new Set<ts.Symbol>()
  const reports = entries.map((entry) => {
    const exported = surface.exportsOf(entry)
    const texts = [...exported].sort(byName).map(([name, symbol]) => {
      const other = home.get(symbol)
      if (other !== undefined) return `export { ${name} } from '${other}'`
      home.set(symbol, entry.specifier)
      const text = surface.textOf(symbol)
      return name === symbol.name ? `export ${text}` : `${text}\n\nexport { ${symbol.name} as ${name} }`
    })
    const further: [string, string][] = []
    const queue = [...exported.values()]
    for (let symbol = queue.pop(); symbol !== undefined; symbol = queue.pop()) {
      for (const one of surface.mentionedBy(symbol)) {
        if (home.has(one) || mentioned.has(one)) continue
        mentioned.add(one)
        queue.push(one)
        further.push([one.name, surface.textOf(one)])
      }
    }
    const block = (title: string, parts: readonly string[]): string =>
      parts.length === 0 ? '' : `\n## ${title}\n\n\`\`\`ts\n${parts.join('\n\n')}\n\`\`\`\n`
    const unexported = further.sort(byName).map(([, text]) => text)
    return [entry.name, `# ${entry.specifier}\n${block('Exported', texts)}${block('Mentioned there', unexported)}`]
  })
  return Object.fromEntries(reports)
}
