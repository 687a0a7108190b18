/**
 * The one script of the page: the page's own part in a document, and the library in a worker.
 *
 * Source: ../../bundle/inspector.ts bundles it; ./html.ts puts it into the page.
 * Gotcha: the worker is made from the text of this script, so the text must be known while the script runs.
 */
/// <reference lib="dom" />
import { startPage } from './page/main.js'
import { startWorker } from './worker.js'

if (typeof document === 'undefined') startWorker()
else startPage(document.currentScript?.textContent ?? '')
