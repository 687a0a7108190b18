/** How a supervised run ended, by the byte and the console. */
import t from 'tap'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { supervisedEnd } from '../../lib/testing/index.js'

t.test('a shutdown has its reason, and the console stays', async (t) => {
  for (const [reason, number] of Object.entries(SHUTDOWN)) {
    t.same(supervisedEnd(0x10 + number, 'text\n'), { ending: { kind: 'shutdown', reason }, console: 'text\n' })
  }
})

t.test("the last line of the other endings is not the guest's", async (t) => {
  t.same(supervisedEnd(0x20, 'a\n\nxdb: the supervisor lacks hypercall mmuext_op 13 (26)\n'), {
    ending: { kind: 'hypercall', name: 'mmuext_op 13' },
    console: 'a\n',
  })
  t.same(supervisedEnd(0x20, 'a\nxdb: the supervisor lacks hypercall domctl (36)\n'), {
    ending: { kind: 'hypercall', name: 'domctl' },
    console: 'a',
  })
  t.same(supervisedEnd(0x21, '\nxdb: exception 14 at 0xffff880000100003, cr2 0x0, error 6\n'), {
    ending: { kind: 'exception', vector: 14, rip: 0xffff880000100003n },
    console: '',
  })
})

t.test('anything else was not ended by the supervisor', async (t) => {
  for (const code of [0, 1, 0x0f, 0x16, 0x20, 0x21, 0x22, 255]) t.equal(supervisedEnd(code, 'text\n'), undefined)
  // The guest may print such a line itself, but not at its end with that byte.
  t.equal(supervisedEnd(0x21, '\nxdb: the supervisor lacks hypercall domctl (36)\n'), undefined)
})
