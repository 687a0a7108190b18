/**
 * The one error class: its line, its JSON, and how other errors are told apart from it.
 *
 * Source: lib/errors.ts.
 * Gotcha: a fault of the program that is taken for a refusal would be reported as a defect of the file.
 */
import t from 'tap'
import { DomainBuilderError, refusalOf } from '../lib/errors.js'

t.test('the line has the message, the values and the place', async (t) => {
  const detail = { expected: 'at least 1', found: '0\n', offset: 0x20 }
  const error = new DomainBuilderError('bad-elf', 'the number is invalid', detail)
  t.equal(error.message, 'the number is invalid: expected at least 1, found 0\\x0a (file offset 0x20)')
  t.equal(new DomainBuilderError('bad-elf', 'the number is invalid').message, 'the number is invalid')
  t.same(error.toJSON(), { code: 'bad-elf', message: error.message, ...detail, found: '0\\x0a' })
})

t.test('only a refusal is taken for one', async (t) => {
  const refusal = new DomainBuilderError('bad-elf', 'the number is invalid')
  t.equal(refusalOf(refusal), refusal)
  for (const other of [new TypeError('x is undefined'), new DOMException('stopped', 'AbortError'), undefined]) {
    let thrown: unknown = 'nothing'
    try {
      refusalOf(other)
    } catch (error) {
      thrown = error
    }
    t.equal(thrown, other, `${other} is thrown again`)
  }
})
