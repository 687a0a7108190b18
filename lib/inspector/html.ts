/**
 * The page that takes a kernel or a snapshot, as one file that contains everything it needs.
 *
 * Source: https://html.spec.whatwg.org/ and https://www.w3.org/TR/CSP3/
 * Gotcha: the policy allows two scripts by their hashes: that of the page, which its worker is made from, and that of the
 * map, which runs in a frame. The decoders are WebAssembly, which the policy must allow as well. Nothing can be fetched.
 */

import { toBase64 } from '../bytes.js'
import { DEFAULT_MEMORY } from '../guest/libxl-config.js'
import { escapeText, scriptJson } from '../inspect/escape.js'
import { PAGE_STYLE, PALETTE } from '../inspect/map-style.js'
import { VERDICT_TYPES } from '../kernel/verdict.js'
import { sha256 } from '../sha256.js'
import { SNAPSHOT_FORMATS } from '../snapshot/formats.js'
import { INSPECTOR_STYLE } from './style.js'

/** A kernel that the page has. */
interface Example {
  readonly name: string
  /** Its kind, in a few words. */
  readonly label: string
  readonly bytes: Uint8Array
}

/** The parts of the page that are bundled. */
interface PageParts {
  /** The script of the page and of its worker. */
  readonly script: string
  /** The script of the map. */
  readonly mapScript: string
  /** The first one is shown until a file is chosen. */
  readonly examples: readonly Example[]
}

const PRODUCTS: readonly (readonly [name: string, label: string, summary: string])[] = [
  ...Object.values(SNAPSHOT_FORMATS).map(({ name, summary }) => [name, name, summary] as const),
  ['json', 'JSON', 'the guest as inspect --json describes it'],
  ['svg', 'SVG', 'the drawing of the layout'],
]

/** Returns the page. The same parts always give the same bytes. */
export function inspectorHtml({ script, mapScript, examples }: PageParts): string {
  const hashes = [script, mapScript].map((text) => `'sha256-${toBase64(sha256(text))}'`).join(' ')
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src ${hashes} 'wasm-unsafe-eval'; worker-src blob:; base-uri 'none'; form-action 'none'`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kernel and snapshot inspector</title>
<style>${PALETTE}${PAGE_STYLE}${INSPECTOR_STYLE}</style>
</head>
<body>
<header>
<h1>Kernel and snapshot inspector</h1>
<p class="soft">How does this kernel boot, and which guest does it get? Nothing leaves this page: it has no network.</p>
<div id="drop">
<label for="file">Kernel or snapshot; two files of one kind are compared
<input id="file" type="file" multiple></label>
<p class="soft">Files can be dropped anywhere on the page. A raw snapshot needs its .json with it.</p>
<p class="examples"><span class="soft">Examples:</span>${examples
    .map(({ label }, i) => `<button type="button" data-example="${i}">${escapeText(label)}</button>`)
    .join('')}</p>
</div>
<div id="status" role="status" aria-live="polite">
<div id="progress" hidden><span id="doing"></span><progress id="bar" aria-labelledby="doing"></progress><button type="button" id="cancel">Cancel</button></div>
</div>
<p id="refusal" class="refusal" role="alert" hidden></p>
<noscript><p>This page needs scripts.</p></noscript>
</header>
<main>
<section id="subject" aria-labelledby="name" hidden>
<h2 id="name"></h2>
<ul id="verdicts"></ul>
</section>
<section id="guest" aria-labelledby="guest-heading" hidden>
<h2 id="guest-heading">Guest</h2>
<form id="form">
<label for="type">Type
<select id="type">${['auto', ...VERDICT_TYPES].map((type) => `<option value="${type}">${type}</option>`).join('')}</select></label>
<label for="memory">Memory
<input id="memory" placeholder="${DEFAULT_MEMORY}" autocomplete="off" spellcheck="false"></label>
<label for="vcpus">Virtual CPUs
<input id="vcpus" placeholder="1" inputmode="numeric" autocomplete="off"></label>
<label for="ramdisk">Ramdisk
<input id="ramdisk" type="file" multiple></label>
<label for="cmdline" class="far">Command line
<input id="cmdline" autocomplete="off" autocapitalize="off" spellcheck="false"></label>
</form>
<p id="guest-refusal" class="refusal" role="alert" hidden></p>
<pre id="built" tabindex="0" role="region" aria-label="The guest" hidden></pre>
</section>
<section id="save" aria-labelledby="save-heading" hidden>
<h2 id="save-heading">Download</h2>
<ul class="products">${PRODUCTS.map(
    ([name, label, summary]) =>
      `<li><button type="button" data-product="${name}">${label}</button><span class="soft">${escapeText(summary)}</span></li>`,
  ).join('')}</ul>
<p id="save-refusal" class="refusal" role="alert" hidden></p>
<p id="made" role="status"></p>
</section>
<section id="said" aria-labelledby="said-heading" hidden>
<h2 id="said-heading">Output of the command</h2>
<div id="said-list"></div>
</section>
</main>
<section id="map" aria-label="Map of the guest"></section>
<footer>Made by xen-domain-builder.</footer>
<script type="application/json" id="examples">${scriptJson(examples.map(({ name, bytes }) => ({ name, base64: toBase64(bytes) })))}</script>
<script>${script}</script>
</body>
</html>
`
}
