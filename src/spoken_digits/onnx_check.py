"""What an ONNX file would do, found out before anything runs it: its metadata, shapes and costs.

A file from a stranger may hold a graph that loops, or whose tensors double until memory is full; it
may name other files to be read; and what runs it would begin to do so while it opens it. So a file
is first read here, as bytes, by its definition (onnx.proto, a protocol buffer), and only what
``spoken-digits export`` and ``spoken-digits strings train`` write is accepted: fields, operators,
attributes. No message of these holds another of its own kind, so the depth is fixed. Then the shape
of every tensor is derived from that of the inputs, as is what it costs to compute: a file of which
that cannot be told, or is too much, is rejected. Needs numpy only.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_FILE_BYTES", "Cost", "Model", "OnnxError", "measure", "printable", "read"]

MAX_FILE_BYTES = 64 << 20  # what ships has 1 and 2 MB
OPSET, IR_VERSIONS = 17, range(7, 11)  # what `lab/export.py` writes, and the quantizer after it
MAX_FIELDS = 100_000  # in the whole file, the elements of packed arrays not counted
MAX_NODES, MAX_TENSORS, MAX_INPUTS, MAX_RANK = 5_000, 2_000, 64, 8
MAX_METADATA, MAX_KEY, MAX_VALUE = 64, 64, 100_000  # entries; characters
# For each second of sound, at least one: bytes of all tensors that are computed, and operations.
# The networks that ship take 3 and 6 MB, 0.03e9 and 0.04e9; the largest that `train` knows, 5 MB.
MAX_BYTES_PER_S, MAX_OPERATIONS_PER_S = 100e6, 2e9
_MAX_KNOWN = 1024  # elements of a tensor whose values are followed: those of shapes are few

Shape = tuple[int, ...]
Fields = dict[str, Any]


class OnnxError(ValueError):
    """A file that is not run; the message says what is in it, and what was expected."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 400))


