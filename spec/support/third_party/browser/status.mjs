// The page of /status in a real browser. Given { url, up, hostile, shots, token: { url, token } }, it
// prints what it has seen, as JSON; the spec says what that must be. `up` is the busy upstream,
// `hostile` a question.
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";

const require = createRequire(process.env.BROWSER_MODULES + "/");
const { chromium } = require("playwright-core");
const axe = require("axe-core");
const given = JSON.parse(process.argv[2]);
const seen = { requests: [], faults: [] };
const PATIENCE = 30000;

// {== The other ends =========================================================

async function programme(what) {
  const answer = await fetch(given.up + "/__busy", { method: "POST", body: JSON.stringify(what) });
  if (!answer.ok) throw new Error("busyd: " + answer.status);
}

async function chat(text) {
  const answer = await fetch(given.url + "/v1/chat/completions", { method: "POST",
    headers: { "content-type": "application/json" }, body: JSON.stringify({ model: "m",
      messages: [{ role: "user", content: text }] }) });
  await answer.text();
  return answer.status;
}

// Questions, each its own, until the page shows the target so.
async function chatsUntil(page, tone, text) {
  const shown = page.locator(`#targets [data-key=up][data-tone=${tone}]`);
  for (let i = 0; i < 200 && !await shown.count(); i++) {
    await chat(text + " " + i);
    await page.waitForTimeout(100);
  }
}

async function chats(n, text) {
  for (let i = 0; i < n; i++) await chat(text + " " + i);
}

// }==========================================================================

// {== The page ==============================================================

function listen(page) {
  page.on("request", (r) => seen.requests.push(new URL(r.url()).origin));
  page.on("pageerror", (fault) => seen.faults.push(String(fault)));
  page.on("console", (m) => { if (m.type() === "error") seen.faults.push(m.text()); });
}

async function open(browser, more, address) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  listen(page);
  const answer = await page.goto(address || given.url + "/status");
  return { context, page, answer };
}

const says = (page, id, text) => page.locator("#" + id).filter({ hasText: text }).waitFor();

const texts = (page, where) => page.locator(where).allInnerTexts();

async function faultsOf(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: { type: "tag",
    values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] } }));
  seen.rules = found.passes.length;
  return found.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.html).join(" "));
}

async function shoot(page, name) {
  if (!given.shots) return;
  mkdirSync(given.shots, { recursive: true });
  await page.screenshot({ path: given.shots + "/" + name + ".png", fullPage: true });
}

// }==========================================================================

// {== What is done ===========================================================

async function whatGoesOn(page) {
  await says(page, "whole", "All 2 targets answer");
  seen.title = await page.title();
  await chats(12, "good");
  await chats(3, "good"); // three of them again: out of the cache
  await page.locator("#sources [data-key=cache] td").filter({ hasText: /^3$/ }).waitFor();
  seen.sources = await texts(page, "#sources tr");
  seen.bars = await page.locator("#chart rect").count();
}

async function untilBusy(page) {
  const first = page.locator("#targets [data-key=up]");
  await programme({ faults: [{ share: 1, answer: { preset: "busy_503" } }] });
  await chatsUntil(page, "bad", "busy");
  await says(page, "whole", "1 of 2 targets is out");
  seen.busy = { state: await first.locator(".state").innerText(), title: await page.title(),
    tone: await first.getAttribute("data-tone"), failures: await texts(page, "#failures tr") };
  await shoot(page, "busy");
}

async function untilWell(page) {
  await programme({ reset: true });
  await chatsUntil(page, "good", "well");
  await says(page, "whole", "All 2 targets answer");
  seen.changes = await texts(page, "#changes li");
}

async function withKeys(page) {
  await page.evaluate(() => document.body.focus());
  const reached = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.id ||
      document.activeElement.className || document.activeElement.tagName));
  }
  await page.locator("#pause").focus();
  await page.keyboard.press("Enter");
  const before = seen.requests.length;
  await page.waitForTimeout(2600); // longer than between two looks
  seen.keys = { reached, pressed: await page.locator("#pause").getAttribute("aria-pressed"),
    asked: seen.requests.length - before };
  await page.keyboard.press("Space");
  await page.waitForRequest("**/status.json*");
}

