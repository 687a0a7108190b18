/**
 * The style of the map: the colours of paper and ink, light and dark, and the rules of drawing and page.
 *
 * Source: our own design; contrast by https://www.w3.org/TR/WCAG22/#contrast-minimum (4.5 to 1 for words).
 * Gotcha: the fonts are those of the reader's machine: nothing is fetched, and widths are computed for monospaced ones.
 * A frame that is as tall as its content sets --tall, since its height bounds nothing.
 */
import { TINTS } from './region-kinds.js'

const LIGHT = `--paper:#fbfaf6;--sheet:#ffffff;--ink:#1b2530;--soft:#55606c;--line:#c9c8c0;--hair:#e4e2da;--accent:#0b5cad;--wash:#e8f0f8;--mark:#ffe39a;--no:#a3352e;
--t0:#2f6690;--t1:#a4572a;--t2:#3d7a4f;--t3:#8a5a9e;--t4:#8c6d13;--t5:#b0413e;--t6:#5b6472;--t7:#2b7f83;--t8:#a8447b;`
const DARK = `--paper:#13171c;--sheet:#191e25;--ink:#e4e8ec;--soft:#a2acb8;--line:#3d4651;--hair:#2a313a;--accent:#7db7f2;--wash:#1d2b3a;--mark:#6b5413;--no:#f0918a;
--t0:#7fb2dc;--t1:#e09f73;--t2:#86c698;--t3:#c79bd9;--t4:#d8b95c;--t5:#e68d89;--t6:#a8b2bf;--t7:#78c6ca;--t8:#e391c0;`

/** The colours by name. */
export const PALETTE = `:root{color-scheme:light dark;${LIGHT}--mono:ui-monospace,'DejaVu Sans Mono','SF Mono',Menlo,Consolas,monospace}
@media (prefers-color-scheme:dark){:root{${DARK}}}
`

const TINT_RULES = Array.from({ length: TINTS }, (_, i) => `.t${i}{--c:var(--t${i})}`).join('')

/** The drawing. */
export const FIGURE_STYLE = `.paper{fill:var(--paper)}
text{font-family:var(--mono);fill:var(--ink)}
.heading{fill:var(--soft);letter-spacing:.14em}
.caption{font-size:15px}
.note{fill:var(--soft)}
.ground{fill:var(--sheet)}
.body{fill:var(--c,transparent);fill-opacity:.16;stroke:var(--c,var(--line));stroke-width:1}
.free .body{fill-opacity:1;stroke:var(--line)}
.unnamed .body,.group .body{stroke:var(--soft);stroke-dasharray:4 3}
.hatch{stroke:var(--hair);stroke-width:1.5;fill:none}
.edge{fill:none;stroke:var(--soft);stroke-opacity:.6;stroke-width:1}
.band{fill:var(--c,var(--soft));fill-opacity:.2;stroke:var(--c,var(--soft));stroke-opacity:.45;stroke-width:.5}
.band.plain{fill-opacity:.06;stroke-opacity:.2}
.band.scattered{stroke-dasharray:3 3}
${TINT_RULES}
`

