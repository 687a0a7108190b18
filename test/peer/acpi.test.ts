/**
 * Reads our ACPI tables with ACPICA's disassembler, and compiles the AML again with its compiler.
 *
 * Source: https://acpica.org (Debian's acpica-tools), the code that Linux, FreeBSD and Xen run themselves.
 * Gotcha: iasl writes its output next to its input, with the same base name.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { buildDomain, readAcpi, readHvmStartInfo, readKernel } from '../../lib/index.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { findCommand } from './command.js'
import { requirePeer } from './require-peer.js'

const HEADER_BYTES = 36

t.test('iasl reads each table, and finds in it what was asked for', async (t) => {
  const iasl = await requirePeer(t, () => findCommand('iasl', 'acpica-tools'))
  if (iasl === undefined) return
  const folder = mkdtempSync(path.join(tmpdir(), 'xdb-acpi-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const kernel = await readKernel(pvhKernelFile())
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(iasl, args, { encoding: 'utf8' })
    t.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`)
    return stdout + stderr
  }
  for (const profile of ['xen', 'pc', 'reduced'] as const) {
    for (const vcpus of profile === 'xen' ? [1, 2, 128] : [2]) {
      const domain = buildDomain(kernel, { type: 'pvh', memory: 2 ** 26, vcpus, acpi: profile })
      const texts: Record<string, string> = {}
      for (const { signature, bytes } of readAcpi(domain.memory, Number(readHvmStartInfo(domain).fields.rsdp_paddr))) {
        // An RSDP is not a table: it has no header, and iasl does not read it.
        if (signature.startsWith('RSD')) continue
        const name = signature
        const file = path.join(folder, `${profile}${vcpus}-${name}`)
        writeFileSync(`${file}.dat`, bytes)
        const said = run('-d', `${file}.dat`)
        texts[name] = readFileSync(`${file}.dsl`, 'utf8')
        t.notMatch(said + texts[name], /error|warning|incorrect checksum|invalid/i, `${name} of ${profile}`)
        if (name !== 'DSDT' || profile === 'xen') continue
        run('-p', `${file}-again`, `${file}.dsl`)
        const again = readFileSync(`${file}-again.aml`)
        t.equal(
          Buffer.compare(again.subarray(HEADER_BYTES), bytes.subarray(HEADER_BYTES)),
          0,
          'the same AML, compiled again',
        )
      }
      const { APIC = '', FACP = '', DSDT = '' } = texts
      const ids = [...APIC.matchAll(/Local Apic ID : ([0-9A-F]{2})\n[^\n]*Flags \(decoded below\) : 00000001/g)]
      const step = profile === 'xen' ? 2 : 1
      t.same(
        ids.map(([, id]) => Number.parseInt(id ?? '', 16)),
        Array.from({ length: vcpus }, (_, i) => i * step),
      )
      t.match(FACP, new RegExp(`Hardware Reduced \\(V5\\) : ${profile === 'pc' ? 0 : 1}`))
      t.equal(DSDT.includes('PNP0501'), profile !== 'xen')
      if (profile === 'xen') t.match(FACP, /Flags \(decoded below\) : 00108175/, 'as xl has it')
      if (profile === 'pc') {
        t.match(FACP, /PM Timer Block Address : 00000608/)
        t.match(DSDT, /Name \(_S5, Package/)
      }
    }
  }
})
