#!/usr/bin/env bash
# onnxruntime 1.32.0 on x86-64: the session option `session.set_denormal_as_zero` changes the arithmetic of
# the whole interpreter, or of nothing, depending on which session is opened first.
#
# Expected: an option of a session concerns the runs of that session, and ends with it.
# Found: the first session that a process opens decides. If it has the option, the thread that opened it, and
# every thread started from there later, computes with denormal numbers as zero from then on, in numpy and
# in Python's own floats, also after the session is gone: 3e-308 * 0.5 == 0.0. If the first session lacks
# the option, a later one that has it, on one thread, changes nothing, not even its own runs.
# For whom: whoever sets the option for speed in a process that computes anything else, or that
# opens several models: tests such as `x * y == 0`, logarithms of small numbers, and results that are to be
# repeated depend on the order in which models are opened.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 onnxruntime==1.32.0 onnx==1.19.1
cat >"$folder/order.py" <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
graph = helper.make_graph([helper.make_node("Mul", ["x", "x"], ["y"])], "square", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session(flushes):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if flushes:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def keeps():
    """Whether Python and numpy keep denormal numbers."""
    return [3e-308 * 0.5 != 0, bool(np.float32(1.2e-38) * np.float32(0.5) != 0)]


order = [word == "flushing" for word in sys.argv[1:]]
found = [keeps()]
for flushes in order:
    opened = session(flushes)
    (squared,) = opened.run(None, {"x": np.array([1e-20], np.float32)})  # 1e-40, a denormal number
    found.append([*keeps(), bool(squared[0] != 0)])
    del opened
found.append(keeps())
print(found)
PYTHON
"$folder/venv/bin/python" -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
status=0
check() { # order of sessions, then what is expected: before; after each, with its own result; at the end
  local found
  found=$("$folder/venv/bin/python" "$folder/order.py" $1)
  echo "sessions opened: $1; denormal numbers kept by Python, numpy(, the run): $found"
  [[ "$found" == "$2" ]] || status=1
}
check "plain flushing" "[[True, True], [True, True, True], [True, True, True], [True, True]]"
check "flushing plain" "[[True, True], [False, False, False], [False, False, False], [False, False]]"
((status == 0)) && echo "onnxruntime 1.32.0 behaves as described" || echo "changed"
exit "$status"
