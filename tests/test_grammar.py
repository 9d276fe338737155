"""The search for strings against all paths added up, and the grammars."""

from itertools import groupby, product

import numpy as np
import pytest

from spoken_digits.grammar import Grammar, GrammarError, align, search

BLANK = 10


def lattice(seed: int, U: int, digits: str) -> np.ndarray:
    """Random log-probabilities (U, 11) in which only these digits, and the blank, are possible."""
    scores = np.full((U, 11), -200.0)
    columns = [*map(int, digits), BLANK]
    scores[:, columns] = 2 * np.random.default_rng(seed).standard_normal((U, len(columns)))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def all_strings(log_p: np.ndarray, digits: str) -> dict[str, float]:
    """Add the probabilities of all paths that read as each string, one by one."""
    sums: dict[str, float] = {}
    for path in product([*map(int, digits), BLANK], repeat=len(log_p)):
        text = "".join(str(k) for k, _ in groupby(path) if k != BLANK)
        p = float(np.exp(sum(log_p[u, k] for u, k in enumerate(path))))
        sums[text] = sums.get(text, 0) + p
    return sums


@pytest.mark.parametrize("seed", range(5))
def test_the_search_adds_up_all_paths(seed):
    log_p = lattice(seed, 6, "27")
    expected = sorted(all_strings(log_p, "27").items(), key=lambda entry: -entry[1])
    found = search(log_p, 5)
    assert [digits for digits, _ in found] == [digits for digits, _ in expected[:5]]
    for (_, log_probability), (_, p) in zip(found, expected, strict=False):
        assert np.exp(log_probability) == pytest.approx(p, rel=1e-4)


@pytest.mark.parametrize("pattern", ["2d", "ddd", "d-7"])
def test_with_a_grammar_the_best_that_it_allows_is_found(pattern):
    log_p, grammar = lattice(1, 6, "27"), Grammar(pattern)
    allowed = {k: p for k, p in all_strings(log_p, "27").items() if grammar.allows(k)}
    best = max(allowed, key=lambda k: allowed[k])
    (digits, log_probability), *_ = search(log_p, 3, grammar)
    assert digits == best
    assert np.exp(log_probability) == pytest.approx(allowed[best], rel=1e-3)


def test_a_length_is_found_though_the_best_string_is_shorter():
    log_p = lattice(3, 8, "4")
    assert search(log_p, 1)[0][0] != "4444"
    assert search(log_p, 1, Grammar("dddd"))[0][0] == "4444"
    assert search(log_p, 1, Grammar("ddddd")) == []  # eight steps hold no five of one digit


@pytest.mark.parametrize("seed", range(5))
def test_alignment_follows_the_most_probable_path(seed):
    log_p, digits = lattice(seed, 7, "27"), "272"
    paths = (
        path
        for path in product([2, 7, BLANK], repeat=7)
        if "".join(str(k) for k, _ in groupby(path) if k != BLANK) == digits
    )
    best = max(paths, key=lambda path: sum(log_p[u, k] for u, k in enumerate(path)))
    expected, u = [], 0
    for k, run in groupby(best):
        steps = range(u, u + len(list(run)))
        u = steps.stop
        if k != BLANK:
            expected.append(max(steps, key=lambda step: log_p[step, k]))
    assert align(log_p, digits) == expected
    assert align(log_p, "") == []


def test_luhn():
    grammar = Grammar(luhn=True)
    assert grammar.allows("79927398713")  # Luhn's own example number with its check digit
    assert not any(grammar.allows(f"7992739871{k}") for k in "012456789")
    assert grammar.allows("4111111111111111")
    assert not grammar.allows("")


def test_patterns():
    assert Grammar("ddd-dddd").slots == "ddddddd"
    assert Grammar("(415) ddd").allows("415123")
    assert not Grammar("415 ddd").allows("416123")
    assert not Grammar("ddd").allows("12")
    assert Grammar().allows("")
    with pytest.raises(GrammarError, match="what is 'x'"):
        Grammar("dxd")
    with pytest.raises(GrammarError, match="no digits"):
        Grammar("--")
