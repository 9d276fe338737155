#!/usr/bin/env bash
# python-soundfile 0.14.0 (libsndfile 1.2.2): the length that a NIST SPHERE header states is ignored.
#
# Expected: a file whose header says sample_count 800 and that ends after 500 samples is refused, or
# has 800 frames and reading them fails; of a file that says 100 and holds 800, 100 are read: by the
# format, the field is "the number of samples per channel".
# Found: the number of frames is always what the size of the file allows, without an error or a
# warning. A recording that was cut short while it was copied reads as a shorter one; a header that
# says 100, 0 or 1,000,000,000 changes nothing, nor does one without the field.
# For whom: whoever reads corpora in SPHERE (AN4, TIMIT, Switchboard, ...) and wants to notice a file
# that is not whole: compare sample_count with the size oneself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 soundfile==0.14.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import soundfile

folder = Path(sys.argv[1])
samples = np.arange(800, dtype="<i2")


def write(sample_count, held):
    """A SPHERE file of 16 bits at 16 kHz: a header of 1,024 bytes, then `held` samples."""
    fields = [
        "sample_rate -i 16000",
        "sample_n_bytes -i 2",
        "sample_byte_format -s2 01",
        "channel_count -i 1",
        "sample_coding -s3 pcm",
    ]
    if sample_count is not None:
        fields.insert(0, f"sample_count -i {sample_count}")
    header = "\n".join(["NIST_1A", "   1024", *fields, "end_head", ""])
    file = folder / "a.sph"
    file.write_bytes(header.encode().ljust(1024) + samples[:held].tobytes())
    return file


print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
changed = False
for sample_count, held in [(800, 800), (800, 500), (100, 800), (0, 800), (10**9, 800), (None, 800)]:
    try:
        with soundfile.SoundFile(write(sample_count, held)) as file:
            frames, read = file.frames, len(file.read(dtype="int16"))
        seen = f"{frames} frames, {read} read"
    except soundfile.LibsndfileError as error:
        frames, seen = -1, f"refused: {error}"
    print(f"sample_count {sample_count}, {held} samples in the file: {seen}")
    changed |= frames != held
raise SystemExit("changed: the header's sample_count is heeded" if changed else 0)
PYTHON
echo "libsndfile 1.2.2 behaves as described"
