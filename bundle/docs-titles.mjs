/**
 * A typedoc plugin: names each guide of the documentation site by its heading.
 *
 * Source: https://typedoc.org/documents/Development.html; typedoc.json names this file.
 * Gotcha: typedoc names a document by its path, which is then its link in the sidebar. The heading itself stays on the page.
 */
import { Converter } from 'typedoc'

const HEADING = /^# (.+)$/m

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const document of project.documents ?? []) {
      document.name = HEADING.exec(document.content[0]?.text ?? '')?.[1] ?? document.name
    }
  })
}
