--- The page's script: asks for status.json every two seconds, and shows what it says.
--
-- What the gateway tells goes into the page as text and as numbers, never as markup. While nobody
-- looks at the page (its tab is hidden), or it was told to pause, nobody is asked.
return [==[
"use strict";
const EVERY = 2000, PATIENCE = 8000, MOST_CHANGES = 50;
const SOURCES = [["upstream", "from a target"], ["cache", "from the cache"],
  ["coalesced", "shared with the same question"], ["batch", "in a batch"],
  ["stale", "from the cache, no longer fresh"], ["fallback", "fallback"],
  ["failed", "none: the call failed"]];
const STATES = { closed: ["good", "answers"], open: ["bad", "left alone"],
  half_open: ["warn", "is being probed"], forced_open: ["bad", "held open by hand"],
  disabled: ["warn", "breaker disabled"], metrics_only: ["warn", "breaker only counts"] };

// {== Small things =========================================================

const at = (id) => document.getElementById(id);

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function put(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

const number = (n) => typeof n === "number" && isFinite(n) ? n : 0;
const list = (value) => Array.isArray(value) ? value : [];
const fields = (value) => value && typeof value === "object" ? Object.entries(value) : [];
const whole = (n) => Math.round(number(n)).toLocaleString("en");
const percent = (part, all) => (all > 0 ? 100 * part / all : 0).toFixed(1) + " %";

function duration(s) {
  s = number(s);
  if (s < 0.9995) return Math.round(1000 * s) + " ms";
  if (s < 60) return s.toFixed(s < 9.95 ? 1 : 0) + " s";
  return s < 3600 ? Math.round(s / 60) + " min" : (s / 3600).toFixed(1) + " h";
}

const ago = (s) => number(s) < 1 ? "just now" : duration(s) + " ago";

// One node for each item, in their order; a node stays what it was for the same key.
function keep(parent, items, keyOf, build, fill) {
  const old = new Map();
  for (const node of parent.children) old.set(node.dataset.key, node);
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const node = old.get(key) || build(item);
    node.dataset.key = key;
    old.delete(key);
    fill(node, item);
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  for (const node of old.values()) node.remove();
}

function buildFact([name]) {
  const node = make("div"), value = make("dd");
  value.append(make("span"));
  node.append(make("dt", "", name), value);
  return node;
}

// A bar beside a number that has a limit: { label, value, limit }.
function fillBar(parent, bar) {
  let node = parent.querySelector("meter");
  if (!bar) return node && node.remove();
  node = node || parent.appendChild(make("meter"));
  node.setAttribute("aria-label", bar.label);
  node.max = Math.max(1, Math.floor(bar.limit));
  node.value = number(bar.value);
}

// Names and values, some of them with a bar.
function facts(parent, rows) {
  keep(parent, rows, ([name]) => name, buildFact, (node, [, text, bar]) => {
    put(node.lastChild.firstChild, text);
    fillBar(node.lastChild, bar);
  });
}

function row(cells) {
  const node = make("tr");
  for (const name of cells) node.append(make("td", name));
  return node;
}

function fillRow(node, texts) {
  texts.forEach((text, i) => put(node.children[i], text));
}

// }==========================================================================

// {== Targets ===============================================================

function toneOf(target) {
  const [tone] = STATES[target.state] || ["warn"];
  return tone === "good" && (target.refused || target.rests > 0) ? "warn" : tone;
}

function stateOf(target) {
  const [, words] = STATES[target.state] || ["", ""];
  const name = String(target.state).replace(/_/g, " ");
  if (target.refused === "quota") return name + " – no credit";
  if (target.refused) return name + " – key refused";
  if (target.rests > 0) return name + " – rests for " + duration(target.rests);
  return name + " – " + words;
}

function buildCard() {
  const card = make("li", "card"), head = make("div", "head"), numbers = make("dl");
  head.append(make("h3"), make("p", "state"));
  card.append(head, make("p", "soft"), numbers);
  return card;
}

function limitText(l) {
  return whole(l.in_flight) + (number(l.limit) > 0 ? " of " + Math.floor(l.limit) : "");
}

function breakerText(b) {
  if (!b || !number(b.calls)) return "none lately";
  return whole(b.failures) + " of " + whole(b.calls) + " (" +
    percent(number(b.failures), number(b.calls)) + ")";
}

function pairsOf(target) {
  const start = target.start, queue = target.queue || {};
  const pairs = [["First token", start ? duration(start.half) + "; 95 %: " +
    duration(start.most) : "none lately"]];
  for (const [model, l] of fields(target.limits)) {
    const name = "In flight" + (model ? ", " + model : "");
    pairs.push([name, limitText(l), number(l.limit) > 0 && { label: name + ", at " + target.name,
      value: l.in_flight, limit: l.limit }]);
  }
  pairs.push(["Failures", breakerText(target.breaker)]);
  if (number(queue.calls)) {
    pairs.push(["In its queue", whole(queue.calls) + ", for " + duration(queue.seconds)]);
  }
  return pairs;
}

function fillCard(card, target) {
  const tone = toneOf(target);
  const [head, where, numbers] = card.children, [name, state] = head.children;
  card.dataset.tone = state.dataset.state = tone;
  put(name, target.name);
  put(state, stateOf(target));
  put(where, "account " + target.account + ", pool " + target.pool + ", " + target.provider);
  facts(numbers, pairsOf(target));
}

const isOut = (target) => toneOf(target) === "bad" || Boolean(target.refused);

// }==========================================================================

// {== The whole =============================================================

// In flight of all accounts, whose targets share them.
function inFlight(told) {
  const seen = new Map();
  for (const t of list(told.targets)) {
    for (const [model, l] of fields(t.limits)) {
      seen.set(t.account + "\n" + model, number(l.in_flight));
    }
  }
  if (!seen.size) return number(told.active);
  return [...seen.values()].reduce((a, b) => a + b, 0);
}

function hitRate(cache) {
  const near = cache.near || cache;
  const all = number(near.hits) + number(near.stale) + number(near.misses);
  return all ? percent(number(near.hits), all) : "not asked yet";
}

function showNow(told, total) {
  const waiting = told.region ? told.region.waiting : told.waiting;
  const pairs = [["In flight", whole(inFlight(told))], ["Waiting for a place", whole(waiting)],
    ["Answered in the last hour", whole(total.all - total.failed)],
    ["Without an answer", percent(total.failed, total.all)]];
  if (told.budget) pairs.push(["Retry budget", whole(told.budget.tokens) + " tokens"]);
  if (told.cache) {
    pairs.push(["Found in the cache", hitRate(told.cache)]);
    pairs.push(["In the cache", whole((told.cache.near || told.cache).entries) + " answers"]);
  }
  facts(at("now"), pairs);
}

function showWhole(state, text) {
  at("whole").dataset.state = state;
  put(at("whole"), text);
  document.title = (state === "good" ? "" : "! ") + text + " – unbusy";
}

function judge(targets) {
  const out = targets.filter(isOut).length, all = targets.length;
  if (!out) {
    const some = targets.some((t) => toneOf(t) !== "good");
    return showWhole(some ? "warn" : "good", some ? "Not all targets are well" :
      all === 1 ? "The target answers" : "All " + all + " targets answer");
  }
  showWhole("bad", out === all ? "No target answers" :
    out + " of " + all + (out === 1 ? " targets is out" : " targets are out"));
}

// What has changed since the last time, for who listens or has looked away.
const known = new Map();

function noteChanges(targets) {
  for (const t of targets) {
    const was = known.get(t.name), is = stateOf(t).replace(/ for .*$/, "");
    known.set(t.name, is);
    if (was === undefined || was === is) continue;
    const item = make("li", "", new Date().toLocaleTimeString() + "  " + t.name + ": " + is);
    at("changes").prepend(item);
    at("no-changes").hidden = true;
  }
  while (at("changes").children.length > MOST_CHANGES) at("changes").lastChild.remove();
}

// }==========================================================================

// {== The hour ==============================================================

function rect(name, x, y, height) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const given = { class: name, x: x + 0.5, y, width: 9, height };
  for (const [key, value] of Object.entries(given)) node.setAttribute(key, value);
  return node;
}

// Columns of ten by up to 116, one on top of the other.
function draw(answers, peak) {
  const bars = [];
  for (let minute = 0; minute < 60; minute++) {
    let y = 120;
    for (const [name] of SOURCES) {
      const n = number(list(answers[name])[minute]);
      if (!n) continue;
      const height = 116 * n / peak;
      y -= height;
      bars.push(rect(name, 10 * minute, y, height));
    }
  }
  at("chart").replaceChildren(...bars);
}

function sums(answers) {
  const minutes = new Array(60).fill(0), total = { all: 0, failed: 0, by: {} };
  for (const [name] of SOURCES) {
    total.by[name] = 0;
    list(answers[name]).slice(0, 60).forEach((n, i) => {
      minutes[i] += number(n);
      total.by[name] += number(n);
    });
    total.all += total.by[name];
  }
  total.failed = total.by.failed;
  return [total, Math.max(...minutes)];
}

function buildSource([name]) {
  const node = make("tr"), label = make("th", "", "");
  label.scope = "row";
  label.append(make("span", "swatch " + name), make("span"));
  node.append(label, make("td", "number"), make("td", "number"));
  return node;
}

function showHour(hour) {
  const answers = hour && hour.answers || {}, [total, peak] = sums(answers);
  draw(answers, peak);
  put(at("peak"), peak ? "at most " + whole(peak) + " in a minute" : "no calls yet");
  put(at("chart-text"), "Answers by minute: " + whole(total.all) + " calls in the last hour, " +
    whole(total.failed) + " of them failed, at most " + whole(peak) + " in a minute.");
  keep(at("sources"), SOURCES, ([name]) => name, buildSource, (node, [name, words]) => {
    put(node.children[0].lastChild, words);
    put(node.children[1], whole(total.by[name]));
    put(node.children[2], percent(total.by[name], total.all));
  });
  return total;
}

function showFailures(failures) {
  at("failures-table").hidden = !failures.length;
  at("no-failures").hidden = failures.length > 0;
  keep(at("failures"), failures, (f) => f.code + " " + f.target,
    () => row(["", "", "number", "number"]), (node, f) => fillRow(node, [
      f.target || "– (sent nowhere)", f.code + ": " + f.meaning, whole(f.count), ago(f.ago)]));
}

// }==========================================================================

// {== Questions =============================================================

const given = new URLSearchParams(location.search);
let mayShow = false; // may the questions themselves be shown?

function query() {
  const out = new URLSearchParams();
  if (given.get("top")) out.set("top", given.get("top"));
  if (mayShow && at("show").checked) out.set("show", "1");
  return String(out) && "?" + out;
}

function showQuestions(told) {
  const counted = told.questions !== null, questions = list(told.questions);
  put(at("questions-note"), !counted ? "Nothing is counted: the option cache.top is off." :
    questions.length ? "Counted less the longer ago it was." : "Nothing was asked lately.");
  mayShow = Boolean(told.top && told.top.shows);
  at("show-label").hidden = !mayShow;
  at("questions-table").hidden = !questions.length;
  keep(at("questions"), questions, (q) => q.hash, () => {
    const node = row(["number", "", ""]);
    node.children[1].append(make("code"));
    return node;
  }, (node, q) => {
    put(node.children[0], number(q.count).toFixed(1));
    put(node.children[1].firstChild, q.question || q.hash);
    put(node.children[2], q.model || "");
  });
}

// }==========================================================================

// {== Asking ================================================================

function show(told) {
  const targets = told.targets.filter((t) => t && typeof t === "object");
  judge(targets);
  noteChanges(targets);
  keep(at("targets"), targets, (t) => t.name, buildCard, fillCard);
  showNow(told, showHour(told.hour));
  showFailures(list(told.hour && told.hour.failures));
  showQuestions(told);
  put(at("version"), "unbusy " + told.version + ", worker " + told.worker);
  put(at("when"), "as of " + new Date().toLocaleTimeString());
}

const reasons = { 401: "The token is not accepted any more: load the page again",
  403: "The gateway does not show this here any more",
  404: "The gateway shows no status any more" };

const STRANGE = "The gateway tells what this page does not know";

// What the gateway tells; or nothing, and it is said why.
async function load() {
  const stop = new AbortController(), clock = setTimeout(() => stop.abort(), PATIENCE);
  try {
    const answer = await fetch("status.json" + query(), { signal: stop.signal, cache: "no-store",
      headers: { accept: "application/json" } });
    if (answer.ok) return await answer.json();
    showWhole("bad", reasons[answer.status] || "The gateway says " + answer.status);
  } catch (fault) {
    showWhole("bad", fault instanceof SyntaxError ? STRANGE : "The gateway cannot be reached");
  } finally {
    clearTimeout(clock);
  }
}

async function ask() {
  const told = await load();
  if (told === undefined) return;
  if (told && Array.isArray(told.targets)) show(told);
  else showWhole("bad", STRANGE);
}

let timer = 0, asking = false, paused = false;

async function look() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  await ask().catch(() => showWhole("bad", STRANGE));
  asking = false;
  if (!paused) timer = setTimeout(look, EVERY);
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  clearTimeout(timer);
  if (!paused) look();
});
at("show").checked = given.get("show") === "1";
at("show").addEventListener("change", look);
document.addEventListener("visibilitychange", () => { if (!paused) look(); });
look();

// }==========================================================================
]==]
