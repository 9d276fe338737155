"""Grammars: which strings of digits are allowed, and the search for the most probable of them.

What is searched are strings of tokens: the digits, and "double" and "triple", which repeat the
digit after them (`expand`). What a grammar allows are strings of digits.
Shapes: U steps, C = 13 classes, `TOKENS` and last the blank, or 11, without the last two tokens;
logarithms of probabilities throughout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOKENS", "Candidate", "Grammar", "GrammarError", "align", "expand", "repeats", "search"]

FloatArray = NDArray[np.float32]

TOKENS = "0123456789DT"  # D is "double", T is "triple"
_BLANK = -1
_TIMES = {"D": 2, "T": 3}
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

    def may_begin(self, digits: str) -> bool:
        """Whether a string may begin with these digits."""
        slots = self.slots
        return not slots or (
            len(digits) <= len(slots)
            and all(s in ("d", c) for s, c in zip(slots, digits, strict=False))
        )

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


class Candidate(NamedTuple):
    """A string that was found.

    Attributes
    ----------
    digits : str
    log_p : float
        Its log-probability, over all that reads as it.
    tokens : str
        Of the strings of tokens that read as it, the most probable.
    """

    digits: str
    log_p: float
    tokens: str


def repeats(tokens: str) -> list[int]:
    """How often each token is written as a digit: 0 for "double" and "triple" themselves.

    Of several before one digit the last counts; without a digit after them they do nothing.
    """
    before = ["", *tokens[:-1]]
    return [
        0 if token in _TIMES else _TIMES.get(last, 1)
        for last, token in zip(before, tokens, strict=False)
    ]


def expand(tokens: str) -> str:
    """Write a string of tokens as digits: "4D5" is 455."""
    return "".join(
        token * count for token, count in zip(tokens, repeats(tokens), strict=True) if count
    )


def search(log_p: FloatArray, count: int = 1, grammar: Grammar | None = None) -> list[Candidate]:
    """Find the most probable strings: prefix beam search (Hannun et al. 2014, algorithm 1).

    Here "double" repeats the digit after it however long the pause between them is.

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
    list of Candidate, the best first; empty where the grammar allows none that is followed.
    """
    grammar = grammar or Grammar()
    # Of each prefix, the probability that it ends with a blank, and that it ends with its token.
    beams: dict[str, tuple[float, float]] = {"": (0.0, _IMPOSSIBLE)}
    for row in log_p.astype(float):
        probable = [int(k) for k in np.flatnonzero(row[:_BLANK] > _MIN_LOG_P)]
        following: dict[str, tuple[float, float]] = {}
        for prefix, (blank, token) in beams.items():
            either = float(np.logaddexp(blank, token))
            last = TOKENS.index(prefix[-1]) if prefix else _BLANK
            again = token + row[last] if prefix else _IMPOSSIBLE
            _add(following, prefix, either + row[_BLANK], again)
            for k in probable:
                longer = prefix + TOKENS[k]
                if grammar.pattern and not grammar.may_begin(expand(longer)):
                    continue
                before = blank if k == last else either  # a token twice needs a blank between
                _add(following, longer, _IMPOSSIBLE, before + row[k])
        beams = _prune(following, bool(grammar.pattern or grammar.luhn))
    found: dict[str, Candidate] = {}
    for tokens, p in sorted(beams.items(), key=lambda entry: -np.logaddexp(*entry[1])):
        digits, one = expand(tokens), float(np.logaddexp(*p))
        if one > _IMPOSSIBLE and grammar.allows(digits):
            best = found.get(digits, Candidate(digits, _IMPOSSIBLE, tokens))
            found[digits] = best._replace(log_p=float(np.logaddexp(best.log_p, one)))
    return sorted(found.values(), key=lambda candidate: -candidate.log_p)[:count]


def _add(beams: dict[str, tuple[float, float]], prefix: str, blank: float, token: float) -> None:
    """Add to the two logarithmic probabilities of a prefix."""
    old = beams.get(prefix, (_IMPOSSIBLE, _IMPOSSIBLE))
    beams[prefix] = (float(np.logaddexp(old[0], blank)), float(np.logaddexp(old[1], token)))


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
        length = len(expand(prefix))
        lengths[length] = lengths.get(length, 0) + 1
        if lengths[length] <= _BEAM_WIDTH:
            kept[prefix] = p
    return kept


def align(log_p: FloatArray, tokens: str) -> list[int]:
    """Find the step that emits each of the n tokens, on the most probable path (Viterbi).

    Parameters
    ----------
    log_p
        (U, C).
    tokens
        A string of them that is possible in U steps.

    Returns
    -------
    n steps: of each token's run, the step at which it is most probable
    """
    if not tokens:
        return []
    labels = np.full(2 * len(tokens) + 1, _BLANK)
    labels[1::2] = [TOKENS.index(c) for c in tokens]
    may_skip = np.zeros(len(labels), bool)  # the blank between two unlike tokens
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
            index, token = place // 2, labels[place]
            if index not in steps or log_p[u, token] > log_p[steps[index], token]:
                steps[index] = u
        place -= int(moves[u, place])
    return [steps[i] for i in range(len(tokens))]
