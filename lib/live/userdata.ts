/**
 * Userdata: the files that libxl keeps about a domain, of which libxl-json is its configuration.
 *
 * Source: tools/libs/light/libxl_dom.c (libxl__userdata_path, libxl__userdata_store).
 * Gotcha: libxl reads past the end of a text without NUL. The new file has libxl's own name for one, so that
 * `xl destroy` removes it too if this process is killed.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { cannotRead, cannotWrite } from '../node/refusal.js'
import type { Domid } from '../toolstack/answer.js'

/** XEN_LIB_DIR of libxl. */
const XEN_LIB_DIR = '/var/lib/xen'

/** Writes a file of userdata, or removes it without a text. @throws DomainBuilderError `cannot-write` */
export function setUserdata(
  domid: Domid,
  uuid: string,
  name: string,
  text: string | undefined,
  folder = XEN_LIB_DIR,
): void {
  const path = (state: 'd' | 'n'): string => `${folder}/userdata-${state}.${domid}.${uuid}.${name}`
  try {
    // A new file is left only by a process that was killed.
    rmSync(path('n'), { force: true })
    if (text === undefined) rmSync(path('d'), { force: true })
    else {
      writeFileSync(path('n'), `${text}\0`, { mode: 0o600, flag: 'wx' })
      renameSync(path('n'), path('d'))
    }
  } catch (error) {
    throw cannotWrite(path('d'), error)
  }
}

/** Returns the text of a file of userdata; undefined if it does not exist. @throws DomainBuilderError `cannot-read` */
export function userdata(domid: Domid, uuid: string, name: string, folder = XEN_LIB_DIR): string | undefined {
  const path = `${folder}/userdata-d.${domid}.${uuid}.${name}`
  try {
    return readFileSync(path, 'utf8').replace(/\0+$/, '')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw cannotRead(path, error)
  }
}
