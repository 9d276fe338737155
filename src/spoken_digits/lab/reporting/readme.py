"""The README's generated parts and docs/results.md: made of results/*.json alone.

The same files give the same bytes; a test fails when a document and its files differ.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spoken_digits.lab.data.corpora import CORPORA
from spoken_digits.lab.data.splits import XSDR_TEST
from spoken_digits.lab.reporting.tables import percent_or_blank, seconds, table, to_markdown
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.generic import GENERIC, open_table
from spoken_digits.lab.studies.models import ORIGINAL
from spoken_digits.lab.studies.presentation import Table
from spoken_digits.lab.studies.registry import in_order, not_run, study_of
from spoken_digits.lab.studies.results import StudyResult, read_results
from spoken_digits.lab.studies.sentences import percent, provenance_words
from spoken_digits.lab.studies.study import Study

__all__ = [
    "headline",
    "replace_between",
    "results_document",
    "sentences",
    "study_lines",
    "update_readme",
]

NOT_MEASURED = "not measured"
_NOTE = (
    "Accuracy is on all 1,000 clips of lucas and yweweler, two German speakers who are in no "
    "training; in brackets on the 503 of them in the original study's test list, where that study "
    "and PocketSphinx are measured. With two test speakers no interval holds for speakers in "
    "general. The third row is the recipe of the shipped model, lucas held out together with "
    "george, yweweler with nicolas; one seed. Whisper: 80 clips, with the ten words as its prompt; "
    "{unprompted} % without. Strings: 4 to 7 digits of the same two speakers, joined from single "
    "digits. A dash: not measured."
)


def sentences(result: StudyResult) -> tuple[str, ...]:
    """Return what a study answers, at least its best row; synthetic speech is named first."""
    said = study_of(result).sentences(result) or GENERIC.sentences(result)[:1]
    lead = "On synthetic speech: " if result.provenance.is_synthetic else ""
    return tuple(f"{lead}{sentence}" for sentence in said)


# The README


def headline(results_dir: Path | str) -> Table:
    """Return the one table of the README: what this package reaches, and others beside it.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        When a file of results is missing, or holds something else.
    """
    folder = Path(results_dir)
    studies = {result.study: result for result in read_results(folder)}
    references, shipped, strings, benchmarks = (
        _read(folder / f"{name}.json")
        for name in ("references", "shipped", "strings", "benchmarks")
    )
    whisper = references["whisper_base"]
    best = studies["models"].best
    sphinx_right = _measure(benchmarks, "pocketsphinx", "503 digits", "recognized")
    sphinx_time = _measure(benchmarks, "pocketsphinx", "503 digits", "median")
    sizes = [_measure(benchmarks, name, "file") for name in ("recognize", "transcribe")]
    rejection = next(row for row in shipped["rejection_of_unseen_words"] if row["score"] == "own")
    people = shipped["fsdd_speakers"]
    held_out = sum(people[name]["accuracy"] for name in XSDR_TEST) / len(XSDR_TEST)
    by_set = strings["evaluation"]["strings"]
    joined = by_set["all of the split"]
    george = _george_with_synthetic(studies["one-speaker"])
    listed_accuracy = percent_or_blank(best.listed_accuracy)
    rows = [
        (
            "accuracy on unseen speakers: trained on FSDD alone (four speakers)",
            f"{percent(best.accuracy)} % ({listed_accuracy} %)",
            f"{percent(max(ORIGINAL.values()))} %",
            "-",
            "-",
        ),
        (
            "… on FSDD and synthetic speech",
            f"{NOT_MEASURED}; one speaker (george) and synthetic speech: "
            f"{percent_or_blank(george)} %",
            "-",
            "-",
            "-",
        ),
        (
            "… on everything licensed, without these speakers",
            f"{percent(held_out)} %",
            "-",
            f"{sphinx_right['peer']:.1f} %",
            f"{percent(whisper['accuracy_with_prompt'])} %",
        ),
        (
            "strings of joined digits: digit error rate; entirely right",
            f"{percent(joined['digit_error'])} %; {percent(joined['whole_right'])} %",
            "-",
            "-",
            "-",
        ),
        *_fluent(by_set, whisper),
        (
            "rejection of words that were in no training: AUROC; equal error rate",
            f"{rejection['auroc']:.3f}; {percent(rejection['eer'])} %",
            "-",
            "-",
            "-",
        ),
        (
            "time per clip, one CPU thread",
            seconds(sphinx_time["ours"] / 1000),
            "-",
            seconds(sphinx_time["peer"] / 1000),
            seconds(whisper["seconds_per_clip"]),
        ),
        (
            "size of the model: single digits; strings",
            "; ".join(f"{size['ours']:.2f} MB" for size in sizes),
            "-",
            "-",
            f"{whisper['file_mb']} MB",
        ),
    ]
    head = ("", "spoken-digits", "original study", "PocketSphinx 5", "Whisper base")
    note = _NOTE.format(unprompted=percent(whisper["accuracy_without_prompt"]))
    return table(head, rows, note=note)


def _fluent(by_set: Mapping[str, Any], whisper: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the row of AN4's fluent strings, where they are measured."""
    if "an4" not in by_set:
        return []
    an4 = by_set["an4"]
    theirs = "-"
    if "an4_digit_error" in whisper:
        theirs = f"{percent(whisper['an4_digit_error'])} %; {percent(whisper['an4_whole_right'])} %"
    return [
        (
            f"{an4['strings']} fluent strings of AN4, people left out: digit error rate; "
            "entirely right",
            f"{percent(an4['digit_error'])} %; {percent(an4['whole_right'])} %",
            "-",
            "-",
            theirs,
        )
    ]


