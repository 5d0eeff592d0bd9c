--- The page's style and its script, which shows the values under the pointer.
local page_style = {}

page_style.css = [[
:root { color-scheme: light dark;
  --paper: #fbfbf9; --card: #fff; --ink: #1c1e21; --soft: #5d636b; --line: #d9dbdf; --grid: #e9eaec;
  --trouble: #f4e3d3; --hit: #1c1e21;
  --upstream: #2f6fd6; --cache: #1f9e89; --stale: #c79a17; --coalesced: #7a5bc7; --batch: #4b9b3b;
  --fallback: #e07b2e; --failed: #cf3b3b; --other: #8a8f98;
  --s0: #2f6fd6; --s1: #d3541b; --s2: #1f9e89; --s3: #7a5bc7; --s4: #a3791a; --s5: #c2377f;
  --s6: #5f6b7a; --s7: #4b9b3b;
  --closed: #a9cfa9; --half: #e5b23c; --open: #cf3b3b; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15171a; --card: #1d2024; --ink: #e8e9eb; --soft: #a0a6ae; --line: #353a41;
  --grid: #2a2e34; --trouble: #3a2e22; --hit: #e8e9eb;
  --upstream: #6b9ff0; --cache: #45c3ad; --stale: #e0bc4a; --coalesced: #a68cf0; --batch: #7cc46c;
  --fallback: #f0995a; --failed: #ef6a6a; --other: #9aa0a9;
  --s0: #6b9ff0; --s1: #f08a57; --s2: #45c3ad; --s3: #a68cf0; --s4: #d6b04e; --s5: #ee78b0;
  --s6: #a4afbd; --s7: #7cc46c;
  --closed: #3f6b45; --half: #c99a2c; --open: #e05252; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 20px 16px 60px; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 4px 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 1.08rem; margin: 30px 0 8px; }
p { margin: 4px 0 10px; max-width: 74ch; }
.soft { color: var(--soft); }
.card, details { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; margin: 10px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
tbody tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; color: var(--soft); font-size: .78rem; vertical-align: bottom; }
th:first-child, tbody th { text-align: left; color: var(--ink); font-size: inherit;
  position: sticky; left: 0; background: var(--card); max-width: 190px; overflow: hidden;
  text-overflow: ellipsis; }
td.bar { min-width: 118px; }
.meter { display: inline-block; width: 46px; height: 8px; border-radius: 4px; overflow: hidden;
  background: var(--grid); margin-right: 8px; vertical-align: 1px; }
.meter i { display: block; height: 100%; }
summary { cursor: pointer; font-weight: 600; margin: -12px -14px; padding: 12px 14px;
  overflow-wrap: anywhere; }
details[open] summary { margin-bottom: 0; }
figure { margin: 14px 0 22px; }
figcaption { font-weight: 600; font-size: .95rem; }
figcaption span { font-weight: 400; color: var(--soft); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 6px;
  padding: 0; font-size: .86rem; }
.legend li { display: flex; align-items: baseline; gap: 6px; min-width: 0; }
.legend bdi { overflow-wrap: anywhere; }
.legend i { flex: none; width: 14px; height: 4px; border-radius: 2px; align-self: center; }
.legend i.block { height: 10px; }
.legend output { color: var(--soft); font-variant-numeric: tabular-nums; min-width: 3.2em; }
.frame { display: grid; grid-template-columns: 46px 1fr; }
.ticks { position: relative; font-size: .74rem; color: var(--soft); }
.ticks span { position: absolute; right: 7px; transform: translateY(50%); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.plot { position: relative; height: 168px; border-left: 1px solid var(--line);
  border-bottom: 1px solid var(--line); touch-action: pan-y; }
.plot.strip { height: 16px; border: 0; margin-bottom: 7px; border-radius: 3px; overflow: hidden; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.plot b { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--hit); opacity: .55;
  pointer-events: none; display: none; }
.strip-name { font-size: .84rem; grid-column: 1 / -1; padding-left: 46px; overflow-wrap: anywhere; }
.times { position: relative; grid-column: 2; height: 1.5em; font-size: .74rem; color: var(--soft); }
.times span { position: absolute; transform: translateX(-50%); top: 3px;
  font-variant-numeric: tabular-nums; }
.times span:first-child { transform: none; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-width: 1.6; stroke-linejoin: round; }
path.fill { stroke: none; }
path.thin { stroke-width: 1.1; stroke-dasharray: 4 3; }
line { stroke: var(--grid); vector-effect: non-scaling-stroke; }
rect.trouble { fill: var(--trouble); }
.key-trouble { background: var(--trouble); border: 1px solid var(--line); }
@media (max-width: 560px) { main { padding: 12px 8px 40px; } .card, details { padding: 10px; }
  summary { margin: -10px; padding: 10px; } .plot { height: 140px; }
  th, td { padding: 6px 7px; } td.bar { min-width: 100px; } .meter { width: 30px; }
  .frame { grid-template-columns: 38px 1fr; } .strip-name { padding-left: 38px; }
  th:first-child, tbody th { max-width: 116px; } }
]]

page_style.js = [[
"use strict";
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  function show(value, unit) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "string") return value.replace("_", " ");
    if (unit === "%") return (Math.floor(value * 1000 + 1e-9) / 10) + " %";
    return (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1)
      : value.toFixed(2)) + (unit ? " " + unit : "");
  }
  function point(share) {
    var k = Math.min(data.count - 1, Math.max(0, Math.floor(share * data.count)));
    plots.forEach(function (plot) {
      var mark = plot.querySelector("b");
      mark.style.left = (share * 100) + "%";
      mark.style.display = "block";
    });
    document.querySelectorAll("output[data-plot]").forEach(function (out) {
      var p = data.plots[+out.dataset.plot];
      out.textContent = show(p.series[+out.dataset.series][k], p.unit);
    });
    document.querySelectorAll("output[data-time]").forEach(function (out) {
      out.textContent = "at " + show((k + 0.5) * data.step, "s");
    });
  }
  function clear() {
    plots.forEach(function (plot) { plot.querySelector("b").style.display = "none"; });
    document.querySelectorAll("output").forEach(function (out) { out.textContent = ""; });
  }
  plots.forEach(function (plot) {
    plot.addEventListener("pointermove", function (e) {
      var box = plot.getBoundingClientRect();
      point(Math.min(1, Math.max(0, (e.clientX - box.left) / box.width)));
    });
    plot.addEventListener("pointerleave", clear);
  });
})();
]]

return page_style
