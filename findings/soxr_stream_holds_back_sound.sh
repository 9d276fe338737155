#!/usr/bin/env bash
# python-soxr 0.5.0.post1 (libsoxr 0.1.3): a streaming resampler holds sound back for up to 0.17 s.
#
# Expected: a linear-phase filter of "HQ" quality delays a stream by half of its length, some
# milliseconds; and a simple ratio such as 48 to 8 kHz is no slower than 44.1 to 8 kHz.
# Found: `ResampleStream` filters in long blocks (overlap and add) and gives nothing until a block is
# full. Fed 10 ms at a time, its output lies behind its input by up to 158 ms from 48 kHz to 8 kHz and
# 80 ms from 44.1 kHz, in "HQ", the default; "VHQ" 154 and 169 ms; "LQ" 40 and 44 ms; only "QQ", cubic
# interpolation without a filter, by less than 1 ms. Smaller chunks change nothing. The values of the samples
# are those of `resample` all the same.
# For whom: whoever finds the end of speech, or answers, in a stream that is resampled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 soxr==0.5.0.post1
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import soxr

expected_ms = {
    (48_000, "QQ"): 0, (48_000, "LQ"): 40, (48_000, "HQ"): 158, (48_000, "VHQ"): 154,
    (44_100, "QQ"): 0, (44_100, "LQ"): 44, (44_100, "HQ"): 80, (44_100, "VHQ"): 169,
    (16_000, "HQ"): 115,
}
failed = False
for (rate, quality), expected in expected_ms.items():
    samples = np.random.default_rng(0).standard_normal(4 * rate).astype(np.float32)
    stream = soxr.ResampleStream(rate, 8_000, 1, dtype="float32", quality=quality)
    chunk, given, behind_s, parts = rate // 100, 0, [], []
    for begin in range(0, len(samples), chunk):
        last = begin + chunk >= len(samples)
        parts.append(stream.resample_chunk(samples[begin : begin + chunk], last=last))
        given += len(parts[-1])
        behind_s.append((begin + chunk) / rate - given / 8_000)
    same = np.array_equal(
        np.concatenate(parts), soxr.resample(samples, rate, 8_000, quality=quality)
    )
    most_ms = 1000 * max(behind_s)
    print(f"{rate} Hz to 8000 Hz, {quality}: up to {most_ms:.0f} ms behind; same samples: {same}")
    failed |= abs(most_ms - expected) > 2 or not same
raise SystemExit("changed: expected " + str(expected_ms) if failed else 0)
PYTHON
echo "soxr 0.5.0.post1 behaves as described"
