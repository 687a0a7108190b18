/**
 * readBootParams: the boot_params of a guest, out of its memory, whoever built it.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst (https://docs.kernel.org/arch/x86/zero-page.html).
 * Gotcha: a kernel finds boot_params through %esi or %rsi alone; the boot information says where that pointed at first.
 */
import { BootParams, type BootParamsFields } from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import { readCString } from './c-string.js'
import type { Domain } from './domain.js'

/**
 * Decodes boot_params where the boot information says it is.
 * @throws DomainBuilderError `bad-config` for a guest that has none.
 */
export function readBootParams(domain: Domain): BootParamsFields {
  const { boot } = domain
  if (boot.kind !== 'boot_params') {
    throw new DomainBuilderError('bad-config', 'the guest has no boot_params', {
      expected: 'linux',
      found: domain.type,
    })
  }
  return BootParams.decode(domain.memory.read(boot.bootParams, BootParams.size))
}

/** The command line that boot_params point to, as far as there is memory; empty where they point nowhere. */
export function readCommandLine(domain: Domain): string {
  const { hdr, ext_cmd_line_ptr } = readBootParams(domain)
  return readCString(domain.memory, ext_cmd_line_ptr * 2 ** 32 + hdr.cmd_line_ptr)
}
