/** The page: input, recording, answer, display. */

import { UserError, MAX_DURATION_S, SAMPLE_RATE } from "./audio.js";
import { drawLogMel, drawWaveform } from "./draw.js";
import { openFile } from "./files.js";
import { Microphone } from "./microphone.js";
import { loadNetworks } from "./networks.js";
import { Recording } from "./recording.js";

/** @typedef {import("./recording.js").Digit} Digit */

const MIN_DURATION_S = 0.1;
const REDRAW_MS = 250; // while a long file is read
const MAX_LISTED = 40; // digits are listed in the answer; of more, their number
const HOLD_MS = 400; // a key or button that is held for longer records while it is down
const DIGITS = "0123456789";
/** Whether "oh" is zero: not where the page's address ends with ?no-oh. */
const OPTIONS = new URLSearchParams(location.search);
const OH = !OPTIONS.has("no-oh");
/** Which channel of a file is taken, 1 is the first: where the address ends with ?channel=1. */
const CHANNEL = Number(OPTIONS.get("channel") ?? 0);

/** @param {string} id @returns {any} the element of that id */
const at = (id) => document.getElementById(id);
const shown = {
  recording: new Recording(OH),
  /** @type {Digit[]} */
  digits: [],
  selected: -1,
  isLive: false,
};

/** @typedef {"idle" | "opening" | "listening" | "reading" | "answering"} State */
/** @type {State} */
let state = "idle";
/** @type {Microphone | null} */
let microphone = null;
let pressedAt = 0;
/** Stop as soon as the microphone is open: the button was released before. */
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

// ---- input --------------------------------------------------------------------------------------

async function listen() {
  if (state !== "idle") return;
  enter("opening");
  stopSoon = false;
  const fresh = new Recording(OH);
  try {
    /** @param {Float32Array} samples */
    const onSamples = (samples) => addSamples(fresh, samples);
    microphone = await Microphone.open({ onSamples, onEnd: stop });
  } catch (error) {
    return fail(error);
  }
  begin(fresh, true);
  enter("listening");
  draw();
  // Only now: while the networks are fetched and compiled, the first word would be lost. An error
  // here is shown when the answer is wanted.
  load().catch(() => {});
  if (stopSoon) stop();
  else if (document.hidden) stop(HIDDEN);
}

const HIDDEN = "It stopped as the page went to the background.";

/** In the background, the microphone stops; a file is read to its end. */
function leave() {
  if (state === "opening" || state === "listening") stop(HIDDEN);
}

/** @param {string} [reason] why, where the user did not stop it */
async function stop(reason = "") {
  if (state === "opening") stopSoon = true;
  if (state === "reading") enter("answering");
  if (state !== "listening") return;
  enter("answering");
  try {
    await microphone?.stop();
    await updating;
    await answer(reason);
  } catch (error) {
    fail(error);
  }
}

/** @param {FileList | null} files */
async function open(files) {
  if (!files?.length || state !== "idle") return;
  enter("answering");
  begin(new Recording(OH), false);
  draw();
  load().catch(() => {});
  try {
    if (!Number.isInteger(CHANNEL) || CHANNEL < 0) {
      throw new UserError(`channel=${OPTIONS.get("channel")}: expected 1, the first one, or more`);
    }
    const { duration, pieces, warnings } = await openFile(files[0], CHANNEL || null);
    if (duration > MAX_DURATION_S) enter("reading");
    const stopped = await read(pieces, duration);
    const remarks = [
      stopped && `Stopped at ${clock(shown.recording.duration)} of ${clock(duration)}.`,
      files.length > 1 && `One file at a time: this is ${files[0].name}.`,
    ];
    enter("answering");
    await answer(remarks.filter(Boolean).join(" "));
    warn(warnings);
  } catch (error) {
    fail(error);
  } finally {
    progress(1);
  }
}

// ---- answer -------------------------------------------------------------------------------------

/** The update that is going on while someone speaks. @type {Promise<void> | null} */
let updating = null;

/** @param {Recording} recording @param {boolean} isLive whether it goes on */
function begin(recording, isLive) {
  Object.assign(shown, { recording, digits: [], selected: -1, isLive });
  warn([]);
}

/** @param {Recording} recording @param {Float32Array} samples the next of the microphone */
function addSamples(recording, samples) {
  recording.add(samples);
  if (state === "listening") updating ??= update().finally(() => (updating = null));
}

