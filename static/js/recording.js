// The page of a recording: fetches the cast, plays it, and says where one is. ?t=SECONDS begins there.
import { Cast } from "./recordings/cast.js";
import { Stage } from "./recordings/stage.js";
import { EVERY, Keyframes } from "./recordings/keyframes.js";
import { Player, SPEEDS } from "./recordings/player.js";
import { Face } from "./recordings/face.js";
import { write } from "./ui/copy.js";
import { showState } from "./ui/state.js";

const STEP = 5; // seconds an arrow key goes
const SLICE = 12; // ms
const WORDS = { playing: ["ok", "Playing"], paused: ["idle", "Paused"], ended: ["idle", "At its end"], waiting: ["busy", "Loading…"] };

class RecordingPage {
  constructor(root) {
    this.root = root;
    this.cast = new Cast();
    this.face = new Face(this.part("screen"));
    this.stage = new Stage(this.face.terminal, () => this.face.fit());
    this.keyframes = new Keyframes(this.cast);
    this.player = new Player(this.cast, this.stage, this.keyframes);
    this.player.addEventListener("time", () => this.showTime());
    this.player.addEventListener("state", () => this.showState());
    this.start = Number(new URLSearchParams(location.search).get("t")) || 0;
    this.bind();
    this.load().catch((error) => this.fail(error));
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  async load() {
    const answer = await fetch(this.root.dataset.cast, { headers: { Accept: "application/x-asciicast" } });
    if (!answer.ok) throw new Error(answer.status === 503 ? "The file of this recording is not there." : "You may not replay this recording any more.");
    const reader = answer.body.getReader();
    let rested = performance.now();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.cast.add(value);
      this.loaded();
      if (performance.now() - rested < SLICE) continue;
      await new Promise((resolve) => { setTimeout(resolve); });
      rested = performance.now();
    }
    this.cast.end();
    this.loaded();
    if (!this.cast.header) throw new Error("The recording is empty: its process died before anything was written.");
    this.part("play").disabled = false;
    this.showState();
  }

  // More of the cast is there.
  loaded() {
    if (!this.cast.header) return;
    if (!this.hasBegun) this.begin();
    this.part("seek").max = this.cast.duration;
    if (this.start && (this.cast.duration >= this.start || this.cast.isComplete)) {
      this.player.seek(this.start);
      this.start = 0;
    }
    if (this.cast.characters > EVERY) this.keyframes.run();
    this.showTime();
    this.showMarkers();
  }

  begin() {
    this.hasBegun = true;
    const { width, height } = this.cast.header;
    this.stage.begin(width, height);
    this.face.fit();
    if (!this.start) this.player.seek(0);
    this.part("play").disabled = false;
  }

  fail(error) {
    this.say("bad", "Not shown");
    const notice = this.part("notice");
    notice.hidden = false;
    notice.textContent = error.message;
  }

  // --- What it says ---

  showTime() {
    const { clock, cast } = this.player;
    this.part("time").textContent = `${time(clock)} / ${time(cast.duration)}`;
    const seek = this.part("seek");
    seek.value = clock;
    seek.setAttribute("aria-valuetext", `${time(clock)} of ${time(cast.duration)}`);
    seek.style.setProperty("--played", `${cast.duration ? (100 * clock) / cast.duration : 0}%`);
  }

  showState() {
    const { state } = this.player;
    this.say(...WORDS[state]);
    const button = this.part("play");
    const word = this.player.isPlaying ? "Pause" : "Play";
    button.setAttribute("aria-label", `${word} (Space)`);
    button.title = `${word} (Space)`;
    const use = button.querySelector("use");
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${word.toLowerCase()}`));
  }

  say(tone, word) {
    showState(this.part("status"), tone, word, tone === "idle" ? "s-paused" : undefined);
  }

  showMarkers() {
    const list = this.part("markers");
    const { markers } = this.cast;
    if (list.children.length === markers.length) return;
    list.replaceChildren(...markers.map(([at, words]) => {
      const link = document.createElement("a");
      link.href = this.address(at);
      link.dataset.at = at;
      link.textContent = time(at);
      const item = document.createElement("li");
      item.append(link, ` ${words}`);
      return item;
    }));
    list.hidden = !markers.length;
  }

  address(at) {
    const url = new URL(location.href);
    url.searchParams.set("t", Math.floor(at * 10) / 10);
    return url.href;
  }

  // --- What one does ---

  bind() {
    const does = {
      play: () => this.player.toggle(),
      back: () => this.player.seek(this.player.clock - STEP),
      on: () => this.player.seek(this.player.clock + STEP),
      link: (button) => this.copyLink(button),
    };
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) does[button.dataset.do](button);
      const marker = event.target.closest("[data-at]");
      if (!marker) return;
      event.preventDefault();
      this.player.seek(Number(marker.dataset.at));
    });
    this.part("seek").addEventListener("input", (event) => this.player.seek(Number(event.target.value)));
    this.part("speed").addEventListener("change", (event) => { this.player.speed = Number(event.target.value); });
    this.part("skip").addEventListener("change", (event) => { this.player.skips = event.target.checked; });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.closest("select, textarea:not(.xterm-helper-textarea), input:not([type=range])")) return;
    if (event.key === " " && target.closest("button, a, summary")) return;
    const { player } = this;
    const keys = {
      " ": () => player.toggle(),
      k: () => player.toggle(),
      ArrowLeft: () => player.seek(player.clock - STEP),
      ArrowRight: () => player.seek(player.clock + STEP),
      Home: () => player.seek(0),
      End: () => player.seek(this.cast.duration),
      "<": () => this.faster(-1),
      ">": () => this.faster(1),
      s: () => this.part("skip").click(),
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  faster(step) {
    const place = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.player.speed) + step));
    this.player.speed = SPEEDS[place];
    this.part("speed").value = this.player.speed;
  }

  async copyLink(button) {
    await write(this.address(this.player.clock));
    const word = button.querySelector(".word");
    const before = word.textContent;
    word.textContent = "Copied";
    setTimeout(() => { word.textContent = before; }, 1_500);
  }
}

// 75.3 as "1:15", 3675 as "1:01:15".
function time(seconds) {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const root = document.querySelector("[data-recording]");
if (root) root.page = new RecordingPage(root);
