// How a build's context looks: the zone to drop into, what is chosen, what is left out, how far it is.

import { bytes, button, count, duration, el, icon, iconButton, setIcon } from "./parts.js";

const MOST_ROWS = 200;
const ARCHIVES = ".tar,.tar.gz,.tgz,.tar.xz,.txz,.tar.bz2,.tbz,.tbz2,.tar.zst";
const WORDS = {
  reading: ["s-busy", "busy"],
  starting: ["s-busy", "busy"],
  sending: ["s-busy", "busy"],
  finishing: ["s-busy", "busy"],
  waiting: ["s-warning", "warn"],
  done: ["s-succeeded", "ok"],
  failed: ["s-dead", "bad"],
};

export class ContextView {
  constructor(root, kind, context) {
    this.context = context;
    this.kind = kind;
    this.fields = {
      files: el("input", { type: "file", multiple: true, hidden: true, onchange: (event) => this.take(event, "chooseFiles") }),
      folder: el("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true, onchange: (event) => this.take(event, "chooseFolder") }),
      archive: el("input", { type: "file", accept: ARCHIVES, hidden: true, onchange: (event) => this.take(event, "chooseArchive") }),
    };
    this.zone = this.makeZone();
    this.makeStatus();
    this.summary = el("div", { class: "context-summary" });
    this.list = el("div", { class: "context-list" });
    root.replaceChildren(...Object.values(this.fields), this.zone, this.line, this.problem, this.summary, this.list);
    this.bindDrop(root);
  }

  take(event, what) {
    this.context[what](event.target);
    event.target.value = ""; // the same choice again is a choice
  }

  makeZone() {
    const choose = (name, symbol, label) => button(symbol, label, { onclick: () => this.fields[name].click() });
    const folder = "webkitdirectory" in this.fields.folder ? choose("folder", "folder", "Choose a folder") : null;
    const files = choose("files", "files", "Choose files");
    const archive = choose("archive", "archive", "Choose an archive");
    return el(
      "div",
      { class: "context-zone" },
      icon("upload", "icon large"),
      el("strong", {}, this.kind === "folder" ? "Drop a folder or an archive here" : "Drop files or folders here"),
      el("span", { class: "muted small" }, this.kind === "folder" ? "With the Dockerfile in it. What .dockerignore names stays where it is." : "They lie beside the Dockerfile: COPY and ADD find them by these names."),
      el("div", { class: "context-buttons" }, ...(this.kind === "folder" ? [folder, archive, files] : [files, folder, archive]).filter(Boolean)),
    );
  }

  makeStatus() {
    this.shape = icon("s-busy", "state-shape");
    this.word = el("span", { class: "word" });
    this.state = el("span", { class: "state busy", role: "status" }, this.shape, this.word);
    this.bar = el("progress", { class: "bar", "aria-label": "Sent" });
    this.amount = el("span", { class: "context-amount" });
    this.cancel = button("cancel", "Cancel", { onclick: () => this.context.clear() });
    this.again = button("refresh", "Try again", { onclick: () => this.context.resume() });
    this.line = el("div", { class: "context-line", hidden: true }, this.state, this.amount, el("span", { class: "btn-row" }, this.again, this.cancel), this.bar);
    this.problem = el("div", { class: "notice bad", role: "alert", hidden: true });
  }

  // Leaving a child of the zone is no leaving: what is entered and left is counted.
  bindDrop(root) {
    let inside = 0;
    const over = (change) => {
      inside = Math.max(0, inside + change);
      root.classList.toggle("is-over", inside > 0);
    };
    const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
    root.addEventListener("dragenter", (event) => hasFiles(event) && over(1));
    root.addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
    root.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    });
    root.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(-inside);
      this.context.drop(event.dataTransfer);
    });
  }

  status(name, words) {
    const [shape, tone] = WORDS[name];
    this.line.hidden = false;
    this.line.dataset.state = name;
    setIcon(this.shape, shape);
    this.state.className = `state ${tone}${shape === "s-busy" ? " turning" : ""}`;
    if (this.word.textContent !== words) this.word.textContent = words;
    this.again.hidden = name !== "failed";
    this.cancel.hidden = name === "done" || name === "failed";
    this.bar.hidden = name === "done";
    this.bar.className = `bar${name === "failed" ? " bad" : name === "waiting" ? " warn" : ""}`;
    if (name === "reading") this.bar.removeAttribute("value");
    if (name === "reading") this.amount.textContent = "";
  }

  show() {
    const { context } = this;
    this.line.hidden = !context.upload;
    this.zone.classList.toggle("is-small", !context.isEmpty);
    this.say(context.error);
    this.summarise();
    this.rows();
    if (context.upload) this.progress();
  }

  say(error) {
    this.problem.hidden = !error;
    if (!error) return;
    this.problem.replaceChildren(icon("failure"), el("div", {}, el("strong", {}, error.message), error.hint ? el("p", {}, error.hint) : null));
  }

  progress() {
    const { upload, waiting, error } = this.context;
    if (!upload) {
      this.say(error);
      return;
    }
    this.status(upload.state, this.words(upload, waiting));
    this.bar.max = upload.size;
    this.bar.value = upload.state === "finishing" ? upload.size : upload.offset;
    const rate = upload.state === "sending" ? upload.rate : 0;
    const left = rate ? (upload.size - upload.offset) / rate : 0;
    this.amount.textContent = upload.state === "done" ? "" : `${bytes(upload.offset)} of ${bytes(upload.size)}${rate ? `, ${bytes(rate)}/s` : ""}${left > 5 ? `, ${duration(left)} left` : ""}`;
    this.again.hidden = !upload.canResume;
    this.say(upload.state === "failed" ? upload.error : error);
  }

  words(upload, waiting) {
    const then = waiting ? " The form is sent after that." : "";
    if (upload.state === "sending" || upload.state === "starting") return waiting ? "Sending; the form goes after it" : "Sending";
    if (upload.state === "finishing") return `Looking through it…${then}`;
    if (upload.state === "waiting") return `${upload.reason}. Trying again in ${duration(upload.wait / 1000)}.${then}`;
    if (upload.state === "failed") return "Not sent";
    const { files, message } = upload.result;
    return [`Sent${files >= 0 ? `: ${count(files, "file")}, ${bytes(upload.result.size ?? upload.size)}` : ""}`, message].filter(Boolean).join(". ");
  }

  summarise() {
    const { archive, sent = [], left = [], isEmpty } = this.context;
    this.summary.hidden = isEmpty || (!archive && !sent.length && !left.length);
    const words = archive ? [el("strong", {}, archive.name), ` ${bytes(archive.size)}, sent as it is`] : [el("strong", {}, count(sent.length, "file")), ` ${bytes(total(sent))}`];
    const all = button("close", "Take all out", { class: "btn btn-sm btn-quiet", onclick: () => this.context.clear() });
    this.summary.replaceChildren(icon(archive ? "archive" : "folder"), el("span", { class: "words" }, ...words), el("span", { class: "spacer" }), all);
  }

  rows() {
    const { archive, sent = [], left = [] } = this.context;
    this.list.replaceChildren();
    if (archive) return;
    if (sent.length) this.list.append(fold(this.kind === "files", "Files", table(sent, this.kind === "files" ? (path) => this.context.remove(path) : null)));
    if (left.length) this.list.append(fold(false, `.dockerignore leaves out ${count(left.length, "file")}, ${bytes(total(left))}`, table(left, null)));
  }
}

function total(files) {
  return files.reduce((sum, { file }) => sum + file.size, 0);
}

function fold(open, title, content) {
  return el("details", { class: "more", open }, el("summary", {}, title), content);
}

function table(files, remove) {
  const rows = files.slice(0, MOST_ROWS).map(({ path, file }) =>
    el("li", {}, el("span", { class: "path", title: path }, el("bdi", {}, path)), el("span", { class: "size" }, bytes(file.size)), remove ? iconButton("close", `Take ${path} out`, { class: "btn btn-quiet btn-icon btn-sm", onclick: () => remove(path) }) : null),
  );
  if (files.length > MOST_ROWS) rows.push(el("li", { class: "muted" }, `and ${(files.length - MOST_ROWS).toLocaleString("en-GB")} more`));
  return el("ul", { class: "context-files" }, ...rows);
}
