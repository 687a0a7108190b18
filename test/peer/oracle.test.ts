/**
 * Tests of the oracle itself: it builds, refuses with the library's message, times, and lists bytes that are not holes.
 *
 * Source: oracle/README.md.
 * Gotcha: these test only the oracle; the tests next to this one compare its results.
 */
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { findOracle, oracleBench, runOracle } from './oracle.js'
import { requirePeer } from './require-peer.js'

const virtBase = 0xffffffff80000000n
const kernel = (loader: string) =>
  buildElf({
    class: 64,
    entry: virtBase + 0x100000n,
    segments: [{ paddr: 0x100000, data: patternBytes(0x3000), memsz: 0x5000 }],
    notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: loader, VIRT_BASE: virtBase }),
  })

t.test('the oracle builds a guest and says where its bytes are', async (t) => {
  if (!(await requirePeer(t, findOracle))) return
  const file = join(t.testdir(), 'kernel')
  await writeFile(file, kernel('generic'))
  const guest = await runOracle(file, { memoryMiB: 64, cmdline: 'quiet', storeEvtchn: 7 })
  t.teardown(guest.remove)
  if (guest.outcome !== 'built') return t.fail(guest.reason)
  t.equal(guest.layout.guest_type, 'xen-3.0-x86_64')
  t.equal(guest.layout.start_info.cmd_line, 'quiet')
  t.equal(guest.layout.start_info.store_evtchn, '0x7')
  t.equal((await stat(guest.memory)).size, 64 << 20)
  t.equal((await stat(guest.vcpu)).size, 5168)
  const [first] = guest.layout.extents
  t.equal(first?.[0], 0x100000, 'the pad before the kernel is a hole')
  const image = await open(guest.memory)
  const bytes = Buffer.alloc(0x3000)
  await image.read(bytes, 0, bytes.length, 0x100000)
  await image.close()
  t.ok(bytes.equals(patternBytes(0x3000)), 'the kernel lies where its p_paddr says')
})

t.test('the oracle passes on what the library says when it refuses', async (t) => {
  if (!(await requirePeer(t, findOracle))) return
  const file = join(t.testdir(), 'kernel')
  await writeFile(file, kernel('mine'))
  const refusal = await runOracle(file, { memoryMiB: 64 })
  t.teardown(refusal.remove)
  if (refusal.outcome !== 'refused') return t.fail(refusal.outcome)
  t.match(refusal.reason, /^parse_image: .*no loader found/)
})

t.test('the oracle refuses to run without its arguments', async (t) => {
  if (!(await requirePeer(t, findOracle))) return
  await t.rejects(runOracle('kernel', { memoryMiB: 64, p2m: '/nonexistent' }), /p2m file/)
})

t.test('the oracle times a build', async (t) => {
  if (!(await requirePeer(t, findOracle))) return
  const file = join(t.testdir(), 'kernel')
  await writeFile(file, kernel('generic'))
  const timings = await oracleBench(file, { memoryMiB: 64 })
  t.equal(timings.rc, 0)
  t.ok(timings.total_ms > 0 && timings.maxrss_kib > 0)
})
