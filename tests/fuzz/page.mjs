// Reads each file as the page does; argv: folder of the page's modules, files. On standard output
// the name of each before it is read, then what came of it.

import { readFile, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { pathToFileURL } from "node:url";

const [folder, ...paths] = process.argv.slice(2);

// The browser's decoder, which has no part here, refuses every file.
globalThis.OfflineAudioContext = class {
  async decodeAudioData() {
    throw new Error("no decoder");
  }
};
globalThis.document = {
  createElement: () => ({
    removeAttribute() {},
    set src(_) {
      queueMicrotask(() => this.onerror());
    },
  }),
};
URL.createObjectURL = () => "";
URL.revokeObjectURL = () => {};
const after = globalThis.setTimeout;
globalThis.setTimeout = (call, ...rest) => after(call, ...rest).unref();

const load = (name) => import(pathToFileURL(join(folder, name)).href);
const { openFile } = await load("files.js");
const { UserError } = await load("audio.js");

for (const path of paths) {
  writeSync(1, `${path}\t`);
  let said;
  try {
    const bytes = await promisify(readFile)(path);
    const { duration, pieces } = await openFile(new File([bytes], basename(path)));
    let length = 0;
    for await (const piece of pieces) {
      length += piece.length;
      if (!piece.every(Number.isFinite)) throw new Error("samples that are no numbers");
    }
    if (!(Math.abs(length - 8000 * duration) < 2)) {
      throw new Error(`${length} samples of ${duration} s`);
    }
    said = "read";
  } catch (error) {
    const isOwn = error instanceof UserError && !error.message.includes("\n");
    said = isOwn ? "refused" : `${error.name}: ${error.message}`.replaceAll(/\s+/g, " ");
  }
  writeSync(1, `${said}\n`);
}
