"""Reports: one HTML page of one study or of several, which asks the network for nothing.

First screen: one sentence and one picture. Each section: question, answer in one sentence, picture,
table. Numbers come from the results of studies alone; what needs their runs comes from `exhibits`.
"""

import html
import json
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spoken_digits.lab.data.corpora import CORPORA, DIGITS, read_corpus
from spoken_digits.lab.reporting import figures
from spoken_digits.lab.reporting.exhibits import (
    EXHIBITS,
    Exhibits,
    Recordings,
    collect,
    read_exhibits,
)
from spoken_digits.lab.reporting.readme import headline, sentences
from spoken_digits.lab.reporting.strings import draw_curve, read_strings
from spoken_digits.lab.reporting.tables import (
    count,
    duration,
    percent_or_blank,
    table,
    to_html,
)
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.presentation import Table
from spoken_digits.lab.studies.registry import in_order, study_of
from spoken_digits.lab.studies.results import Row, StudyResult, read_result, read_results
from spoken_digits.lab.studies.sentences import percent, provenance_words
from spoken_digits.lab.studies.summary import Run, read_runs, summarize
from spoken_digits.lab.studies.titles import title

__all__ = ["published_report", "write_report"]


def write_report(
    studies: Path | str | Sequence[Path | str],
    path: Path | str,
    data: Path | str | None = None,
    sound: bool = True,
) -> Exhibits:
    """Write the report of one study or of several, one HTML file.

    Parameters
    ----------
    studies
        Folders of runs; a result in JSON, as it lies in results/, will do as well, without what
        needs the runs.
    path
        File to write.
    data
        Folder of corpora, for spectrograms and sounds; left out, as in `corpora.data_root`.
    sound
        Whether the worst errors can be played. The recordings are part of the page then: it is
        under their licence, too, and belongs in no repository that does not hold recordings.

    Returns
    -------
    What was shown of the runs, for it to be published.

    Raises
    ------
    FileNotFoundError, ValueError
        As `summarize`.
    """
    sources = [studies] if isinstance(studies, Path | str) else list(studies)
    loaded = [_load(Path(source)) for source in sources]
    results = in_order(tuple(result for result, _ in loaded))
    runs_of = {result.name: runs for result, runs in loaded}
    missing = [line for result in results for line in _missing(result, len(results) > 1)]
    clips: Recordings = {}
    try:
        corpus = read_corpus(results[0].provenance.corpus, data)
        clips = {(clip.file.name, clip.label): clip for clip in corpus}
    except (OSError, ValueError) as error:
        missing.append(f"Spectrograms, sounds and embeddings need the recordings: {error}")
    exhibits = collect(results, runs_of, clips, sound)
    write_whole(path, _page(results, exhibits, missing).encode())
    return exhibits


def published_report(results_dir: Path | str) -> str:
    """Return the report of everything in results/; the same files give the same page.

    Raises
    ------
    FileNotFoundError, ValueError
        When a file is missing, or holds something else.
    """
    folder = Path(results_dir)
    results = in_order(read_results(folder))
    shipped = folder / "shipped.json"
    return _page(
        results,
        read_exhibits(folder / EXHIBITS),
        comparison=headline(folder),
        rejection=_rejection(shipped) if shipped.is_file() else None,
        strings=_strings(folder / "strings.json"),
    )


def _page(
    results: Sequence[StudyResult],
    exhibits: Exhibits,
    missing: Sequence[str] = (),
    comparison: Table | None = None,
    rejection: dict[str, Any] | None = None,
    strings: dict[str, Any] | None = None,
) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spoken_digits.lab.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "count": count,
        "duration": duration,
        "table": to_html,
        "code": _code,
    }
    sections = [_section(result, detailed=number == 0) for number, result in enumerate(results)]
    page: str = environment.get_template("report.html.j2").render(
        sections=sections,
        exhibits=exhibits,
        embeddings=_embeddings(exhibits) if exhibits.embeddings else None,
        comparison=comparison,
        rejection=rejection,
        strings=strings,
        missing=missing,
        licence=results[0].provenance.licence,
        attribution=CORPORA[results[0].provenance.corpus].citation,
        versions=_versions(results),
    )
    return page