/** The page around it. */
export const PAGE_STYLE = `*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,'Helvetica Neue',Arial,sans-serif;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1200px;padding:28px clamp(14px,4vw,56px) 64px}
h1{font-size:22px;font-weight:600;letter-spacing:-.01em;margin:0;overflow-wrap:anywhere}
h2{font-size:13px;font-weight:600;letter-spacing:.1em;text-transform:uppercase;color:var(--soft);margin:44px 0 12px;border-top:1px solid var(--line);padding-top:10px}
p{margin:6px 0;max-width:72ch}
.soft{color:var(--soft)}
code,.mono,td,th,input,.hex,[role=tree],.bits{font-family:var(--mono);font-size:12.5px}
a{color:var(--accent)}
.facts{display:flex;flex-wrap:wrap;gap:4px 22px;margin:10px 0 0;padding:0;list-style:none}
.facts b{font-weight:400;color:var(--soft);margin-right:.5em}
button{font:inherit;font-family:var(--mono);font-size:12.5px;color:var(--accent);background:none;border:0;border-bottom:1px dotted currentColor;padding:0;cursor:pointer;text-align:left;overflow-wrap:anywhere}
:focus{outline:none}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
form{display:flex;flex-wrap:wrap;gap:8px;align-items:end;margin:20px 0 0}
label{display:block;font-size:13px;color:var(--soft);flex:1 1 260px;max-width:460px;min-width:0}
input[aria-invalid=true]{border-color:var(--no)}
input{display:block;width:100%;margin-top:4px;padding:8px 10px;min-height:37px;box-sizing:border-box;color:var(--ink);background:var(--sheet);border:1px solid var(--line);border-radius:2px}
form button{border:1px solid var(--accent);border-radius:2px;padding:8px 14px;min-height:37px;box-sizing:border-box}
#found{margin-top:12px;overflow-wrap:anywhere}
#found:empty{display:none}
#found>div{border-left:2px solid var(--accent);background:var(--wash);padding:8px 12px;margin:0 0 8px}
#found>.none{border-left-color:var(--no);background:none;border-style:solid;border-width:1px 1px 1px 2px;border-color:var(--line) var(--line) var(--line) var(--no)}
#found>.none::before{content:'Not found';display:block;font-size:13px;font-weight:600;color:var(--no)}
#found h3{font-size:13px;font-weight:600;margin:0 0 4px}
#found ol{margin:4px 0 0;padding:0 0 0 22px}
#found li{font-family:var(--mono);font-size:12.5px}
.figure{display:block;width:100%;height:auto}
.figure .box[data-address]{cursor:pointer}
.figure .box:focus{outline:none}
.figure .box:focus-visible .body{stroke:var(--accent);stroke-width:2.5;stroke-dasharray:none}
.figure .box:focus-visible .body,.figure .box.lit .body{fill-opacity:.42}
.figure .free.lit .body{fill-opacity:1;stroke:var(--ink)}
.figure .band.lit{fill-opacity:.5;stroke-opacity:1}
.narrow{display:none}
@media (max-width:759px){.wide{display:none}.narrow{display:block}}
.split{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:28px;align-items:start}
@media (max-width:899px){.split{grid-template-columns:minmax(0,1fr)}}
@media (min-width:900px){.stay{position:sticky;top:16px}}
[role=tree],[role=group]{margin:0;padding:0;list-style:none}
[role=tree] [role=group]{padding-left:14px;margin-left:5px;border-left:1px solid var(--hair)}
[role=treeitem]{cursor:pointer}
[role=treeitem]:focus{outline:none}
[role=treeitem]:focus-visible>.row{outline:2px solid var(--accent);outline-offset:-2px}
[role=treeitem][aria-selected=true]>.row{background:var(--wash)}
.row{display:flex;flex-wrap:wrap;column-gap:10px;padding:2px 4px 2px 24px}
.row:hover{background:var(--wash)}
.row::before{content:'·';width:10px;margin-left:-20px;color:var(--soft);flex:none}
[aria-expanded=false]>.row::before{content:'▸'}
[aria-expanded=true]>.row::before{content:'▾'}
.row span{overflow-wrap:anywhere;min-width:0}
.gap{color:var(--soft);padding:1px 4px 1px 24px}
.bits{display:grid;grid-template-columns:repeat(16,minmax(0,1fr));border:1px solid var(--line);border-width:1px 0 0 1px;margin:10px 0}
.bits span{border:1px solid var(--line);border-width:0 1px 1px 0;text-align:center;padding:1px 0 2px;line-height:1.25;background:var(--sheet)}
.bits i{display:block;font-style:normal;font-size:9px;color:var(--soft)}
.bits .set{background:var(--wash);font-weight:600}
.bits .frame i{color:var(--t1)}
.wrap{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th{font-weight:400;color:var(--soft);text-align:left;border-bottom:1px solid var(--line)}
td,th{padding:3px 10px 3px 0;vertical-align:top;overflow-wrap:anywhere}
td{border-bottom:1px solid var(--hair)}
th{overflow-wrap:normal}
td.n,th.n{text-align:right}
td.n,td.w{white-space:nowrap}
td .soft{font-family:ui-sans-serif,system-ui,'Helvetica Neue',Arial,sans-serif}
td.w .soft{font-family:inherit}
tr[tabindex]{cursor:pointer}
tr:focus{outline:none}
tr:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}
tr.lit td{background:var(--mark)}
[role=tablist]{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 12px}
[role=tab]{border:0;padding:4px 0;color:var(--soft);border-bottom:2px solid transparent}
[role=tab][aria-selected=true]{color:var(--ink);border-bottom-color:var(--accent)}
.hex{line-height:1.6;font-size:12px;white-space:pre}
.hex div{display:flex}
.hex .at{color:var(--soft);width:5ch;flex:none}
.hex b{font-weight:400;width:2ch;margin-right:1ch;flex:none;cursor:pointer}
.hex b.odd{color:var(--t0)}
.hex b.even{color:var(--t1)}
.hex b.none{color:var(--soft);cursor:default}
.hex b.lit{background:var(--mark);color:var(--ink);box-shadow:.5ch 0 var(--mark),-.5ch 0 var(--mark)}
.hex .text{color:var(--soft);margin-left:1ch}
.hex .fold{color:var(--soft)}
@media (max-width:519px){.fields th:nth-child(2){width:40%}.hex{font-size:10.5px}.hex b{margin-right:.62ch}.hex .text{display:none}}
.list{max-height:var(--tall,75vh);overflow:auto;border-bottom:1px solid var(--hair)}
.hex{position:relative}
@media (min-width:900px){.hex{max-height:var(--tall,calc(100vh - 32px));overflow:auto}}
.fields th:nth-child(1){width:8ch}.fields th:nth-child(2){width:34%}
.fields{table-layout:fixed}
.more{margin:8px 0}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:10px;font-size:13px;color:var(--soft)}
@media print{form{display:none}.list,.hex{max-height:none}}
`
