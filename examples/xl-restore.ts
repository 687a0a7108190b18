/**
 * From a laptop to a Xen host: makes a save file from a kernel here, without Xen; `xl restore` starts it there.
 *
 * Source: xl(1), "restore"; the default kernel is hello-kernel.ts next to this file.
 * Gotcha: the domain is named after the file, and a host does not run two domains with the same name.
 *
 *     node dist/examples/xl-restore.js hello.xl                                    # our own tiny kernel
 *     node dist/examples/xl-restore.js guest.xl vmlinuz initrd.img --memory 512M --vcpus 2 --cmdline console=hvc0
 */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { buildDomain, DomainBuilderError, parseSize, readKernel } from 'xen-domain-builder'
import { writeSnapshotFile } from 'xen-domain-builder/node'
import { helloKernel } from './hello-kernel.js'

const USAGE = 'usage: xl-restore OUT.xl [KERNEL [RAMDISK]] [--memory 128M] [--vcpus 1] [--cmdline TEXT]'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    memory: { type: 'string', default: '128M' },
    vcpus: { type: 'string', default: '1' },
    cmdline: { type: 'string', default: '' },
  },
})

/** Builds the guest and writes it; the file appears whole or not at all. Returns a summary. */
async function main(out: string, kernelFile: string | undefined, ramdiskFile: string | undefined): Promise<string> {
  const kernel = await readKernel(kernelFile === undefined ? helloKernel() : readFileSync(kernelFile))
  const domain = buildDomain(kernel, {
    type: 'auto',
    name: basename(out, '.xl'),
    memory: parseSize(values.memory),
    vcpus: Number(values.vcpus),
    cmdline: values.cmdline,
    ramdisk: ramdiskFile === undefined ? [] : readFileSync(ramdiskFile),
    purpose: 'restore',
  })
  await writeSnapshotFile(domain, out, { format: 'xl' })
  return `${out}: ${domain.type} guest '${domain.name}', ${values.memory} of memory, ${values.vcpus} vcpu`
}

const [out, kernel, ramdisk, ...rest] = positionals
if (out === undefined || rest.length > 0) {
  console.error(USAGE)
  process.exitCode = 2
} else {
  try {
    console.log(await main(out, kernel, ramdisk))
    console.log(`
Take it to the Xen host and start it there, with its console in your terminal:

    scp ${out} root@SERVER:
    ssh -t root@SERVER xl restore -c ${basename(out)}`)
  } catch (error) {
    // Refusals of the library and errors of the file system are one line. Any other error is a bug and keeps its stack.
    if (!(error instanceof DomainBuilderError) && !(error instanceof Error && 'syscall' in error)) throw error
    console.error(error instanceof DomainBuilderError ? `${error.code}: ${error.message}` : error.message)
    process.exitCode = 1
  }
}
