// What the reader chose: what is read is kept in the address (a link shows the same), how it looks in this browser.

const SPANS = { "5m": 300, "15m": 900, "1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800 };
const LOOKS = "gantry-logs";

export function load() {
  const given = new URLSearchParams(location.search);
  let looks = {};
  try {
    looks = JSON.parse(localStorage.getItem(LOOKS)) ?? {};
  } catch {
    // Unreadable, or storage is forbidden: the defaults will do.
  }
  const stdout = given.get("stdout") !== "0";
  return {
    tail: /^(\d{1,6}|all)$/.test(given.get("tail") ?? "") ? given.get("tail") : "500",
    since: given.get("since") ?? "",
    stdout,
    stderr: given.get("stderr") !== "0" || !stdout,
    q: given.get("q") ?? "",
    expression: given.get("regex") === "1",
    only: given.get("only") === "1",
    times: looks.times !== false,
    wrap: looks.wrap ?? matchMedia("(max-width: 48rem)").matches,
  };
}

export function save(options) {
  const query = new URLSearchParams();
  if (options.tail !== "500") query.set("tail", options.tail);
  if (options.since) query.set("since", options.since);
  if (!options.stdout) query.set("stdout", "0");
  if (!options.stderr) query.set("stderr", "0");
  if (options.q) query.set("q", options.q);
  if (options.q && options.expression) query.set("regex", "1");
  if (options.q && options.only) query.set("only", "1");
  const text = query.toString();
  history.replaceState(history.state, "", text ? `?${text}` : location.pathname);
  try {
    localStorage.setItem(LOOKS, JSON.stringify({ times: options.times, wrap: options.wrap }));
  } catch {
    // Kept for this page only.
  }
}

// A span ("15m") or a local moment ("2026-11-20T18:00") as seconds since 1970; "" for neither.
export function sinceSeconds(since) {
  if (SPANS[since]) return String(Math.floor(Date.now() / 1000) - SPANS[since]);
  const moment = since ? Date.parse(since) : NaN;
  return Number.isFinite(moment) && moment >= 0 ? String(Math.floor(moment / 1000)) : "";
}

export const isSpan = (since) => since === "" || since in SPANS;
