"""The model card: from the models that ship and results/*.json to MODEL_CARD.md.

Figures of another model than the one that ships are left out; the card tells how to get new ones.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spoken_digits.lab.reporting.strings import read_strings
from spoken_digits.lab.reporting.tables import (
    count,
    interval,
    percent_or_blank,
    table,
    to_markdown,
)
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.presentation import Table
from spoken_digits.lab.studies.sentences import listed, percent
from spoken_digits.recognize import SHIPPED_MODEL, Recognizer

__all__ = ["model_card", "update_card"]

Result = Mapping[str, Any]

# Corpora as a reader knows them.
CORPORA = {
    "fsdd": "Free Spoken Digit Dataset",
    "speech_commands": "Speech Commands",
    "voices": "eSpeak NG (synthetic)",
    "flite-festival": "flite and festival (synthetic)",
    "kokoro": "Kokoro (synthetic)",
}


def model_card(results: Path | str, model: Path | str = SHIPPED_MODEL) -> str:
    """Return the card of a model, Markdown.

    Parameters
    ----------
    results
        Folder of published results, of which some may be missing.
    model
        The exported model.

    Raises
    ------
    ModelError
        When there is no such model.
    """
    import jinja2

    results, recognizer = Path(results), Recognizer(model)
    metadata = recognizer.metadata
    training = json.loads(metadata.get("training_data", "{}"))
    content = recognizer.path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()

    def of_this_model(name: str) -> Result | None:
        result = _read(results / name)
        return result if result and result.get("model", {}).get("sha256") == digest else None

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spoken_digits.lab.reporting"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, made of our own files
    )
    environment.filters |= {"percent": percent, "table": to_markdown, "listed": listed}
    shipped, rejection = _read(results / "shipped.json"), of_this_model("rejection.json")
    endpoints = of_this_model("endpoints.json")
    corpora = training.get("corpora", {})
    return environment.get_template("MODEL_CARD.md.j2").render(
        metadata=metadata,
        name=recognizer.path.name,
        digest=digest,
        size_mb=f"{len(content) / 1e6:.2f}",
        parameters=count(int(metadata.get("parameters", 0))),
        labels=recognizer.labels,
        rejects=recognizer.rejects,
        threshold=recognizer.threshold,
        training=training,
        corpora=_training(corpora) if corpora else None,
        corpus_names=tuple(corpora) or tuple(filter(None, [training.get("corpus")])),
        speakers=training.get("train_speakers", ()),
        shipped=shipped,
        accuracy=_accuracy(shipped) if shipped else None,
        people=_people(shipped) if shipped else None,
        recall=_recall(shipped) if shipped else None,
        degraded=_degraded(shipped) if shipped else None,
        unseen_words=_unseen_words(shipped) if shipped else None,
        default=_default(shipped, recognizer.threshold) if shipped else None,
        knows_oh=recognizer.knows_oh,
        variants=_variants(shipped) if shipped and "variants" in shipped else None,
        endpoints=endpoints,
        troubled=_troubled(endpoints) if endpoints else None,
        rejection=rejection,
        thresholds=_thresholds(rejection) if rejection else None,
        benchmarks=_benchmarks(_read(results / "benchmarks.json") or {}),
        strings=read_strings(results / "strings.json"),
        own=_own_words(_read(results / "own_words.json")),
    )


def update_card(path: Path | str, results: Path | str, model: Path | str = SHIPPED_MODEL) -> bool:
    """Write the card; say whether it changed."""
    path, new = Path(path), model_card(results, model)
    if path.is_file() and path.read_text(encoding="utf-8") == new:
        return False
    write_whole(path, new.encode())
    return True


def _read(path: Path) -> Result | None:
    if not path.is_file():
        return None
    loaded: Result = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _corpus(name: str) -> str:
    return CORPORA.get(name, name)


def _training(corpora: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a row a corpus."""
    keys = list(dict.fromkeys(key for counts in corpora.values() for key in counts))
    return table(
        ("corpus", *(key.replace("_", " ") for key in keys)),
        tuple(
            (_corpus(name), *(count(counts[key]) if key in counts else "" for key in keys))
            for name, counts in corpora.items()
        ),
    )


def _accuracy(shipped: Result) -> Table:
    """Return a row for everything that was held out."""
    return table(
        ("held out", "clips", "speakers", "accuracy, %", "macro F1, %", "calibration error, %"),
        tuple(
            (
                _held_out(row["held_out"]),
                count(row["clips"]),
                count(row["speakers"]),
                *(percent(row[key]) for key in ("accuracy", "macro_f1", "ece")),
            )
            for row in shipped["accuracy"]
        ),
    )


def _held_out(text: str) -> str:
    name, _, how = text.partition(", ")
    return f"{_corpus(name)}, {how}" if how else _corpus(name)


def _people(shipped: Result) -> Table:
    """Return a row a speaker of FSDD."""
    return table(
        ("speaker", "FSDD held out whole, %", "held out with one other speaker, %"),
        tuple(
            (name, percent(row["accuracy_corpus_held_out"]), percent(row["accuracy"]))
            for name, row in sorted(shipped["fsdd_speakers"].items())
        ),
    )


