/**
 * Builds what the boots of `npm run test:xen` start from, so that two boots can run at a time.
 *
 * Source: harness.ts.
 * Gotcha: where a program is missing, it builds nothing; each boot then says which one.
 */
import { buildAll, findXen } from './harness.js'

if ('found' in (await findXen('pv32-debug'))) buildAll()
