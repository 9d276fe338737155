"""Weight files: what is read, and what is rejected before it is, in a second and 200 MB."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from spoken_digits.lab.release.finetune import read_start
from spoken_digits.lab.training.config import ConfigError
from spoken_digits.lab.weights import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    WeightsError,
    read_weights,
)
from spoken_digits.recognize import SHIPPED_MODEL

Header = dict[str, object]
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def write(path: Path, change: Callable[[Header], object] = lambda _: None, size: int = 24) -> Path:
    """Write two tensors by the format's definition, their header changed, `size` bytes of data."""
    header: Header = {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]},
    }
    change(header)
    text = json.dumps(header).encode()
    data = np.arange(4, dtype="<f4").tobytes() + np.int64(-7).tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data.ljust(size, b"\0")[:size])
    return path


def test_tensors_and_texts_are_what_the_definition_says(tmp_path):
    path = write(tmp_path / "a.safetensors", lambda h: h.update(__metadata__={"config": "x"}))
    tensors, metadata = read_weights(path)
    assert torch.equal(tensors["a"], torch.tensor([[0.0, 1], [2, 3]]))
    assert torch.equal(tensors["b"], torch.tensor(-7))
    assert metadata == {"config": "x"}


def test_what_another_writer_wrote_is_read(tmp_path):
    arrays = {f"layer.{i}": np.random.default_rng(i).normal(size=(i, 3)) for i in range(4)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", {"by": "numpy"})
    tensors, metadata = read_weights(tmp_path / "a.safetensors")
    assert metadata == {"by": "numpy"}
    assert tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(tensors[name].numpy(), array)


def _entry(**changes: object) -> Callable[[Header], object]:
    return lambda header: header["a"].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_entry(dtype="F16"), "a: of the type F16; expected F32, I64"),
        (_entry(dtype=["F32"]), "a: of the type|damaged"),
        (_entry(shape=[4, 4]), "a: at .*; expected 64 of 24 bytes"),
        (_entry(shape=[-2, -2]), "a: shape"),
        (_entry(shape=[1] * 9 + [4]), "a: shape"),
        (_entry(shape="44"), "a: shape"),
        (_entry(shape=[10**30, 10**30]), "a: at"),
        (_entry(shape=[2.0, 2.0]), "a: shape"),
        (_entry(data_offsets=[16, 0]), "a: at"),
        (
            _entry(data_offsets=[8, 24]),
            "damaged",
        ),  # two tensors in one place: the library's to tell
        (_entry(data_offsets=[10**20, 10**20 + 16]), "a: at"),
        (_entry(more=1), "damaged"),
        (lambda h: h["a"].pop("shape"), "damaged"),
        (lambda h: h.update(c=1), "damaged"),
        (lambda h: h.update(__metadata__=[1]), "damaged"),
        (
            lambda h: h.update(
                {
                    str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                    for i in range(6_000)
                }
            ),
            f"6,002 tensors; expected up to {MAX_TENSORS:,}",
        ),
        (
            lambda h: h.update({"\x1b[2J": {"dtype": "?", "shape": [], "data_offsets": []}}),
            r"\?\[2J",
        ),
    ],
)
def test_what_breaks_a_rule_is_rejected(tmp_path, change, said):
    path = write(tmp_path / "a.safetensors", change)
    with pytest.raises(WeightsError, match=rf"a\.safetensors: ({said})"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes; expected up to"),
        (b"\xff" * 100, "a header of 18,446,744,073,709,551,615 bytes; expected up to 92"),
        ((50).to_bytes(8, "little") + b"[" * 50, "damaged"),
        ((900_000).to_bytes(8, "little") + b"[" * 900_000, "damaged"),
        ((2 * MAX_HEADER_BYTES).to_bytes(8, "little") + b" " * 3 * MAX_HEADER_BYTES, "a header of"),
    ],
)
def test_what_is_no_such_file_is_rejected(tmp_path, content, said):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(WeightsError, match=said):
        read_weights(path)
    assert time.process_time() - begun < 1
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = write(tmp_path / "a.safetensors")
    with path.open("ab") as file:  # sparse: it takes no space
        file.truncate(MAX_FILE_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="bytes; expected up to 268,435,456"):
        read_weights(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("recipe", ["= no TOML", "x = " + "[" * 50_000, None])
def test_weights_to_start_from_need_a_recipe_that_can_be_read(tmp_path, recipe):
    path = SHIPPED_MODEL.with_suffix(".safetensors")
    tensors = {name: tensor.numpy() for name, tensor in read_weights(path).tensors.items()}
    metadata = {} if recipe is None else {"config": recipe}
    safetensors.numpy.save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ConfigError, match=r"a\.safetensors: no weights with their recipe"):
        read_start(str(tmp_path / "a.safetensors"))