def printable(text: str, length: int = 200) -> str:
    """Return the beginning of a text out of a file, without what would control a terminal."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:length])
    return shown + "..." * (len(text) > length)


# --- The protocol buffer

# Number of each field that is accepted: its name, and its kind. Doubled kinds may occur repeatedly.
# "skip" is not looked into: names and comments.
_SKIP = ("", "skip")
_MODEL = {
    1: ("ir_version", "int"), 2: _SKIP, 3: _SKIP, 4: _SKIP, 5: _SKIP, 6: _SKIP,
    7: ("graph", "bytes"), 8: ("opset_import", "bytes*"), 14: ("metadata_props", "bytes*"),
}  # fmt: skip
_GRAPH = {
    1: ("node", "bytes*"), 2: _SKIP, 5: ("initializer", "bytes*"), 10: _SKIP,
    11: ("input", "bytes*"), 12: ("output", "bytes*"), 13: _SKIP,
}  # fmt: skip
_NODE = {
    1: ("input", "text*"), 2: ("output", "text*"), 3: _SKIP, 4: ("op_type", "text"),
    5: ("attribute", "bytes*"), 6: _SKIP, 7: ("domain", "text"),
}  # fmt: skip
_ATTRIBUTE = {
    1: ("name", "text"), 2: ("f", "float"), 3: ("i", "int"), 4: ("s", "bytes"), 5: ("t", "bytes"),
    7: ("floats", "float*"), 8: ("ints", "int*"), 9: ("strings", "bytes*"), 13: _SKIP,
    20: ("type", "int"),
}  # fmt: skip
_TENSOR = {
    1: ("dims", "int*"), 2: ("data_type", "int"), 4: ("float_data", "packed"),
    5: ("int32_data", "packed"), 7: ("int64_data", "packed"), 8: ("name", "text"),
    9: ("raw_data", "bytes"), 12: _SKIP, 13: ("external_data", "bytes*"),
    14: ("data_location", "int"),
}  # fmt: skip
_VALUE_INFO = {1: ("name", "text"), 2: ("type", "bytes"), 3: _SKIP}
_TYPE = {1: ("tensor_type", "bytes"), 6: _SKIP}
_TENSOR_TYPE = {1: ("elem_type", "int"), 2: ("shape", "bytes")}
_SHAPE = {1: ("dim", "bytes*")}
_DIM = {1: ("dim_value", "int"), 2: ("dim_param", "text"), 3: _SKIP}
_OPSET = {1: ("domain", "text"), 2: ("version", "int")}
_ENTRY = {1: ("key", "text"), 2: ("value", "text")}
Schema = dict[int, tuple[str, str]]

# What is rejected by name, since a reader will ask why.
_REASONS = {
    ("attribute", 6): "a graph inside a node, as loops and branches have",
    ("attribute", 11): "graphs inside a node, as loops and branches have",
    ("model", 20): "instructions for training",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse tensors",
}


class _Reader:
    """Reads the messages of one file, and counts what it has read."""

    def __init__(self, content: bytes) -> None:
        self._content, self._fields = content, 0

    def read(self, message: str, schema: Schema, span: tuple[int, int]) -> Fields:
        """Read one message: values by name, lists for what may repeat, spans of bytes.

        A field that may not repeat, but does, is an error: which of the two counts, or whether they
        are merged, is for each reader to guess.
        """
        found: Fields = {}
        content, (at, end) = self._content, span
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise OnnxError(f"more than {MAX_FIELDS:,} fields; expected fewer")
            if (tag := content[at]) < 128:  # mostly; a call takes longer
                at += 1
            else:
                tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            value: Any
            if wire == 0:
                value, at = self._varint(at, end)
                value -= (value >> 63) << 64
            elif wire == 2:
                length, at = self._varint(at, end)
                value, at = (at, at + length), at + length
            elif wire in (1, 5):
                value, at = (at, at + (8 if wire == 1 else 4)), at + (8 if wire == 1 else 4)
            else:
                raise OnnxError(
                    f"{message}: field {number} of wire type {wire}; expected an ONNX model"
                )
            if at > end:
                raise OnnxError(f"{message}: cut short; expected an ONNX model")
            if number not in schema:
                reason = _REASONS.get((message, number), f"the field {number}")
                raise OnnxError(f"{message}: holds {reason}; expected a plain graph")
            name, kind = schema[number]
            if kind != "skip":
                self._keep(found, message, name, kind, wire, value)
        return found

    def _keep(
        self, found: Fields, message: str, name: str, kind: str, wire: int, value: Any
    ) -> None:
        many = kind.endswith("*")
        kind = kind.removesuffix("*")
        if kind == "int" and wire == 2 and many:
            found.setdefault(name, []).extend(self.varints(value, MAX_FIELDS))
            return
        if wire != {"int": 0, "float": 5}.get(kind, 2) and not (kind == "float" and many):
            raise OnnxError(f"{message}: {name} of wire type {wire}; expected an ONNX model")
        if kind == "text":
            try:
                value = self._content[slice(*value)].decode()
            except UnicodeDecodeError:
                raise OnnxError(f"{message}: {name} is no text; expected an ONNX model") from None
        elif kind == "float" and wire == 5:
            (value,) = struct.unpack("<f", self._content[slice(*value)])
        if many:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise OnnxError(f"{message}: {name} twice; expected it once")
        else:
            found[name] = value

    def varints(self, span: tuple[int, int], most: int) -> list[int]:
        """Read a packed array of at most so many whole numbers of 64 bits."""
        at, end = span
        values: list[int] = []
        while at < end:
            value, at = self._varint(at, end)
            values.append(value - ((value >> 63) << 64))
            if len(values) > most:
                raise OnnxError(f"an array of more than {most:,} numbers; expected fewer")
        return values

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end:
            byte = self._content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 1 << 64:
                    break
                return value, at
            shift += 7
            if shift > 63:
                break
        raise OnnxError("cut short, or a number of more than 64 bits; expected an ONNX model")

    def bytes(self, span: tuple[int, int]) -> bytes:
        return self._content[slice(*span)]


# --- What is in a file

# Of TensorProto.DataType; others are rejected.
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
_NAMES = ", ".join(_TYPES.values())
_FLOAT, _UINT8, _INT8, _INT64, _BOOL = 1, 2, 3, 7, 9


class Tensor(NamedTuple):
    """The element type and shape of a tensor, and its values where they are few and known."""

    dtype: int
    shape: Shape
    value: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """An operator, the names of its inputs and outputs, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """What a file holds.

    Attributes
    ----------
    metadata
        The file's description of itself.
    inputs, outputs
        Shapes by name: a number for each dimension that is fixed, a name for each that is not.
    """

    metadata: Mapping[str, str]
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    _reader: "_Reader" = field(repr=False)
    _graph: Fields = field(repr=False)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The operators, in the order in which they run; read, and checked, when first asked."""
        return tuple(_node(self._reader, span) for span in self._graph.get("node", ()))

    @cached_property
    def constants(self) -> Mapping[str, Tensor]:
        """The tensors that the file holds, by name; read, and checked, when first asked for."""
        constants: dict[str, Tensor] = {}
        for span in self._graph.get("initializer", ()):
            name, tensor = _tensor(self._reader, span)
            if not name or name in constants:
                raise OnnxError(f"two tensors of the name {name!r}; expected a name for each")
            constants[name] = tensor
        return constants


@dataclass(frozen=True)
class Cost:
    """What running a model once takes.

    Attributes
    ----------
    bytes
        Of all tensors that are computed: memory is less, since they are freed.
    operations
        Multiplies and comparisons.
    shapes
        Of all tensors, by name.
    """

    bytes: int
    operations: int
    shapes: Mapping[str, Shape]


def read(content: bytes) -> Model:
    """Read an ONNX file; its nodes and tensors are not read before `measure`.

    Raises
    ------
    OnnxError
        When it is none, or holds what ``spoken-digits export`` does not write.
    """
    if len(content) > MAX_FILE_BYTES:
        raise OnnxError(f"more than {MAX_FILE_BYTES >> 20} MB; expected less")
    reader = _Reader(content)
    model = reader.read("model", _MODEL, (0, len(content)))
    if "graph" not in model:
        raise OnnxError("no graph in it; expected an ONNX model")
    if model.get("ir_version") not in IR_VERSIONS:
        expected = f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise OnnxError(f"ir_version {model.get('ir_version')}; expected {expected}")
    _check_opsets(reader, model)
    graph = reader.read("graph", _GRAPH, model["graph"])
    for name, most in (
        ("node", MAX_NODES), ("initializer", MAX_TENSORS), ("input", MAX_INPUTS),
        ("output", MAX_INPUTS),
    ):  # fmt: skip
        if len(graph.get(name, ())) > most:
            raise OnnxError(f"{len(graph[name]):,} {name}s; expected {most:,} at most")
    return Model(
        _metadata(reader, model),
        _values(reader, graph, "input"),
        _values(reader, graph, "output"),
        reader,
        graph,
    )


def _check_opsets(reader: _Reader, model: Fields) -> None:
    opsets = [reader.read("opset", _OPSET, span) for span in model.get("opset_import", ())]
    found = [(opset.get("domain", ""), opset.get("version")) for opset in opsets]
    if found not in ([("", OPSET)], [("ai.onnx", OPSET)]):
        text = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in found)
        raise OnnxError(f"operators of {text or 'no set'}; expected ai.onnx {OPSET} alone")


def _metadata(reader: _Reader, model: Fields) -> dict[str, str]:
    spans = model.get("metadata_props", ())
    if len(spans) > MAX_METADATA:
        raise OnnxError(f"{len(spans):,} entries of metadata; expected {MAX_METADATA} at most")
    metadata: dict[str, str] = {}
    for span in spans:
        entry = reader.read("metadata", _ENTRY, span)
        key, value = entry.get("key", ""), entry.get("value", "")
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise OnnxError(
                f"metadata {key[:20]} of {len(key):,} and {len(value):,} characters; expected "
                f"{MAX_KEY} and {MAX_VALUE:,} at most"
            )
        if key in metadata:
            raise OnnxError(f"metadata {key} twice; expected it once")
        metadata[key] = value
    return metadata


def _values(reader: _Reader, graph: Fields, kind: str) -> dict[str, tuple[int | str, ...]]:
    """Read the inputs or outputs of the graph: float32 tensors of a rank that is told."""
    values: dict[str, tuple[int | str, ...]] = {}
    for span in graph.get(kind, ()):
        value = reader.read(kind, _VALUE_INFO, span)
        name = value.get("name", "")
        tensor = {}
        if "type" in value:
            tensor = reader.read(kind, _TYPE, value["type"])
        if "tensor_type" in tensor:
            tensor = reader.read(kind, _TENSOR_TYPE, tensor["tensor_type"])
        if tensor.get("elem_type") != _FLOAT or "shape" not in tensor or not name or name in values:
            raise OnnxError(f"{kind} {name!r}: expected one float32 tensor of that name")
        dims = reader.read(kind, _SHAPE, tensor["shape"]).get("dim", ())
        shape = []
        for span_of_dim in dims:
            dim = reader.read(kind, _DIM, span_of_dim)
            if ("dim_value" in dim) == ("dim_param" in dim) or dim.get("dim_value", 1) < 1:
                raise OnnxError(
                    f"{kind} {name}: expected numbers from 1 on, or names, as its shape"
                )
            shape.append(dim.get("dim_value") or dim["dim_param"])
        if len(shape) > MAX_RANK:
            raise OnnxError(f"{kind} {name}: of {len(shape)} dimensions; expected {MAX_RANK}")
        values[name] = tuple(shape)
    return values


def _node(reader: _Reader, span: tuple[int, int]) -> Node:
    node = reader.read("node", _NODE, span)
    operator = node.get("op_type", "")
    if node.get("domain", "") not in ("", "ai.onnx") or operator not in _RULES:
        where = f" of {node['domain'][:40]}" if node.get("domain") else ""
        raise OnnxError(f"the operator {operator[:40]}{where}; expected one that export writes")
    attributes: dict[str, Any] = {}
    for span_of_attribute in node.get("attribute", ()):
        attribute = reader.read("attribute", _ATTRIBUTE, span_of_attribute)
        name = attribute.pop("name", "")
        attribute.pop("type", None)
        if name not in _RULES[operator].attributes or name in attributes or len(attribute) > 1:
            raise OnnxError(f"{operator}: the attribute {name[:40]}; expected what export writes")
        value: Any = None
        ((kind, value),) = attribute.items() or (("", value),)
        if kind == "t":
            value = _tensor(reader, value)[1]
        elif kind == "s":
            value = reader.bytes(value)
        elif kind == "strings":
            value = [reader.bytes(each) for each in value]
        attributes[name] = value
    return Node(operator, tuple(node.get("input", ())), tuple(node.get("output", ())), attributes)


def _tensor(reader: _Reader, span: tuple[int, int]) -> tuple[str, Tensor]:
    """Read a tensor: its name, and its shape; the bytes that it has are those of its shape."""
    fields = reader.read("tensor", _TENSOR, span)
    name, dtype = fields.get("name", ""), fields.get("data_type", 0)
    if "external_data" in fields or fields.get("data_location", 0):
        raise OnnxError(f"tensor {name[:40]}: lies in another file; expected all in one")
    if dtype not in _TYPES:
        raise OnnxError(f"tensor {name[:40]}: elements of the type {dtype}; expected {_NAMES}")
    shape = tuple(fields.get("dims", ()))
    if len(shape) > MAX_RANK or min(shape, default=0) < 0 or max(shape, default=0) > MAX_FILE_BYTES:
        raise OnnxError(f"tensor {name[:40]}: shape {shape[:MAX_RANK]}; expected that of its data")
    element, count = np.dtype(_TYPES[dtype]), math.prod(shape)
    stored = {"raw_data", "float_data", "int32_data", "int64_data"} & fields.keys()
    where = stored.pop() if stored else "raw_data"
    data = reader.bytes(fields.get(where, (0, 0)))
    wanted = {_FLOAT: "float_data", _INT64: "int64_data"}.get(dtype, "int32_data")
    if stored or where not in ("raw_data", wanted):
        raise OnnxError(f"tensor {name[:40]}: its data in {where}; expected in one place, its own")
    if where == "raw_data":
        found: float = len(data) / element.itemsize
    elif where == "float_data":
        found = len(data) / 4
    else:
        found = int((np.frombuffer(data, np.uint8) < 128).sum())
    if found != count:
        raise OnnxError(
            f"tensor {name[:40]}: {found:,.10g} elements; expected {count:,}, as {shape}"
        )
    value = None
    if count <= _MAX_KNOWN:
        if where in ("raw_data", "float_data"):
            value = np.frombuffer(data, element.newbyteorder("<")).astype(element).reshape(shape)
        else:
            numbers = reader.varints(fields[where], _MAX_KNOWN)
            value = np.array(numbers, np.int64).astype(element).reshape(shape)
    return name, Tensor(dtype, shape, value)


# --- What it costs to run


def measure(model: Model, sizes: Mapping[str, int], seconds: float) -> Cost:
    """Derive all shapes, and what it costs to compute the tensors.

    Parameters
    ----------
    model
        As `read` gives it.
    sizes
        Of the inputs' dimensions that are not fixed, by the names in `Model.inputs`.
    seconds
        Sound in the inputs, by which the limits are; at least one counts.

    Raises
    ------
    OnnxError
        When a shape depends on the samples, does not fit, or differs from what the file says of an
        output; when an operator lacks a tensor; when it costs more than the limits.
    """
    most_bytes = MAX_BYTES_PER_S * max(1.0, seconds)
    most_operations = MAX_OPERATIONS_PER_S * max(1.0, seconds)
    total_bytes = operations = 0
    known: dict[str, Tensor | None] = {"": None, **model.constants}
    for name, dims in model.inputs.items():
        if name in known:
            raise OnnxError(f"two tensors of the name {name!r}; expected a name for each")
        try:
            shape = tuple(dim if isinstance(dim, int) else sizes[dim] for dim in dims)
        except KeyError as error:
            raise OnnxError(
                f"input {name}: a size {error}; expected {', '.join(sizes)}, or a number"
            ) from None
        known[name] = Tensor(_FLOAT, shape)
        total_bytes += 4 * math.prod(shape)
    for node in model.nodes:
        try:
            inputs = [known[name] for name in node.inputs]
        except KeyError as error:
            raise OnnxError(
                f"{node.operator}: its input {error} comes from nowhere; expected a tensor that is "
                "computed before"
            ) from None
        outputs, work = _apply(node, inputs)
        for name, tensor in zip(node.outputs, outputs, strict=False):
            if not name:
                continue
            if name in known:
                raise OnnxError(f"two tensors of the name {name!r}; expected a name for each")
            if len(tensor.shape) > MAX_RANK or min(tensor.shape, default=0) < 0:
                raise OnnxError(
                    f"{node.operator}: a shape of {len(tensor.shape)} sizes; expected {MAX_RANK}"
                )
            known[name] = tensor
            total_bytes += tensor.size * np.dtype(_TYPES[tensor.dtype]).itemsize
        operations += work
        if total_bytes > most_bytes or operations > most_operations:
            raise OnnxError(
                f"{node.operator} makes it {total_bytes / 1e6:,.0f} MB of tensors and "
                f"{operations / 1e9:,.1f}e9 operations for {max(1.0, seconds):g} s of sound; "
                f"expected {most_bytes / 1e6:,.0f} MB and {most_operations / 1e9:,.0f}e9 at most"
            )
    for name, dims in model.outputs.items():
        _check_output(name, dims, known.get(name))
    shapes = {name: tensor.shape for name, tensor in known.items() if tensor}
    return Cost(total_bytes, operations, shapes)


def _check_output(name: str, dims: Sequence[int | str], tensor: Tensor | None) -> None:
    if tensor is None:
        raise OnnxError(f"output {name}: comes from nowhere; expected a tensor that is computed")
    fits = [isinstance(d, str) or d == n for d, n in zip(dims, tensor.shape, strict=False)]
    if tensor.dtype != _FLOAT or len(dims) != len(tensor.shape) or not all(fits):
        raise OnnxError(
            f"output {name}: {_TYPES[tensor.dtype]} of the shape {tensor.shape}; expected float32 "
            f"of {dims}, as the file says"
        )


def _apply(node: Node, inputs: Sequence[Tensor | None]) -> tuple[list[Tensor], int]:
    """Return the outputs of an operator, and its number of operations."""
    rule = _RULES[node.operator]
    if not rule.fewest <= len(inputs) <= rule.most or None in inputs[: rule.fewest]:
        raise OnnxError(f"{node.operator}: {len(inputs)} inputs; expected {rule.fewest} or more")
    try:
        with np.errstate(all="ignore"):
            outputs, work = rule.apply(node, inputs)
    except OnnxError as error:
        raise OnnxError(f"{node.operator}: {error}") from None
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        shapes = [tensor.shape for tensor in inputs if tensor]
        raise OnnxError(
            f"{node.operator}: inputs {shapes} and attributes; expected such as fit each other"
        ) from None
    if len(node.outputs) > len(outputs):
        raise OnnxError(f"{node.operator}: {len(node.outputs)} outputs; expected {len(outputs)}")
    return outputs, max(work, sum(tensor.size for tensor in outputs))


class _Rule(NamedTuple):
    """How many inputs an operator takes, which attributes are accepted, and what it gives."""

    fewest: int
    most: int
    attributes: frozenset[str]
    apply: Callable[[Node, Sequence[Any]], tuple[list[Tensor], int]]


Inputs = Sequence[Any]  # each a Tensor, or None where an optional one is left out
Outputs = tuple[list[Tensor], int]


def _one(dtype: int, shape: Sequence[int], work: int = 0) -> Outputs:
    return [Tensor(dtype, tuple(shape))], work


def _need(holds: bool, expected: str) -> None:
    if not holds:
        raise OnnxError(f"expected {expected}")


def _ints(tensor: Tensor | None) -> list[int]:
    """Return the values of a tensor of whole numbers that a shape is made of."""
    if tensor is None or tensor.value is None or tensor.dtype != _INT64:
        raise OnnxError("a shape depends on the samples, or is long; expected that it does not")
    return [int(value) for value in tensor.value.reshape(-1)]


def _axis(axis: int, rank: int) -> int:
    _need(-rank <= axis < rank, f"an axis below {rank}, not {axis}")
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> set[int]:
    found = {_axis(axis, rank) for axis in axes}
    _need(len(found) == len(axes), "an axis named once")
    return found


def _with_value(dtype: int, shape: Sequence[int], compute: Callable[[], Any]) -> Outputs:
    """Return one tensor, with its values where they are few."""
    value = None
    if math.prod(shape) <= _MAX_KNOWN:
        value = np.asarray(compute()).astype(_TYPES[dtype])
        _need(value.shape == tuple(shape), f"the shape {tuple(shape)}")
    return [Tensor(dtype, tuple(shape), value)], 0


def _elementwise(compute: Callable[..., Any], dtype: int | None = None) -> Callable[..., Outputs]:
    """Of any number of tensors of one type, which are broadcast."""

    def apply(_: Node, inputs: Inputs) -> Outputs:
        kinds = {tensor.dtype for tensor in inputs}
        _need(len(kinds) == 1, "inputs of one type")
        (kind,) = kinds
        shape = np.broadcast_shapes(*(tensor.shape for tensor in inputs))
        values = [tensor.value for tensor in inputs]
        if kind == _FLOAT or any(value is None for value in values):
            _need(kind == _FLOAT or compute is not _divide, "whole numbers divided as known ones")
            return _one(dtype or kind, shape)
        return _with_value(dtype or kind, shape, lambda: compute(*values))

    return apply


def _divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Divide whole numbers toward zero; by zero, a processor stops the program."""
    _need(
        bool((b != 0).all()) and not ((b == -1) & (a == np.iinfo(a.dtype).min)).any(), "a divisor"
    )
    quotient: NDArray[Any] = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))
    return quotient


