/**
 * What is said when the file system refuses something.
 *
 * Source: https://nodejs.org/api/errors.html#nodejs-error-codes
 * Gotcha: Node's own message repeats the code, the call and the path; only the reason is left of it.
 */
import { DomainBuilderError } from '../errors.js'

/** The system's reason, without the code before it and the call and path that Node adds. */
const reason = (error: unknown): string =>
  error instanceof Error ? error.message.replace(/^[A-Z]+: (.*?), \w+(?: '.*)?$/, '$1') : String(error)

const refusal = (code: 'cannot-read' | 'cannot-write', name: string, cause: unknown): DomainBuilderError =>
  cause instanceof DomainBuilderError
    ? cause
    : new DomainBuilderError(code, `${name === '' ? "''" : name}: ${reason(cause)}`, { cause })

/** An input that cannot be read. What is a refusal already stays what it is. */
export const cannotRead = (name: string, cause: unknown): DomainBuilderError => refusal('cannot-read', name, cause)

/** An output that cannot be written. What is a refusal already stays what it is. */
export const cannotWrite = (name: string, cause: unknown): DomainBuilderError => refusal('cannot-write', name, cause)
