// <time data-relative> ticks ("3 min ago"); <time data-clock> is written in the reader's own time zone;
// <span data-elapsed="ISO time"> counts up while an operation runs. The template tags say the same without script.

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"]];

function relative(seconds) {
  if (seconds < 0) return `in ${length(-seconds)}`;
  if (seconds < 5) return "just now";
  for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return `${Math.floor(seconds)} s ago`;
}

function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [d, h, m, s] = [Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3_600), Math.floor((whole % 3_600) / 60), whole % 60];
  if (d) return h ? `${d} d ${h} h` : `${d} d`;
  if (h) return m ? `${h} h ${m} min` : `${h} h`;
  if (m) return s ? `${m} min ${s} s` : `${m} min`;
  return `${s} s`;
}

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const when = new Date(element.dateTime);
    write(element, relative((now - when) / 1000));
    element.title = exact.format(when);
  }
  for (const element of document.querySelectorAll("time[data-clock]")) {
    const when = new Date(element.dateTime);
    write(element, now - when < 20 * 3_600_000 ? clock.format(when) : dated.format(when));
    element.title = exact.format(when);
  }
  for (const element of document.querySelectorAll("[data-elapsed]")) {
    write(element, length((now - new Date(element.dataset.elapsed)) / 1000));
  }
}

tick();
setInterval(tick, 1_000);
document.addEventListener("htmx:afterSettle", tick);
