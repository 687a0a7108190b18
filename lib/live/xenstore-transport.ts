/**
 * The two ways to xenstored: its socket, and the kernel's device for a xenstored in another domain.
 *
 * Source: tools/libs/store/xs.c (xs_open); https://nodejs.org/api/net.html
 * Gotcha: Node cannot wait for a device without a thread that reads it, and such a read cannot be stopped. So the
 * device is read only while an answer or an event is expected.
 */
import { closeSync, openSync, read, statSync, write } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { DomainBuilderError } from '../errors.js'

/** The receiver of what a transport brings. */
interface Receiver {
  onBytes(bytes: Uint8Array): void
  /** Called when nothing comes any more, with the reason. */
  onEnd(cause: Error): void
}

/** A stream of bytes to xenstored and back. */
export interface Transport {
  start(receiver: Receiver): void
  send(bytes: Uint8Array): void
  /** Sets whether an answer or an event is expected; only then does it keep the process alive. */
  setBusy(isBusy: boolean): void
  close(): void
}

/** The places, in the order in which libxenstore tries them; XENSTORED_PATH replaces them. */
const PLACES = ['/run/xenstored/socket', '/var/run/xenstored/socket', '/dev/xen/xenbus', '/proc/xen/xenbus']
/** More than any message. */
const READ_BYTES = 2 ** 13

const ENDED = new Error('xenstored ended it')

/** Connects to the first place that is there. @throws DomainBuilderError `no-hypervisor` */
export async function openTransport(): Promise<Transport> {
  const given = process.env.XENSTORED_PATH
  const places = given ? [given] : PLACES
  for (const place of places) {
    const stat = statSync(place, { throwIfNoEntry: false })
    if (stat === undefined) continue
    try {
      return stat.isSocket() ? await openSocket(place) : openDevice(place)
    } catch (cause) {
      throw new DomainBuilderError('no-hypervisor', `xenstored does not answer: ${(cause as Error).message}`, { cause })
    }
  }
  throw new DomainBuilderError('no-hypervisor', `xenstored is missing: there is no ${places.join(', no ')}`)
}

async function openSocket(place: string): Promise<Transport> {
  const socket: Socket = connect(place)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return {
    start({ onBytes, onEnd }) {
      socket.on('data', onBytes)
      socket.on('error', onEnd)
      socket.on('close', () => onEnd(ENDED))
    },
    send: (bytes) => void socket.write(bytes),
    setBusy: (isBusy) => void (isBusy ? socket.ref() : socket.unref()),
    close: () => void socket.destroy(),
  }
}

function openDevice(place: string): Transport {
  const fd = openSync(place, 'r+')
  let receiver: Receiver | undefined
  let isBusy = false
  let isReading = false
  let isClosed = false
  let sent = Promise.resolve()

  const end = (cause: Error): void => {
    isBusy = false
    receiver?.onEnd(cause)
  }
  const release = (): void => {
    if (isClosed && !isReading) closeSync(fd)
  }
  async function readWhileBusy(): Promise<void> {
    if (isReading) return
    isReading = true
    const room = new Uint8Array(READ_BYTES)
    try {
      while (isBusy && !isClosed) {
        const { bytesRead } = await promisify(read)(fd, room, 0, room.length, null)
        if (bytesRead === 0) throw ENDED
        if (!isClosed) receiver?.onBytes(room.slice(0, bytesRead))
      }
    } catch (error) {
      end(error as Error)
    } finally {
      isReading = false
      release()
    }
  }
  return {
    start(given) {
      receiver = given
    },
    send(bytes) {
      sent = sent.then(async () => {
        if (!isClosed) await promisify(write)(fd, bytes)
      })
      sent.catch(end)
    },
    setBusy(busy) {
      isBusy = busy
      if (isBusy) void readWhileBusy()
    },
    close() {
      if (isClosed) return
      isClosed = true
      release()
    },
  }
}
