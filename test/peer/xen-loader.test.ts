/**
 * Whether libxenguest loads a file as it is: our remark equals its answer, for each container and each codec.
 *
 * Source: oracle/acceptance.c; ../kernel/codec-peers.ts compresses.
 * Gotcha: the library is Debian's build, without bzip2 and lzo; another build may have them.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CODEC_NAMES } from '../../lib/codec/magic.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { bootVerdicts } from '../../lib/kernel/verdict.js'
import { xenLoaderRemark } from '../../lib/kernel/xen-loader.js'
import { buildBzImage } from '../../lib/testing/index.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { buildUki } from '../fixtures/uki.js'
import { compress } from '../kernel/codec-peers.js'
import { findAcceptance, peerVerdicts } from './acceptance.js'
import { requirePeer } from './require-peer.js'

t.test('each container and codec', async (t) => {
  const program = await requirePeer(t, findAcceptance)
  if (program === undefined) return
  const elf = pvKernelFile({ notes: { PHYS32_ENTRY: [0x100000] } })
  const files: Record<string, Uint8Array> = {
    'an ELF': elf,
    'an ELF as the payload': buildBzImage({ payload: elf }),
    'an ELF after the setup code': buildBzImage({
      payload: elf,
      payloadOffset: 0,
      header: { payload_length: 0, payload_offset: 0 },
    }),
    'a UKI': buildUki({ '.linux': buildBzImage({ payload: elf }) }),
  }
  for (const codec of CODEC_NAMES) {
    const payload = compress(codec, elf)
    const image = buildBzImage({ payload, ...(codec === 'gzip' ? {} : { sizeTrailer: elf.length }) })
    files[`a ${codec} file`] = payload
    files[`a ${codec} payload`] = image
    files[`a ${codec} payload, in a gzip file`] = compress('gzip', image)
  }
  const dir = join(t.testdir({}), 'files')
  mkdirSync(dir)
  const questions = Object.values(files).flatMap((bytes, i) => {
    const file = join(dir, `${i}`)
    writeFileSync(file, bytes)
    return (['pv', 'pvh'] as const).map((type) => ({ type, file }))
  })
  const answers = await peerVerdicts(program, questions)
  for (const [i, [name, bytes]] of Object.entries(files).entries()) {
    const kernel = await readKernel(bytes)
    const remark = xenLoaderRemark(kernel)
    const outcome = remark === undefined ? 'accepted' : 'refused'
    t.same(
      answers.slice(2 * i, 2 * i + 2).map((answer) => answer.outcome),
      [outcome, outcome],
      `${name}: ${remark ?? 'no remark'}`,
    )
    for (const verdict of bootVerdicts(kernel).slice(0, 2)) {
      t.ok(verdict.ok, `${name}: ${verdict.type} is ok`)
      t.equal('needs' in verdict && verdict.needs.includes(remark ?? ''), remark !== undefined)
    }
  }
  const remarked = Object.values(files).length - answers.filter(({ outcome }) => outcome === 'accepted').length / 2
  t.ok(remarked > 5, `${remarked} files need extract`)
})