def _float_only(_: Node, inputs: Inputs) -> Outputs:
    _need(all(tensor is None or tensor.dtype == _FLOAT for tensor in inputs), "float32")
    return _one(_FLOAT, inputs[0].shape)


def _pow(_: Node, inputs: Inputs) -> Outputs:
    _need(inputs[0].dtype == _FLOAT, "float32")
    return _one(_FLOAT, np.broadcast_shapes(inputs[0].shape, inputs[1].shape))


def _clip(_: Node, inputs: Inputs) -> Outputs:
    _need(all(limit is None or limit.shape == () for limit in inputs[1:]), "limits")
    return _float_only(_, inputs)


def _where(_: Node, inputs: Inputs) -> Outputs:
    condition, a, b = inputs
    _need(condition.dtype == _BOOL and a.dtype == b.dtype, "a condition, and one type")
    shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
    if any(tensor.value is None for tensor in inputs):
        return _one(a.dtype, shape)
    return _with_value(a.dtype, shape, lambda: np.where(*(each.value for each in inputs)))


def _identity(_: Node, inputs: Inputs) -> Outputs:
    return [inputs[0]], 0


def _cast(node: Node, inputs: Inputs) -> Outputs:
    (x,), to = inputs, node.attributes["to"]
    _need(to in _TYPES, f"a type of {_NAMES}")
    if x.value is None or (x.dtype == _FLOAT and not np.isfinite(x.value).all()):
        return _one(to, x.shape)
    return _with_value(to, x.shape, lambda: x.value)


