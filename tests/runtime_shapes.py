"""The shapes of all tensors of a model, as the runtime computes them, against `onnx_check`."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from spoken_digits.onnx_check import measure, read


def runtime_tensors(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All tensors that a model computes, as the runtime does without optimizing it."""
    model = onnx.load_from_string(content)
    names = [name for node in model.graph.node for name in node.output if name]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, inputs), strict=True))


def check_against_runtime(content: bytes, sizes: dict[str, int]) -> None:
    """Compare the shape of every tensor, and the sum of their bytes, with those of the runtime."""
    model = read(content)
    cost = measure(model, sizes, 10)
    inputs = {
        name: np.zeros([sizes.get(dim, dim) for dim in dims], np.float32)
        for name, dims in model.inputs.items()
    }
    tensors = runtime_tensors(content, inputs)
    for name, array in tensors.items():
        assert cost.shapes[name] == array.shape, name
    arrays = [*tensors.values(), *inputs.values()]
    assert cost.bytes == sum(array.nbytes for array in arrays)
