/**
 * Errors of programs that run guests.
 *
 * Source: https://nodejs.org/api/errors.html#common-system-errors
 * Gotcha: spawn reports a missing program and a missing folder with the same code.
 */
import { DomainBuilderError } from '../errors.js'

/** Returns the error for a program that cannot be started. */
export function cannotStart(program: string, cause: NodeJS.ErrnoException): DomainBuilderError {
  const why =
    cause.code === 'ENOENT'
      ? 'it is not installed, or not in PATH'
      : cause.code === 'EACCES'
        ? 'it is not executable'
        : cause.message
  return new DomainBuilderError('no-hypervisor', `${program} cannot be started: ${why}`, { cause })
}
