#!/usr/bin/env bash
# python-soundfile 0.14.0 (libsndfile 1.2.2): channels of 5.1 in Ogg Vorbis and Opus, read and written.
#
# Expected: channel i of an array is channel i of the file, in whatever format: front left, front
# right, middle, low, back left, back right, the order of WAV and FLAC, as FFmpeg and browsers give
# all of them; that Vorbis stores them otherwise (FL FC FR BL BR LFE) is the library's business.
# Found: libsndfile hands through what lies in the file, of Vorbis and of Opus, when it reads and when
# it writes. So an array written as FLAC and as Ogg has its middle, where a dialogue is, on the front
# right in one of them, and what is for the low channel at the back; what is for the back goes to the
# low channel, of which the encoders keep little.
# For whom: whoever converts surround sound with soundfile, or takes one channel of it by number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  numpy==2.2.6 soundfile==0.14.0 av==18.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

import av
import numpy as np
import soundfile

rate, names = 48_000, ["FL", "FR", "FC", "LFE", "BL", "BR"]
tones_hz = np.array([300, 400, 500, 60, 600, 700])
time_s = np.arange(rate)[:, None] / rate
samples = (0.2 * np.sin(2 * np.pi * tones_hz * time_s)).astype(np.float32)


def order(sound):
    """Which tone each channel holds, "-" for none."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound))[:, None], axis=0))
    hz = power.argmax(axis=0) * rate / len(sound)
    loud = np.abs(sound).max(axis=0) > 0.1
    return [names[np.abs(tones_hz - f).argmin()] if x else "-" for f, x in zip(hz, loud)]


def by_ffmpeg(content):
    with av.open(io.BytesIO(content)) as file:
        name = file.streams.audio[0].layout.name
        to_float = av.AudioResampler(format="fltp")
        frames = [each for frame in file.decode(audio=0) for each in to_float.resample(frame)]
    return name, np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T


print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__, "PyAV", av.__version__)
changed = False
for kind, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype, format=kind)
    layout, there = by_ffmpeg(buffer.getvalue())
    again, _ = soundfile.read(io.BytesIO(buffer.getvalue()))
    print(f"{kind} {subtype}, written FL FR FC LFE BL BR: FFmpeg finds {layout}", *order(there))
    print("   soundfile reads", *order(again))
    # In Vorbis' order the third is FFmpeg's second; the sixth, its low one, is not looked at.
    expected = names if kind == "FLAC" else ["FL", "FC", "FR", None, "LFE", "BL"]
    changed |= any(b not in (None, a) for a, b in zip(order(there), expected))
    changed |= order(again)[:5] != names[:5]
raise SystemExit("changed" if changed else 0)
PYTHON
echo "soundfile 0.14.0 behaves as described"
