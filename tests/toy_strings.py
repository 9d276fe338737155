"""A model of strings whose answers are known in closed form: the mean of a step is the word."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STEP, BLOCK, LOOKAHEAD = 240, 480, 480
SINCE_START_S, SINCE_END_S = 0.09, 0.03
WORDS = "0123456789odtnx"
LABELS = [*"0123456789", "oh", "double", "triple", "number", "other", "blank"]


def spoken(digits: str, steps: int = 4, pause: int = 4) -> np.ndarray:
    """Samples at 8 kHz of these words for the toy, each some steps long; "." is a pause.

    o is "oh", d "double", t "triple", n a number word, x another word.
    """
    levels = [0.0 if c == "." else (WORDS.index(c) + 1) / 20 for c in digits]
    parts = [np.repeat([level, 0.0], [steps * STEP, pause * STEP]) for level in levels]
    return np.concatenate([np.zeros(pause * STEP), *parts]).astype(np.float32)


def write_toy_strings(path: Path, **metadata: Any) -> Path:
    """Write the toy; `metadata` replaces entries, or with None removes them.

    Word k stands for a mean of (k + 1) / 20, blank for 0; the state counts the samples heard.
    """
    centers = np.append((np.arange(15) + 1) / 20, 0).astype(np.float32)
    constants = {
        "shape": np.array([1, -1, STEP]),
        "centers": centers,
        "slope": np.array(-8000, np.float32),
        "zero": np.array(0, np.float32),
        "since": np.array([SINCE_START_S, SINCE_END_S], np.float32),
        "axes": np.array([0, 1]),
    }
    nodes = [
        helper.make_node("Reshape", ["waveform", "shape"], ["steps"]),
        helper.make_node("ReduceMean", ["steps"], ["mean"], axes=[2], keepdims=1),
        helper.make_node("Sub", ["mean", "centers"], ["distance"]),
        helper.make_node("Mul", ["distance", "distance"], ["square"]),
        helper.make_node("Mul", ["square", "slope"], ["scores"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "since"], ["edges"]),
        helper.make_node("Mul", ["waveform", "zero"], ["zeros"]),
        helper.make_node("Exp", ["zeros"], ["ones"]),
        helper.make_node("ReduceSum", ["ones", "axes"], ["count"], keepdims=0),
        helper.make_node("Add", ["state_count", "count"], ["new_state_count"]),
    ]

    def value(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "toy",
        [value("waveform", [1, "L"]), value("state_count", [1])],
        [value("scores", [1, "U", 16]), value("edges", [1, "U", 2]), value("new_state_count", [1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entries = {
        "format_version": "3",
        "labels": json.dumps(LABELS),
        "sample_rate_hz": "8000",
        "emission_threshold": "0",  # log-odds of 0.5
        "word_threshold": "0",
        "other_weight": "0",
        "min_step_probability": "0.1",
        "number_before_s": "0.35",
        "number_after_s": "0.7",
        "double_s": "0.5",
        "context_penalty": "2",
        "context_s": "0.5",
        "context_bonus": "0",
        "step": str(STEP),
        "block": str(BLOCK),
        "lookahead": str(LOOKAHEAD),
    }
    kept = {key: value for key, value in (entries | metadata).items() if value is not None}
    helper.set_model_props(model, kept)
    onnx.save(model, str(path))
    return path
