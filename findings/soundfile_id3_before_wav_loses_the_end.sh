#!/usr/bin/env bash
# python-soundfile 0.14.0 (libsndfile 1.2.2): a WAV file with an ID3 tag before it, given by its path
# and as a file object.
#
# Expected: libsndfile skips the tag, so both give all samples; or it refuses both.
# Found: by its path all samples are read. From a file object (BytesIO, an open file) the end is
# missing, as many bytes as the tag has, without an error or a warning, as if the tag were taken off
# the length twice.
# For whom: whoever reads uploads or members of archives, which are no paths, from recorders and
# editors that tag WAV files: strip the tag first, or write the bytes to a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 soundfile==0.14.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import sys
from pathlib import Path

import numpy as np
import soundfile

samples = np.random.default_rng(0).integers(-9000, 9000, 16_800).astype(np.int16)
buffer = io.BytesIO()
soundfile.write(buffer, samples, 8_000, "PCM_16", format="WAV")
file = Path(sys.argv[1], "tagged.wav")

print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
changed = False
for padding in (32, 1_000):  # an ID3v2.3 tag of 10 bytes, its size in groups of 7 bits, and padding
    sizes = bytes((padding >> shift) & 127 for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\x00\x00" + sizes + bytes(padding)
    file.write_bytes(tag + buffer.getvalue())
    by_path = len(soundfile.read(file, dtype="int16")[0])
    with file.open("rb") as stream:
        by_object = len(soundfile.read(stream, dtype="int16")[0])
    print(f"tag of {len(tag)} bytes: {by_path} of 16800 samples by path, {by_object} by file object")
    changed |= by_path != 16_800 or by_object != 16_800 - len(tag) // 2
raise SystemExit("changed" if changed else 0)
PYTHON
echo "soundfile 0.14.0 behaves as described"
