/** The page: what a person does, what is heard of it, what is shown. */

import { HearingError, MAX_DURATION_S, SAMPLE_RATE } from "./audio.js";
import { drawLogMel, drawWaveform } from "./draw.js";
import { openFile } from "./files.js";
import { Hearing } from "./hearing.js";
import { Microphone } from "./microphone.js";
import { loadNetworks } from "./networks.js";

/** @typedef {import("./recognizer.js").Recognition} Recognition */
/** @typedef {import("./hearing.js").Heard} Heard */

const MIN_DURATION_S = 0.1;
const REDRAW_MS = 250; // while a long file is heard
const MOST_READ = 40; // digits are read out; of more, how many they are
const HOLD_MS = 400; // held for longer, a key or button is one to talk while it is down
const DIGITS = "0123456789";

/** @param {string} id @returns {any} the element of that id */
const at = (id) => document.getElementById(id);
const show = {
  hearing: new Hearing(),
  /** @type {Heard[]} */
  heard: [],
  selected: -1,
  live: false,
};

/** @typedef {"idle" | "opening" | "listening" | "reading" | "answering"} State */
/** @type {State} */
let state = "idle";
/** @type {Microphone | null} */
let microphone = null;
let pressedAt = 0;
/** Stop as soon as the microphone is open: the button was let go before. */
let stopSoon = false;
/** @type {Promise<import("./networks.js").Networks> | null} */
let networks = null;
/** The same, once they are there. @type {import("./networks.js").Networks | null} */
let ready = null;

/** Fetch the networks on first use; after a failure, the next use tries again. */
function load() {
  networks ??= loadNetworks((loaded, total) => {
    const [done, all] = [loaded, total].map((bytes) => (bytes / 1e6).toFixed(1));
    progress(loaded / total, `Fetching the networks, once: ${done} of ${all} MB`);
  })
    .then((loaded) => (ready = loaded))
    .catch((error) => {
      networks = null;
      throw error;
    })
    .finally(() => progress(1));
  return networks;
}

// ---- what a person does ------------------------------------------------------------------------

async function listen() {
  if (state !== "idle") return;
  enter("opening");
  stopSoon = false;
  const fresh = new Hearing();
  try {
    const onSamples = (samples) => hearMore(fresh, samples);
    microphone = await Microphone.open({ onSamples, onEnd: stop });
  } catch (error) {
    return fail(error);
  }
  begin(fresh, true);
  enter("listening");
  draw();
  // Only now: to fetch and compile it takes the time in which the first word would be lost. What
  // fails here is told when the answer is wanted.
  load().catch(() => {});
  if (stopSoon) stop();
  else if (document.hidden) stop(HIDDEN);
}

const HIDDEN = "It stopped as the page went to the background.";

/** In the background, nobody is listened to; a file is heard to its end. */
function leave() {
  if (state === "opening" || state === "listening") stop(HIDDEN);
}

/** @param {string} [reason] why, where no person stopped it */
async function stop(reason = "") {
  if (state === "opening") stopSoon = true;
  if (state === "reading") enter("answering");
  if (state !== "listening") return;
  enter("answering");
  try {
    await microphone.stop();
    await hearing; // what is being heard just now
    await answer(reason);
  } catch (error) {
    fail(error);
  }
}

/** @param {FileList | null} files */
async function open(files) {
  if (!files?.length || state !== "idle") return;
  enter("answering");
  begin(new Hearing(), false);
  draw();
  load().catch(() => {});
  try {
    const { duration, pieces } = await openFile(files[0]);
    if (duration > MAX_DURATION_S) enter("reading");
    const stopped = await read(pieces, duration);
    const remarks = [
      stopped && `Stopped at ${clock(show.hearing.duration)} of ${clock(duration)}.`,
      files.length > 1 && `One at a time: this is ${files[0].name}.`,
    ];
    enter("answering");
    await answer(remarks.filter(Boolean).join(" "));
  } catch (error) {
    fail(error);
  } finally {
    progress(1);
  }
}

// ---- what is heard of it -----------------------------------------------------------------------

/** What goes on while someone speaks. @type {Promise<void> | null} */
let hearing = null;

/** @param {Hearing} fresh @param {boolean} live whether it goes on */
function begin(fresh, live) {
  Object.assign(show, { hearing: fresh, heard: [], selected: -1, live });
}

/** @param {Hearing} fresh @param {Float32Array} samples that the microphone has newly heard */
function hearMore(fresh, samples) {
  fresh.add(samples);
  if (state === "listening") hearing ??= hearSoFar().finally(() => (hearing = null));
}