async function update() {
  try {
    if (ready) {
      await shown.recording.follow(ready);
      const { digits } = shown.recording;
      const last = digits.at(-1);
      if (last) await shown.recording.picture(ready, last);
      if (state !== "listening") return;
      Object.assign(shown, { digits, selected: digits.length - 1 });
    }
    draw();
  } catch (error) {
    if (state !== "listening") return;
    microphone?.stop();
    fail(error);
  }
}

/**
 * Transcribe a file, piece by piece.
 * @param {AsyncGenerator<Float32Array>} pieces
 * @param {number} duration in seconds
 * @returns {Promise<boolean>} whether it was stopped before its end
 */
async function read(pieces, duration) {
  const loaded = await load();
  const stoppable = state === "reading";
  let drawn = performance.now();
  for await (const piece of pieces) {
    shown.recording.add(piece);
    await shown.recording.follow(loaded);
    if (!stoppable) continue;
    if (state !== "reading") return true;
    if (document.hidden || performance.now() - drawn < REDRAW_MS) continue;
    drawn = performance.now();
    Object.assign(shown, { digits: shown.recording.digits, selected: -1 });
    draw();
    const done = shown.recording.duration;
    progress(done / duration, `Read ${clock(done)} of ${clock(duration)}`);
  }
  return false;
}

/**
 * The answer to a whole recording.
 * @param {string} remark
 */
async function answer(remark) {
  const stopped = performance.now();
  if (shown.recording.duration < MIN_DURATION_S) {
    throw new UserError("That was too short. Press, speak, and press again.");
  }
  const loaded = await load();
  const digits = await shown.recording.finish(loaded);
  const last = digits.at(-1);
  if (last) await shown.recording.picture(loaded, last);
  Object.assign(shown, { digits, selected: digits.length - 1, isLive: false });
  draw();
  enter("idle");
  tell(`${sentence()} ${remark}`.trim(), "result");
  performance.measure("answer", { start: stopped });
}

/** @param {number} index of the digit whose picture is shown */
async function select(index) {
  const { recording, digits } = shown;
  shown.selected = index;
  draw();
  if (digits[index].logMel) return;
  await recording.picture(await load(), digits[index]);
  draw();
}

function sentence() {
  const { recording, digits } = shown;
  const all = [...recording.before, ...digits.map(glyph)];
  if (all.length > MAX_LISTED) return `Recognized ${all.length} digits.`;
  if (all.length > 1) return `Recognized ${all.join(" ")}.`;
  if (!digits.length) return all.length ? `Recognized ${all[0]}.` : "No digit was recognized.";
  const [only] = digits;
  if (only.digit === null) return explain(only);
  return `Recognized ${only.digit}, with a probability of ${percent(only.probability)}.`;
}

/** @param {Digit} digit @returns {string} why it is none */
function explain({ reason, label }) {
  if (reason === "silence") {
    return "No speech above the background. Speak louder, or closer to the microphone.";
  }
  if (reason === "not a digit") return "This does not sound like a digit.";
  if (reason === "unclear") return `Unclear, perhaps ${label}. Say it again.`;
  return `This is “${label}”, which is no digit.`;
}

// ---- display ------------------------------------------------------------------------------------

/** @param {Digit} digit */
const glyph = ({ digit }) => (digit === null ? "?" : String(digit));

/** @param {number} probability never rounded up to certainty */
const percent = (probability) => `${(Math.floor(1000 * probability) / 10).toFixed(1)} %`;

