// Reads each file as the page does; argv: folder of the page's modules, files. On standard output
// the name of each before it is read, then what came of it.

import { readFile, readFileSync, writeSync } from "node:fs";
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
const page = { ...(await load("files.js")), ...(await load("audio.js")) };
const read = (0, eval)(readFileSync(new URL("read.js", import.meta.url), "utf8"));

for (const path of paths) {
  writeSync(1, `${path}\t`);
  const said = await read(page, new File([await promisify(readFile)(path)], basename(path)));
  writeSync(1, `${said}\n`);
}
