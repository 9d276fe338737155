"""Model files from strangers: what is rejected; shapes and costs are those of the runtime."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile_models import write_hostile
from onnx import helper
from runtime_shapes import check_against_runtime
from toy_model import write_toy_model
from toy_strings import BLOCK, write_toy_strings

from spoken_digits import onnx_check
from spoken_digits.networks import (
    SHIPPED_MODEL,
    SHIPPED_STRINGS,
    DigitNetwork,
    ModelError,
    StringNetwork,
)
from spoken_digits.onnx_check import OnnxError, measure, read

# Opens each file as the command line does; prints what it says, the seconds, and the peak in MB:
# that of getrusage would be the peak of the process that started this one, if it was higher.
OPEN_ALL = """
import json, re, sys, time
from pathlib import Path
from spoken_digits.networks import DigitNetwork, ModelError, StringNetwork
status = Path("/proc/self/status")
for path in json.load(sys.stdin):
    begun = time.process_time()
    try:
        (StringNetwork if "strings " in path else DigitNetwork)(path)
        said = "opened"
    except ModelError as error:
        said = str(error)
    taken = time.process_time() - begun
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text()) if status.exists() else None
    print(json.dumps([said, taken, int(peak[1]) / 1024 if peak else 0]))
"""


def test_what_breaks_a_rule_is_rejected_in_a_second_and_200_mb(tmp_path):
    files = write_hostile(tmp_path)
    assert len(files) >= 20
    paths = [str(path) for path, _ in files.values()]
    answer = subprocess.run(
        [sys.executable, "-c", OPEN_ALL],
        input=json.dumps(paths), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    for (name, (path, expected)), (said, seconds, peak_mb) in zip(files.items(), rows, strict=True):
        with pytest.raises(ModelError, match=expected):
            raise ModelError(said)
        assert said.startswith(f"{path}: "), name
        assert "expected" in said, name
        assert said.count("\n") == 0, name
        assert seconds <= 1, name
        assert peak_mb <= 200, name


def test_each_file_breaks_no_other_rule_than_its_own(tmp_path):
    """The toys that they are made of are opened."""
    DigitNetwork(write_toy_model(tmp_path / "a.onnx"))
    StringNetwork(write_toy_strings(tmp_path / "b.onnx"))
    said = [expected for _, expected in write_hostile(tmp_path).values()]
    assert len(set(said)) >= 20


@pytest.mark.parametrize("sizes", [{"B": 1, "L": 800}, {"B": 3, "L": 9_001}])
def test_shapes_and_bytes_of_digit_models_are_the_runtimes(tmp_path, sizes):
    check_against_runtime(SHIPPED_MODEL.read_bytes(), sizes)
    toy = write_toy_model(tmp_path / "toy.onnx", rejection=True)
    check_against_runtime(toy.read_bytes(), sizes)


def test_shapes_and_bytes_of_string_models_are_the_runtimes(tmp_path):
    check_against_runtime(SHIPPED_STRINGS.read_bytes(), {"L": 480 * 7})
    toy = write_toy_strings(tmp_path / "toy.onnx").read_bytes()
    check_against_runtime(toy, {"L": 3 * BLOCK})


def test_what_ships_would_pass_as_a_strangers(tmp_path):
    """The check is skipped for what ships; a copy of it is checked."""
    for shipped, network in ((SHIPPED_MODEL, DigitNetwork), (SHIPPED_STRINGS, StringNetwork)):
        copy = tmp_path / shipped.name
        copy.write_bytes(shipped.read_bytes())
        assert network(copy).metadata == network().metadata == read(copy.read_bytes()).metadata


def test_operations_are_counted(tmp_path):
    """A convolution: each output sums its window over all channels. A product: rows by columns."""
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1], strides=[2]),
                helper.make_node("MatMul", ["y", "v"], ["z"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, ["B", 4, "L"])],
            [helper.make_tensor_value_info("z", 1, ["B", 6, 5])],
            [
                onnx.numpy_helper.from_array(np.zeros((6, 4, 3), np.float32), "w"),
                onnx.numpy_helper.from_array(np.zeros((50, 5), np.float32), "v"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    cost = measure(read(model.SerializeToString()), {"B": 2, "L": 100}, 1)
    assert cost.shapes["y"] == (2, 6, 50)
    assert cost.operations == 2 * 6 * 50 * 4 * 3 + 2 * 6 * 5 * 50


def test_the_runtimes_own_format_is_not_guessed(tmp_path):
    """The name of its maker makes the file begin as the runtime's own format does."""
    model = onnx.load(write_toy_model(tmp_path / "toy.onnx"))
    model.producer_name = "ORTM"
    content = model.SerializeToString()
    assert content[4:8] == b"ORTM"
    (tmp_path / "both.onnx").write_bytes(content)
    assert DigitNetwork(tmp_path / "both.onnx").labels == tuple("0123456789")


def test_whole_numbers_are_divided_as_the_runtime_does():
    """Toward zero; by zero, or the least by -1, is an error and never run."""
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    assert onnx_check._divide(a, b).tolist() == [3, -3, -3, 3]
    for one, other in ((1, 0), (np.iinfo(np.int64).min, -1)):
        with pytest.raises(OnnxError, match="expected a divisor"):
            onnx_check._divide(np.array([one]), np.array([other]))


@pytest.mark.parametrize("source", [SHIPPED_MODEL, SHIPPED_STRINGS])
def test_a_spoiled_file_is_rejected_or_read_but_nothing_else(source: Path):
    """Bytes changed at random, mostly in nodes: an `OnnxError`, or costs within the limits."""
    content, rng = source.read_bytes(), np.random.default_rng(17)
    sizes = {"B": 1, "L": 4_800}
    for _ in range(40):
        spoiled = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            spoiled[position] = rng.integers(256)
        position = rng.integers(0, 40_000)  # mostly nodes
        spoiled[position] ^= 1 << rng.integers(8)
        try:
            cost = measure(read(bytes(spoiled)), sizes, 1)
        except OnnxError:
            continue
        assert cost.bytes <= onnx_check.MAX_BYTES_PER_S
