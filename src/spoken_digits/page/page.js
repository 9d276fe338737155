/** The page: what a person does, what is heard of it, what is shown. */

import {
  cutClip,
  Endpointer,
  findUtterances,
  HearingError,
  readFile,
  SAMPLE_RATE,
  strongest,
  withoutMean,
} from "./audio.js";
import { drawLogMel, drawWaveform } from "./draw.js";
import { Microphone } from "./microphone.js";
import { loadRecognizer } from "./recognizer.js";

/** @typedef {import("./audio.js").Utterance} Utterance */
/** @typedef {import("./recognizer.js").Recognition} Recognition */
/** @typedef {Utterance & {recognition: Recognition}} Heard */

const MIN_DURATION_S = 0.1;
const HOLD_MS = 400; // held for longer, a key or button is one to talk while it is down
const DIGITS = "0123456789";

/** @param {string} id @returns {any} the element of that id */
const at = (id) => document.getElementById(id);
const show = {
  /** @type {Float32Array} */
  samples: new Float32Array(0),
  /** @type {Heard[]} */
  heard: [],
  selected: -1,
  live: false,
};

/** @typedef {"idle" | "opening" | "listening" | "answering"} State */
/** @type {State} */
let state = "idle";
/** @type {Microphone | null} */
let microphone = null;
let pressedAt = 0;
/** Stop as soon as the microphone is open: the button was let go before. */
let stopSoon = false;
/** @type {Promise<import("./recognizer.js").Recognizer> | null} */
let recognizer = null;

