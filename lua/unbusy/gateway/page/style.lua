--- The page's style: dark and light as the reader's machine says, and narrow on a phone.
return [[
:root {
  --ground: #fff; --card: #f5f6f8; --text: #1b1f24; --soft: #4b5563; --line: #c5cad3;
  --link: #0b57d0; --good: #136c36; --warn: #8a4b00; --bad: #b3201a; --idle: #4b5563;
  --upstream: #2563c9; --cache: #13803f; --coalesced: #0e7f8c; --batch: #7a4fc4;
  --stale: #96690a; --fallback: #c2410c; --failed: #b3201a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12151a; --card: #1b2027; --text: #e8eaed; --soft: #aab2bd; --line: #46505d;
    --link: #8ab4f8; --good: #6fd08c; --warn: #f0b45a; --bad: #ff8a80; --idle: #aab2bd;
    --upstream: #6ea4f5; --cache: #5cc27c; --coalesced: #4fc3d0; --batch: #b69cf0;
    --stale: #d9b23c; --fallback: #f28c4c; --failed: #ff6f66;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--ground);
  color: var(--text); font: 1rem/1.45 system-ui, sans-serif;
}
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 1.75rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
a { color: var(--link); }
footer, #when, .soft { color: var(--soft); }
footer { margin-top: 2rem; border-top: 1px solid var(--line); padding-top: .5rem; }
header p { margin: 0; }
#whole { font-weight: 600; }
#pause { margin-left: auto; }
button {
  font: inherit; color: var(--text); background: var(--card); border: 1px solid var(--soft);
  border-radius: .4rem; padding: .35rem .9rem; min-height: 2.25rem; min-width: 5.5rem;
}
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
[data-state=good] { color: var(--good); }
[data-state=warn] { color: var(--warn); }
[data-state=bad] { color: var(--bad); }
[data-state=unknown] { color: var(--idle); }

dl { margin: 0; }
dt { color: var(--soft); font-size: .875rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.facts dd { font-size: 1.25rem; }
.cards {
  list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
}
.card, .card * { min-width: 0; overflow-wrap: anywhere; }
.card {
  background: var(--card); border: 1px solid var(--line); border-left: .35rem solid var(--idle);
  border-radius: .4rem; padding: .75rem;
}
.card[data-tone=good] { border-left-color: var(--good); }
.card[data-tone=warn] { border-left-color: var(--warn); }
.card[data-tone=bad] { border-left-color: var(--bad); }
.card .head { display: flex; flex-wrap: wrap; gap: .25rem .75rem; justify-content: space-between; }
.card .state { font-weight: 600; margin: 0; }
.card dl { margin-top: .5rem; }
.card dl div { display: grid; grid-template-columns: 7.5rem 1fr; gap: .5rem; padding: .1rem 0; }
.card dt { font-size: 1rem; overflow-wrap: anywhere; }
meter { width: 100%; max-width: 12rem; height: .9rem; display: block; }

figure { margin: 0 0 .75rem; }
#chart {
  display: block; width: 100%; height: 8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem;
}
figcaption { display: flex; justify-content: space-between; color: var(--soft); gap: 1rem; }
.swatch {
  display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin-right: .5rem;
}
.upstream { fill: var(--upstream); background: var(--upstream); }
.cache { fill: var(--cache); background: var(--cache); }
.coalesced { fill: var(--coalesced); background: var(--coalesced); }
.batch { fill: var(--batch); background: var(--batch); }
.stale { fill: var(--stale); background: var(--stale); }
.fallback { fill: var(--fallback); background: var(--fallback); }
.failed { fill: var(--failed); background: var(--failed); }

.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; vertical-align: top; }
th { color: var(--soft); font-size: .875rem; font-weight: 600; }
tbody th { color: var(--text); font-size: 1rem; font-weight: 400; }
tr { border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.number, th.number { width: 1%; }
td.number:last-child, th.number:last-child { padding-right: 0; }
code { font-family: ui-monospace, monospace; font-size: .925em; }
.log { max-height: 14rem; overflow-y: auto; }
#changes { margin: 0; padding-left: 1.5rem; }
label { display: block; padding: .25rem 0; }
[hidden] { display: none; }
.unseen {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap;
}
@media (max-width: 30rem) {
  body { padding: .75rem; }
  #pause { margin-left: 0; }
  .card dl div { grid-template-columns: 6.5rem 1fr; }
}
]]
