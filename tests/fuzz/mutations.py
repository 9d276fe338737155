"""Mutations of a file, drawn from a generator: the same draws give the same bytes.

Each takes the file and returns it changed, with what was done in words.
"""

import re
from collections.abc import Callable

import numpy as np

__all__ = ["MUTATIONS", "mutate", "seal"]

MANY = (1, 1, 1, 2, 2, 3, 4)
HEADER_BYTES = 256  # where headers mostly are: half of the draws fall there
MAX_BYTES = 1 << 19

# Where chunks, pages, frames and boxes begin: what is swapped and repeated lies between.
_MARKS = re.compile(
    rb"OggS|RIFF|RIFX|RF64|ds64|fmt |data|LIST|fact|FORM|COMM|SSND|FVER|caff|desc|pakt|kuki|fLaC"
    rb"|ftyp|moov|mdat|stts|stsz|stsc|stco|\x1a\x45\xdf\xa3|\x1f\x43\xb6\x75|\xa3|ID3|TAG|Xing|Info"
    rb"|\xff[\xe2-\xff]|#!AMR|\.snd|NIST|end_head"
)
_NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 16, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    *(3_999, 8_000, 44_100, 192_000, 2**24, 1_000_000_000),
)

Result = tuple[bytes, str]


def mutate(content: bytes, rng: np.random.Generator, others: tuple[bytes, ...]) -> Result:
    """Change a file up to four times; `others` are valid files that may be joined to it."""
    done = []
    for _ in range(MANY[rng.integers(len(MANY))]):
        mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
        content, said = mutation(content, rng, others)
        content = content[:MAX_BYTES]
        done.append(said)
    if b"OggS" in content and rng.integers(2):
        content = seal(content)
        done.append("checksums of Ogg set right")
    return content, "; ".join(done)


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Return a position: in the header, at a mark, or anywhere."""
    size = len(content)
    where = rng.integers(4)
    if where < 2:
        return int(rng.integers(min(size, HEADER_BYTES) + 1))
    if where == 2 and (marks := _marks(content)):
        return min(size, marks[rng.integers(len(marks))] + int(rng.integers(24)))
    return int(rng.integers(size + 1))


def _marks(content: bytes) -> list[int]:
    return [found.start() for found in _MARKS.finditer(content)]


def _stretch(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Return from where to where: between marks, or anywhere."""
    marks = [*_marks(content), len(content)]
    if len(marks) > 2 and rng.integers(4):
        first = int(rng.integers(len(marks) - 1))
        last = min(len(marks) - 1, first + int(rng.integers(1, 4)))
        return marks[first], marks[last]
    start = _place(content, rng)
    return start, min(len(content), start + int(2 ** rng.uniform(0, 12)))


def _bytes(rng: np.random.Generator, count: int) -> bytes:
    """Return zeros, ones, spaces or noise."""
    kind = rng.integers(5)
    return rng.bytes(count) if kind > 2 else bytes([(0, 0xFF, 0x20)[kind]]) * count


def _cut(content: bytes, rng: np.random.Generator, _: object) -> Result:
    at = int(rng.integers(len(content) + 1))
    return content[:at], f"cut at {at}"


def _behead(content: bytes, rng: np.random.Generator, _: object) -> Result:
    at = _place(content, rng)
    return content[at:], f"begun at {at}"


def _flip(content: bytes, rng: np.random.Generator, _: object) -> Result:
    changed, said = bytearray(content), []
    for _bit in range(int(2 ** rng.uniform(0, 5))):
        if (at := _place(content, rng)) < len(changed):
            bit = int(rng.integers(8))
            changed[at] ^= 1 << bit
            said.append(f"{at}.{bit}")
    return bytes(changed), f"bits flipped: {' '.join(said)}"


def _set(content: bytes, rng: np.random.Generator, _: object) -> Result:
    at = _place(content, rng)
    new = _bytes(rng, int(2 ** rng.uniform(0, 6)))
    return content[:at] + new + content[at + len(new) :], f"at {at}: {len(new)} bytes of others"


def _number(content: bytes, rng: np.random.Generator, _: object) -> Result:
    """Write a number where a size or count may be: also one near the true size."""
    at, width = _place(content, rng), int(rng.choice([1, 2, 3, 4, 4, 4, 8]))
    kind = rng.integers(3)
    if kind == 0:
        value = len(content) + int(rng.integers(-64, 65))
    elif kind == 1:
        value = int(2 ** rng.uniform(0, 8 * width))
    else:
        value = _NUMBERS[rng.integers(len(_NUMBERS))]
    order = "little" if rng.integers(2) else "big"
    new = (value % 256**width).to_bytes(width, order)
    said = f"at {at}: {value % 256**width} in {width} bytes, {order}-endian"
    return content[:at] + new + content[at + width :], said


