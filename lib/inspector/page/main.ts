/**
 * The script of the page: what the reader chooses goes to the worker, and the worker's answers go into the page.
 *
 * Source: ../html.ts writes the page; ../messages.ts has the messages.
 * Gotcha: this one script is the worker as well, so that the page has the library once.
 */
/// <reference lib="dom" />

import { element, find } from '../../inspect/map-client/dom.js'
import type { Ask, Product, Refusal, Subject, Told } from '../messages.js'
import { linkWords, readForm, typesOf, writeForm } from './form.js'
import { removeFrame, showFrame } from './frame.js'
import { showLines, showProgress, showRefusal, showVerdicts } from './show.js'

/** An example of the page: a kernel. */
interface Example {
  readonly name: string
  readonly base64: string
}

/** Milliseconds after the last change of the form until the guest is built. */
const REST_MS = 150
/** Milliseconds after which work is long: the page then shows that it goes on, and offers to stop it. */
const LONG_MS = 300

/** Starts the page. @param source the text of this script. */
export function startPage(source: string): void {
  const examples = JSON.parse(find('examples').textContent ?? '[]') as readonly Example[]
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  const send = (ask: Ask): void => worker.postMessage(ask)
  /** The requests under way. */
  const waiting = new Set<Ask['ask']>()
  let subject: Subject | undefined
  let ramdisks: readonly File[] = []
  /** The rest after a change of the form. */
  let rest: ReturnType<typeof setTimeout> | undefined

  const begin = (ask: Ask): void => {
    waiting.add(ask.ask)
    document.body.setAttribute('aria-busy', 'true')
    setTimeout(() => {
      if (waiting.size > 0 && find('progress').hidden) showProgress({ doing: 'working', done: 0, total: 0 })
    }, LONG_MS)
    send(ask)
  }
  const end = (kind: Ask['ask']): void => {
    waiting.delete(kind)
    if (waiting.size > 0 || rest !== undefined) return
    document.body.removeAttribute('aria-busy')
    showProgress(undefined)
  }
  const build = (): void => {
    const words = readForm()
    linkWords(words)
    begin({ ask: 'build', words, ramdisks })
  }
  const open = (files: readonly File[]): void => {
    if (files.length === 0) return
    waiting.clear()
    clearTimeout(rest)
    rest = undefined
    subject = undefined
    for (const id of ['subject', 'guest', 'save', 'said']) find(id).hidden = true
    find('said-list').replaceChildren()
    removeGuest()
    showRefusal('refusal', undefined)
    begin({ ask: 'open', files })
  }
  const openExample = (index: number): void => {
    const example = examples[index]
    if (example === undefined) return
    const bytes = Uint8Array.from(atob(example.base64), (character) => character.charCodeAt(0))
    open([new File([bytes], example.name)])
  }

  function showSubject(opened: Subject): void {
    subject = opened
    find('subject').hidden = false
    find('name').textContent = opened.name
    showVerdicts(opened.kind === 'kernel' ? opened.verdicts : [])
    find('form').hidden = opened.kind !== 'kernel'
    find('guest').hidden = opened.kind === 'two'
    find('save').hidden = opened.kind === 'two'
    if (opened.kind === 'kernel') typesOf(opened.verdicts)
    if (opened.kind !== 'two') build()
  }

  function refuse(kind: Ask['ask'], refusal: Refusal): void {
    const places: Partial<Record<Ask['ask'], string>> = { build: 'guest-refusal', save: 'save-refusal' }
    showRefusal(places[kind] ?? 'refusal', refusal)
    if (kind === 'build') removeGuest()
  }

  function offer(files: readonly { readonly name: string; readonly blob: Blob }[]): void {
    const links = files.map(({ name, blob }) => {
      const href = URL.createObjectURL(blob)
      return element('a', { href, download: name }, name) as HTMLAnchorElement
    })
    const made = find('made')
    for (const old of made.querySelectorAll('a')) URL.revokeObjectURL(old.href)
    made.replaceChildren('Made: ', ...links.flatMap((link, i) => (i === 0 ? [link] : [', ', link])))
    for (const link of links) link.click()
  }

  worker.onmessage = ({ data: told }: MessageEvent<Told>) => {
    if (told.tell === 'progress') return showProgress(told)
    if (told.tell === 'end') return end(told.of)
    if (told.tell === 'subject') return showSubject(told.subject)
    if (told.tell === 'refused') return refuse(told.of, told.refusal)
    if (told.tell === 'files') return offer(told.files)
    if (told.tell === 'lines') {
      find('said').hidden = false
      return showLines(told.lines, subject?.kind === 'two')
    }
    showRefusal('guest-refusal', undefined)
    find('built').textContent = subject?.kind === 'kernel' ? told.lines.lines.join('\n') : ''
    find('built').hidden = subject?.kind !== 'kernel'
    showFrame(told.map)
  }
  worker.onerror = (event) => {
    for (const kind of [...waiting]) end(kind)
    showRefusal('refusal', {
      code: 'internal',
      message: event.message || 'the worker ended: the file needs too much memory',
    })
  }

  const file = find('file') as HTMLInputElement
  file.addEventListener('change', () => open([...(file.files ?? [])]))
  for (const at of document.querySelectorAll<HTMLElement>('[data-example]')) {
    at.addEventListener('click', () => openExample(Number(at.dataset.example)))
  }
  for (const at of document.querySelectorAll<HTMLElement>('[data-product]')) {
    at.addEventListener('click', () => {
      showRefusal('save-refusal', undefined)
      begin({ ask: 'save', product: at.dataset.product as Product, words: readForm(), ramdisks })
    })
  }
  find('cancel').addEventListener('click', () => {
    send({ ask: 'cancel' })
    for (const kind of [...waiting]) end(kind)
  })
  listenForFiles(open)

  const changed = (): void => {
    if (subject?.kind !== 'kernel') return
    document.body.setAttribute('aria-busy', 'true')
    clearTimeout(rest)
    rest = setTimeout(() => {
      rest = undefined
      build()
    }, REST_MS)
  }
  const form = find('form') as HTMLFormElement
  form.addEventListener('input', changed)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    changed()
  })
  const ramdisk = find('ramdisk') as HTMLInputElement
  ramdisk.addEventListener('change', () => {
    ramdisks = [...(ramdisk.files ?? [])]
    changed()
  })
  addEventListener('hashchange', () => {
    writeForm()
    changed()
  })
  writeForm()
  openExample(0)
}

/** Removes the guest that the form or the file no longer describes. */
function removeGuest(): void {
  find('built').hidden = true
  removeFrame()
}

/** Opens files that are dropped anywhere on the page. */
function listenForFiles(open: (files: readonly File[]) => void): void {
  const light = (on: boolean) => document.body.classList.toggle('dropping', on)
  addEventListener('dragover', (event) => {
    event.preventDefault()
    light(true)
  })
  addEventListener('dragleave', () => light(false))
  addEventListener('drop', (event) => {
    event.preventDefault()
    light(false)
    open([...(event.dataTransfer?.files ?? [])])
  })
}