def _constant(node: Node, _: Inputs) -> Outputs:
    return [node.attributes["value"]], 0


def _constant_of_shape(node: Node, inputs: Inputs) -> Outputs:
    shape = _ints(inputs[0])
    value = node.attributes.get("value")
    dtype, fill = (value.dtype, value.value) if value else (_FLOAT, np.zeros(1, np.float32))
    _need(fill is not None and fill.size == 1 and min(shape, default=0) >= 0, "a value and a shape")
    return _with_value(dtype, shape, lambda: np.full(shape, fill.reshape(())))


def _shape(_: Node, inputs: Inputs) -> Outputs:
    shape = inputs[0].shape
    return _with_value(_INT64, (len(shape),), lambda: np.array(shape, np.int64))


def _reshape(node: Node, inputs: Inputs) -> Outputs:
    x, wanted = inputs[0], _ints(inputs[1])
    if not node.attributes.get("allowzero", 0):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    _need(wanted.count(-1) <= 1 and min(wanted, default=1) >= -1, "one size at most to be found")
    if -1 in wanted:
        rest = -math.prod(wanted)
        _need(rest > 0 and x.size % rest == 0, f"{x.shape} to fit {wanted}")
        wanted[wanted.index(-1)] = x.size // rest
    _need(math.prod(wanted) == x.size, f"{x.shape} to fit {wanted}")
    return [Tensor(x.dtype, tuple(wanted), _reshaped(x, wanted))], 0


