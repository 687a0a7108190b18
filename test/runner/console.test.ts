/** The console of a guest as text: characters in pieces, bytes that are none, and a guest that prints for ever. */
import t from 'tap'
import { encodeUtf8 } from '../../lib/bytes.js'
import { Console } from '../../lib/runner/console.js'

t.test('characters come in pieces', async (t) => {
  const console = new Console()
  for (const byte of encodeUtf8('grüße ✓')) console.add(Uint8Array.of(byte))
  t.equal(console.text, 'grüße ✓')
  console.add(Uint8Array.of(0xff, 0x41))
  t.equal(console.text, 'grüße ✓\ufffdA')
})

t.test('the middle of a long console is left out', async (t) => {
  const console = new Console()
  const line = encodeUtf8(`${'x'.repeat(1023)}\n`)
  const lines = 10_000
  console.add(encodeUtf8('first\n'))
  for (let i = 0; i < lines; i++) console.add(line)
  console.add(encodeUtf8('last'))
  const { text } = console
  t.ok(text.startsWith('first\n') && text.endsWith('\nlast'))
  t.ok(text.length < 4 << 20, `${text.length} characters`)
  const omitted = Number(/\n\[(\d+) characters are left out\]\n/.exec(text)?.[1])
  t.equal(text.replace(/\n\[\d+ characters are left out\]\n/, '').length + omitted, 10 + lines * 1024)
})