def _recall(shipped: Result) -> Table:
    """Return a row a corpus, a column a digit; how many clips where they are few."""
    cells: dict[str, dict[str, Any]] = {}
    for row in shipped["recall_by_digit"]:
        cells.setdefault(row["corpus"], {})[str(row["digit"])] = row
    digits = list(dict.fromkeys(digit for row in cells.values() for digit in row))
    return table(
        ("recall, %", *digits),
        tuple(
            (
                _corpus(name),
                *(
                    percent(row[d]["recall"])
                    + (f" ({row[d]['clips']} clips)" if row[d]["clips"] < 100 else "")
                    for d in digits
                ),
            )
            for name, row in cells.items()
        ),
    )


def _degraded(shipped: Result) -> Table:
    """Return a row a condition, a column a corpus."""
    cells: dict[str, dict[str, str]] = {}
    for row in shipped["degraded_recordings"]:
        cells.setdefault(row["condition"], {})[row["corpus"]] = percent(row["accuracy"])
    names = list(dict.fromkeys(row["corpus"] for row in shipped["degraded_recordings"]))
    return table(
        ("condition", *(f"{_corpus(name)}, %" for name in names)),
        tuple((what, *(row.get(name, "") for name in names)) for what, row in cells.items()),
    )


def _unseen_words(shipped: Result) -> Table:
    """Return a row a score, by which digits are told from words that were in no training."""
    names = {"own": "output for rejection (in use)"}
    return table(
        ("score", "AUROC, %", "equal error rate, %"),
        tuple(
            (names.get(row["score"], row["score"]), percent(row["auroc"]), percent(row["eer"]))
            for row in shipped["rejection_of_unseen_words"]
        ),
    )


def _default(shipped: Result, threshold: float) -> dict[str, float] | None:
    """Return error rates at a model's threshold, the mean over folds; None without these."""
    points = [row["metrics"]["default"] for row in shipped.get("rejection_by_fold", ())]
    if not points or any(abs(point["threshold"] - threshold) > 1e-6 for point in points):
        return None
    rates = ("false_reject_rate", "false_accept_rate")
    return {rate: sum(point[rate] for point in points) / len(points) for rate in rates}


def _thresholds(rejection: Result) -> Table:
    return table(
        (
            "threshold",
            "false rejects, %",
            "digits accepted and correct, %",
            "false accepts, %",
            "false alarms per hour of noise",
        ),
        tuple(
            (
                f"{point['threshold']:.2f}",
                percent(point["false_reject_rate"]),
                percent(point["accuracy"]),
                percent(point["false_accept_rate"]),
                ""
                if point["noise_false_alarms_per_hour"] is None
                else f"{point['noise_false_alarms_per_hour']:.0f}",
            )
            for point in rejection["operating_points"]
        ),
        left=0,
    )


def _variants(shipped: Result) -> Table:
    """Return a row a variant of the network."""
    keys = {
        "accuracy_fsdd_whole": "FSDD, whole, %",
        "accuracy_fsdd_speakers": "FSDD, speakers, %",
        "accuracy_speech_commands_whole": "Speech Commands, whole, %",
        "accuracy_speech_commands_speakers": "Speech Commands, speakers, %",
        "rejection_auroc": "rejection AUROC, %",
        "rejection_eer": "equal error rate, %",
    }
    rows = shipped["variants"]
    kept = [key for key in keys if any(key in row for row in rows)]
    return table(
        ("variant", "parameters", "file, MB", *(keys[key] for key in kept)),
        tuple(
            (
                row["variant"],
                count(row["parameters"]),
                f"{row['file_bytes'] / 1e6:.2f}",
                *(percent_or_blank(row.get(key)) for key in kept),
            )
            for row in rows
        ),
    )


def _troubled(endpoints: Result) -> Table:
    """Return a row a condition, a column a corpus."""
    tables: Mapping[str, Sequence[Result]] = endpoints["tables"]
    return table(
        ("recording", *(f"{_corpus(name)}, %" for name in tables)),
        tuple(
            (
                rows[0]["condition"],
                *(f"{percent(row['accuracy'])} ({percent(row['ends_known'])})" for row in rows),
            )
            for rows in zip(*tables.values(), strict=True)
        ),
    )


def _own_words(measured: Result | None) -> dict[str, Any] | None:
    """Return what recordings of new words are worth, a row for each number and start."""
    if measured is None:
        return None
    rows = table(
        ("recordings per word", "training", "accuracy, %", "lowest to highest draw, %"),
        tuple(
            (
                str(row["recordings_a_word"]),
                row["training"],
                percent(row["accuracy"]),
                interval((row["lowest"], row["highest"])),
            )
            for row in measured["rows"]
        ),
        left=2,
    )
    return {key: measured[key] for key in ("words", "draws", "command")} | {"table": rows}


def _benchmarks(benchmarks: Result) -> Table | None:
    """Return what was timed of recognizing, and set beside PocketSphinx."""
    chosen = [
        row
        for name in ("recognize", "start", "pocketsphinx")
        for row in benchmarks.get(name, {}).get("rows", ())
    ]
    if not chosen:
        return None
    return table(
        ("measure", "this model", "PocketSphinx 5"),
        tuple(
            (
                row["what"],
                f"{row['ours']:.3g} {row['unit']}",
                f"{row['peer']:.3g} {row['unit']}" if row.get("peer") else "",
            )
            for row in chosen
        ),
    )