def _reshaped(x: Tensor, shape: Sequence[int]) -> NDArray[Any] | None:
    return None if x.value is None else x.value.reshape(shape)


def _flatten(node: Node, inputs: Inputs) -> Outputs:
    shape, axis = inputs[0].shape, node.attributes.get("axis", 1)
    _need(0 <= axis <= len(shape), "an axis")
    return _one(inputs[0].dtype, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _unsqueeze(_: Node, inputs: Inputs) -> Outputs:
    x, wanted = inputs[0], _ints(inputs[1])
    axes = _axes(wanted, len(x.shape) + len(wanted))
    rest = iter(x.shape)
    shape = [1 if i in axes else next(rest) for i in range(len(x.shape) + len(axes))]
    return [Tensor(x.dtype, tuple(shape), _reshaped(x, shape))], 0


def _squeeze(_: Node, inputs: Inputs) -> Outputs:
    x, axes = inputs[0], _axes(_ints(inputs[1]), len(inputs[0].shape))
    _need(all(x.shape[axis] == 1 for axis in axes), "dimensions of 1")
    shape = [size for i, size in enumerate(x.shape) if i not in axes]
    return [Tensor(x.dtype, tuple(shape), _reshaped(x, shape))], 0


def _transpose(node: Node, inputs: Inputs) -> Outputs:
    x = inputs[0]
    order = node.attributes.get("perm") or list(range(len(x.shape)))[::-1]
    _need(sorted(order) == list(range(len(x.shape))), "an order of the dimensions")
    value = None if x.value is None else x.value.transpose(order)
    return [Tensor(x.dtype, tuple(x.shape[i] for i in order), value)], 0


def _concat(node: Node, inputs: Inputs) -> Outputs:
    first = inputs[0]
    axis = _axis(node.attributes["axis"], len(first.shape))
    for x in inputs:
        _need(
            x.dtype == first.dtype
            and len(x.shape) == len(first.shape)
            and x.shape[:axis] == first.shape[:axis]
            and x.shape[axis + 1 :] == first.shape[axis + 1 :],
            "shapes that differ along the axis alone",
        )
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in inputs)
    if any(x.value is None for x in inputs):
        return _one(first.dtype, shape)
    return _with_value(first.dtype, shape, lambda: np.concatenate([x.value for x in inputs], axis))


