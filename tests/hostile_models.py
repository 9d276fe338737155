"""Model files that break one rule each, made of the toys; small, and harmless if they were run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from toy_model import write_toy_model
from toy_strings import write_toy_strings

from spoken_digits.onnx_check import MAX_FILE_BYTES, MAX_NODES

Model = onnx.ModelProto


def _constant(model: Model, name: str, values: object, dtype: type = np.int64) -> str:
    array = np.asarray(values, dtype)
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _add(model: Model, operator: str, inputs: list[str], output: str = "x", **attributes) -> None:
    model.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))


def _graph(name: str = "body") -> onnx.GraphProto:
    """A graph for inside a node: true, and nothing else."""
    true = helper.make_node("Constant", [], ["go"], value=numpy_helper.from_array(np.array(True)))
    return helper.make_graph([true], name, [], [helper.make_tensor_value_info("go", 9, [])])


def _loop(model: Model) -> None:
    _add(model, "Loop", [_constant(model, "times", 1), ""], body=_graph())


def _branch(model: Model) -> None:
    condition = _constant(model, "condition", True, np.bool_)
    _add(model, "If", [condition], then_branch=_graph("a"), else_branch=_graph("b"))


def _hidden_graph(model: Model) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", _graph()))


def _foreign_operator(model: Model) -> None:
    _add(model, "Mul", ["power", "power"], domain="com.example")
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _external(model: Model) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def _function(model: Model) -> None:
    node = helper.make_node("Mul", ["a", "a"], ["b"])
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("local", "Square", ["a"], ["b"], [node], [opset]))


def _doubling(model: Model) -> None:
    last = "power"
    for i in range(12):
        _add(model, "Concat", [last, last], f"x{i}", axis=1)
        last = f"x{i}"


def _outer_sum(model: Model) -> None:
    _add(model, "Unsqueeze", ["waveform", _constant(model, "last", [2])], "column")
    _add(model, "Add", ["column", "log_mel"])  # (B, L, 1) and (B, 1, L)


def _clip_by_clip(model: Model) -> None:
    """Scores every clip by every clip: little for three, much for thousands."""
    _add(model, "Transpose", ["embedding"], "row", perm=[1, 0])
    _add(model, "MatMul", ["embedding", "row"])


def _many_products(model: Model) -> None:
    matrix = _constant(model, "matrix", np.zeros((1500, 1500)), np.float32)
    _add(model, "MatMul", [matrix, matrix])
    _add(model, "MatMul", ["x", matrix], "y")


def _by_samples(model: Model) -> None:
    """As many elements as the samples say."""
    _add(model, "ReduceSum", ["waveform"], "sum", keepdims=0)
    _add(model, "Cast", ["sum"], "count", to=TensorProto.INT64)
    _add(model, "Unsqueeze", ["count", _constant(model, "first", [0])], "shape")
    _add(model, "ConstantOfShape", ["shape"])


def _unlike_output(model: Model) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7


def _second_input(model: Model) -> None:
    value = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["B"])
    model.graph.input.append(value)


def _cut(content: bytes) -> bytes:
    return content[:-5]


def _two_graphs(content: bytes) -> bytes:
    """A second, empty graph: a reader may take either, or merge them."""
    return content + bytes([7 << 3 | 2, 0])


def _long_number(content: bytes) -> bytes:
    return content + bytes([5 << 3, *[0xFF] * 10, 1])


# By what is wrong with it: what is done to the toy, and what the error says.
DIGITS: dict[str, tuple[Callable[[Model], object], str]] = {
    "loop": (_loop, "the operator Loop"),
    "branch": (_branch, "the operator If"),
    "graph in an attribute": (_hidden_graph, "a graph inside a node"),
    "operator that export never writes": (
        lambda m: _add(m, "NonZero", ["waveform"]),
        "the operator NonZero",
    ),
    "operators of another domain": (_foreign_operator, "operators of .*com.example"),
    "opset": (lambda m: setattr(m.opset_import[0], "version", 13), r"ai.onnx 13; expected .* 17"),
    "IR version": (lambda m: setattr(m, "ir_version", 99), "ir_version 99; expected 7 to 10"),
    "external data": (_external, "lies in another file; expected all in one"),
    "functions": (_function, "functions of its own"),
    "training": (lambda m: m.training_info.add(), "instructions for training"),
    "sparse tensor": (lambda m: m.graph.sparse_initializer.add(), "sparse tensors"),
    "constant of 400 MB": (
        lambda m: _add(m, "ConstantOfShape", [_constant(m, "shape", [10_000, 10_000])]),
        r"ConstantOfShape makes it 40\d MB .* expected 100 MB",
    ),
    "expanded to 400 MB": (
        lambda m: _add(m, "Expand", ["embedding", _constant(m, "shape", [100_000_000])]),
        "Expand makes it .*MB",
    ),
    "doubled 12 times": (_doubling, "Concat makes it .*MB"),
    "padded to 400 MB": (
        lambda m: _add(m, "Pad", ["waveform", _constant(m, "pads", [0, 0, 0, 10**8])]),
        "Pad makes it .*MB",
    ),
    "sum of all pairs of samples": (_outer_sum, "Add makes it .*MB"),
    "all pairs of clips": (_clip_by_clip, "memory that grows faster than the number of clips"),
    "too many products": (_many_products, r"makes it .* 3\.4e9 operations .*; expected .* 2e9"),
    "as large as the samples say": (_by_samples, "a shape depends on the samples"),
    "tensor larger than its data": (
        lambda m: m.graph.initializer[0].dims.append(1000),
        "1 elements; expected 1,000",
    ),
    "tensor of text": (
        lambda m: m.graph.initializer.append(helper.make_tensor("t", 8, [1], [b"text"])),
        "tensor: holds the field 6",
    ),
    "tensor of half precision": (
        lambda m: _constant(m, "half", [1.0], np.float16),
        "elements of the type 10",
    ),
    "one name for two tensors": (
        lambda m: _add(m, "Relu", ["power"], "power"),
        "two tensors of the name 'power'",
    ),
    "used before it is there": (
        lambda m: _add(m, "Relu", ["later"]),
        "its input 'later' comes from nowhere",
    ),
    "shapes that do not fit": (
        lambda m: _add(m, "MatMul", ["waveform", "weight"]),
        "MatMul: expected matrices that fit",
    ),
    "unknown attribute": (
        lambda m: _add(m, "Relu", ["power"], axis=1),
        "Relu: the attribute axis",
    ),
    "too many nodes": (
        lambda m: [_add(m, "Relu", ["power"], f"x{i}") for i in range(MAX_NODES)],
        f"nodes; expected {MAX_NODES:,} at most",
    ),
    "long metadata": (lambda m: m.metadata_props.add(key="k", value="v" * 200_000), "200,000"),
    "metadata twice": (lambda m: m.metadata_props.add(key="labels", value="[]"), "labels twice"),
    "second input": (_second_input, "expected waveform alone"),
    "text that controls a terminal": (
        lambda m: _add(m, "\x1b[2J\nRelu", ["power"]),
        r"the operator \?\[2J\?Relu",
    ),
    "input of another type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64),
        "input 'waveform': expected one float32 tensor",
    ),
    "output unlike its description": (_unlike_output, r"output scores: .*\(7, 10\), as the file"),
}  # fmt: skip
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (_cut, "cut short"),
    "two graphs": (_two_graphs, "graph twice"),
    "number of more than 64 bits": (_long_number, "a number of more than 64 bits"),
}


def _growing_state(model: Model) -> None:
    (node,) = (node for node in model.graph.node if node.output == ["new_state_count"])
    node.op_type = "Concat"
    node.attribute.append(helper.make_attribute("axis", 0))
    node.input[1] = "unsqueezed"
    count = model.graph.node[-2]
    count.attribute[0].i = 1
    squeezed = helper.make_node("Reshape", ["count", "one"], ["unsqueezed"])
    model.graph.node.insert(len(model.graph.node) - 1, squeezed)
    _constant(model, "one", [1])
    model.graph.output[2].type.tensor_type.shape.dim[0].dim_param = "N"


STRINGS: dict[str, tuple[Callable[[Model], object], str]] = {
    "state that grows": (_growing_state, r"new_state_count of the shape \(2,\); expected \(1,\)"),
}
STRINGS_METADATA = {
    "block of 4 GB": {"step": str(10**9), "block": str(10**9)},
    "no step": {"step": "0"},
    "labels within labels": {"labels": "[" * 50_000},
}


def write_hostile(folder: Path) -> dict[str, tuple[Path, str]]:
    """Write all of them; by what is wrong, the file and what the error says."""
    toy = write_toy_model(folder / "toy.onnx").read_bytes()
    strings = write_toy_strings(folder / "strings.onnx").read_bytes()
    files: dict[str, tuple[Path, str]] = {}

    def path(kind: str, name: str) -> Path:
        return folder / f"{kind} {name}.onnx"

    for source, kind, table in ((toy, "digits", DIGITS), (strings, "strings", STRINGS)):
        for name, (change, said) in table.items():
            model = onnx.load_from_string(source)
            change(model)
            path(kind, name).write_bytes(model.SerializeToString())
            files[name] = path(kind, name), said
    for name, (spoil, said) in BYTES.items():
        path("digits", name).write_bytes(spoil(toy))
        files[name] = path("digits", name), said
    for name, metadata in STRINGS_METADATA.items():
        files[name] = write_toy_strings(path("strings", name), **metadata), "not a model of strings"
    with path("digits", "large").open("wb") as file:  # sparse: it takes no space
        file.truncate(2 * MAX_FILE_BYTES)
    files["large file"] = path("digits", "large"), "more than 64 MB"
    nested = write_toy_model(path("digits", "nested"), labels=(), classes=10)
    model = onnx.load(nested)
    for entry in model.metadata_props:
        entry.value = "[" * 50_000 if entry.key == "labels" else entry.value
    onnx.save(model, str(nested))
    files["labels within labels, digits"] = nested, "expected a JSON list"
    return files