async function theQuestions(page) {
  await chat(given.hostile);
  await chat(given.hostile);
  await page.locator("#show").check();
  await says(page, "questions", given.hostile);
  seen.question = await page.locator("#questions code", { hasText: "script" }).first().innerText();
  seen.markup = await page.locator("#questions img, #questions script").count();
}

async function withoutNetwork(context, page) {
  await context.setOffline(true);
  await says(page, "whole", "The gateway cannot be reached");
  seen.lost = await page.locator("#whole").getAttribute("data-state");
  await context.setOffline(false);
  await says(page, "whole", "All 2 targets answer");
}

// Has the page told such an answer in place of the gateway's, while `use` looks.
async function answered(page, answer, use) {
  let told;
  const done = new Promise((resolve) => { told = resolve; });
  await page.route("**/status.json*", (route) => route.fulfill(answer).then(told));
  for (let i = 0; i < 2; i++) await page.locator("#pause").click(); // it looks at once
  await done;
  await page.waitForTimeout(50);
  await use();
  await page.unroute("**/status.json*");
}

// Whatever comes in place of the status, the page says so and goes on.
async function strangeAnswers(page) {
  seen.strange = [];
  for (const [status, body] of [[500, "x"], [200, "no JSON"], [200, "{}"], [200, "[1]"],
    [200, "null"], [401, "{}"], [200, '{"targets":[null,5,{"name":"x","limits":[1],"hour":3}]}']]) {
    await answered(page, { status, body }, async () => {
      seen.strange.push(await page.locator("#whole").innerText());
    });
  }
  await says(page, "whole", "All 2 targets answer");
}

// Two hundred targets with long names, on a phone.
async function crowd(page) {
  const targets = Array.from({ length: 200 }, (_, i) => ({ name: "<b>" + "x".repeat(300) + i,
    account: "a".repeat(300), pool: "p", provider: "openai", state: "closed",
    limits: { ["m".repeat(200)]: { limit: 5, in_flight: 9 } } }));
  await page.setViewportSize({ width: 360, height: 780 });
  await answered(page, { status: 200, body: JSON.stringify({ targets }) }, async () => {
    await says(page, "whole", "All 200 targets answer");
    seen.crowd = { cards: await page.locator("#targets > li").count(),
      bold: await page.locator("#targets b").count(),
      over: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) };
  });
  await says(page, "whole", "All 2 targets answer");
}

async function looks(browser) {
  seen.looks = {};
  for (const scheme of ["light", "dark"]) {
    for (const [size, width] of [["wide", 1200], ["phone", 360]]) {
      const { context, page } = await open(browser, { colorScheme: scheme,
        viewport: { width, height: 780 } });
      await says(page, "whole", "targets answer");
      seen.looks[scheme + " " + size] = { faults: await faultsOf(page),
        ground: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
        over: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) };
      await shoot(page, scheme + "-" + size);
      await context.close();
    }
  }
}

async function withToken(browser) {
  const place = given.token.url + "/status";
  const stranger = await fetch(place, { headers: { accept: "text/html" } });
  const { page, answer } = await open(browser, { httpCredentials: { username: "me",
    password: given.token.token } }, place);
  await says(page, "whole", "answer");
  seen.token = { stranger: stranger.status, asks: stranger.headers.get("www-authenticate"),
    own: answer.status() };
}

// }==========================================================================

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
try {
  const { context, page, answer } = await open(browser, { colorScheme: "light" });
  seen.header = answer.headers();
  await whatGoesOn(page);
  await theQuestions(page);
  await untilBusy(page);
  await untilWell(page);
  await withKeys(page);
  await looks(browser);
  const loads = seen.faults.length;
  await strangeAnswers(page);
  await crowd(page);
  seen.thrown = seen.faults.slice(loads).filter((f) => !f.startsWith("Failed to load resource"));
  await withoutNetwork(context, page);
  seen.faults.length = loads; // the browser says that it has no network
  await withToken(browser);
  seen.origins = [...new Set(seen.requests)];
} catch (fault) {
  seen.broke = String(fault.stack || fault);
} finally {
  await browser.close();
}
const { requests, ...told } = seen; // (pages go on asking until the browser is closed)
console.log(JSON.stringify(told));
