/**
 * The xenstore of a RecordingXen: nodes, transactions, watches and connections.
 *
 * Source: xen/docs/misc/xenstore.txt.
 * Gotcha: events come after the call, so each test lets a turn of the event loop pass before it looks.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { type RecordedCall, RecordingXen } from '../../lib/testing/index.js'
import { makeDomain, refused } from '../fixtures/recorded.js'

test('nodes are written, listed and removed', async (t) => {
  const { store } = new RecordingXen()
  const atFirst = store.nodes
  store.write('/vm/a/name', 'web')
  store.mkdir('/vm/a/image')
  store.mkdir('/vm/a/name')
  t.same([store.read('/vm/a/name'), store.read('/vm/a'), store.read('/vm/b')], ['web', '', undefined])
  t.same([store.list('/vm'), store.list('/vm/a'), store.list('/nothing')], [['a'], ['image', 'name'], []])
  t.ok(store.list('/').includes('vm'))
  t.same(store.nodes, { ...atFirst, '/vm/a': '', '/vm/a/image': '', '/vm/a/name': 'web' })
  t.same(Object.keys(store.nodes), Object.keys(store.nodes).sort())
  store.remove('/vm/a')
  store.remove('/vm/a')
  t.same(store.nodes, atFirst)
})

test('a new node inherits permissions', async (t) => {
  const { store } = new RecordingXen()
  store.mkdir('/local/domain/5')
  t.same(store.permissions['/local/domain/5'], ['n0'])
  store.setPermissions('/local/domain/5', ['n0', 'r5'])
  store.write('/local/domain/5/a/b', '')
  store.setPermissions('/local/domain/5/a', ['n5'])
  store.write('/local/domain/5/a/c', '')
  t.same(store.permissions['/local/domain/5/a/b'], ['n0', 'r5'])
  t.same(store.permissions['/local/domain/5/a/c'], ['n5'])
  await refused(t, 'ENOENT', /does not exist/, () => store.setPermissions('/nothing', ['n0']))
  await refused(t, 'EINVAL', /permissions of .* are invalid: x1/, () => store.setPermissions('/vm', ['x1']))
})

test('invalid paths and long values are refused', async (t) => {
  const { store } = new RecordingXen()
  for (const path of ['', 'vm', '/vm/', '//vm', '/vm/a b', '/vm/ü', `/${'a'.repeat(3072)}`]) {
    await refused(t, 'EINVAL', /is invalid|is too long/, () => store.write(path, ''))
    await refused(t, 'EINVAL', /is invalid|is too long/, () => store.read(path))
  }
  await refused(t, 'E2BIG', /the value of \/vm is too long/, () => store.write('/vm', 'x'.repeat(4096)))
  await refused(t, 'EINVAL', /the root/, () => store.remove('/'))
  await refused(t, 'EINVAL', /of a watch is invalid/, () => store.watch('vm', () => {}))
})

test('a transaction is whole or nothing', async (t) => {
  const { store } = new RecordingXen()
  const atFirst = store.nodes
  await t.rejects(
    store.transaction(async (nodes) => {
      await nodes.write('/vm/a', '1')
      await nodes.remove('/libxl')
      t.equal(await nodes.read('/vm/a'), '1')
      t.equal(store.read('/vm/a'), undefined, 'others do not see it')
      throw new Error('no')
    }),
    { message: 'no' },
  )
  t.same(store.nodes, atFirst)
  const result = await store.transaction(async (nodes) => {
    await nodes.write('/vm/a', '1')
    await nodes.mkdir('/vm/b')
    await nodes.setPermissions('/vm/b', ['n7'])
    await nodes.remove('/libxl')
    return nodes.list('/vm')
  })
  t.same(result, ['a', 'b'])
  t.same([store.read('/vm/a'), store.read('/libxl'), store.permissions['/vm/b']], ['1', undefined, ['n7']])
})

test('a transaction runs again if another process changed what it used', async (t) => {
  const changes: Readonly<Record<string, (other: RecordingXen) => void>> = {
    nothing: () => {},
    'a node that it read': (other) => other.store.write('/vm/read', 'other'),
    'a node that it wrote': (other) => other.store.write('/vm/written', 'other'),
    'a name below a node that it listed': (other) => other.store.mkdir('/libxl/new'),
    'a node that it did not find': (other) => other.store.write('/tool/missing', ''),
    'permissions of a node that it read': (other) => other.store.setPermissions('/vm/read', ['n3']),
    'a node that it removed': (other) => other.store.write('/vm/removed/below', ''),
  }
  for (const [what, change] of Object.entries(changes)) {
    let attempts = 0
    const onCall = ({ name, process }: RecordedCall) => {
      if (name === 'store.commit' && process === 'first' && attempts === 1) change(xen.asProcess('other'))
    }
    const xen = new RecordingXen({ onCall })
    for (const name of ['read', 'written', 'removed']) xen.store.write(`/vm/${name}`, 'old')
    await xen.store.transaction(async (nodes) => {
      attempts++
      await nodes.read('/vm/read')
      await nodes.write('/vm/written', 'mine')
      await nodes.list('/libxl')
      await nodes.read('/tool/missing')
      await nodes.remove('/vm/removed')
    })
    t.equal(attempts, what === 'nothing' ? 1 : 2, what)
    t.same([xen.store.read('/vm/written'), xen.store.list('/vm/removed')], ['mine', []], what)
  }
})

test('watches are told of changes below, of removals above, and once at first', async (t) => {
  const { store } = new RecordingXen()
  const events: string[] = []
  const unwatch = store.watch('/vm/a', (path) => events.push(path))
  t.same(events, [], 'not within the call')
  const take = async () => {
    await turn()
    return events.splice(0)
  }
  t.same(await take(), ['/vm/a'])
  store.write('/vm/a', '')
  store.write('/vm/a/b', '')
  store.write('/vm/ab', '')
  store.mkdir('/vm/a/c')
  store.setPermissions('/vm/a/c', ['n1'])
  t.same(await take(), ['/vm/a', '/vm/a/b', '/vm/a/c', '/vm/a/c'])
  store.read('/vm/a')
  store.remove('/vm')
  t.same(await take(), ['/vm/a'])
  await store.transaction(async (nodes) => {
    await nodes.write('/vm/a/b', '')
    await turn()
    t.same(events, [], 'not before the commit')
  })
  t.same(await take(), ['/vm/a/b'])
  await unwatch()
  store.write('/vm/a', '')
  t.same(await take(), [])
})

test('domains are introduced and released', async (t) => {
  const xen = new RecordingXen()
  const { domid, mfn } = makeDomain(xen, 2)
  const events: string[] = []
  for (const path of ['@introduceDomain', '@releaseDomain']) xen.store.watch(path, (event) => events.push(event))
  const take = async () => {
    await turn()
    return events.splice(0)
  }
  await take()
  await refused(t, 'EINVAL', /the grant of the xenstore page/, () => xen.store.introduce(domid, mfn(0), 1))
  xen.setGrants(domid, [{ ref: 1, domid: 0, frame: mfn(0) }])
  await refused(t, 'EINVAL', /the grant of the xenstore page/, () => xen.store.introduce(domid, mfn(1), 1))
  await refused(t, 'EINVAL', /the event channel 1 of domain 1 is missing/, () => xen.store.introduce(domid, mfn(0), 1))
  await refused(t, 'ENOENT', /is not connected/, () => xen.store.release(domid))
  await refused(t, 'ENOENT', /is not connected/, () => xen.store.resume(domid))
  xen.allocUnbound(domid, 0)
  xen.store.introduce(domid, mfn(0), 1)
  t.same(await take(), ['@introduceDomain'])
  xen.store.introduce(domid, mfn(0), 1)
  t.same(await take(), [], 'a second time it only binds the port again')
  t.same(xen.store.connected, [domid])
  xen.shutDown(domid, 2)
  t.same(await take(), ['@releaseDomain'])
  xen.store.resume(domid)
  xen.store.release(domid)
  t.same([await take(), xen.store.connected], [['@releaseDomain'], []])
  xen.store.introduce(domid, mfn(0), 1)
  await xen.destroyDomain(domid)
  t.same(await take(), ['@introduceDomain', '@releaseDomain'])
  t.same(xen.store.connected, [])
})

test('xenstore may be in another domain', async (t) => {
  const xen = new RecordingXen()
  xen.store.write('/tool/xenstored/domid', '9')
  const { domid, mfn } = makeDomain(xen, 1)
  xen.setGrants(domid, [{ ref: 1, domid: 9, frame: mfn(0) }])
  await refused(t, 'EINVAL', /the event channel 1/, () =>
    xen.store.introduce(domid, mfn(0), xen.allocUnbound(domid, 0)),
  )
  xen.store.introduce(domid, mfn(0), xen.allocUnbound(domid, 9))
  t.same(xen.store.connected, [domid])
})
