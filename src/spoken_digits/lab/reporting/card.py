"""The model card: from the model that ships and results/*.json to MODEL_CARD.md.

Figures of another model than the one that ships are left out; the card says how to get new ones.
Whatever tables results/shipped.json holds are shown, so that a new one needs no new code here; that
of the variants has a section of its own.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spoken_digits.lab.runs import write_whole
from spoken_digits.recognize import SHIPPED_MODEL, Recognizer

__all__ = ["model_card", "update_card"]

# Columns of results/shipped.json that are shares, shown in percent.
SHARES = ("accuracy", "auroc", "eer", "ece", "f1", "share", "recall", "precision", "left_out")
MOST_NAMES = 12  # speakers that are named rather than counted


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

    def of_this_model(name: str) -> dict[str, Any] | None:
        result = _read(results / name)
        return result if result and result.get("model", {}).get("sha256") == digest else None

    study = _read(results / "models.json")
    if study and study.get("data", {}).get("hash") != training.get("hash"):
        study = None  # another model's training data
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spoken_digits.lab.release"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, made of our own files
    )
    environment.filters |= {"percent": _percent, "table": _table}
    shipped = _read(results / "shipped.json")
    return environment.get_template("MODEL_CARD.md.j2").render(
        metadata=metadata,
        name=recognizer.path.name,
        digest=digest,
        size_mb=f"{len(content) / 1e6:.2f}",
        parameters=f"{int(metadata.get('parameters', 0)):,}",
        labels=recognizer.labels,
        rejects=recognizer.rejects,
        threshold=recognizer.threshold,
        training=_facts(training),
        corpora=_corpora(training),
        voices=len(training.get("train_speakers", ())),
        sections=_sections({k: v for k, v in (shipped or {}).items() if k != "variants"}),
        shipped=shipped,
        study=study,
        rows=_strong_rows(study),
        endpoints=(endpoints := of_this_model("endpoints.json")),
        trouble=_trouble(endpoints or {"tables": {}}),
        rejection=of_this_model("rejection.json"),
        benchmarks=_benchmarks(_read(results / "benchmarks.json") or {}),
        strings=_strings(_read(results / "strings.json")),
        own=_own_words(_read(results / "own_words.json")),
    )


def update_card(path: Path | str, results: Path | str, model: Path | str = SHIPPED_MODEL) -> bool:
    """Write the card; say whether it changed."""
    path, new = Path(path), model_card(results, model)
    if path.is_file() and path.read_text(encoding="utf-8") == new:
        return False
    write_whole(path, new.encode())
    return True


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _corpora(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the corpora in whichever way a model's training data names them."""
    named = training.get("corpora", training.get("corpus", ()))
    return (named,) if isinstance(named, str) else tuple(map(str, named))


def _facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a model says of its training data, a line a fact; tables a line a row."""
    facts = []
    for key, value in training.items():
        if isinstance(value, Mapping):
            facts += [(name, _fact(inner)) for name, inner in value.items()]
        elif key != "labels":
            facts.append((_title(key).lower(), _fact(value)))
    return facts


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_fact(inner)} {_title(key).lower()}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        if len(value) > MOST_NAMES:
            return f"{len(value):,}"
        return ", ".join(map(_fact, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _strong_rows(study: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the study's row of the model that ships, a line a speaker."""
    if study is None:
        return []
    best = max(study["rows"], key=lambda row: float(row["accuracy_mean"]))
    rows = [
        {"voice": name, "clips": score["clips"], "accuracy": score["accuracy"],
         "hardest digit": f"{score['worst_digit']} ({_percent(score['worst_digit_accuracy'])} %)"}
        for name, score in best["per_speaker"].items()
    ]  # fmt: skip
    every = {"voice": "all", "clips": best["clips"], "accuracy": best["accuracy_mean"]}
    return [*rows, every | {"hardest digit": ""}]


