#!/usr/bin/env bash
# FFmpeg's own decoder of AMR-NB (PyAV 18.1.0, FFmpeg 8.1.2): quiet speech comes out quieter.
#
# Expected: a decoder gives back the level that was encoded, whatever it is; 20 dB less in are 20 dB
# less out. FFmpeg's decoders compute in floating point, so if anything they are the finer ones.
# Found: the decoder `amrnb`, which FFmpeg takes unless it is told otherwise, is within 0.3 dB of
# OpenCORE's, in the same wheel, on a vowel that peaks at -6 dBFS; at -20 dBFS it gives 1 dB less, at
# -30 dBFS 2.2, at -40 dBFS 2.8. OpenCORE's gives the same part of the level at any.
# For whom: whoever converts recordings of phones with FFmpeg, and measures levels or recognizes speech:
# quiet ones lose more than the codec takes. Name the decoder: `-c:a libopencore_amrnb` before `-i`.
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
# A vowel at 120 Hz that comes and goes: pulses through three resonances.
rate = 8_000
time_s = np.arange(2 * rate) / rate
vowel = np.zeros(len(time_s))
vowel[:: rate // 120] = 1
for hz, width_hz in ((600, 80), (1_100, 100), (2_500, 140)):
    ring_s = np.arange(400) / rate
    ring = np.exp(-np.pi * width_hz * ring_s) * np.cos(2 * np.pi * hz * ring_s)
    vowel = np.convolve(vowel, ring)[: len(time_s)]
vowel *= 0.55 - 0.45 * np.cos(2 * np.pi * 3 * time_s)
vowel /= np.abs(vowel).max()


def decoded(file, name):
    """(L,) by this decoder of FFmpeg."""
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = rate, "mono"
    with av.open(file) as opened:
        frames = [frame for packet in opened.demux(audio=0) for frame in decoder.decode(packet)]
    scale = 2.0**15 if frames[0].format.name.startswith("s16") else 1.0
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames]) / scale


print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
lost = {}
for peak_dbfs in (-6, -20, -30, -40):
    pcm = np.round(2**15 * 10 ** (peak_dbfs / 20) * vowel).astype("<i2")
    file = f"{folder}/{-peak_dbfs}.amr"
    command = [ffmpeg, "-v", "error", "-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "-"]
    command += ["-c:a", "libopencore_amrnb", "-b:a", "12.2k", file]
    subprocess.run(command, input=pcm.tobytes(), check=True)
    sent = np.square(pcm / 2**15).mean()
    levels = []
    for name in ("amrnb", "libopencore_amrnb"):
        levels.append(10 * np.log10(np.square(decoded(file, name)).mean() / sent))
    lost[peak_dbfs] = levels[0] - levels[1]
    print(f"peak {peak_dbfs} dBFS: amrnb {levels[0]:+.1f} dB, libopencore_amrnb {levels[1]:+.1f} dB")
expected = {-6: -0.2, -20: -1.0, -30: -2.2, -40: -2.8}
as_described = all(abs(lost[peak] - expected[peak]) < 0.3 for peak in expected)
raise SystemExit(0 if as_described else "changed")
PYTHON
echo "FFmpeg 8.1.2 behaves as described"
