// One WebSocket a page. Collects the topics of every data-live="topic topic", asks /ws/live for them, and fires
// `live:<topic>` on <body> when one changed; htmx fragments wait for that with
// hx-trigger="live:containers from:body". A topic that was not watched until now (first connection, after a
// gap, new after a swap) may have changed unseen, so its event is fired once it is.

const ASK_EVERY = 20_000; // also a keepalive: proxies drop idle sockets, and a dead network tells nobody
const ANSWER_WITHIN = 6_000;
const SHOW_LOST_AFTER = 2_000;
const LONGEST_WAIT = 15_000;
const SPACING = 500;
const NOT_SIGNED_IN = 4401;

const fired = new Map(); // topic -> when, in performance.now()'s milliseconds
const timers = new Map();
const waiting = new Set(); // topics that changed while the page was hidden

let socket = null;
let attempt = 0;
let watched = new Set();
let retryTimer = 0;
let askTimer = 0;
let answerTimer = 0;
let lostTimer = 0;

function topicsOnPage() {
  const topics = new Set();
  for (const element of document.querySelectorAll("[data-live]")) {
    for (const topic of element.dataset.live.split(/\s+/)) if (topic) topics.add(topic);
  }
  return topics;
}

function fire(topic) {
  document.body.dispatchEvent(new CustomEvent(`live:${topic}`, { detail: { topic } }));
}

// At once when it has been quiet, else gathered: a fleet in turmoil costs an open page one fetch in SPACING, and
// a page that nobody looks at none until somebody does.
function tell(topic) {
  if (timers.has(topic)) return;
  if (document.hidden) {
    waiting.add(topic);
    return;
  }
  const wait = Math.max(0, (fired.get(topic) ?? -SPACING) + SPACING - performance.now());
  timers.set(topic, setTimeout(() => {
    timers.delete(topic);
    fired.set(topic, performance.now());
    fire(topic);
  }, wait));
}

function catchUp() {
  if (document.hidden) return;
  const topics = [...waiting];
  waiting.clear();
  topics.forEach(tell);
}

function show(status) {
  for (const element of document.querySelectorAll("[data-live-status]")) {
    element.dataset.liveStatus = status;
    const word = element.querySelector("[data-live-word]");
    if (word) word.textContent = { live: "Live", lost: "Reconnecting…", connecting: "Connecting…" }[status];
  }
  const banner = document.querySelector("[data-live-banner]");
  if (banner) banner.hidden = status !== "lost";
}

function ask() {
  clearTimeout(askTimer);
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ topics: [...topicsOnPage()].sort() }));
  clearTimeout(answerTimer);
  answerTimer = setTimeout(drop, ANSWER_WITHIN);
  askTimer = setTimeout(ask, ASK_EVERY);
}

function drop() {
  const old = socket;
  socket = null;
  if (!old) return;
  old.onclose = old.onmessage = null;
  old.close();
  closed({ code: 1006 });
}

function received(event) {
  const message = JSON.parse(event.data);
  if (message.watching) {
    clearTimeout(answerTimer);
    clearTimeout(lostTimer);
    lostTimer = 0;
    attempt = 0;
    show("live");
    const now = new Set(message.watching);
    const fresh = [...now].filter((topic) => !watched.has(topic));
    watched = now;
    fresh.forEach(tell);
  }
  (message.changed ?? []).forEach(tell);
}

function closed(event) {
  socket = null;
  watched = new Set();
  clearTimeout(askTimer);
  clearTimeout(answerTimer);
  if (event.code === NOT_SIGNED_IN) {
    location.reload();
    return;
  }
  if (!lostTimer) lostTimer = setTimeout(() => { lostTimer = 0; if (!watched.size && !isOpen()) show("lost"); }, SHOW_LOST_AFTER);
  const ceiling = Math.min(LONGEST_WAIT, 500 * 2 ** attempt);
  attempt += 1;
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, ceiling / 2 + (Math.random() * ceiling) / 2);
}

function isOpen() {
  return socket?.readyState === WebSocket.OPEN;
}

function connect() {
  clearTimeout(retryTimer);
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws/live`);
  socket.onopen = ask;
  socket.onmessage = received;
  socket.onclose = closed;
}

function collect() {
  const topics = topicsOnPage();
  const same = topics.size === watched.size && [...topics].every((topic) => watched.has(topic));
  if (!same) ask();
}

export function start() {
  if (!document.querySelector("[data-live-status]")) return; // the sign-in pages have no session to watch with
  show("connecting");
  connect();
  document.body.addEventListener("htmx:afterSettle", collect);
  document.addEventListener("visibilitychange", catchUp);
  window.addEventListener("online", () => { attempt = 0; if (!socket) connect(); });
  // A page kept for the Back button wakes with a dead socket.
  window.addEventListener("pageshow", (event) => { if (event.persisted) { drop(); attempt = 0; connect(); } });
}

start();
