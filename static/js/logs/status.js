// The words around the lines: the line at the foot, the notice over them, what an empty page says.
import { showState } from "../ui/state.js";

const WORDS = { connecting: ["busy", "s-busy", "Connecting…"], live: ["ok", "s-running", "Live"], lost: ["warn", "s-warning", "Reconnecting…"], ended: ["idle", "s-exited", "Ended"], gone: ["idle", "s-removing", "Removed"], refused: ["bad", "s-dead", "Not available"], paused: ["warn", "s-paused", "Paused"] };
const number = new Intl.NumberFormat();

export class Status {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.rates = []; // [time, units] of the last seconds
  }

  show(phase, words = "") {
    const [tone, shape, word] = WORDS[phase];
    showState(this.part("state"), tone, words || word, shape);
    this.root.dataset.phase = phase;
  }

  notice({ title = "", text = "", tone = "" }) {
    const notice = this.part("notice");
    notice.hidden = !title;
    notice.className = `logs-notice ${tone}`;
    write(notice.querySelector("strong"), title);
    write(notice.querySelector("span"), text);
  }

  empty(title, text) {
    const empty = this.part("empty");
    empty.hidden = !title;
    write(empty.querySelector("strong"), title);
    write(empty.querySelector("span"), text);
  }

  counts({ lines, dropped, held, unseen, isFull, total }) {
    write(this.part("lines"), `${number.format(lines)} line${lines === 1 ? "" : "s"}`);
    const droppedPart = this.part("dropped");
    droppedPart.hidden = !dropped;
    write(droppedPart, `${number.format(dropped)} older not kept`);
    this.rate(total);
    const pill = this.part("pill");
    pill.hidden = unseen <= 0;
    if (unseen > 0) write(pill.querySelector("span"), `${number.format(unseen)} new line${unseen === 1 ? "" : "s"}`);
    const heldPart = this.part("held");
    heldPart.hidden = !held;
    write(heldPart, isFull ? `${number.format(held)} held back, the rest waits on the host` : `${number.format(held)} held back`);
  }

  rate(total) {
    const now = performance.now();
    if (!total) this.rates = []; // what was there already is no rate
    else this.rates.push([now, total]);
    if (!this.rates.length) return;
    while (this.rates.length > 2 && now - this.rates[0][0] > 3_000) this.rates.shift();
    const [then, before] = this.rates[0];
    const perSecond = now - then > 200 ? ((total - before) * 1000) / (now - then) : 0;
    write(this.part("rate"), perSecond > 0 ? `${number.format(perSecond < 10 ? Math.round(perSecond * 10) / 10 : Math.round(perSecond))} lines/s` : "");
  }

  found({ isOn, index, count, isDone, error }) {
    const part = this.part("found");
    part.classList.toggle("bad", Boolean(error) || (isOn && isDone && !count));
    if (error) write(part, "not a valid expression");
    else if (!isOn) write(part, "");
    else if (!count) write(part, isDone ? "none" : "…");
    else write(part, `${index >= 0 ? `${number.format(index + 1)} of ` : ""}${number.format(count)}${isDone ? "" : "…"}`);
    part.title = error;
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// What a phase says in the notice; null for none.
export function noticeOf(phase, message, host) {
  if (phase === "lost") {
    const where = message.hint === undefined ? "" : `${host}: `;
    return { tone: "warn", title: "Waiting to go on.", text: `${where}${message.message ?? ""} The log goes on by itself where it stopped; no line is lost.` };
  }
  if (phase === "refused") return { tone: "bad", title: message.message ?? "The log cannot be read.", text: message.hint ?? "" };
  if (phase === "gone") return { tone: "idle", title: "The container has been removed.", text: "What is shown here is all there is; download is over." };
  return null;
}

// One line of words on how a container ended.
export function endingOf({ state, exit_code: code, finished_at: finished }) {
  const when = Date.parse(finished);
  const at = when > 0 ? ` at ${new Date(when).toLocaleTimeString("en-GB")}` : "";
  if (state === "created") return { words: "Not started", note: "The container has not been started yet." };
  const outcome = code === null || code === undefined ? "" : ` with code ${code}`;
  return { words: code ? `Exited (${code})` : "Exited", note: `The container stopped${outcome}${at}.`, bad: Boolean(code) };
}
