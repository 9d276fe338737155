"""Evaluation of an exported model: recordings pass through it as a user's recordings do.

Shapes: N clips, C classes.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip, best_corpus, read_corpus
from spoken_digits.lab.data.splits import one_split
from spoken_digits.lab.evaluation.metrics import Evaluation, Predictions, evaluate
from spoken_digits.recognize import Recognizer

__all__ = ["describe_evaluation", "evaluate_model", "read_test_set", "seen_speakers"]

DEFAULT_SPLITS = {"fsdd": "xsdr", "voices": "synthetic"}


def read_test_set(
    corpus: str | None = None, split: str | None = None, data: Path | str | None = None
) -> tuple[str, tuple[Clip, ...]]:
    """Return the name and the clips of a test set.

    Parameters
    ----------
    corpus
        A corpus by name, or a folder or table; by default the best at hand.
    split
        Named split whose test side is taken; by default "xsdr" of FSDD, "synthetic" of the
        synthetic speech that ships, and every clip of any other corpus.
    data
        Folder of corpora, as in `corpora.data_root`.

    Raises
    ------
    CorpusError
        When the corpus is not at hand or malformed.
    SplitError
        When there is no such split, or it has several folds.
    """
    name, clips = (corpus, read_corpus(corpus, data)) if corpus else best_corpus(data)
    split = split or DEFAULT_SPLITS.get(name)
    if split is None:
        return name, clips
    return f"{name}, test side of {split}", one_split(split, clips).test


def evaluate_model(recognizer: Recognizer, clips: Iterable[Clip]) -> Evaluation:
    """Recognize every clip whose label the model has, and evaluate.

    Raises
    ------
    AudioError
        When a recording cannot be read or is silent.
    ValueError
        When the model has none of the labels.
    """
    clips = list(clips)
    known = [clip for clip in clips if clip.label in recognizer.labels]
    if not known:
        labels = sorted({clip.label for clip in clips})
        some = ", ".join(labels[:10]) + ", ..." * (len(labels) > 10)
        raise ValueError(
            f"{recognizer.path}: has none of the labels; expected clips of "
            f"{', '.join(recognizer.labels)}, these are of {some}"
        )
    waveforms = (to_clip(*read_audio(clip.file)) for clip in known)
    scores = np.concatenate([recognizer.run(waveform[None]) for waveform in waveforms])
    return evaluate(Predictions.of(known, scores, recognizer.labels))


def seen_speakers(recognizer: Recognizer, clips: Iterable[Clip]) -> tuple[str, ...]:
    """Return the speakers of `clips` that the model was trained on, by its metadata, sorted.

    Of a model whose metadata names corpora but no speakers, all speakers of these corpora.
    """
    training = json.loads(recognizer.metadata.get("training_data", "{}"))
    speakers = {(training.get("corpus"), name) for name in training.get("train_speakers", ())}
    whole = () if speakers else tuple(training.get("corpora", ()))
    seen = {c.speaker for c in clips if c.corpus in whole or (c.corpus, c.speaker) in speakers}
    return tuple(sorted(seen))


def describe_evaluation(evaluation: Evaluation) -> str:
    """Format an evaluation as text: totals, a line for each label and speaker, confusions."""
    low, high = evaluation.wilson
    names, listed = evaluation.label_names, evaluation.listed_accuracy
    labels, speakers = evaluation.per_label.items(), evaluation.per_speaker.items()
    on_list = (
        "" if listed is None else f"  of them listed   {listed:6.1%}  the original's test list"
    )
    totals = [
        f"accuracy           {evaluation.accuracy:6.1%}  of {evaluation.clips:,} clips "
        f"({low:.1%} to {high:.1%}, Wilson: for these speakers only)",
        on_list,
        f"macro F1           {evaluation.macro_f1:6.1%}",
        f"calibration error  {evaluation.ece:6.1%}",
    ]
    per_label = [
        ("label", "precision", "recall", "F1", "clips"),
        *(
            (k, f"{s.precision:.1%}", f"{s.recall:.1%}", f"{s.f1:.1%}", s.support)
            for k, s in labels
        ),
    ]
    per_speaker = [
        ("speaker", "accuracy", "clips", "worst label"),
        *((k, f"{s.accuracy:.1%}", s.clips, s.worst_digit) for k, s in speakers),
    ]
    confusion = [
        ("spoken", *names),
        *((name, *row) for name, row in zip(names, evaluation.confusion, strict=True)),
    ]
    return "\n\n".join(
        ["\n".join(filter(None, totals)), _table(per_label), _table(per_speaker), _table(confusion)]
    )


def _table(rows: Sequence[Sequence[object]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{row[0]!s:<{widths[0]}}"
        + "".join(f"  {cell!s:>{n}}" for cell, n in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
