/**
 * The map of the guest: the page of `map`, in a frame that is as tall as its content.
 *
 * Source: https://html.spec.whatwg.org/#attr-iframe-srcdoc; ../../inspect/map-html.ts makes the page.
 * Gotcha: a frame is empty until it is loaded, so the old one stays until then. The policy of this page applies in it
 * too: it names the script of the map.
 */
/// <reference lib="dom" />
import { element, find } from '../../inspect/map-client/dom.js'

/** The height of a list that scrolls: a frame that is as tall as its content has no height for it. */
const TALL = '640px'

let loading: HTMLElement | undefined

/** Removes the map. */
export function removeFrame(): void {
  find('map').replaceChildren()
  loading = undefined
}

/** Shows a map instead of the one before. */
export function showFrame(map: string): void {
  loading?.remove()
  const frame = element('iframe', {
    title: 'Memory map of the guest',
    srcdoc: map,
    class: 'loading',
  }) as HTMLIFrameElement
  loading = frame
  frame.addEventListener('load', () => {
    const { documentElement: page, body } = frame.contentDocument as Document
    page.style.setProperty('--tall', TALL)
    const grow = () => {
      // The page's padding depends on its width, which is that of the frame here.
      body.style.paddingInline = getComputedStyle(document.body).paddingLeft
      frame.style.height = `${Math.ceil(page.getBoundingClientRect().height)}px`
    }
    grow()
    new ResizeObserver(grow).observe(page)
    for (const old of find('map').querySelectorAll('iframe')) if (old !== frame) old.remove()
    frame.classList.remove('loading')
    loading = undefined
  })
  find('map').append(frame)
}