async function hearSoFar() {
  try {
    if (ready) {
      const heard = await show.hearing.hear(ready);
      if (heard.length) await show.hearing.picture(ready, heard.at(-1));
      if (state !== "listening") return;
      Object.assign(show, { heard, selected: heard.length - 1 });
    }
    draw();
  } catch (error) {
    if (state !== "listening") return;
    microphone.stop();
    fail(error);
  }
}

/**
 * Hear a file, piece by piece.
 * @param {AsyncGenerator<Float32Array>} pieces
 * @param {number} duration in seconds
 * @returns {Promise<boolean>} whether it was stopped before its end
 */
async function read(pieces, duration) {
  const loaded = await load();
  const stoppable = state === "reading";
  let drawn = performance.now();
  for await (const piece of pieces) {
    show.hearing.add(piece);
    await show.hearing.follow(loaded);
    if (!stoppable) continue;
    if (state !== "reading") return true;
    if (document.hidden || performance.now() - drawn < REDRAW_MS) continue;
    drawn = performance.now();
    Object.assign(show, { heard: await show.hearing.hear(loaded), selected: -1 });
    draw();
    const heard = show.hearing.duration;
    progress(heard / duration, `Heard ${clock(heard)} of ${clock(duration)}`);
  }
  return false;
}

/**
 * The answer to a whole recording.
 * @param {string} remark
 */
async function answer(remark) {
  const stopped = performance.now();
  if (show.hearing.duration < MIN_DURATION_S) {
    throw new HearingError("That was too short. Press, speak, and press again.");
  }
  const loaded = await load();
  const heard = await show.hearing.finish(loaded);
  if (heard.length) await show.hearing.picture(loaded, heard.at(-1));
  Object.assign(show, { heard, selected: heard.length - 1, live: false });
  draw();
  enter("idle");
  tell(`${sentence()} ${remark}`.trim(), "result");
  performance.measure("answer", { start: stopped });
}

/** @param {number} index of what is to be looked at */
async function select(index) {
  const { hearing: shown, heard } = show;
  show.selected = index;
  draw();
  if (heard[index].recognition.logMel) return;
  await shown.picture(await load(), heard[index]);
  draw();
}

function sentence() {
  const { hearing: shown, heard } = show;
  const all = [...shown.before, ...heard.map((one) => glyph(one.recognition))];
  if (all.length > MOST_READ) return `Heard ${all.length} digits.`;
  if (all.length > 1) return `Heard ${all.join(" ")}.`;
  if (!heard.length) return all.length ? `Heard ${all[0]}.` : "No digit was heard.";
  const { recognition } = heard[0];
  if (recognition.refusal) return recognition.refusal;
  return `Heard ${recognition.digit}, ${percent(recognition.probability)} sure.`;
}
// ---- what is shown -----------------------------------------------------------------------------

/** @param {Recognition} recognition */
const glyph = ({ digit }) => (digit === null ? "?" : String(digit));

/** @param {number} probability never rounded up to certainty */
const percent = (probability) => `${(Math.floor(1000 * probability) / 10).toFixed(1)} %`;

/** @param {number} seconds */
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function draw() {
  const { hearing: shown, heard, selected, live } = show;
  const { samples, dropped, duration } = shown;
  const kept = samples.length / SAMPLE_RATE;
  const marks = heard.map(({ start, stop }) => ({ start: start - dropped, stop: stop - dropped }));
  marks.forEach((mark, i) => {
    const next = marks[i + 1]; // where they overlap, both end in the middle
    if (next && next.start < mark.stop) next.start = mark.stop = (next.start + mark.stop) / 2;
  });
  const span = live ? Math.max(4, kept) : Math.max(0.5, kept);
  drawWaveform(at("waveform"), samples, marks, selected, span);
  const last = `the last ${Math.round(kept)} s of ${clock(duration)}`;
  at("span").textContent = dropped ? last : duration ? `${duration.toFixed(1)} s` : "";
  const count = shown.before.length + heard.length;
  at("waveform").ariaLabel =
    `Waveform: ${duration.toFixed(1)} seconds, ${count} digit${count === 1 ? "" : "s"}`;

  drawDigits();
  const one = heard[selected];
  const recognition = one?.recognition;
  drawLogMel(at("log-mel"), recognition?.logMel ?? null);
  // The network for strings sees the same, but not cut to one digit.
  at("seen-by").textContent = one && !one.alone ? "What it looks like" : "What the network saw";
  at("log-mel").ariaLabel =
    `Log-mel spectrogram: ${recognition ? `what was heard as ${recognition.label}` : "nothing yet"}`;
  at("sure").textContent = recognition ? percent(recognition.probability) : "";
  [...at("bars").children].forEach((bar, i) => {
    const probability = recognition?.probabilities[i] ?? 0;
    bar.style.setProperty("--share", String(probability));
    bar.classList.toggle("best", recognition?.label === DIGITS[i]);
    bar.ariaLabel = `${i}: ${percent(probability)}`;
  });
}

