/**
 * Makes the mutants of a TypeScript file: one small change each, all in one text with a switch at every place.
 *
 * Source: the operators of https://stryker-mutator.io/docs/mutation-testing-elements/supported-mutators, and constants.
 * Gotcha: a changed part of an optional chain cannot be a conditional expression, which would end the chain early. Only
 * whole chains are changed. Types, texts, log lines and the arguments of an error stay, except the error's offset.
 */
import ts from 'typescript'

/** One change of a file. */
export interface Mutant {
  readonly id: number
  /** Counts from 1. */
  readonly line: number
  /** The line in the file, trimmed. */
  readonly source: string
  readonly original: string
  /** The changed text; empty for a removed statement. */
  readonly mutated: string
}

/** The name of the function that tells whether a mutant is on. */
export const SWITCH = '__isOn'

const SWAPPED: ReadonlyMap<ts.SyntaxKind, readonly string[]> = new Map([
  [ts.SyntaxKind.PlusToken, ['-']],
  [ts.SyntaxKind.MinusToken, ['+']],
  [ts.SyntaxKind.AsteriskToken, ['/']],
  [ts.SyntaxKind.SlashToken, ['*']],
  [ts.SyntaxKind.PercentToken, ['*']],
  [ts.SyntaxKind.AsteriskAsteriskToken, ['*']],
  [ts.SyntaxKind.LessThanToken, ['<=', '>=']],
  [ts.SyntaxKind.LessThanEqualsToken, ['<', '>']],
  [ts.SyntaxKind.GreaterThanToken, ['>=', '<=']],
  [ts.SyntaxKind.GreaterThanEqualsToken, ['>', '<']],
  [ts.SyntaxKind.EqualsEqualsEqualsToken, ['!==']],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, ['===']],
  [ts.SyntaxKind.AmpersandAmpersandToken, ['||']],
  [ts.SyntaxKind.BarBarToken, ['&&']],
  [ts.SyntaxKind.AmpersandToken, ['|']],
  [ts.SyntaxKind.BarToken, ['&']],
  [ts.SyntaxKind.CaretToken, ['&']],
  [ts.SyntaxKind.LessThanLessThanToken, ['>>']],
  [ts.SyntaxKind.GreaterThanGreaterThanToken, ['<<']],
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken, ['<<']],
  [ts.SyntaxKind.PlusEqualsToken, ['-=']],
  [ts.SyntaxKind.MinusEqualsToken, ['+=']],
  [ts.SyntaxKind.AsteriskEqualsToken, ['/=']],
  [ts.SyntaxKind.SlashEqualsToken, ['*=']],
  [ts.SyntaxKind.BarEqualsToken, ['&=']],
  [ts.SyntaxKind.AmpersandEqualsToken, ['|=']],
  [ts.SyntaxKind.BarBarEqualsToken, ['&&=']],
  [ts.SyntaxKind.QuestionQuestionEqualsToken, ['=']],
])

/** Functions that give way to each other. */
const SWAPPED_CALLS: ReadonlyMap<string, string> = new Map(
  [
    ['min', 'max'],
    ['floor', 'ceil'],
    ['some', 'every'],
    ['alignUp', 'alignDown'],
  ].flatMap(([one = '', other = '']) => [
    [one, other],
    [other, one],
  ]),
)

/** Calls whose arguments are a message: they log or refuse. */
const TELLS = /^(?:log[A-Z]\w*|refuse\w*|wrong\w*|stop|byteOrder)$/

/** Returns the mutants of a file, and its text with all of them, each with its switch. */
export function mutantsOf(
  file: string,
  text: string,
  firstId = 0,
): { readonly code: string; readonly mutants: readonly Mutant[] } {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS)
  const mutants: Mutant[] = []

  /** Adds the mutants that put other texts in a node's place, and returns their ids. */
  const add = (node: ts.Node, others: readonly string[]): readonly number[] =>
    others.map((mutated) => {
      const { line } = tree.getLineAndCharacterOfPosition(node.getStart())
      const source = (text.split('\n')[line] as string).trim()
      const id = firstId + mutants.length
      mutants.push({ id, line: line + 1, source, original: node.getText(), mutated })
      return id
    })

  /** Returns the text of a node with its mutants. */
  const write = (node: ts.Node): string => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return node.getText()
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.getText()
    const isHeld = isHeldInPlace(node)
    const others = isHeld ? [] : changes(node)
    const ids = add(node, others)
    const inner = writeChildren(node)
    if (ids.length === 0) return inner
    if (ts.isStatement(node)) return `{ if (!${SWITCH}(${ids[0]})) { ${inner} } }`
    return `(${ids.map((id, i) => `${SWITCH}(${id}) ? (${others[i]}) : `).join('')}(${inner}))`
  }

  const writeChildren = (node: ts.Node): string => {
    let out = ''
    let at = node.getStart()
    ts.forEachChild(node, (child) => {
      out += text.slice(at, child.getStart())
      out += isMessage(child) ? writeOffset(child) : write(child)
      at = child.end
    })
    return out + text.slice(at, node.end)
  }

  /** Returns an error's argument, in which only the offset has mutants. */
  const writeOffset = (node: ts.Node): string => {
    if (!ts.isObjectLiteralExpression(node)) return node.getText()
    let [out, at] = ['', node.getStart()]
    for (const member of node.properties) {
      if (!ts.isPropertyAssignment(member) || member.name.getText() !== 'offset') continue
      out += text.slice(at, member.initializer.getStart()) + write(member.initializer)
      at = member.initializer.end
    }
    return out + text.slice(at, node.end)
  }

  let code = ''
  let at = 0
  for (const statement of tree.statements) {
    code += text.slice(at, statement.getStart()) + write(statement)
    at = statement.end
  }
  return { code: code + text.slice(at), mutants }
}

