"""Sentences made of rows whose answers are known, and cells of tables."""

from dataclasses import replace

import pytest
from made_rows import SIX, TWO, result, row

from spoken_digits.lab.studies.comparisons import compare
from spoken_digits.lab.studies.sentences import (
    accuracy_cell,
    accuracy_words,
    change_cell,
    change_note,
    comparison_sentence,
    p_words,
    points,
    provenance_words,
    tally,
    verdict_words,
)


def comparison(speakers, ours, plain):
    """Compare a row with one of other accuracies; each speaker has the same."""
    rows = [
        row({s: list(ours) for s in speakers}),
        row({s: list(plain) for s in speakers}, augmentation="none"),
    ]
    (found,) = compare(rows, lambda m: replace(m, augmentation="none"))
    return found


def said(found):
    return comparison_sentence(found, "basic augmentation", "without augmentation")


def test_better_for_two_speakers():
    sentence = said(comparison(TWO, [0.95, 0.95], [0.9, 0.9]))
    # statsmodels: Newcombe for 475 and 450 of 500, margins over the root of two speakers.
    assert sentence == (
        "Accuracy, basic augmentation: 95.0 % against 90.0 % without augmentation, +5.0 points "
        "(95 % interval +2.7 to +7.4 over clips and seeds): improves for these two speakers."
    )


def test_worse_for_two_speakers():
    sentence = said(comparison(TWO, [0.9, 0.9], [0.95, 0.95]))
    assert sentence == (
        "Accuracy, basic augmentation: 90.0 % against 95.0 % without augmentation, -5.0 points "
        "(95 % interval -7.4 to -2.7 over clips and seeds): worsens for these two speakers."
    )


def test_no_difference_for_two_speakers():
    sentence = said(comparison(TWO, [0.91, 0.91], [0.9, 0.9]))
    assert "91.0 % against 90.0 %" in sentence
    assert "+1.0 points" in sentence
    assert sentence.endswith(": no significant difference for these two speakers.")


def test_a_tie():
    sentence = said(comparison(TWO, [0.9, 0.9], [0.9, 0.9]))
    assert "90.0 % against 90.0 % without augmentation, +0.0 points" in sentence
    assert sentence.endswith(": no significant difference for these two speakers.")


def test_one_seed_is_said():
    sentence = said(comparison(TWO, [0.95], [0.9]))
    assert "over clips): improves for these two speakers (one seed)." in sentence


def test_six_speakers_have_a_test_and_its_name():
    # All six the same way: 2 of 64 patterns of signs.
    sentence = said(comparison(SIX, [0.95, 0.95], [0.9, 0.9]))
    assert sentence == (
        "Accuracy, basic augmentation: 95.0 % against 90.0 % without augmentation, +5.0 points "
        "(95 % interval +5.0 to +5.0 over speakers): improves (sign-flip permutation test over 6 "
        "speakers, p = 0.031)."
    )
    worse = verdict_words(comparison(SIX, [0.9, 0.9], [0.95, 0.95]))
    assert worse == "worsens (sign-flip permutation test over 6 speakers, p = 0.031)"


def test_holm_is_named_with_its_family():
    found = replace(comparison(SIX, [0.95, 0.95], [0.9, 0.9]), family_size=3, p_holm=0.09)
    assert verdict_words(found).endswith("p = 0.09, Holm over 3 comparisons)")


def test_a_tally_puts_each_where_it_belongs():
    better = comparison(TWO, [0.95, 0.95], [0.9, 0.9])
    worse = comparison(TWO, [0.9, 0.9], [0.95, 0.95])
    same = comparison(TWO, [0.9, 0.9], [0.9, 0.9])
    named = [("a", better), ("b", worse), ("c", same), ("d", better), ("e", better)]
    assert tally(named) == ("Improves: a, d and e; worsens: b; no significant difference: c.")
    assert tally([("b", worse)]) == "Worsens: b."
    assert tally([]) == ""


@pytest.mark.parametrize(
    ("difference", "expected"), [(0.056, "+5.6"), (-0.011, "-1.1"), (0.0, "+0.0")]
)
def test_points_have_their_sign(difference, expected):
    assert points(difference) == expected


def test_accuracy_has_an_interval_over_speakers_from_six_on():
    two = row({s: [0.9, 0.9] for s in TWO})
    # Wilson's interval for 900 of 1000.
    assert accuracy_words(two) == "90.0 % (mean of 2 seeds; 95 % interval over clips 88.0 to 91.7)"
    six = row({s: [0.85 + 0.02 * k] for k, s in enumerate(SIX)})
    assert accuracy_words(six).startswith("90.0 % (one seed; 95 % interval over speakers ")


def test_cells():
    assert accuracy_cell(row({s: [0.9, 0.8] for s in TWO})).text == "85.0 ± 7.1"
    assert accuracy_cell(row({s: [0.9] for s in TWO})).text == "90.0"
    cell = change_cell(comparison(TWO, [0.9, 0.9], [0.95, 0.95]))
    assert (cell.text, cell.verdict) == ("-5.0 (-7.4 to -2.7)", "worsens")
    assert accuracy_cell(None).text == change_cell(None).text == "-"


def test_a_note_says_of_whom_intervals_hold():
    two = comparison(TWO, [0.95, 0.95], [0.9, 0.9])
    note = change_note([two, two])
    assert "over clips and seeds of two speakers (unpaired, Newcombe's" in note
    assert "no test for speakers in general" in note
    six = comparison(SIX, [0.95, 0.95], [0.9, 0.9])
    assert "over six speakers (bootstrap; verdicts by a sign-flip" in change_note([six])
    assert "of one or two speakers" in change_note(
        [two, comparison(TWO[:1], [0.9, 0.9], [0.8, 0.8])]
    )


def test_small_p_values_are_not_written_as_zero():
    assert p_words(0.0312) == "p = 0.031"
    assert p_words(1e-9) == "p < 0.0001"


def test_provenance_is_one_line_with_short_hashes():
    made = result([row({s: [0.9] for s in TWO})])
    assert provenance_words(made.provenance) == (
        "Made by `spoken-digits study mine`, seeds 0, 1, 2, commits 0123456, fedcba9; 1,000 clips "
        "of lucas and yweweler tested; corpus fsdd (CC BY-SA 4.0), SHA-256 abababababab."
    )
