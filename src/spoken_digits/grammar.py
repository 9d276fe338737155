"""Grammars: which strings of digits are allowed, and the search for the most probable of them.

Shapes: U steps, C = 11 classes, the digits and the blank; logarithms of probabilities throughout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grammar", "GrammarError", "align", "search"]

FloatArray = NDArray[np.float32]

_BLANK = 10
_SEPARATORS = frozenset(" -./()")
_BEAM_WIDTH = 32  # hypotheses that are kept; of each length, where there is a grammar
_MIN_LOG_P = -12.0  # of a digit at a step, the logarithm of 6e-6; below, it is not followed
_IMPOSSIBLE = -np.inf


class GrammarError(ValueError):
    """A pattern that cannot be read; the message says what was expected."""


@dataclass(frozen=True)
class Grammar:
    """The form of the strings of digits that are allowed.

    Attributes
    ----------
    pattern : str
        ``d`` for any digit, or the digit itself; spaces and ``-./()`` are for the reader only. Left
        empty, any string will do.
    luhn : bool
        Whether the last digit must be the check digit of the others (Luhn 1960, US 2950048), as on
        payment cards.
    """

    pattern: str = ""
    luhn: bool = False

    def __post_init__(self) -> None:
        if unknown := set(self.pattern) - set("d0123456789") - _SEPARATORS:
            raise GrammarError(
                f"pattern {self.pattern!r}: what is {', '.join(map(repr, sorted(unknown)))}? "
                "expected d for any digit, digits, and separators such as in ddd-dddd"
            )
        if self.pattern and not self.slots:
            raise GrammarError(f"pattern {self.pattern!r}: no digits; expected some, as in ddd")

    @property
    def slots(self) -> str:
        """The pattern without separators."""
        return "".join(c for c in self.pattern if c not in _SEPARATORS)

    def may_follow(self, prefix: str, digit: str) -> bool:
        """Whether a string may go on with this digit."""
        slots = self.slots
        return not slots or (len(prefix) < len(slots) and slots[len(prefix)] in ("d", digit))

    def allows(self, digits: str) -> bool:
        """Whether this whole string is allowed."""
        slots = self.slots
        if slots and not (
            len(digits) == len(slots)
            and all(s in ("d", c) for s, c in zip(slots, digits, strict=True))
        ):
            return False
        return not self.luhn or (bool(digits) and _luhn_sum(digits) % 10 == 0)

    def __str__(self) -> str:
        wanted = [self.pattern] if self.pattern else []
        return " ".join(wanted + ["with a check digit"] * self.luhn) or "any digits"


def _luhn_sum(digits: str) -> int:
    doubled = (sum(divmod(2 * int(c), 10)) for c in digits[-2::-2])
    return sum(int(c) for c in digits[-1::-2]) + sum(doubled)


def search(
    log_p: FloatArray, count: int = 1, grammar: Grammar | None = None
) -> list[tuple[str, float]]:
    """Find the most probable strings: prefix beam search (Hannun et al. 2014, algorithm 1).

    Parameters
    ----------
    log_p
        (U, C), normalized at each step.
    count
        How many strings are wanted, at most.
    grammar
        Which strings are looked for; left out, all.

    Returns
    -------
    list of (digits, log-probability), the best first; empty where the grammar allows none that is
    followed.
    """
    grammar = grammar or Grammar()
    # Of each prefix, the probability that it ends with a blank, and that it ends with its digit.
    beams: dict[str, tuple[float, float]] = {"": (0.0, _IMPOSSIBLE)}
    for row in log_p.astype(float):
        digits = [int(k) for k in np.flatnonzero(row[:_BLANK] > _MIN_LOG_P)]
        following: dict[str, tuple[float, float]] = {}
        for prefix, (blank, digit) in beams.items():
            either = float(np.logaddexp(blank, digit))
            last = int(prefix[-1]) if prefix else _BLANK
            again = digit + row[last] if prefix else _IMPOSSIBLE
            _add(following, prefix, either + row[_BLANK], again)
            for k in digits:
                if not grammar.may_follow(prefix, str(k)):
                    continue
                before = blank if k == last else either  # a digit twice needs a blank between
                _add(following, prefix + str(k), _IMPOSSIBLE, before + row[k])
        beams = _prune(following, bool(grammar.pattern or grammar.luhn))
    found = ((digits, float(np.logaddexp(*p))) for digits, p in beams.items())
    allowed = [(digits, p) for digits, p in found if p > _IMPOSSIBLE and grammar.allows(digits)]
    return sorted(allowed, key=lambda entry: -entry[1])[:count]


def _add(beams: dict[str, tuple[float, float]], prefix: str, blank: float, digit: float) -> None:
    """Add to the two logarithmic probabilities of a prefix."""
    old = beams.get(prefix, (_IMPOSSIBLE, _IMPOSSIBLE))
    beams[prefix] = (float(np.logaddexp(old[0], blank)), float(np.logaddexp(old[1], digit)))


def _prune(
    beams: dict[str, tuple[float, float]], by_length: bool
) -> dict[str, tuple[float, float]]:
    """Keep the best prefixes; by length the best of each, as the best of all may be too short."""
    ranked = sorted(beams.items(), key=lambda entry: -np.logaddexp(*entry[1]))
    if not by_length:
        return dict(ranked[:_BEAM_WIDTH])
    kept: dict[str, tuple[float, float]] = {}
    lengths: dict[int, int] = {}
    for prefix, p in ranked:
        lengths[len(prefix)] = lengths.get(len(prefix), 0) + 1
        if lengths[len(prefix)] <= _BEAM_WIDTH:
            kept[prefix] = p
    return kept


def align(log_p: FloatArray, digits: str) -> list[int]:
    """Find the step that emits each of the n digits, on the most probable path (Viterbi).

    Parameters
    ----------
    log_p
        (U, C).
    digits
        A string that is possible in U steps.

    Returns
    -------
    n steps: of each digit's run, the step at which it is most probable
    """
    if not digits:
        return []
    labels = np.full(2 * len(digits) + 1, _BLANK)
    labels[1::2] = [int(c) for c in digits]
    may_skip = np.zeros(len(labels), bool)  # the blank between two unlike digits
    may_skip[3::2] = labels[3::2] != labels[1:-2:2]
    best = np.full(len(labels), _IMPOSSIBLE)
    best[0] = 0.0
    moves = np.zeros((len(log_p), len(labels)), np.int8)
    start = True
    for u, row in enumerate(log_p.astype(float)):
        one = np.concatenate([[_IMPOSSIBLE], best[:-1]])
        two = np.where(
            may_skip, np.concatenate([[_IMPOSSIBLE, _IMPOSSIBLE], best[:-2]]), _IMPOSSIBLE
        )
        if start:  # before the first step there is only the beginning
            two[:] = _IMPOSSIBLE
            start = False
        ways = np.stack([best, one, two])
        moves[u] = ways.argmax(axis=0)
        best = ways.max(axis=0) + row[labels]
    place = len(labels) - 1 if best[-1] >= best[-2] else len(labels) - 2
    steps: dict[int, int] = {}
    for u in range(len(log_p) - 1, -1, -1):
        if place % 2:
            index, digit = place // 2, labels[place]
            if index not in steps or log_p[u, digit] > log_p[steps[index], digit]:
                steps[index] = u
        place -= int(moves[u, place])
    return [steps[i] for i in range(len(digits))]
