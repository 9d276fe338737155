"""The search for strings against all paths added up, and the grammars."""

from itertools import groupby, product

import numpy as np
import pytest

from spoken_digits.grammar import TOKENS, Grammar, GrammarError, align, expand, repeats, search

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
    assert [one.digits for one in found] == [digits for digits, _ in expected[:5]]
    for candidate, (_, p) in zip(found, expected, strict=False):
        assert np.exp(candidate.log_p) == pytest.approx(p, rel=1e-4)


@pytest.mark.parametrize("pattern", ["2d", "ddd", "d-7"])
def test_with_a_grammar_the_best_that_it_allows_is_found(pattern):
    log_p, grammar = lattice(1, 6, "27"), Grammar(pattern)
    allowed = {k: p for k, p in all_strings(log_p, "27").items() if grammar.allows(k)}
    best = max(allowed, key=lambda k: allowed[k])
    found, *_ = search(log_p, 3, grammar)
    assert found.digits == best
    assert np.exp(found.log_p) == pytest.approx(allowed[best], rel=1e-3)


def test_a_length_is_found_though_the_best_string_is_shorter():
    log_p = lattice(3, 8, "4")
    assert search(log_p, 1)[0].digits != "4444"
    assert search(log_p, 1, Grammar("dddd"))[0].digits == "4444"
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


WRITTEN = {  # by hand, not by the code that is tested
    "": "", "4": "4", "D": "", "4D": "4", "D4": "44", "T4": "444", "4D4": "444", "DD4": "44",
    "DT4": "444", "TD4": "44", "D44": "444", "4DD4T": "444", "4T5D0": "455500",
}  # fmt: skip


@pytest.mark.parametrize(("tokens", "digits"), WRITTEN.items())
def test_tokens_are_written_as_digits(tokens, digits):
    assert expand(tokens) == digits
    assert len(repeats(tokens)) == len(tokens)
    assert sum(repeats(tokens)) == len(digits)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pattern", ["", "dddd", "4d"])
def test_a_string_that_reads_the_same_with_and_without_double_counts_once(seed, pattern):
    scores = np.full((6, len(TOKENS) + 1), -200.0)
    possible = [4, TOKENS.index("D"), len(TOKENS)]
    scores[:, possible] = np.random.default_rng(seed).standard_normal((6, 3))
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    sums: dict[str, dict[str, float]] = {}
    for path in product(possible, repeat=6):
        tokens = "".join(TOKENS[k] for k, _ in groupby(path) if k != len(TOKENS))
        digits = tokens.replace("DD", "D").replace("DD", "D").replace("DD", "D")
        digits = digits.rstrip("D").replace("D4", "44")
        p = float(np.exp(sum(log_p[u, k] for u, k in enumerate(path))))
        if Grammar(pattern).allows(digits):
            of_tokens = sums.setdefault(digits, {})
            of_tokens[tokens] = of_tokens.get(tokens, 0) + p
    expected = sorted(sums.items(), key=lambda entry: -sum(entry[1].values()))
    found = search(log_p, 2, Grammar(pattern))
    assert [one.digits for one in found] == [digits for digits, _ in expected[:2]]
    for one, (_, of_tokens) in zip(found, expected, strict=False):
        assert np.exp(one.log_p) == pytest.approx(sum(of_tokens.values()), rel=0.02)
        assert one.tokens == max(of_tokens, key=lambda tokens: of_tokens[tokens])
        assert len(align(log_p, one.tokens)) == len(one.tokens)


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