def _section(result: StudyResult, detailed: bool) -> dict[str, Any]:
    """Gather what the template shows of a study; what needs details, of the best row."""
    study = study_of(result)
    best = result.best
    noun = "digit" if set(result.label_names) <= set(DIGITS) else "word"
    return {
        "result": result,
        # A number and its sign of percent stay on one line.
        "sentences": [said.replace(" %", "\u00a0%") for said in sentences(result)],
        "pictures": [
            (picture, figures.draw(picture, f"{result.name}-{number}"))
            for number, picture in enumerate(study.pictures(result))
        ],
        "tables": study.tables(result),
        "provenance": provenance_words(result.provenance),
        "details": [
            _speakers(noun, best),
            _labels(noun, result, best),
        ]
        if detailed
        else [],
        "best": title(best.method, [row.method for row in result.rows]),
        "confusion": figures.confusion_matrix(
            f"{result.name} best", best.confusion, result.label_names
        )
        if detailed
        else None,
    }


def _speakers(noun: str, row: Row) -> Table:
    """Return a row a test speaker."""
    return table(
        ("speaker", "accuracy, %", "single seeds, %", "clips", f"hardest {noun}", "of which, %"),
        [
            (
                name,
                percent(score.accuracy),
                ", ".join(map(percent, row.per_speaker_seed[name])),
                count(score.clips),
                score.worst_digit,
                percent(score.worst_digit_accuracy),
            )
            for name, score in row.per_speaker.items()
        ],
        title="Test speakers",
    )


def _labels(noun: str, result: StudyResult, row: Row) -> Table:
    """Return precision, recall and F1 of each digit or word, mean over seeds."""
    names = result.label_names
    return table(
        (noun, *names),
        [
            (words, *(percent(getattr(row.per_label[name], key)) for name in names))
            for key, words in (
                ("precision", "precision, %"),
                ("recall", "recall, %"),
                ("f1", "F1, %"),
            )
        ],
        title=f"{noun.capitalize()}s",
    )


def _embeddings(exhibits: Exhibits) -> Table:
    return table(
        ("embeddings of", "speaker probe, %", "digit silhouette", "speaker silhouette"),
        [
            (
                e.title,
                percent_or_blank(e.speaker_probe),
                "" if e.digit_silhouette is None else f"{e.digit_silhouette:.3f}",
                "" if e.speaker_silhouette is None else f"{e.speaker_silhouette:.3f}",
            )
            for e in exhibits.embeddings
        ],
        note="Speaker probe: accuracy of a linear classifier of the speaker, on clips that it was "
        "not fitted on; lower means less of the speaker is left. Silhouette: 1 when groups are "
        "tight and apart, 0 when they overlap. One network each, of the first seed.",
    )


def _rejection(shipped: Path) -> dict[str, Any]:
    """Return how digits are told from words that were in no training, group by group."""
    summary = json.loads(shipped.read_text(encoding="utf-8"))
    folds = summary["rejection_by_fold"]
    log_odds = tomllib.loads(summary["recipe"])["rejection_threshold"]
    in_use = {"threshold": 1 / (1 + math.exp(-log_odds))}
    first = folds[0]
    return {
        "figure": figures.rejection_curves({**first["metrics"], "default": in_use}),
        "oov": first["metrics"]["oov"],
        "words": first["words"],
        "table": table(
            ("score", "AUROC, %", "equal error rate, %"),
            [
                (
                    {"own": "output for rejection (in use)"}.get(row["score"], row["score"]),
                    percent(row["auroc"]),
                    percent(row["eer"]),
                )
                for row in summary["rejection_of_unseen_words"]
            ],
            note="Means over the three groups.",
        ),
        "command": summary["command"],
    }


def _strings(path: Path) -> dict[str, Any] | None:
    """Return what documents tell of strings, and the curve's SVG `figure`, None without one."""
    strings = read_strings(path)
    return strings and {**strings, "figure": draw_curve(path) if strings["has_curve"] else None}


def _versions(results: Sequence[StudyResult]) -> Table:
    """Return a row a study: what it ran with, and how long."""
    keys = ("version", "python", "torch", "numpy", "platform", "device")
    return table(
        ("study", "spoken-digits", *keys[1:], "training and testing, all runs"),
        [
            (
                r.name,
                *(r.provenance.versions.get(key, "") for key in keys),
                duration(r.provenance.seconds),
            )
            for r in results
        ],
        left=7,
    )


def _missing(result: StudyResult, several: bool) -> list[str]:
    return [f"{result.name}: {line}" if several else line for line in result.missing]


def _load(source: Path) -> tuple[StudyResult, Sequence[Run]]:
    if source.suffix == ".json":
        return read_result(source), []
    return summarize(source), read_runs(source)[0]


def _code(text: str) -> str:
    """Escape text, and set what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
