"""Weights in files (safetensors), checked before any of them is read: a file may be a stranger's.

The library checks that header and data fit each other; what it does not bound are their sizes. A
file begins with the length of its header, 8 bytes, little-endian; the header is a JSON object of
each tensor's type, shape, and place in the bytes that follow.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from spoken_digits.onnx_check import printable

__all__ = ["MAX_FILE_BYTES", "Weights", "WeightsError", "read_weights"]

# What ships has 0.7 MB in 27 tensors; the checkpoint of the largest network some 20 MB in 600.
MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_TENSORS, MAX_RANK = 256 << 20, 1 << 20, 5_000, 8
_SIZES = {"F32": 4, "I64": 8}  # of an element, by what networks and optimizers here are made of


class WeightsError(ValueError):
    """A file that holds no weights of this package; the message says what it holds instead."""


class Weights(NamedTuple):
    """Tensors by name, and the texts beside them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_weights(path: Path) -> Weights:
    """Read a safetensors file.

    Raises
    ------
    FileNotFoundError
        When there is none.
    WeightsError
        When it is none, is larger than `MAX_FILE_BYTES`, or its tensors are not those of a network.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if not 8 < size <= MAX_FILE_BYTES:
            raise WeightsError(f"{path}: {size:,} bytes; expected up to {MAX_FILE_BYTES:,}")
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise WeightsError(
                f"{path}: a header of {length:,} bytes; expected up to "
                f"{min(size - 8, MAX_HEADER_BYTES):,} in a safetensors file of {size:,}"
            )
        header = file.read(length)
        metadata = _check_header(path, header, size - 8 - length)
        content = start + header + file.read()
    try:
        return Weights(load(content), metadata)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged ({error}); expected a safetensors file") from None


def _check_header(path: Path, header: bytes, size: int) -> dict[str, str]:
    """Check what a header says of `size` bytes of data; return its texts."""
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__", {})
        tensors = {name: _Entry(**entry) for name, entry in entries.items()}
        texts = {str(name): str(text) for name, text in metadata.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise WeightsError(f"{path}: damaged; expected the header of a safetensors file") from None
    if len(tensors) > MAX_TENSORS:
        raise WeightsError(f"{path}: {len(tensors):,} tensors; expected up to {MAX_TENSORS:,}")
    for name, entry in tensors.items():
        shown = f"{path}: {printable(name, 60)}"
        if not isinstance(entry.dtype, str) or entry.dtype not in _SIZES:
            dtype = printable(str(entry.dtype), 20)
            raise WeightsError(f"{shown}: of the type {dtype}; expected {', '.join(_SIZES)}")
        if not _is_list(entry.shape) or len(entry.shape) > MAX_RANK:
            raise WeightsError(f"{shown}: shape {printable(str(entry.shape))}; expected sizes")
        wanted, offsets = math.prod(entry.shape) * _SIZES[entry.dtype], entry.data_offsets
        is_place = _is_list(offsets) and len(offsets) == 2 and offsets[1] <= size
        if not is_place or offsets[1] - offsets[0] != wanted:
            raise WeightsError(
                f"{shown}: at {printable(str(offsets))}; expected {wanted:,} of {size:,} bytes"
            )
    return texts


class _Entry(NamedTuple):
    dtype: Any
    shape: Any
    data_offsets: Any


def _is_list(values: Any) -> bool:
    """Whether these are whole numbers, each of 0 or more."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
