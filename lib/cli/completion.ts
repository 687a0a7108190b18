/**
 * completion SHELL: the script that makes a shell complete commands, options, their values and file names.
 *
 * Source: ./completion-bash.ts, ./completion-zsh.ts, ./completion-fish.ts, generated from the tables of options.
 * Gotcha: the script contains everything and never calls this program, so that a Tab does not start Node.
 */

import { didYouMean } from '../closest.js'
import { type Command, invalidValue, type NamedCommand } from './command.js'
import { bashCompletion } from './completion-bash.js'
import { fishCompletion } from './completion-fish.js'
import { zshCompletion } from './completion-zsh.js'

const SCRIPTS: Readonly<Record<string, (commands: readonly NamedCommand[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
}
const SHELLS = Object.keys(SCRIPTS)

export const command: Command = {
  usage: `completion ${SHELLS.join('|')}`,
  help: `Prints a script that completes commands, options, values and file names at Tab. To have it in every new shell:
bash: echo 'source <(xdb completion bash)' >> ~/.bashrc
zsh:  echo 'source <(xdb completion zsh)' >> ~/.zshrc  # after compinit
fish: echo 'xdb completion fish | source' >> ~/.config/fish/config.fish`,
  options: {},
  operands: [{ name: 'SHELL', choices: SHELLS }],
  examples: SHELLS.map((shell) => `completion ${shell}`),
  async run({ positionals, commands, answer }) {
    const [shell = ''] = positionals
    const make = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined
    if (!make) throw invalidValue('SHELL', shell, `one of ${SHELLS.join(', ')}${didYouMean(shell, SHELLS)}`)
    const script = make(await commands())
    answer('completion', { json: () => ({ shell, script }), text: () => script.trimEnd().split('\n') })
  },
}
