// The player: a clock over a cast. Events: `time`, `state` (playing, paused, ended, waiting).

export const SPEEDS = [0.5, 1, 2, 4, 8, 16];
const LONGEST_PAUSE = 1; // second, as the viewer feels it, when pauses are skipped

export class Player extends EventTarget {
  constructor(cast, stage, keyframes) {
    super();
    this.cast = cast;
    this.stage = stage;
    this.keyframes = keyframes;
    this.index = 0; // events on the screen
    this.clock = 0; // seconds
    this.speed = 1;
    this.skips = true;
    this.isPlaying = false;
    this.target = null; // seconds to seek to
    this.work = null;
  }

  get state() {
    if (this.isPlaying) return this.isWaiting ? "waiting" : "playing";
    return this.cast.isComplete && this.clock >= this.cast.duration ? "ended" : "paused";
  }

  get isWaiting() {
    return this.index >= this.cast.length && !this.cast.isComplete;
  }

  tell(type) {
    this.dispatchEvent(new Event(type));
  }

  play() {
    if (this.isPlaying) return;
    this.isPlaying = true;
    if (this.state !== "waiting" && this.index >= this.cast.length) this.seek(0);
    this.tell("state");
    this.busy();
  }

  pause() {
    this.isPlaying = false;
    this.tell("state");
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  seek(seconds) {
    this.clock = this.target = Math.max(0, Math.min(seconds, this.cast.duration));
    this.tell("time");
    return this.busy();
  }

  // One thing at a time has the screen; whoever asks meanwhile is served by the same loop.
  busy() {
    this.work ??= this.run().finally(() => { this.work = null; });
    return this.work;
  }

  async run() {
    let last = performance.now();
    while (this.target !== null || this.isPlaying) {
      if (this.target !== null) {
        await this.jump();
        last = performance.now();
        continue;
      }
      const now = await frame();
      this.advance(Math.max(0, now - last) / 1000);
      last = now;
      const to = this.cast.after(this.clock);
      if (to > this.index) {
        this.index = await this.stage.apply(this.cast, this.index, to, () => this.target !== null || !this.isPlaying);
        last = performance.now(); // a screen that cannot keep up holds the clock
        if (this.index < to) this.clock = Math.min(this.clock, this.cast.times[this.index]);
      }
      this.tell("time");
      if (this.target === null && this.cast.isComplete && this.index >= this.cast.length) {
        this.clock = this.cast.duration;
        this.isPlaying = false;
      }
    }
    this.tell("time");
    this.tell("state");
  }

  advance(seconds) {
    this.clock += seconds * this.speed;
    const next = this.cast.times[this.index] ?? this.cast.duration;
    if (this.skips && next - this.clock > LONGEST_PAUSE * this.speed) this.clock = next - LONGEST_PAUSE * this.speed;
    if (this.index >= this.cast.length) this.clock = Math.min(this.clock, this.cast.duration);
  }

  async jump() {
    const wanted = this.target;
    const to = this.cast.after(wanted);
    const isStale = () => this.target !== wanted;
    const known = this.keyframes.before(to);
    const isNear = to >= this.index && (!known || known.index <= this.index);
    if (!isNear) {
      const { width, height } = this.cast.header;
      await this.stage.begin(known?.columns ?? width, known?.rows ?? height, known?.state);
      this.index = known?.index ?? 0;
    }
    this.index = await this.stage.apply(this.cast, this.index, to, isStale);
    if (!isStale()) this.target = null;
  }
}

// Hidden pages get no frames; a recording goes on there as far as timers do.
function frame() {
  return new Promise((resolve) => {
    if (document.hidden) setTimeout(() => resolve(performance.now()), 250);
    else requestAnimationFrame(() => resolve(performance.now()));
  });
}