function drawDigits() {
  const { hearing: shown, heard, selected } = show;
  at("before").textContent = shown.before;
  at("before").hidden = !shown.before;
  at("before").scrollTop = at("before").scrollHeight;
  const list = at("digits");
  while (list.children.length > heard.length) list.lastChild.remove();
  while (list.children.length < heard.length) {
    const index = list.children.length;
    const button = document.createElement("button");
    button.type = "button";
    button.onclick = () => select(index);
    list.appendChild(document.createElement("li")).append(button);
  }
  const count = shown.before.length + heard.length;
  list.classList.toggle("long", count > 8);
  list.classList.toggle("longer", count > MOST_READ);
  heard.forEach(({ recognition, open }, index) => {
    const button = list.children[index].firstChild;
    button.textContent = glyph(recognition);
    button.title = recognition.refusal || percent(recognition.probability);
    button.ariaLabel = recognition.refusal ? "no digit" : glyph(recognition);
    button.ariaPressed = String(index === selected);
    button.classList.toggle("open", show.live && open);
    button.classList.toggle("refused", recognition.digit === null);
  });
}

/** @param {State} next */
function enter(next) {
  state = next;
  document.documentElement.dataset.state = state;
  const active = ["opening", "listening", "reading"].includes(state);
  at("speak").querySelector("span").textContent = active ? "Stop" : "Speak";
  at("speak").ariaPressed = String(active);
  at("file").disabled = state !== "idle";
  if (state === "opening") tell("Asking for the microphone…", "hint");
  if (state === "listening") tell("Listening. Press again to stop.", "hint");
  if (state === "reading") tell("Listening to it. Press to stop.", "hint");
  if (state === "answering") tell("Listening to it…", "hint");
}

/** @param {number} share of what takes long, 1 when it is done @param {string} [text] */
function progress(share, text = "") {
  at("loading").hidden = share === 1;
  at("progress").value = share;
  at("loaded").textContent = text;
}

/** @param {string} text @param {"hint" | "result" | "error"} kind */
function tell(text, kind) {
  at("status").textContent = text;
  at("status").dataset.kind = kind;
}

/** @param {unknown} error */
function fail(error) {
  show.live = false;
  draw();
  enter("idle");
  const text = error instanceof Error ? error.message : String(error);
  tell(error instanceof HearingError ? text : `This should not happen: ${text}. Reload.`, "error");
}

// ---- the wiring --------------------------------------------------------------------------------

function press() {
  if (state === "idle") {
    pressedAt = performance.now();
    listen();
  } else {
    pressedAt = 0;
    stop();
  }
}

/** What was held down is let go: that ends it, unless it was only tapped. */
function release() {
  if (pressedAt && performance.now() - pressedAt > HOLD_MS) stop();
  pressedAt = 0;
}

function start() {
  for (const digit of DIGITS) {
    at("bars").appendChild(document.createElement("li")).textContent = digit;
  }
  const speak = at("speak");
  speak.addEventListener("pointerdown", (event) => event.button === 0 && press());
  for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, release);
  // A click without a pointer comes from Enter, or from what reads the page aloud.
  speak.addEventListener("click", (event) => event.detail === 0 && press());
  const isSpeak = ({ code, target }) =>
    code === "Space" && (target === document.body || target === speak);
  window.addEventListener("keydown", (event) => {
    if (!isSpeak(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  window.addEventListener("keyup", (event) => {
    if (!isSpeak(event)) return;
    event.preventDefault(); // or the button would be clicked, too
    release();
  });

  at("file").addEventListener("change", async ({ target }) => {
    await open(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    dragging(true);
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget || dragging(false));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(false);
    open(event.dataTransfer.files);
  });

  document.addEventListener("visibilitychange", () => document.hidden && leave());
  window.addEventListener("pagehide", leave);
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  at("not-started").remove();
  at("app").hidden = false;
  enter("idle");
  tell("Press Space or the button, and speak. Press again to stop.", "hint");
  draw();
}

start();
