#!/usr/bin/env bash
# onnxruntime 1.32.0 on x86-64 (AVX-512): a second thread changes the bytes of a matrix product, at some widths.
#
# Expected: threads are given parts of the output, and no sum is divided; so the number of threads
# never changes a value, as with its other operators and with OpenBLAS at these sizes. Or it always does.
# Found: of a product (112, 336) @ (336, N), as a convolution over N steps of time is computed, two threads
# give other bytes than one for every N from 113 to 144, and the same bytes for all others from 20 to 300. An
# explanation that fits: how a sum is cut into pieces depends on the number of columns that a thread is
# given, below and above 128.
# For whom: whoever holds results on a server or a phone (many threads) against those on one thread:
# equal bytes for a test recording say nothing of a recording of another length. One thread, or a tolerance.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 onnxruntime==1.32.0 onnx==1.19.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
weights = rng.standard_normal((112, 336)).astype(np.float32)
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
node = helper.make_node("MatMul", ["w", "x"], ["y"])
graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(weights, "w")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


one, two = session(1), session(2)
widths, changed, largest = range(20, 301), [], 0.0
for width in widths:
    x = rng.standard_normal((336, width)).astype(np.float32)
    a, b = (each.run(None, {"x": x})[0] for each in (one, two))
    assert one.run(None, {"x": x})[0].tobytes() == a.tobytes()  # the same threads, the same bytes
    if a.tobytes() != b.tobytes():
        changed.append(width)
        largest = max(largest, float(np.abs(a - b).max()))
print("onnxruntime", onnxruntime.__version__)
print(f"{len(changed)} of {len(widths)} widths change, by up to {largest:.0e}: {changed}")
raise SystemExit(0 if changed == list(range(113, 145)) else "changed")
PYTHON
echo "onnxruntime 1.32.0 behaves as described"