def study_lines(results: Iterable[StudyResult]) -> str:
    """Return a line a study: its name, its question, and the first sentence of its answer."""
    found = in_order(tuple(results))
    lines = [f"- **{r.name}**: *{r.question}* {sentences(r)[0]}" for r in found]
    lines += [f"- **{study.name}**: *{study.question}* Not run yet." for study in not_run(found)]
    return "\n".join(lines)


def update_readme(readme: Path | str, results_dir: Path | str) -> bool:
    """Rewrite the README between its markers from results/; say whether it changed.

    Raises
    ------
    ValueError
        When a marker is missing.
    """
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    new = replace_between(text, "results", to_markdown(headline(results_dir)), readme)
    new = replace_between(new, "studies", study_lines(read_results(results_dir)), readme)
    if new != text:
        write_whole(readme, new.encode())
    return new != text


def replace_between(text: str, marker: str, block: str, name: Path | str = "text") -> str:
    """Put a block between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``.

    Raises
    ------
    ValueError
        When the markers are not there in this order; the message says `name`.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, first, rest = text.partition(begin)
    _, second, after = rest.partition(end)
    if not first or not second:
        raise ValueError(f"{name}: expected a line {begin} and, below it, {end}")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


# docs/results.md


def results_document(results_dir: Path | str) -> str:
    """Return docs/results.md: for each study its question, answer, tables and provenance."""
    lines = [
        "<!-- Made by `make docs` from results/; do not edit. -->",
        "",
        "# Results",
        "",
        "Every table of every study. How things are measured and tested: "
        "[protocol.md](protocol.md). Pictures: [results/report.html](../results/report.html). "
        "The shipped models: [MODEL_CARD.md](../MODEL_CARD.md). Speed: "
        "[benchmarks.md](benchmarks.md).",
    ]
    for result in in_order(read_results(results_dir)):
        lines += ["", f"## {result.question}", ""]
        lines += [f"- {sentence}" for sentence in sentences(result)]
        for shown in study_of(result).tables(result):
            lines += ["", to_markdown(shown)]
        link = f"[results/{result.name}.json](../results/{result.name}.json)"
        lines += ["", f"{provenance_words(result.provenance)} {link}"]
    for study in not_run(read_results(results_dir)):
        lines += ["", f"## {study.question}", "", _open_words(study), ""]
        lines += [to_markdown(open_table(study))]
    return "\n".join([*lines, ""])


def _open_words(study: Study) -> str:
    """Say that a study was not run, what it needs, and what to call."""
    assert study.corpus
    corpus = CORPORA[study.corpus]
    fetch = f"`spoken-digits corpus fetch {corpus.name}`, then " * bool(corpus.url)
    return (
        f"Not run yet: it needs the corpus {corpus.name} ({corpus.clips or 0:,} recordings, "
        f"{corpus.licence}): {fetch}`spoken-digits study {study.name}`. It was tried on made-up "
        "recordings in the layout of the corpus alone, whose accuracy says nothing."
    )


def _read(path: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _measure(benchmarks: Mapping[str, Any], name: str, *words: str) -> Mapping[str, Any]:
    """Return the row of a benchmark whose description has all the words."""
    for row in benchmarks[name]["rows"]:
        if all(word in row["what"] for word in words):
            found: Mapping[str, Any] = row
            return found
    raise ValueError(f"benchmarks.json, {name}: no row with {', '.join(words)} in its description")


def _george_with_synthetic(result: StudyResult) -> float | None:
    """Return the best accuracy on lucas and yweweler after training on george and TTS voices."""
    found = [
        row.sources["george"].xsdr_accuracy
        for row in result.rows
        if row.method.extra != "none" and row.sources and "george" in row.sources
    ]
    return max((accuracy for accuracy in found if accuracy is not None), default=None)
