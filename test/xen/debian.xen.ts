/** The cases for Debian's Xen, one boot for all of them. */
import { helloKernel } from '../../examples/hello-kernel.js'
import { START_INFO_MAGIC } from '../../lib/abi/start-info.js'
import { readKernel } from '../../lib/index.js'
import { checkInXen } from './check.js'
import { buildLike, differingPages, differingSharedInfo, differingVcpu, FREEZE, readFrozen } from './frozen.js'

const hello = helloKernel()
const config = { type: 'pv', kernel: 'hello.elf', memory: 32, on_crash: 'preserve' }

/** The same kernel, looking for a magic that no Xen writes. */
function lostKernel(): Uint8Array {
  const kernel = Buffer.from(helloKernel())
  kernel.write('xen-0.0', kernel.indexOf(START_INFO_MAGIC.x86_64))
  return kernel
}

checkInXen('debian', [
  {
    name: 'hello-create',
    files: { 'hello.elf': hello },
    config,
    // It is destroyed when it powers off; a crash would preserve it.
    steps: ['xl create guest.cfg', 'console nr_pages', 'gone'],
    check(t, { console }) {
      t.equal(console, 'hello from start_info, nr_pages=0x2000\n')
    },
  },
  {
    name: 'hello-lost',
    files: { 'hello.elf': lostKernel() },
    config,
    steps: ['xl create guest.cfg', 'stopped c'],
    check(t, { console }) {
      t.equal(console, '', 'a kernel that finds no start_info crashes and says nothing')
    },
  },
  {
    name: 'hello-frozen',
    files: { 'hello.elf': hello },
    config,
    steps: [...FREEZE],
    async check(t, result) {
      const frozen = readFrozen(result)
      const domain = buildLike(frozen, await readKernel(hello), { memory: 32 << 20 })
      t.same(differingPages(frozen, domain), [])
      t.same(differingVcpu(frozen, domain), [])
      t.same(differingSharedInfo(frozen, domain), [])
    },
  },
])