def _slice(_: Node, inputs: Inputs) -> Outputs:
    x, rank = inputs[0], len(inputs[0].shape)
    starts, ends = _ints(inputs[1]), _ints(inputs[2])
    axes, steps = (*inputs[3:], None, None)[:2]
    axes = [_axis(axis, rank) for axis in (_ints(axes) if axes else range(len(starts)))]
    steps = _ints(steps) if steps else [1] * len(starts)
    _need(len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes)), "as many of each")
    cuts = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        _need(step != 0, "a step")
        cuts[axis] = slice(start, end, step)
    shape = [len(range(*cut.indices(size))) for cut, size in zip(cuts, x.shape, strict=True)]
    value = None if x.value is None else x.value[tuple(cuts)]
    return [Tensor(x.dtype, tuple(shape), value)], 0


def _gather(node: Node, inputs: Inputs) -> Outputs:
    x, indices = inputs
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if x.value is None or indices.value is None:
        return _one(x.dtype, shape)
    return _with_value(x.dtype, shape, lambda: np.take(x.value, indices.value, axis))


def _gather_elements(node: Node, inputs: Inputs) -> Outputs:
    x, indices = inputs
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    _need(
        len(indices.shape) == len(x.shape)
        and all(indices.shape[i] <= size for i, size in enumerate(x.shape) if i != axis),
        f"indices that fit {x.shape}",
    )
    return _one(x.dtype, indices.shape)


