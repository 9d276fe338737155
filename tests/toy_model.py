"""A model whose answers are known in closed form, in the format that the package exports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DIGITS = tuple("0123456789")


def toy_scores(clips: np.ndarray, classes: int = 10) -> np.ndarray:
    """What the toy answers: (B, L) to (B, C). Class c scores c / 10 + (c % 3) mean(x^2)."""
    c = np.arange(classes)
    return c / 10 + (c % 3) * (clips.astype(np.float64) ** 2).mean(axis=1, keepdims=True)


def toy_rejection(clips: np.ndarray) -> np.ndarray:
    """Log-odds by which the toy calls a clip a digit: (B, L) to (B,), mean(x^2) - 1."""
    return (clips.astype(np.float64) ** 2).mean(axis=1) - 1


def write_toy_model(
    path: Path,
    labels: tuple[str, ...] = DIGITS,
    classes: int | None = None,
    *,
    rejection: bool = False,
    **metadata: Any,
) -> Path:
    """Write the toy; `metadata` replaces entries, or with None removes them.

    `rejection` gives it the output of that name.
    """
    classes = classes or len(labels)
    c = np.arange(classes, dtype=np.float32)
    constants = {"axis": np.array([1]), "weight": (c % 3)[None], "bias": c / 10}
    constants["one"] = np.array(1, np.float32)
    judging = [
        helper.make_node("ReduceMean", ["power"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["mean", "one"], ["rejection"]),
    ]
    judgement = [helper.make_tensor_value_info("rejection", TensorProto.FLOAT, ["B"])]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["waveform", "waveform"], ["power"]),
            helper.make_node("ReduceMean", ["power"], ["embedding"], axes=[1]),
            helper.make_node("MatMul", ["embedding", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["scores"]),
            helper.make_node("Unsqueeze", ["power", "axis"], ["log_mel"]),
            *(judging if rejection else []),
        ],
        "toy",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["B", "L"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", classes]),
            helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["B", 1, "T"]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 1]),
            *(judgement if rejection else []),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entries = {
        "format_version": "2",
        "min_probability": "0.4",
        "min_margin": "0.1",
        "labels": json.dumps(labels),
        "sample_rate_hz": "8000",
        "training_data": json.dumps({"corpus": "fsdd", "train_speakers": ["theo"]}),
    }
    kept = {key: value for key, value in (entries | metadata).items() if value is not None}
    helper.set_model_props(model, kept)
    onnx.save(model, str(path))
    return path