def _sections(shipped: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a heading and a table for everything in results/shipped.json that is a table."""
    sections = []
    for key, value in shipped.items():
        rows: list[Mapping[str, Any]] = []
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            rows = value
        elif isinstance(value, Mapping) and value:
            if all(isinstance(row, Mapping) for row in value.values()):
                rows = [{_title(key).lower(): name, **row} for name, row in value.items()]
            elif key not in ("data", "versions", "model", "environment"):
                rows = [
                    {
                        "measure": _title(k).lower(),
                        "value": _cell(k, v) + " %" * _is_share(k, v),
                    }
                    for k, v in value.items()
                    if _is_cell(v)
                ]
        if rows and (table := _table(rows)):
            sections.append((_title(key), table))
    return sections


def _trouble(endpoints: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a line a trouble, a column a corpus."""
    tables = endpoints["tables"]
    return [
        {"recording": rows[0]["condition"]}
        | {
            f"{corpus}, %": f"{_percent(row['accuracy'])} ({_percent(row['ends_known'])})"
            for corpus, row in zip(tables, rows, strict=True)
        }
        for rows in zip(*tables.values(), strict=True)
    ]


def _strings(judged: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is told of the network for strings, a row a voice."""
    if judged is None:
        return None
    scores = judged["strings"]
    rows = [
        {
            "voice": name.replace("_", " "),
            "strings": score["strings"],
            "digit error, %": _percent(score["digit_error"]),
            "whole strings right, %": _percent(score["whole_right"]),
        }
        for name, score in scores.items()
    ]
    false_digits = [
        f"{len(row['digits'])} in {row['seconds']:.0f} s of {name.replace('_', ' ')}"
        for name, row in judged["false_digits"].items()
    ]
    known = ("speech_commands", "all of the split")
    return {
        "rows": rows,
        "held_out": [name for name in scores if name not in known],
        "false_digits": "; ".join(false_digits),
        "delay_ms": judged["delay_ms"],
        "command": judged["command"],
        "networks": [judged[key]["command"] for key in ("model", "digits_model") if key in judged],
    }


def _own_words(judged: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what recordings of new words are worth, a row for each number and way."""
    if judged is None:
        return None
    rows = [
        {
            "recordings a word": row["recordings_a_word"],
            "training": row["training"],
            "accuracy, %": _percent(row["accuracy"]),
            "draws, least to most": f"{_percent(row['lowest'])} to {_percent(row['highest'])}",
        }
        for row in judged["rows"]
    ]
    return {key: judged[key] for key in ("words", "draws", "command")} | {"rows": rows}


def _benchmarks(benchmarks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was timed of recognizing, and set beside PocketSphinx."""
    chosen = [
        row
        for name in ("recognize", "start", "pocketsphinx")
        for row in benchmarks.get(name, {}).get("rows", ())
    ]
    return [
        {
            "measure": row["what"],
            "ours": f"{row['ours']:.3g} {row['unit']}",
            "PocketSphinx": f"{row['peer']:.3g} {row['unit']}" if row.get("peer") else "",
        }
        for row in chosen
    ]


def _table(rows: Sequence[Mapping[str, Any]], keys: Iterable[str] = ()) -> str:
    """Return rows as a Markdown table, numbers to the right; nested values are left out."""
    head = list(keys) or [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if all(_is_cell(row.get(key)) for row in rows)
    ]
    if len(head) < 2:
        return ""
    columns = [[row.get(key) for row in rows] for key in head]
    titles = [_title(key).lower() if "_" in key else key for key in head]
    shares = [
        any(_is_share(key, v) for v in column) for key, column in zip(head, columns, strict=True)
    ]
    rules = ["---:" if any(map(_is_number, column)) else "---" for column in columns]
    lines = [
        " | ".join(title + ", %" * share for title, share in zip(titles, shares, strict=True)),
        " | ".join(rules),
    ]
    lines += [" | ".join(_cell(key, row.get(key)) for key in head) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_share(key: object, value: Any) -> bool:
    words = str(key).lower()
    return isinstance(value, float) and 0 <= value <= 1 and any(s in words for s in SHARES)


def _cell(key: object, value: Any) -> str:
    if value is None:
        return ""
    if _is_share(key, value):
        return _percent(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def main() -> None:
    """Write MODEL_CARD.md in the source tree that this is called in."""
    if not Path("results").is_dir():
        raise SystemExit("no results/ here; the card is made in the source tree: run it there")
    print("MODEL_CARD.md", "written" if update_card("MODEL_CARD.md", "results") else "as it was")


if __name__ == "__main__":
    main()
