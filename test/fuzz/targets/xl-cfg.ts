/**
 * Texts of an xl.cfg.
 *
 * Source: xl.cfg(5).
 * Gotcha: bytes that are not UTF-8 become replacement characters, as in a file that is read as text.
 */
import { parseXlCfg, readXlCfg } from '../../../lib/index.js'
import { builderKeys } from '../../../lib/protocol/xl-cfg-keys.js'
import type { Target } from '../target.js'

const SEEDS = [
  'name = "guest"\ntype = "pvh"\nkernel = "/boot/vmlinuz"\nramdisk = "/boot/initrd"\nmemory = 512\nvcpus = 2\nextra = "quiet"\n',
  "builder = 'generic'\nmaxmem = 0x100\nmaxvcpus = 017\nroot = '/dev/xvda1 ro'\nextra += \" console=hvc0\"\n# a comment\n",
  'disk = [ "phy:/dev/a,xvda,w", [ "b", [ \'c\' ] ], ]; vif = [ ]\ncmdline = "a\\tb\\"c\\\\d"\n',
  'type = "pv"\nfeatures = "writable_page_tables|!x"\nbootloader = "pygrub"\nfirmware = "pvgrub64"\npvshim = 0\n',
]

export const xlCfgTarget = (): Target => ({
  name: 'xl-cfg',
  executions: 113_000,
  maxBytes: 4096,
  tokens: [
    ...builderKeys(),
    ' = ',
    ' += ',
    '[',
    ']',
    ', ',
    ';',
    '"',
    "'",
    '\\',
    '\\n',
    '\\x41',
    '\\101',
    '#',
    '\n',
    '0x',
    '\u2028',
    '\0',
  ],
  async seeds() {
    return SEEDS.map((text) => new TextEncoder().encode(text))
  },
  run(bytes) {
    const text = new TextDecoder().decode(bytes)
    JSON.stringify([...parseXlCfg(text)])
    JSON.stringify(readXlCfg(text))
  },
})