def _expand(_: Node, inputs: Inputs) -> Outputs:
    return _one(inputs[0].dtype, np.broadcast_shapes(inputs[0].shape, tuple(_ints(inputs[1]))))


def _pad(node: Node, inputs: Inputs) -> Outputs:
    x, pads = inputs[0], _ints(inputs[1])
    mode, rank = node.attributes.get("mode", b"constant"), len(inputs[0].shape)
    _need(len(pads) == 2 * rank and min(pads, default=0) >= 0, "pads of 0 or more for each side")
    _need(mode in (b"constant", b"reflect", b"edge"), "a mode that export writes")
    reflected = mode == b"reflect" and any(p >= x.shape[i % rank] for i, p in enumerate(pads) if p)
    _need(not reflected, "that less than the whole is reflected")
    return _one(x.dtype, [n + pads[i] + pads[i + rank] for i, n in enumerate(x.shape)])


def _cumsum(_: Node, inputs: Inputs) -> Outputs:
    _need(inputs[0].dtype == _FLOAT and inputs[1].size == 1, "float32, and one axis")
    return _one(_FLOAT, inputs[0].shape)


def _reduce(node: Node, inputs: Inputs) -> Outputs:
    x, rank = inputs[0], len(inputs[0].shape)
    axes = _ints(inputs[1]) if len(inputs) > 1 else node.attributes.get("axes", [])
    reduced = _axes(axes, rank) or set(range(rank))
    keeps = node.attributes.get("keepdims", 1)
    shape = [1 if i in reduced else n for i, n in enumerate(x.shape) if keeps or i not in reduced]
    return _one(x.dtype, shape, x.size)


def _matmul(_: Node, inputs: Inputs) -> Outputs:
    a, b = (tensor.shape for tensor in inputs)
    _need(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2], "matrices that fit")
    shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
    return _one(inputs[0].dtype, shape, math.prod(shape) * a[-1])


def _gemm(node: Node, inputs: Inputs) -> Outputs:
    a, b = (tensor.shape for tensor in inputs[:2])
    a = a[::-1] if node.attributes.get("transA", 0) else a
    b = b[::-1] if node.attributes.get("transB", 0) else b
    _need(len(a) == len(b) == 2 and a[1] == b[0], "matrices that fit")
    shape = (a[0], b[1])
    bias = [tensor.shape for tensor in inputs[2:] if tensor]
    _need(np.broadcast_shapes(shape, *bias) == shape, "a bias that fits")
    return _one(inputs[0].dtype, shape, math.prod(shape) * a[1])


