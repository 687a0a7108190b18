/**
 * Errors for refusals of the file system.
 *
 * Source: https://nodejs.org/api/errors.html#nodejs-error-codes
 * Gotcha: Node's own message repeats the code, the call and the path; use only the reason in it.
 */
import { DomainBuilderError } from '../errors.js'

/** Returns the system's reason, without the code before it and the call and path that Node adds. */
const reason = (error: unknown): string =>
  error instanceof Error ? error.message.replace(/^[A-Z]+: (.*?), \w+(?: '.*)?$/, '$1') : String(error)

const refusal = (code: 'cannot-read' | 'cannot-write', name: string, cause: unknown): DomainBuilderError =>
  cause instanceof DomainBuilderError
    ? cause
    : new DomainBuilderError(code, `${name === '' ? "''" : name}: ${reason(cause)}`, { cause })

/** Returns the error for an unreadable input. A DomainBuilderError stays unchanged. */
export const cannotRead = (name: string, cause: unknown): DomainBuilderError => refusal('cannot-read', name, cause)

/** Returns the error for an unwritable output. A DomainBuilderError stays unchanged. */
export const cannotWrite = (name: string, cause: unknown): DomainBuilderError => refusal('cannot-write', name, cause)
