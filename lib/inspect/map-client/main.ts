/**
 * The script of the map's page in the reader's browser: it opens tables, highlights fields and searches.
 *
 * Source: bundle/write.ts bundles this file with what it imports; ../map-html.ts puts the text into the page.
 * Gotcha: it runs after the whole document is parsed, and only there: nothing in the library may import it.
 */
import { startFigures } from './figure.js'
import { startSearch } from './search.js'
import { startStructs } from './structs.js'
import { startTree } from './tree.js'

startTree()
startSearch()
startFigures()
startStructs()