/** Fetch the network on first use; after a failure, the next use tries again. */
function load() {
  recognizer ??= loadRecognizer((loaded, total) => {
    at("loading").hidden = false;
    at("progress").value = loaded / total;
    at("loaded").textContent =
      `Fetching the network, once: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  })
    .catch((error) => {
      recognizer = null;
      throw error;
    })
    .finally(() => (at("loading").hidden = true));
  return recognizer;
}

// ---- what a person does ------------------------------------------------------------------------

async function listen() {
  if (state !== "idle") return;
  enter("opening");
  stopSoon = false;
  load().catch(() => {}); // what fails here is told when the answer is wanted
  try {
    microphone = await Microphone.open({ onSamples: hearSoFar, onEnd: stop });
  } catch (error) {
    return fail(error);
  }
  Object.assign(show, { samples: new Float32Array(0), heard: [], selected: -1, live: true });
  endpointer = new Endpointer();
  enter("listening");
  draw();
  if (stopSoon) stop();
  else if (document.hidden) stop(HIDDEN);
}

const HIDDEN = "It stopped as the page went to the background.";

/** @param {string} [reason] why, where no person stopped it */
async function stop(reason = "") {
  if (state === "opening") stopSoon = true;
  if (state !== "listening") return;
  enter("answering");
  try {
    await answer(withoutMean(await microphone.stop()), reason);
  } catch (error) {
    fail(error);
  }
}

/** @param {FileList | null} files */
async function open(files) {
  if (!files?.length || state !== "idle") return;
  enter("answering");
  Object.assign(show, { samples: new Float32Array(0), heard: [], selected: -1, live: false });
  draw();
  load().catch(() => {});
  try {
    const samples = await readFile(files[0]);
    await answer(samples, files.length > 1 ? `One at a time: this is ${files[0].name}.` : "");
  } catch (error) {
    fail(error);
  }
}

// ---- what is heard of it -----------------------------------------------------------------------

let endpointer = new Endpointer();
let hearing = false;

/** While someone speaks: hear each utterance anew whenever more of it has come. */
async function hearSoFar() {
  if (hearing || state !== "listening") return;
  hearing = true;
  try {
    const samples = await microphone.samples();
    const utterances = endpointer.update(samples).filter((one) => one.settled && !one.silent);
    const network = at("loading").hidden ? await load() : null;
    const heard = network ? await hearEach(network, samples, utterances, show.heard) : [];
    if (state !== "listening") return;
    Object.assign(show, { samples, heard, selected: heard.length - 1 });
    draw();
  } catch (error) {
    if (state === "listening") microphone.stop();
    fail(error);
  } finally {
    hearing = false;
  }
}

/**
 * The answer to a whole recording.
 * @param {Float32Array} samples (L,) at 8 kHz
 * @param {string} remark
 */
async function answer(samples, remark) {
  const stopped = performance.now();
  if (samples.length < MIN_DURATION_S * SAMPLE_RATE) {
    throw new HearingError("That was too short. Press, speak, and press again.");
  }
  const utterances = findUtterances(samples);
  const heard = await hearEach(await load(), samples, utterances, []);
  const selected = utterances.indexOf(strongest(utterances));
  Object.assign(show, { samples, heard, selected, live: false });
  draw();
  enter("idle");
  tell(`${sentence(show.heard)} ${remark}`.trim(), "result");
  performance.measure("answer", { start: stopped });
}

/**
 * @param {import("./recognizer.js").Recognizer} network
 * @param {Float32Array} samples
 * @param {Utterance[]} utterances
 * @param {Heard[]} known of before: the same stretch is not heard twice
 * @returns {Promise<Heard[]>}
 */
async function hearEach(network, samples, utterances, known) {
  const heard = [];
  for (const one of utterances) {
    const same = known.find(
      ({ start, stop, silent }) =>
        start === one.start && stop === one.stop && silent === one.silent,
    );
    const recognition = same?.recognition ?? (await network.hear(cutClip(samples, one), one.silent));
    heard.push({ ...one, recognition });
  }
  return heard;
}

/** @param {Heard[]} heard */
function sentence(heard) {
  const [{ recognition }] = heard;
  if (heard.length > 1) return `Heard ${heard.map((one) => glyph(one.recognition)).join(" ")}.`;
  if (recognition.refusal) return recognition.refusal;
  return `Heard ${recognition.digit}, ${percent(recognition.probability)} sure.`;
}

// ---- what is shown -----------------------------------------------------------------------------

/** @param {Recognition} recognition */
const glyph = ({ digit }) => (digit === null ? "?" : String(digit));

/** @param {number} probability never rounded up to certainty */
const percent = (probability) => `${(Math.floor(1000 * probability) / 10).toFixed(1)} %`;

function draw() {
  const { samples, heard, selected, live } = show;
  const duration = samples.length / SAMPLE_RATE;
  const span = live ? Math.max(4, duration) : Math.max(0.5, duration);
  drawWaveform(at("waveform"), samples, heard, selected, span);
  at("span").textContent = duration ? `${duration.toFixed(1)} s` : "";
  const count = `${heard.length} utterance${heard.length === 1 ? "" : "s"}`;
  at("waveform").ariaLabel = `Waveform: ${duration.toFixed(1)} seconds, ${count}`;

  drawDigits();
  const recognition = heard[selected]?.recognition;
  drawLogMel(at("log-mel"), recognition?.logMel ?? null);
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
  const list = at("digits");
  while (list.children.length > show.heard.length) list.lastChild.remove();
  while (list.children.length < show.heard.length) {
    const index = list.children.length;
    const button = document.createElement("button");
    button.type = "button";
    button.onclick = () => {
      show.selected = index;
      draw();
    };
    list.appendChild(document.createElement("li")).append(button);
  }
  list.classList.toggle("long", show.heard.length > 8);
  show.heard.forEach(({ recognition, closed }, index) => {
    const button = list.children[index].firstChild;
    button.textContent = glyph(recognition);
    button.title = recognition.refusal || percent(recognition.probability);
    button.ariaLabel = recognition.refusal ? "no digit" : glyph(recognition);
    button.ariaPressed = String(index === show.selected);
    button.classList.toggle("open", show.live && !closed);
    button.classList.toggle("refused", recognition.digit === null);
  });
}

/** @param {State} next */
function enter(next) {
  state = next;
  document.documentElement.dataset.state = state;
  const active = state === "opening" || state === "listening";
  at("speak").querySelector("span").textContent = active ? "Stop" : "Speak";
  at("speak").ariaPressed = String(active);
  at("file").disabled = state !== "idle";
  if (state === "opening") tell("Asking for the microphone…", "hint");
  if (state === "listening") tell("Listening. Press again to stop.", "hint");
  if (state === "answering") tell("Listening to it…", "hint");
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

  document.addEventListener("visibilitychange", () => document.hidden && stop(HIDDEN));
  window.addEventListener("pagehide", () => stop(HIDDEN));
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  at("not-started").remove();
  at("app").hidden = false;
  enter("idle");
  tell("Press Space or the button, and speak. Press again to stop.", "hint");
  draw();
}

start();
