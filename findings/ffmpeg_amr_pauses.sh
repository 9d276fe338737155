#!/usr/bin/env bash
# FFmpeg's decoder of AMR (PyAV 18.1.0, FFmpeg 8.1.2): a recording with frames of comfort noise, as
# discontinuous transmission (DTX) leaves them in pauses: 3GPP TS 26.101, frame types 8 and 15.
#
# Expected: FFmpeg reads any AMR file; in a pause it gives silence or comfort noise.
# Found: the decoder that FFmpeg chooses, `amrnb`, raises "Not yet implemented in FFmpeg" at the first
# such frame. The decoder `libopencore_amrnb` in the same wheel gives all frames. SoX 14.4.2 writes
# such frames wherever the sound pauses.
# For whom: whoever reads recordings of telephones with FFmpeg: name the decoder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

import av

speech = bytes([7 << 3 | 4]) + bytes(31)  # 12.2 kbit/s
noise, nothing = bytes([8 << 3 | 4]) + bytes(5), bytes([15 << 3 | 4])
content = b"#!AMR\n" + speech * 10 + noise + nothing * 7 + speech * 10  # 28 frames of 160 samples

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
found = {}
for name in ("amrnb", "libopencore_amrnb"):
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = 8_000, "mono"
    count, said = 0, "nothing"
    with av.open(io.BytesIO(content)) as file:
        try:
            for packet in file.demux(audio=0):
                count += sum(frame.samples for frame in decoder.decode(packet))
        except av.FFmpegError as error:
            said = error.strerror
    found[name] = count
    print(f"{name}: {count} of {28 * 160} samples; it says: {said}")
raise SystemExit("changed" if found != {"amrnb": 1_600, "libopencore_amrnb": 4_480} else 0)
PYTHON
echo "PyAV 18.1.0 behaves as described"
