// What a build gets beside its Dockerfile: files, a folder or an archive, chosen or dropped, sent as one archive.
//
// <div data-context data-uploads="/builds/uploads/" data-input="id_upload" data-kind="files|folder">, optionally with
// data-dockerfile-input (the field that names the Dockerfile), data-max-size (bytes) and data-dockerfiles (a <datalist>
// for the Dockerfiles found). In a <form data-needs-upload> pressing a button while it sends waits for the end.

import { ARCHIVE, commonTop, fromField, stripTop, takeDrop, walk } from "./collect.js";
import { ContextView } from "./context-view.js";
import { Ignore, IgnoreError, ignoreFiles } from "./ignore.js";
import { bytes, whenever } from "./parts.js";
import { ChangedFile, readFile, Tar } from "./tar.js";
import { Upload } from "./upload.js";

const SETTLE = 250; // ms after the last change before it is sent

class Context {
  constructor(root) {
    this.root = root;
    this.kind = root.dataset.kind === "folder" ? "folder" : "files";
    this.input = document.getElementById(root.dataset.input);
    this.dockerfileField = document.getElementById(root.dataset.dockerfileInput ?? "");
    this.form = this.input.form ?? root.closest("form");
    this.files = new Map(); // path → File
    this.folders = new Set();
    this.archive = null;
    this.upload = null;
    this.reading = false;
    this.view = new ContextView(root, this.kind, this);
  }

  start() {
    this.dockerfileField?.addEventListener("change", () => this.files.size && this.changed());
    this.form?.addEventListener("submit", (event) => this.hold(event), true);
    addEventListener("beforeunload", (event) => {
      if (this.isBusy) event.preventDefault();
    });
    this.view.show();
  }

  get dockerfile() {
    return this.dockerfileField?.value.trim().replace(/^\.?\/+/, "") || "Dockerfile";
  }

  // Something is under way whose end the form has to wait for.
  get isBusy() {
    return this.reading || Boolean(this.timer) || Boolean(this.upload?.isRunning);
  }

  get isEmpty() {
    return !this.archive && !this.files.size && !this.folders.size;
  }

  // --- What is chosen

  chooseFiles(input) {
    this.add({ files: fromField(input), folders: [] });
  }

  chooseFolder(input) {
    const found = { files: fromField(input), folders: [] };
    this.folderName = commonTop(found);
    this.add(this.kind === "folder" ? stripTop(found) : found);
  }

  chooseArchive(input) {
    const [file] = input.files;
    if (!file) return;
    this.forget();
    this.archive = file;
    this.changed();
  }

  async drop(transfer) {
    const taken = takeDrop(transfer);
    if (this.kind === "folder" && taken.length === 1 && ARCHIVE.test(taken[0].name) && !taken[0].isDirectory) {
      this.chooseArchive({ files: transfer.files });
      return;
    }
    this.reading = true;
    this.view.status("reading", "Reading the folder…");
    try {
      const found = await walk(taken, (number) => this.view.status("reading", `Reading the folder: ${number.toLocaleString("en-GB")} files so far…`));
      this.reading = false;
      this.folderName = commonTop(found);
      this.add(this.kind === "folder" && taken.length === 1 && taken[0].isDirectory ? stripTop(found) : found);
    } catch (error) {
      this.reading = false;
      this.fail("Something in the folder cannot be read.", `${error.message} Drop it again, or without what may not be read.`);
    }
  }

  // A folder replaces a folder; files are added to those there are.
  add(found) {
    if (!found.files.length && !found.folders.length) return;
    if (this.kind === "folder") this.forget();
    this.archive = null;
    for (const { path, file } of found.files) this.files.set(path, file);
    for (const path of found.folders) this.folders.add(path);
    this.changed();
  }

  remove(path) {
    this.files.delete(path);
    this.changed();
  }

  clear() {
    this.forget();
    this.changed();
  }

  forget() {
    this.files.clear();
    this.folders.clear();
    this.archive = null;
  }

  // --- What is sent