/** Returns the texts that may take a node's place. */
function changes(node: ts.Node): readonly string[] {
  if (ts.isExpression(node)) return [...new Set([...ofExpression(node), ...ofCondition(node), ...ofResult(node)])]
  const isRemovable =
    (ts.isExpressionStatement(node) && !isLog(node.expression) && !isSuper(node.expression)) ||
    ts.isBreakStatement(node) ||
    ts.isContinueStatement(node) ||
    ts.isThrowStatement(node)
  return isRemovable ? [''] : []
}

function ofExpression(node: ts.Expression): readonly string[] {
  if (ts.isBinaryExpression(node)) return ofBinary(node)
  if (ts.isNumericLiteral(node)) {
    const value = Number(node.text)
    return value === 0 ? ['1'] : [`${value + 1}`, `${value - 1}`]
  }
  if (ts.isBigIntLiteral(node)) {
    const value = BigInt(node.text.slice(0, -1))
    return value === 0n ? ['1n'] : [`${value + 1n}n`, `${value - 1n}n`]
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) return ['false']
  if (node.kind === ts.SyntaxKind.FalseKeyword) return ['true']
  if (ts.isPrefixUnaryExpression(node)) {
    const operand = node.operand.getText()
    if (node.operator === ts.SyntaxKind.PlusPlusToken) return [`--${operand}`]
    if (node.operator === ts.SyntaxKind.MinusMinusToken) return [`++${operand}`]
    return [operand]
  }
  if (ts.isPostfixUnaryExpression(node)) {
    return [`${node.operand.getText()}${node.operator === ts.SyntaxKind.PlusPlusToken ? '--' : '++'}`]
  }
  if (ts.isCallExpression(node)) {
    const callee = node.expression
    const name = ts.isPropertyAccessExpression(callee) ? callee.name : callee
    const other = SWAPPED_CALLS.get(name.getText())
    if (other === undefined) return []
    return [
      node.getText().slice(0, name.getStart() - node.getStart()) +
        other +
        node.getText().slice(name.end - node.getStart()),
    ]
  }
  return []
}

function ofBinary({ left, operatorToken, right }: ts.BinaryExpression): readonly string[] {
  if (operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken) return [left.getText(), right.getText()]
  const isText = [left, right].some((side) => ts.isStringLiteral(side) || ts.isTemplateExpression(side))
  if (isText && operatorToken.kind === ts.SyntaxKind.PlusToken) return []
  return (SWAPPED.get(operatorToken.kind) ?? []).map((other) => `${left.getText()} ${other} ${right.getText()}`)
}

/** A condition that is always true, and never; a loop's only never. */
function ofCondition(node: ts.Expression): readonly string[] {
  const { parent } = node
  if (node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword) return []
  if (ts.isIfStatement(parent) && parent.expression === node) return ['true', 'false']
  if (ts.isConditionalExpression(parent) && parent.condition === node) return ['true', 'false']
  if (ts.isWhileStatement(parent) && parent.expression === node) return ['false']
  if (ts.isForStatement(parent) && parent.condition === node) return ['false']
  const isSide =
    ts.isBinaryExpression(parent) &&
    (parent.operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken ||
      parent.operatorToken.kind === ts.SyntaxKind.BarBarToken)
  // The other value of a side decides alone, as a condition above it does.
  if (isSide) return [parent.operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken ? 'true' : 'false']
  return []
}

/** A function's result that is missing. */
function ofResult(node: ts.Expression): readonly string[] {
  const { parent } = node
  const isResult =
    (ts.isReturnStatement(parent) && parent.expression === node) || (ts.isArrowFunction(parent) && parent.body === node)
  const isMissing = ts.isIdentifier(node) && node.text === 'undefined'
  return isResult && !isMissing && !isLog(node) ? ['undefined'] : []
}

/** Whether an expression is no value that another could replace where it stands. */
function isHeldInPlace(node: ts.Node): boolean {
  const { parent } = node
  if (ts.isPropertyName(node) && 'name' in parent && parent.name === node) return true
  const isTarget =
    ts.isBinaryExpression(parent) &&
    parent.left === node &&
    parent.operatorToken.kind >= ts.SyntaxKind.FirstAssignment &&
    parent.operatorToken.kind <= ts.SyntaxKind.LastAssignment
  const isCallee =
    (ts.isCallExpression(parent) || ts.isPropertyAccessExpression(parent) || ts.isElementAccessExpression(parent)) &&
    parent.expression === node &&
    (ts.isOptionalChain(parent) || ts.isCallExpression(parent))
  return isTarget || isCallee || ts.isSpreadElement(node) || ts.isOmittedExpression(node)
}

/** Whether a node is an argument of an error, of a log line or of a refusal. */
function isMessage(node: ts.Node): boolean {
  const { parent } = node
  if (ts.isNewExpression(parent)) return parent.expression !== node && parent.expression.getText().endsWith('Error')
  return ts.isCallExpression(parent) && parent.expression !== node && TELLS.test(parent.expression.getText())
}

const isLog = (node: ts.Expression): boolean => ts.isCallExpression(node) && /^log[A-Z]/.test(node.expression.getText())
const isSuper = (node: ts.Expression): boolean =>
  ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword
