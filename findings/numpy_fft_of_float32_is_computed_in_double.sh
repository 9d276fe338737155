#!/usr/bin/env bash
# numpy 2.4.6: a Fourier transform of float32 is computed in double precision, and takes longer than one of float64.
#
# Expected: since numpy 2.0 (release notes: support for float32 in all numpy.fft functions) a transform of
# float32 is computed in single precision, whatever its norm, as the type of its result says.
# Found: with the default norm, rfft of float32 and fft of complex64 give the bits of the transform in double
# precision, rounded; with norm="ortho" they do not. An explanation that fits: the default factor is handed on as the
# integer 1, which has no precision of its own, and of the loops for double, single and long double the first fits.
# The copies to double and back make it slower than float64 (here 1.2 times), and "ortho" is the fastest (0.7 times).
# For whom: whoever counts on single precision for speed, or on its rounding when comparing with other libraries.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import timeit

import numpy as np

x = np.random.default_rng(0).standard_normal((200, 256)).astype(np.float32)
double = x.astype(np.float64)
print("numpy", np.__version__)
found = {}
for name, single, reference in (
    ("rfft", x, double),
    ("fft", x.astype(np.complex64), double.astype(np.complex128)),
):
    transform = getattr(np.fft, name)
    for norm in (None, "ortho"):
        a, b = (transform(each, axis=1, norm=norm) for each in (single, reference))
        assert (a.dtype, b.dtype) == (np.complex64, np.complex128)
        found[name, norm] = np.array_equal(a, b.astype(np.complex64))
        print(f"{name}, norm={norm}: the bits of double precision, rounded: {found[name, norm]}")
for name, values, norm in (
    ("float32", x, None), ("float32, ortho", x, "ortho"), ("float64", double, None)
):
    seconds = min(timeit.repeat(lambda: np.fft.rfft(values, axis=1, norm=norm), number=50, repeat=5))
    print(f"rfft of {name}: {seconds / 50 * 1e6:.0f} us")
expected = {(name, norm): norm is None for name in ("rfft", "fft") for norm in (None, "ortho")}
raise SystemExit(0 if found == expected else "changed")
PYTHON
echo "numpy 2.4.6 behaves as described"
