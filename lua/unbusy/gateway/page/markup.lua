--- The page's frame. Everything that changes is filled in by its script.
return [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>unbusy</title>
<link rel="icon" href="data:,">
<style nonce="{{nonce}}">
{{STYLE}}</style>
</head>
<body>
<header>
  <h1>unbusy</h1>
  <p id="whole" role="status" data-state="unknown">Asking the gateway …</p>
  <p id="when"></p>
  <button id="pause" type="button" aria-pressed="false">Pause</button>
</header>
<main>
  <noscript><p>This page needs JavaScript. The same is told as
    <a href="status.json">JSON</a>.</p></noscript>

  <section aria-labelledby="now-title">
    <h2 id="now-title">Now</h2>
    <dl id="now" class="facts"></dl>
  </section>

  <section aria-labelledby="targets-title">
    <h2 id="targets-title">Targets</h2>
    <ul id="targets" class="cards"></ul>
  </section>

  <section aria-labelledby="hour-title">
    <h2 id="hour-title">Answers in the last hour</h2>
    <figure>
      <svg id="chart" viewBox="0 0 600 120" role="img" aria-labelledby="chart-text"
        preserveAspectRatio="none"></svg>
      <figcaption>
        <span>60 minutes ago</span><span id="peak"></span><span>now</span>
      </figcaption>
      <p id="chart-text" class="unseen"></p>
    </figure>
    <table>
      <caption class="unseen">Answers by source</caption>
      <thead><tr><th scope="col">Source</th><th scope="col" class="number">Answers</th>
        <th scope="col" class="number">Share</th></tr></thead>
      <tbody id="sources"></tbody>
    </table>
  </section>

  <section aria-labelledby="failures-title">
    <h2 id="failures-title">Failures in the last hour</h2>
    <p id="no-failures">None.</p>
    <div id="failures-table" class="wide" tabindex="0" role="region"
      aria-label="Table of failures" hidden>
    <table>
      <caption class="unseen">Failed tries, by target and code, the latest first</caption>
      <thead><tr><th scope="col">Target</th><th scope="col">What</th>
        <th scope="col" class="number">Times</th><th scope="col" class="number">Last</th></tr>
      </thead>
      <tbody id="failures"></tbody>
    </table>
    </div>
  </section>

  <section aria-labelledby="changes-title">
    <h2 id="changes-title">Changes since this page was opened</h2>
    <p id="no-changes">None.</p>
    <div class="log" role="log" aria-labelledby="changes-title" tabindex="0">
      <ol id="changes"></ol>
    </div>
  </section>

  <section aria-labelledby="questions-title">
    <h2 id="questions-title">Asked most</h2>
    <p id="questions-note"></p>
    <label id="show-label" hidden><input id="show" type="checkbox"> the questions themselves</label>
    <div id="questions-table" class="wide" tabindex="0" role="region"
      aria-label="Table of questions" hidden>
    <table>
      <caption class="unseen">Questions that are asked most, lately</caption>
      <thead><tr><th scope="col" class="number">Asked</th><th scope="col">Question</th>
        <th scope="col">Model</th></tr></thead>
      <tbody id="questions"></tbody>
    </table>
    </div>
  </section>
</main>
<footer><p><a href="status.json">As JSON</a> <span id="version"></span></p></footer>
<script nonce="{{nonce}}">
{{SCRIPT}}</script>
</body>
</html>
]]
