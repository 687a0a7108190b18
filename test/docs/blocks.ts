/**
 * The code blocks of a page of documentation, in order: sessions to type, and files to create.
 *
 * Source: https://spec.commonmark.org/0.31.2/#fenced-code-blocks; README.md explains the conventions to readers.
 * Gotcha: an ignored block would never be tested, so a block that is neither is an error.
 *
 * A session is ```console: `$` is typed here, `>` continues the line above, `server#` is typed on a Xen host. The whole
 * output follows, with `...` for omitted text. Any other fence is a file, named by the comment in its first line.
 * Each line of an indented block is a command.
 */

/** A line to type, and its output. */
export interface Command {
  readonly line: number
  readonly prompt: '$' | 'server#'
  readonly command: string
  readonly shown: readonly string[]
}

export interface Session {
  readonly kind: 'session'
  readonly line: number
  readonly commands: readonly Command[]
}

export interface SourceFile {
  readonly kind: 'file'
  readonly line: number
  readonly name: string
  readonly text: string
}

export type Block = Session | SourceFile

/** Whether part of a session is typed on a Xen host; if so, a real Xen runs all of it (test/xen). */
export const isForServer = (block: Block): boolean =>
  block.kind === 'session' && block.commands.some(({ prompt }) => prompt === 'server#')

/** The first line of a file: a comment of JavaScript or of an xl.cfg. */
const FILE_NAME = /^(?:\/\/|#) ([\w.-]+\.(?:mjs|mts|cfg))$/
const PROMPT = /^(\$|server#) (.*)$/

function session(lines: readonly string[], line: number): Session {
  const commands: { line: number; prompt: Command['prompt']; command: string; shown: string[] }[] = []
  lines.forEach((text, i) => {
    const typed = PROMPT.exec(text)
    const last = commands.at(-1)
    if (typed) {
      commands.push({ line: line + i, prompt: typed[1] as Command['prompt'], command: typed[2] ?? '', shown: [] })
    } else if (!last) throw new Error(`line ${line + i}: a session begins with $ or server#`)
    else if (text.startsWith('> ') && last.shown.length === 0) last.command += `\n${text.slice(2)}`
    else last.shown.push(text)
  })
  return { kind: 'session', line, commands }
}

/** Returns every block of a page, in order. @throws Error for a block that is neither a session nor a file. */
export function blocksOf(markdown: string): Block[] {
  const lines = markdown.split('\n')
  const blocks: Block[] = []
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? ''
    const fence = /^(\s*)(```+|~~~+)\s*(\S*)/.exec(line)
    if (fence) {
      const [, indent = '', ticks = '', language = ''] = fence
      const end = lines.findIndex((text, at) => at > i && text.trim() === ticks)
      if (end < 0 || indent !== '') throw new Error(`line ${i + 1}: a fence that is indented, or does not end`)
      const body = lines.slice(i + 1, end)
      const name = FILE_NAME.exec(body[0] ?? '')?.[1]
      if (language === 'console') blocks.push(session(body, i + 2))
      else if (name) blocks.push({ kind: 'file', line: i + 1, name, text: `${body.join('\n')}\n` })
      else throw new Error(`line ${i + 1}: neither \`\`\`console nor a file with its name in its first line`)
      i = end
    } else if (/^ {4}\S/.test(line) && (lines[i - 1] ?? '').trim() === '') {
      const body: string[] = []
      for (; /^ {4}/.test(lines[i] ?? ''); i++) body.push((lines[i] ?? '').slice(4))
      blocks.push(
        session(
          body.map((text) => `$ ${text}`),
          i - body.length + 1,
        ),
      )
    }
  }
  return blocks
}