  changed() {
    this.stop();
    this.error = null;
    this.sent = [];
    this.left = [];
    if (this.isEmpty) {
      this.waiting = null;
      this.view.show();
      return;
    }
    this.view.status("reading", "Looking through the files…");
    this.timer = setTimeout(() => this.prepare(), SETTLE);
  }

  // Nothing that was sent counts any more.
  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    const { upload } = this;
    this.upload = null; // what it says from here on is nobody's concern
    upload?.cancel();
    this.input.value = "";
  }

  async prepare() {
    const { timer } = this;
    try {
      const ready = this.archive ? { source: archiveSource(this.archive), sent: [], left: [] } : await this.tree();
      if (timer !== this.timer) return; // it was changed meanwhile
      this.timer = 0;
      Object.assign(this, { sent: ready.sent, left: ready.left });
      const most = Number(this.root.dataset.maxSize) || Infinity;
      if (ready.source.size <= most) this.send(ready.source);
      else this.fail(`This is ${bytes(ready.source.size)}; a build takes ${bytes(most)} at most.`, "Leave out what the build does not need: a .dockerignore says what.");
    } catch (error) {
      if (!(error instanceof IgnoreError || error instanceof ChangedFile)) throw error;
      if (timer !== this.timer) return;
      this.timer = 0;
      this.fail(error.message.replace(/\.?$/, "."), "Put it right and choose the files again.");
    }
  }

  async tree() {
    const rules = ignoreFiles(this.dockerfile).find((path) => this.files.has(path));
    const ignore = Ignore.parse(rules ? new TextDecoder().decode(await readFile(rules, this.files.get(rules))) : "");
    const sent = [];
    const left = [];
    for (const [path, file] of this.files) (ignore.sends(path, this.dockerfile) ? sent : left).push({ path, file });
    const order = (a, b) => (a.path < b.path ? -1 : 1);
    const folders = [...this.folders].filter((path) => !ignore.excludes(path));
    return { source: new Tar(sent, folders), sent: sent.sort(order), left: left.sort(order) };
  }

  send(source) {
    const upload = new Upload({
      address: this.root.dataset.uploads,
      name: this.archive?.name ?? (this.folderName || "files"),
      kind: this.archive ? "archive" : "tree",
      source,
      onChange: () => upload === this.upload && this.progressed(),
    });
    this.upload = upload;
    this.view.show();
    upload.run();
  }

  resume() {
    if (this.upload?.canResume) this.upload.run();
    else this.changed();
  }

  progressed() {
    const { upload } = this;
    if (upload.state === "done") this.finished();
    if (upload.state === "failed") this.waiting = null;
    this.view.progress();
  }

  finished() {
    const { id, result } = this.upload;
    this.input.value = id;
    this.input.dispatchEvent(new Event("change", { bubbles: true }));
    const list = document.getElementById(this.root.dataset.dockerfiles ?? "");
    list?.replaceChildren(...(result.dockerfiles ?? []).map((path) => new Option(path, path)));
    this.root.dispatchEvent(new CustomEvent("gantry:context", { bubbles: true, detail: { id, ...result } }));
    const submitter = this.waiting;
    this.waiting = null;
    if (submitter) queueMicrotask(() => this.form.requestSubmit(submitter.form === this.form ? submitter : undefined));
  }

  fail(message, hint) {
    this.waiting = null;
    this.error = { message, hint };
    this.view.show();
  }

  // The form is sent once this is there.
  hold(event) {
    const failed = this.error || this.upload?.state === "failed";
    if (!this.form.matches("[data-needs-upload]") || (!this.isBusy && !failed)) return;
    if (!this.root.checkVisibility()) return; // another source is chosen
    event.preventDefault();
    event.stopImmediatePropagation();
    if (this.isBusy) this.waiting = event.submitter ?? this.form;
    this.view.progress();
    this.root.scrollIntoView({ block: "nearest" });
  }
}

function archiveSource(file) {
  return { size: file.size, read: (start, end) => readFile(file.name, file, start, end) };
}

whenever("[data-context]", (root) => new Context(root).start());
