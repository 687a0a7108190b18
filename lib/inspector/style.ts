/**
 * The style of the page that takes files; the colours and the basic rules are those of the map's page.
 *
 * Source: our own design; contrast by https://www.w3.org/TR/WCAG22/#contrast-minimum (4.5 to 1 for words).
 * Gotcha: the map is a frame with a separate style, and its left and right space is that of this page.
 */

/** The rules, after those of PAGE_STYLE. */
export const INSPECTOR_STYLE = `#drop{border:1px dashed var(--line);border-radius:2px;padding:14px 16px;background:var(--sheet);margin:18px 0 10px}
.dropping #drop{border-color:var(--accent);background:var(--wash)}
input[type=file]{padding:6px 8px}
.examples{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0}
#status{min-height:8px}
#progress{display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center;margin:10px 0}
#progress[hidden]{display:none}
progress{width:220px;max-width:100%;accent-color:var(--accent)}
.refusal{border:1px solid var(--line);border-left:2px solid var(--no);padding:8px 12px;margin:12px 0;overflow-wrap:anywhere;max-width:none}
.refusal b{color:var(--no);font-weight:600}
#verdicts{list-style:none;margin:0;padding:0;border-top:1px solid var(--hair)}
#verdicts li{display:grid;grid-template-columns:7ch 11ch minmax(0,1fr);gap:0 12px;padding:7px 0;border-bottom:1px solid var(--hair);overflow-wrap:anywhere}
#verdicts .need{grid-column:3}
#verdicts .ok .mark{color:var(--t2)}
#verdicts .no .mark{color:var(--no)}
@media (max-width:519px){#verdicts li{grid-template-columns:7ch minmax(0,1fr)}#verdicts .mono,#verdicts .need{grid-column:1/-1}}
#name{text-transform:none;letter-spacing:0;font-size:15px;color:var(--ink);overflow-wrap:anywhere}
#form{display:grid;grid-template-columns:1fr 1fr 1fr 2fr;gap:12px 16px;align-items:end;margin:0 0 12px}
@media (max-width:759px){#form{grid-template-columns:1fr 1fr}}
#form[hidden]{display:none}
#form label{max-width:none}
#form .far{grid-column:1/-1}
select{display:block;width:100%;margin-top:4px;padding:8px 10px;min-height:37px;color:var(--ink);background:var(--sheet);border:1px solid var(--line);border-radius:2px;font-family:var(--mono);font-size:12.5px}
pre{font-family:var(--mono);font-size:12.5px;line-height:1.5;margin:8px 0;overflow:auto;max-height:480px;background:var(--sheet);border:1px solid var(--hair);padding:10px 12px}
pre[hidden]{display:none}
summary{cursor:pointer;font-family:var(--mono);font-size:12.5px;color:var(--accent);padding:4px 0}
.products{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:8px 24px;list-style:none;margin:0;padding:0}
.products span{display:block;font-size:13px}
#made:empty{display:none}
#map{margin:0 calc(-1 * clamp(14px,4vw,56px))}
iframe{display:block;width:100%;border:0;background:var(--paper)}
iframe.loading{position:absolute;visibility:hidden}
`
