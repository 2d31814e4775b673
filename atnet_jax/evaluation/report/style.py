"""How the page looks: in light and dark, on a phone and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fafaf8; --surface: #ffffff; --text: #1d2126; --quiet: #5a616b; --rule: #dfe1e5;
  --accent: #1c5d99; --heat: 28 93 153; --heat-most: .5; --note: #fff6dd; --note-rule: #d9a514;
  --shade: rgb(0 0 0 / .16);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --surface: #1b1f24; --text: #e7e9ec; --quiet: #a3abb6; --rule: #323841;
    --accent: #82b8ee; --heat: 64 132 208; --heat-most: .6; --note: #2d2714; --note-rule: #b78f22;
    --shade: rgb(255 255 255 / .16);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main {
  max-width: 1120px; margin: 0 auto; padding: 3rem 1.5rem 5rem; overflow-wrap: break-word;
}
h1 { margin: 0 0 .5rem; font-size: 2.1rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; }
h3 { margin: 0 0 .5rem; font-size: 1rem; }
p { margin: 0 0 .75rem; max-width: 46rem; overflow-wrap: anywhere; }
h3 + .quiet { margin-top: -.25rem; }
.skip {
  position: absolute; left: 1rem; top: -4rem; padding: .5rem 1rem; background: var(--surface);
}
.skip:focus { top: 1rem; z-index: 2; }
small { font-size: .8125rem; font-weight: 400; color: var(--quiet); }
.kicker { margin-bottom: .25rem; color: var(--accent); font-weight: 600; }
.quiet { color: var(--quiet); font-size: .9375rem; }
.note {
  padding: .6rem .9rem; background: var(--note); border-left: 4px solid var(--note-rule);
  border-radius: 4px;
}
.tiles { display: flex; flex-wrap: wrap; gap: 1rem clamp(1rem, 4vw, 3rem); margin: 1.5rem 0 1rem; }
.tiles dt { color: var(--quiet); font-size: .9375rem; }
.tiles dd {
  margin: 0; font-size: clamp(1.6rem, 6.5vw, 2.4rem); line-height: 1.15; font-weight: 600;
  font-variant-numeric: tabular-nums;
}
.chance { display: block; font-size: .875rem; font-weight: 400; color: var(--quiet); }
nav {
  display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 1.5rem; padding: .75rem 0;
  border-block: 1px solid var(--rule); font-size: .9375rem;
}
a { color: var(--accent); text-underline-offset: .2em; text-decoration-thickness: 1px; }
section { margin-top: 2.75rem; scroll-margin-top: 1rem; }
/* A shade at the edge behind which there is more to scroll to. */
.scroll {
  overflow-x: auto; margin-bottom: 1rem;
  background:
    linear-gradient(to right, var(--page) 30%, transparent) left / 2.5rem 100%,
    linear-gradient(to left, var(--page) 30%, transparent) right / 2.5rem 100%,
    linear-gradient(to right, var(--shade), transparent) left / .75rem 100%,
    linear-gradient(to left, var(--shade), transparent) right / .75rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
}
.scroll:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
table { border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
caption small { white-space: nowrap; }
caption {
  position: sticky; left: 0; max-width: calc(100vw - 2rem); padding-bottom: .4rem;
  text-align: left; font-weight: 600; overflow-wrap: anywhere;
}
th, td {
  padding: .3rem .75rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: baseline;
}
thead th:first-child, .about { padding-left: .25rem; }
thead th { color: var(--quiet); font-weight: 500; border-bottom-color: var(--quiet); }
tbody th { font-weight: 500; }
.number { text-align: right; }
td.number, .pairs td { white-space: nowrap; }
.pairs th, .pairs td { padding-inline: .4rem; }
thead th[colspan] { color: var(--text); font-weight: 600; border: 0; white-space: nowrap; }
.group { padding-left: 1.25rem; }
/* What a row is about stays in sight while its figures are scrolled. */
.about { position: sticky; left: 0; background: var(--page); }
@media (max-width: 60rem) {
  .about { max-width: 9rem; overflow-wrap: anywhere; }
  .about[rowspan] { min-width: 5.5rem; max-width: 5.5rem; }
  .second {
    position: sticky; left: 5.5rem; min-width: 5.25rem; max-width: 7rem; overflow-wrap: anywhere;
    background: var(--page);
  }
}
.results { width: 100%; }
.results th, .results td { padding-inline: .3rem; }
.results .group { padding-left: 1.25rem; }
.results small { display: block; }
.results tbody th small { max-width: 10rem; overflow-wrap: anywhere; }
.results .paper th, .results .paper td { color: var(--quiet); }
.results .paper th[scope="rowgroup"] { color: var(--text); }
.results .ours th:last-of-type, .results .ours td { font-weight: 700; }
.results tbody tr:not(:last-child) :is(td, th:not([rowspan])) { border-bottom-style: dotted; }
.board { width: 100%; }
.board th, .board td { padding-inline: .25rem; }
.board td { white-space: nowrap; }
.board .group { padding-left: .75rem; }
.board small { display: block; }
.board .about { min-width: 7.5rem; max-width: 11rem; overflow-wrap: anywhere; }
.grid {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  gap: 1.5rem 2.5rem; align-items: start;
}
.grid.matrices {
  grid-template-columns: repeat(auto-fit, minmax(min(15.25rem, 100%), 1fr)); column-gap: 1.5rem;
  align-items: end;
}
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
.grid table { width: 100%; }
.confusion { table-layout: fixed; font-size: .8125rem; }
.confusion thead th[colspan] { padding: 0; border: 0; }
.confusion thead th, .confusion tbody td { text-align: center; overflow-wrap: normal; }
.confusion thead tr + tr th { font-size: .78rem; }
.confusion thead tr:first-child th:first-child {
  width: 25%; text-align: left; vertical-align: bottom;
}
.confusion th, .confusion td { padding: .4rem .1rem; vertical-align: middle; }
.confusion tbody td {
  border: 2px solid var(--page); font-weight: 600;
  background: rgb(var(--heat) / calc(var(--share) * var(--heat-most)));
}
.confusion tbody small { display: block; color: var(--text); }
.confusion .right { outline: 1.5px solid var(--accent); outline-offset: -3px; }
.subjects td[style] {
  background: linear-gradient(var(--accent), var(--accent)) no-repeat left bottom;
  background-size: calc(var(--share) * 100%) 2px;
}
.subjects thead th { max-width: 8.5rem; }
figure { margin: 0 0 1rem; max-width: 34rem; }
figcaption { margin-bottom: .4rem; font-weight: 600; font-size: .9375rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 12px; }
@media (max-width: 32rem) {
  svg text { font-size: 15px; }
  main { padding-inline: 1rem; }
  th, td { padding-inline: .4rem; }
}
.gridline { stroke: var(--rule); }
.axis { stroke: var(--quiet); }
.fold { fill: none; stroke: var(--accent); stroke-width: 1; }
.mean { fill: none; stroke: var(--text); stroke-width: 2.5; stroke-linejoin: round; }
.end { fill: var(--text); }
svg .name { fill: var(--text); font-weight: 600; }
svg .figure { fill: var(--text); font-variant-numeric: tabular-nums; }
.whisker { fill: none; stroke: var(--text); stroke-width: 1.5; }
.published { fill: none; stroke: var(--accent); stroke-width: 2; }
.claimed { fill: none; stroke: var(--quiet); stroke-width: 1.5; }
.overlap { fill: var(--accent); opacity: .24; }
.honest { fill: var(--accent); }
.inflated { fill: none; stroke: var(--quiet); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .in-honest { fill: var(--page); font-weight: 600; }
svg .in-inflated { fill: var(--text); }
details { margin-bottom: .75rem; }
summary { padding: .35rem 0; cursor: pointer; }
summary h3, summary h4 { display: inline; font-size: 1rem; font-weight: 500; }
h4 { margin: 0 0 .5rem; font-size: 1rem; font-weight: 500; }
details > :not(summary) { margin-left: .25rem; }
pre {
  margin: 0 0 1rem; padding: .75rem 1rem; overflow-x: auto; background: var(--surface);
  border: 1px solid var(--rule); border-radius: 4px;
}
@media print {
  :root { color-scheme: light; --page: #fff; font-size: 9.5pt; }
  @page { size: A4 landscape; margin: 12mm; }
  main { max-width: none; padding: 0; }
  nav, .skip { display: none; }
  body { font-size: 1rem; }
  .scroll { overflow: visible; background: none; }
  table { font-size: .85rem; }
  small { font-size: .9em; }
  th, td { padding: .15rem .35rem; }
  tr, figure, .confusion, .note { break-inside: avoid; }
  thead { display: table-header-group; }
  h2, h3, h4, caption { break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
code { font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""