def _text_number(content: bytes, rng: np.random.Generator, others: tuple[bytes, ...]) -> Result:
    """Change a number that is written in digits, as in NIST SPHERE; without one, another number."""
    numbers = list(re.finditer(rb"-?\d+", content[:2048]))
    if not numbers:
        return _number(content, rng, others)
    found = numbers[rng.integers(len(numbers))]
    value = str(_NUMBERS[rng.integers(len(_NUMBERS))] * int(rng.choice([1, -1]))).encode()
    if rng.integers(2):  # of the same width, so that what follows stays in its place
        value = value[: len(found[0])].rjust(len(found[0]))
    at = found.start()
    return content[:at] + value + content[found.end() :], f"at {at}: {value.decode()} in digits"


def _insert(content: bytes, rng: np.random.Generator, _: object) -> Result:
    at, count = _place(content, rng), int(2 ** rng.uniform(0, 12))
    return content[:at] + _bytes(rng, count) + content[at:], f"at {at}: {count} bytes inserted"


def _delete(content: bytes, rng: np.random.Generator, _: object) -> Result:
    start, stop = _stretch(content, rng)
    return content[:start] + content[stop:], f"{start} to {stop} deleted"


def _repeat(content: bytes, rng: np.random.Generator, _: object) -> Result:
    start, stop = _stretch(content, rng)
    count = int(rng.integers(2, 9))
    said = f"{start} to {stop} {count} times"
    return content[:start] + content[start:stop] * count + content[stop:], said


def _swap(content: bytes, rng: np.random.Generator, _: object) -> Result:
    (a, b), (c, d) = sorted([_stretch(content, rng), _stretch(content, rng)])
    c, d = max(b, c), max(b, d)
    said = f"{a} to {b} and {c} to {d} swapped"
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:], said


def _join(content: bytes, rng: np.random.Generator, others: tuple[bytes, ...]) -> Result:
    k = int(rng.integers(len(others)))
    if rng.integers(2):
        return others[k] + content, f"behind a file ({k})"
    return content + others[k], f"before a file ({k})"


def _nest(content: bytes, rng: np.random.Generator, others: tuple[bytes, ...]) -> Result:
    k, at = int(rng.integers(len(others))), _place(content, rng)
    return content[:at] + others[k] + content[at:], f"at {at}: a file ({k}) inserted"


def _surround(content: bytes, rng: np.random.Generator, _: object) -> Result:
    count = int(2 ** rng.uniform(0, 14))
    if rng.integers(2):
        return _bytes(rng, count) + content, f"behind {count} bytes"
    return content + _bytes(rng, count), f"before {count} bytes"


def _tag(content: bytes, rng: np.random.Generator, _: object) -> Result:
    """Put an ID3 tag before it, whose size need not be true."""
    count, size = int(2 ** rng.uniform(0, 10)), int(2 ** rng.uniform(0, 28))
    if rng.integers(2):
        size = count
    field = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    tag = b"ID3\4\0" + rng.choice([b"\0", b"\x10"]) + field + _bytes(rng, count)
    return tag + content, f"behind a tag of {count} bytes that declares {size}"


MUTATIONS: tuple[Callable[[bytes, np.random.Generator, tuple[bytes, ...]], Result], ...] = (
    *(_cut, _behead, _flip, _flip, _set, _number, _number, _number, _text_number, _insert),
    *(_delete, _repeat, _swap, _join, _nest, _surround, _tag),
)


# Checksums of Ogg (RFC 3533, section 6): without them only what splits it into pages is reached


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value >> 31 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def seal(content: bytes) -> bytes:
    """Set the checksum of each page of Ogg right."""
    sealed, at = bytearray(content), content.find(b"OggS")
    while at >= 0 and len(head := content[at : at + 27]) == 27:
        stop = at + 27 + head[26] + sum(content[at + 27 : at + 27 + head[26]])
        sealed[at + 22 : at + 26] = bytes(4)
        crc = 0
        for byte in sealed[at:stop]:
            crc = crc << 8 & 0xFFFFFFFF ^ _CRC[crc >> 24 ^ byte]
        sealed[at + 22 : at + 26] = crc.to_bytes(4, "little")
        at = content.find(b"OggS", max(stop, at + 1))
    return bytes(sealed)