/** @param {number} seconds */
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function draw() {
  const { recording, digits, selected, isLive } = shown;
  const { samples, dropped, duration } = recording;
  const kept = samples.length / SAMPLE_RATE;
  const marks = digits.map((one) => ({ start: one.start - dropped, stop: one.stop - dropped }));
  marks.forEach((mark, i) => {
    const next = marks[i + 1]; // where they overlap, both end in the middle
    if (next && next.start < mark.stop) next.start = mark.stop = (next.start + mark.stop) / 2;
  });
  const span = isLive ? Math.max(4, kept) : Math.max(0.5, kept);
  drawWaveform(at("waveform"), samples, marks, selected, span);
  const last = `the last ${Math.round(kept)} s of ${clock(duration)}`;
  at("span").textContent = dropped ? last : duration ? `${duration.toFixed(1)} s` : "";
  const count = recording.before.length + digits.length;
  at("waveform").ariaLabel =
    `Waveform: ${duration.toFixed(1)} seconds, ${count} digit${count === 1 ? "" : "s"}`;

  drawDigits();
  const one = digits[selected];
  drawLogMel(at("log-mel"), one?.logMel ?? null);
  // The network for strings takes the same, but not cut to one digit.
  at("log-mel-title").textContent =
    one && !one.isWhole ? "Log-mel spectrogram" : "Network input (log-mel)";
  at("log-mel").ariaLabel = `Log-mel spectrogram: ${one ? `recognized as ${one.label}` : "nothing yet"}`;
  at("probability").textContent = one ? percent(one.probability) : "";
  [...at("bars").children].forEach((bar, i) => {
    const probability = one?.probabilities[i] ?? 0;
    bar.style.setProperty("--fraction", String(probability));
    bar.classList.toggle("best", one?.label === DIGITS[i]);
    bar.ariaLabel = `${i}: ${percent(probability)}`;
  });
}

function drawDigits() {
  const { recording, digits, selected, isLive } = shown;
  at("before").textContent = recording.before;
  at("before").hidden = !recording.before;
  at("before").scrollTop = at("before").scrollHeight;
  const list = at("digits");
  while (list.children.length > digits.length) list.lastChild.remove();
  while (list.children.length < digits.length) {
    const index = list.children.length;
    const button = document.createElement("button");
    button.type = "button";
    button.onclick = () => select(index);
    list.appendChild(document.createElement("li")).append(button);
  }
  const count = recording.before.length + digits.length;
  list.classList.toggle("long", count > 8);
  list.classList.toggle("longer", count > MAX_LISTED);
  digits.forEach((one, index) => {
    const button = list.children[index].firstChild;
    button.textContent = glyph(one);
    button.title = one.digit === null ? explain(one) : percent(one.probability);
    button.ariaLabel = one.digit === null ? "no digit" : glyph(one);
    button.ariaPressed = String(index === selected);
    button.classList.toggle("open", isLive && one.isOpen);
    button.classList.toggle("rejected", one.digit === null);
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
  if (state === "reading") tell("Reading the recording. Press to stop.", "hint");
  if (state === "answering") tell("Recognizing…", "hint");
}

/** @param {number} fraction that is done @param {string} [text] */
function progress(fraction, text = "") {
  at("loading").hidden = fraction === 1;
  at("progress").value = fraction;
  at("loaded").textContent = text;
}

/** @param {string} text @param {"hint" | "result" | "error"} kind */
function tell(text, kind) {
  at("status").textContent = text;
  at("status").dataset.kind = kind;
}

/** @param {string[]} warnings what is odd about the recording, which was read all the same */
function warn(warnings) {
  at("warnings").replaceChildren(
    ...warnings.map((warning) => {
      const item = document.createElement("li");
      item.textContent = `Warning: ${warning}`;
      return item;
    }),
  );
}

/** @param {unknown} error */
function fail(error) {
  shown.isLive = false;
  draw();
  enter("idle");
  const text = error instanceof Error ? error.message : String(error);
  tell(error instanceof UserError ? text : `This should not happen: ${text}. Reload.`, "error");
}

// ---- events -------------------------------------------------------------------------------------

function press() {
  if (state === "idle") {
    pressedAt = performance.now();
    listen();
  } else {
    pressedAt = 0;
    stop();
  }
}

/** A key or button is released: that ends the recording, unless it was only tapped. */
function release() {
  if (pressedAt && performance.now() - pressedAt > HOLD_MS) stop();
  pressedAt = 0;
}

function start() {
  for (const digit of DIGITS) {
    at("bars").appendChild(document.createElement("li")).textContent = digit;
  }
  const speak = at("speak");
  speak.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => event.button === 0 && press());
  for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, release);
  // A click without a pointer comes from Enter, or from a screen reader.
  speak.addEventListener("click", (/** @type {MouseEvent} */ event) => event.detail === 0 && press());
  /** @param {KeyboardEvent} event */
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

  at("file").addEventListener("change", async (/** @type {{target: HTMLInputElement}} */ { target }) => {
    await open(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  /** @param {boolean} on */
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    dragging(true);
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget || dragging(false));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(false);
    open(event.dataTransfer?.files ?? null);
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
