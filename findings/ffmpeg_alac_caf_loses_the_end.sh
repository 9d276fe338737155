#!/usr/bin/env bash
# FFmpeg (the program 9.0.2 of imageio-ffmpeg 0.8.1; PyAV 18.1.0, FFmpeg 8.1.2): ALAC, which is
# lossless, in CAF, Apple's container.
#
# Expected: all samples come back, as from ALAC in M4A.
# Found: the end is missing. The last block is short, and its header says so; the container declares
# what it lacks to 4,096 samples, too, and FFmpeg takes that off once more. If the last block is
# longer than that, up to 2,047 samples are lost: at 8 kHz a quarter of a second.
# For whom: whoever converts voice memos with FFmpeg: `-flags2 skip_manual` before the input.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  numpy==2.2.6 av==18.1.0 imageio-ffmpeg==0.8.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys

import av
import imageio_ffmpeg
import numpy as np

folder, ffmpeg = sys.argv[1], imageio_ffmpeg.get_ffmpeg_exe()
print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, imageio_ffmpeg.get_ffmpeg_version())
length = 4_096 + 3_000
samples = np.random.default_rng(0).integers(-9000, 9000, length).astype(np.int16)
source = "-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "-"
changed = False
for ending, expected in (("m4a", length), ("caf", length - 1_096)):
    file = f"{folder}/a.{ending}"
    write = [ffmpeg, "-v", "error", *source, "-c:a", "alac", file]
    subprocess.run(write, input=samples.tobytes(), check=True)
    read = [ffmpeg, "-v", "error", "-i", file, "-f", "s16le", "-"]
    by_program = len(subprocess.run(read, capture_output=True, check=True).stdout) // 2
    with av.open(file) as opened:
        by_library = sum(frame.samples for frame in opened.decode(audio=0))
    print(f"{ending}: {by_program} of {length} samples by the program, {by_library} by PyAV")
    changed |= (by_program, by_library) != (expected, expected)
raise SystemExit("changed" if changed else 0)
PYTHON
echo "FFmpeg behaves as described"
