#!/usr/bin/env bash
# PyAV 18.1.0: 40 bytes from memory, given to `av.open` as a recording to read.
#
# Expected: what is decoded lies in these bytes; no other file is opened.
# Found: bytes that begin with "ffconcat version 1.0" are a list, and the files that they name, in the
# current folder, are opened and decoded in their place. With the options format_whitelist and
# protocol_whitelist they are refused.
# For whom: whoever reads uploads with PyAV: name the formats that are wanted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 av==18.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import wave

import av

with wave.open("private.wav", "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(8_000)
    file.writeframes(bytes(2 * 1_234))

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
content = b"ffconcat version 1.0\nfile private.wav\n"
found = []
for options in ({}, {"format_whitelist": "wav,mov", "protocol_whitelist": "none"}):
    try:
        with av.open(io.BytesIO(content), "r", container_options=options) as file:
            found.append(sum(frame.samples for frame in file.decode(audio=0)))
    except av.FFmpegError as error:
        found.append(error.strerror)
    print(f"with {options or 'no options'}: {found[-1]}")
raise SystemExit("changed" if found != [1_234, "Invalid argument"] else 0)
PYTHON
echo "PyAV 18.1.0 behaves as described"