def _windows(node: Node, x: Shape, kernel: Sequence[int]) -> list[int]:
    """Return how many windows there are along each dimension but the first two."""
    rank, get = len(x) - 2, node.attributes.get
    strides, dilations = get("strides", [1] * rank), get("dilations", [1] * rank)
    pads = get("pads", [0] * 2 * rank)
    _need(rank >= 1 and len(pads) == 2 * rank, "pads for each side")
    _need(len(kernel) == len(strides) == len(dilations) == rank, "a kernel that fits")
    _need(min(*kernel, *strides, *dilations) >= 1 and min(pads) >= 0, "sizes from 1 on")
    counts = []
    for i, size in enumerate(x[2:]):
        span = dilations[i] * (kernel[i] - 1) + 1
        _need(pads[i] < span and pads[i + rank] < span, "pads smaller than the window")
        left = size + pads[i] + pads[i + rank] - span
        _need(left >= 0, f"a window of {span} within {size}")
        counts.append((-(-left // strides[i]) if get("ceil_mode", 0) else left // strides[i]) + 1)
    return counts


def _conv(node: Node, inputs: Inputs) -> Outputs:
    x, weights = inputs[0].shape, inputs[1].shape
    groups = node.attributes.get("group", 1)
    kernel = node.attributes.get("kernel_shape", weights[2:])
    _need(
        all(tensor is None or tensor.dtype == _FLOAT for tensor in inputs)
        and len(x) == len(weights)
        and tuple(kernel) == weights[2:]
        and groups >= 1
        and x[1] == weights[1] * groups
        and weights[0] % groups == 0,
        "weights that fit",
    )
    shape = (x[0], weights[0], *_windows(node, x, kernel))
    return _one(_FLOAT, shape, math.prod(shape) * math.prod(weights[1:]))


def _pool(node: Node, inputs: Inputs) -> Outputs:
    x, kernel = inputs[0].shape, node.attributes["kernel_shape"]
    shape = (*x[:2], *_windows(node, x, kernel))
    return _one(inputs[0].dtype, shape, math.prod(shape) * math.prod(kernel))


def _recurrent(gates: int) -> Callable[..., Outputs]:
    def apply(node: Node, inputs: Inputs) -> Outputs:
        x, weights, recurrence = (tensor.shape for tensor in inputs[:3])
        hidden = node.attributes["hidden_size"]
        _need(
            len(x) == 3
            and weights == (1, gates * hidden, x[2])
            and recurrence == (1, gates * hidden, hidden)
            and node.attributes.get("activations", [b"Tanh"]) == [b"Tanh"],
            "weights that fit",
        )
        steps, batch, _ = x
        state = Tensor(_FLOAT, (1, batch, hidden))
        whole = Tensor(_FLOAT, (steps, 1, batch, hidden))
        work = steps * batch * gates * hidden * (x[2] + hidden)
        return [whole, state, state][: 3 if gates == 4 else 2], work

    return apply


def _quantize(_: Node, inputs: Inputs) -> Outputs:
    zero = inputs[2].dtype
    _need(inputs[0].dtype == _FLOAT and zero in (_UINT8, _INT8), "8 bits")
    return _one(zero, inputs[0].shape)


def _dequantize(_: Node, inputs: Inputs) -> Outputs:
    return _one(_FLOAT, inputs[0].shape)


def _rules(
    names: str, fewest: int, most: int, apply: Callable[..., Outputs], attributes: str = ""
) -> Iterator[tuple[str, _Rule]]:
    for name in names.split():
        yield name, _Rule(fewest, most, frozenset(attributes.split()), apply)


_WINDOWS = "dilations kernel_shape pads strides"
_RULES: dict[str, _Rule] = dict(
    rule
    for rules in (
        _rules("Relu Log Sqrt Floor Ceil Exp", 1, 1, _float_only),
        _rules("Add", 2, 2, _elementwise(np.add)),
        _rules("Sub", 2, 2, _elementwise(np.subtract)),
        _rules("Mul", 2, 2, _elementwise(np.multiply)),
        _rules("Div", 2, 2, _elementwise(_divide)),
        _rules("Min", 2, 2, _elementwise(np.minimum)),
        _rules("Equal", 2, 2, _elementwise(np.equal, _BOOL)),
        _rules("Pow", 2, 2, _pow),
        _rules("Clip", 1, 3, _clip),
        _rules("Where", 3, 3, _where),
        _rules("Identity", 1, 1, _identity),
        _rules("Cast", 1, 1, _cast, "to"),
        _rules("Constant", 0, 0, _constant, "value"),
        _rules("ConstantOfShape", 1, 1, _constant_of_shape, "value"),
        _rules("Shape", 1, 1, _shape),
        _rules("Reshape", 2, 2, _reshape, "allowzero"),
        _rules("Flatten", 1, 1, _flatten, "axis"),
        _rules("Unsqueeze", 2, 2, _unsqueeze),
        _rules("Squeeze", 2, 2, _squeeze),
        _rules("Transpose", 1, 1, _transpose, "perm"),
        _rules("Concat", 1, 64, _concat, "axis"),
        _rules("Slice", 3, 5, _slice),
        _rules("Gather", 2, 2, _gather, "axis"),
        _rules("GatherElements", 2, 2, _gather_elements, "axis"),
        _rules("Expand", 2, 2, _expand),
        _rules("Pad", 2, 3, _pad, "mode"),
        _rules("CumSum", 2, 2, _cumsum),
        _rules("ReduceSum", 1, 2, _reduce, "keepdims"),
        _rules("ReduceMax ReduceMean ReduceLogSumExp", 1, 1, _reduce, "axes keepdims"),
        _rules("MatMul", 2, 2, _matmul),
        _rules("Gemm", 2, 3, _gemm, "alpha beta transA transB"),
        _rules("Conv", 2, 3, _conv, f"{_WINDOWS} group"),
        _rules("MaxPool", 1, 1, _pool, f"{_WINDOWS} ceil_mode"),
        _rules("AveragePool", 1, 1, _pool, f"{_WINDOWS} ceil_mode count_include_pad"),
        _rules("BatchNormalization", 5, 5, _float_only, "epsilon momentum training_mode"),
        _rules("LSTM", 3, 7, _recurrent(4), "hidden_size"),
        _rules("RNN", 3, 6, _recurrent(1), "activations hidden_size"),
        _rules("QuantizeLinear", 3, 3, _quantize, "axis"),
        _rules("DequantizeLinear", 2, 3, _dequantize, "axis"),
    )
    for rule in rules
)
