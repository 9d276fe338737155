"""Exhibits: what a report shows that needs the runs of a study, or the networks themselves.

Training curves, the worst errors, and embeddings on a plane. They are kept under results/ as
numbers and SVG, so that the report can be made again where no run is at hand; sounds are never
kept.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.evaluation.embeddings import EmbeddingMap, map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import MODELS, DigitNet
from spoken_digits.lab.reporting import figures, recordings
from spoken_digits.lab.runs import write_json
from spoken_digits.lab.studies.models import SWEEPS
from spoken_digits.lab.studies.registry import study_of
from spoken_digits.lab.studies.results import StudyResult
from spoken_digits.lab.studies.summary import Run
from spoken_digits.lab.studies.titles import model_title
from spoken_digits.lab.training.contrastive import PretrainConfig
from spoken_digits.lab.training.supervised import build_network, load_network, predict
from spoken_digits.lab.weights import read_weights

__all__ = [
    "EXHIBITS",
    "Embedding",
    "Exhibits",
    "Mistake",
    "collect",
    "embedding_maps",
    "merged",
    "read_exhibits",
    "worst_mistakes",
    "write_exhibits",
]

EXHIBITS = "exhibits.json"  # under results/
# What lies in the directory of a contrastive run; of several that fit, the last.
PRETRAINED = {
    "SimCLR, no labels": "pretrain",
    "Clusters learned after SimCLR, no labels": "clusters-*",
    "SimCLR, then fine-tuned with all labels": "finetune-all",
    "From scratch with all labels": "scratch-all",
}
MAPPED = ("models", "contrastive")  # studies whose embeddings are worth a picture
SHOWN = 12  # errors
ALIKE = 2  # errors that are shown of one digit and speaker at most

# By name and label: where each word has a folder, as in the synthetic speech, names repeat.
Recordings = Mapping[tuple[str, str], Clip]


@dataclass(frozen=True)
class Mistake:
    """A clip that a method gets wrong.

    `confidence` is the mean probability of the wrong label over `networks` networks, of which
    `wrong` get it wrong. `figure` is SVG, `sound` a ``data:`` address; either may be missing.
    """

    file: str
    speaker: str
    spoken: str
    recognized: str
    confidence: float
    wrong: int
    networks: int
    figure: str | None = None
    sound: str | None = None


@dataclass(frozen=True)
class Embedding:
    """Embeddings of a network on a plane (SVG), and what they tell apart, see `EmbeddingMap`."""

    title: str
    clips: int
    speakers: int
    speaker_probe: float | None
    digit_silhouette: float | None
    speaker_silhouette: float | None
    figure: str

    @classmethod
    def of(cls, drawn: EmbeddingMap) -> Self:
        """Keep of a map what is shown."""
        return cls(
            drawn.title,
            drawn.clips,
            drawn.n_speakers,
            drawn.speaker_probe,
            drawn.digit_silhouette,
            drawn.speaker_silhouette,
            figures.embedding_map(drawn),
        )


@dataclass(frozen=True)
class Exhibits:
    """What is shown of runs and recordings.

    `of` names the model whose errors they are, and the corpus of a study that has its own.
    """

    command: str = ""
    commits: tuple[str, ...] = ()
    of: str = ""
    curves: str | None = None
    spectrograms: str | None = None
    mistakes: tuple[Mistake, ...] = ()
    embeddings: tuple[Embedding, ...] = ()


def read_exhibits(path: Path | str) -> Exhibits:
    """Read what `write_exhibits` wrote; without the file there is nothing to show."""
    path = Path(path)
    if not path.is_file():
        return Exhibits()
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["commits"] = tuple(kept["commits"])
    kept["mistakes"] = tuple(Mistake(**mistake) for mistake in kept["mistakes"])
    kept["embeddings"] = tuple(Embedding(**embedding) for embedding in kept["embeddings"])
    return Exhibits(**kept)


def write_exhibits(path: Path | str, exhibits: Exhibits) -> None:
    """Keep exhibits as JSON, without sounds."""
    silent = tuple(replace(mistake, sound=None) for mistake in exhibits.mistakes)
    write_json(path, replace(exhibits, mistakes=silent))


def merged(old: Exhibits, new: Exhibits) -> Exhibits:
    """Return what is published when some studies are published again.

    Errors, curves and spectrograms are of one study: they are replaced when the new ones are of the
    same model and corpus, or nothing was there. Embeddings are replaced by their titles; others
    stay.
    """
    if old.of not in ("", new.of):
        new = replace(old, embeddings=new.embeddings)
    titles = {embedding.title for embedding in new.embeddings}
    kept = tuple(e for e in old.embeddings if e.title not in titles)
    return replace(new, embeddings=kept + new.embeddings)


def collect(
    results: Sequence[StudyResult],
    runs_of: Mapping[str, Sequence[Run]],
    clips: Recordings,
    with_sound: bool,
) -> Exhibits:
    """Gather what the runs of some studies have to show; the first study's errors and curves.

    Parameters
    ----------
    results
        The studies in the order of the report.
    runs_of
        Their runs, by the name of the study's folder.
    clips
        The recordings at hand, for pictures, sounds and embeddings.
    with_sound
        Whether errors get their recording.
    """
    first = results[0]
    runs = runs_of[first.name]
    curves = _curves(runs)
    own = study_of(first).corpus
    return Exhibits(
        command=first.provenance.command,
        commits=first.provenance.commits,
        of=model_title(first.best.method.model) + f" on {own}" * bool(own),
        curves=figures.learning_curves(curves) if curves else None,
        spectrograms=_spectrograms(first, clips),
        mistakes=tuple(_mistakes(first, runs, clips, with_sound)),
        embeddings=tuple(Embedding.of(drawn) for drawn in _maps(results, runs_of, clips))
        if clips
        else (),
    )


# Errors


def worst_mistakes(networks: Sequence[Predictions], most: int = SHOWN) -> list[Mistake]:
    """Return the wrong clips with the highest mean probability of the wrong label.

    Probabilities are averaged over the networks of a method. At most two clips of a digit and
    speaker are taken, so that one speaker's difficulty with one word does not fill the page.

    Parameters
    ----------
    networks
        Predictions of each network on the same clips in the same order.
    most
        How many to return at most.
    """
    first = networks[0]
    probabilities = np.mean([special.softmax(n.scores, axis=1) for n in networks], axis=0)  # (N, C)
    recognized = probabilities.argmax(axis=1)
    wrong = np.sum([~network.correct for network in networks], axis=0)
    confidence = probabilities[np.arange(len(first)), recognized]
    order = np.lexsort((first.files, -confidence))  # ties by name
    taken: dict[tuple[str, str], int] = {}
    mistakes: list[Mistake] = []
    for index in order[recognized[order] != first.labels[order]]:
        spoken, speaker = first.label_names[first.labels[index]], str(first.speakers[index])
        taken[spoken, speaker] = taken.get((spoken, speaker), 0) + 1
        if taken[spoken, speaker] <= ALIKE and len(mistakes) < most:
            mistakes.append(
                Mistake(
                    file=str(first.files[index]),
                    speaker=speaker,
                    spoken=spoken,
                    recognized=first.label_names[recognized[index]],
                    confidence=float(confidence[index]),
                    wrong=int(wrong[index]),
                    networks=len(networks),
                )
            )
    return mistakes


def _mistakes(
    result: StudyResult, runs: Sequence[Run], clips: Recordings, with_sound: bool
) -> list[Mistake]:
    """Return the worst errors of a study's best row, with their pictures where clips are given."""
    by_split: dict[str, list[Predictions]] = {}
    best = result.best.method
    for run in runs:
        for condition, predictions in run.conditions.items():
            if run.method(condition) == best:
                by_split.setdefault(run.split, []).append(predictions)
    found = [m for networks in by_split.values() for m in worst_mistakes(networks)]
    found.sort(key=lambda mistake: -mistake.confidence)
    shown = []
    for mistake in found[:SHOWN]:
        clip = clips.get((mistake.file, mistake.spoken))
        if clip:
            picture = recordings.draw_small(recordings.spectrogram(clip.file, mistake.file))
            heard = recordings.sound(clip.file) if with_sound else None
            mistake = replace(mistake, figure=picture, sound=heard)
        shown.append(mistake)
    return shown


# Training


def _curves(runs: Iterable[Run]) -> list[figures.Curves]:
    """Gather training curves, and a held-out speaker's where a run left out a training speaker."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.log and run.grid not in SWEEPS.values():
            groups.setdefault((run.model, run.front_end), []).append(run)

    def lines(runs: Iterable[Run], key: str) -> tuple[NDArray[np.float64], ...]:
        logged = [[epoch[key] for epoch in run.log if key in epoch] for run in runs]
        return tuple(np.array(line) for line in logged if line)

    return [
        figures.Curves(
            MODELS[model].title,
            FRONT_ENDS[front_end].n_mels,
            loss=lines((run for run in group if not run.is_inner), "loss"),
            accuracy=lines((run for run in group if not run.is_inner), "accuracy"),
            heldout_accuracy=lines((run for run in group if run.is_inner), "heldout_accuracy"),
        )
        for (model, front_end), group in groups.items()
    ]


# Spectrograms and embeddings


def _spectrograms(result: StudyResult, clips: Recordings) -> str | None:
    """Draw a clip of each digit by the first training speaker, where recordings are at hand."""
    try:
        pictures = recordings.digit_spectrograms(
            result.provenance.training_speakers[0], tuple(clips.values()), result.label_names
        )
    except ValueError:
        return None
    return recordings.draw_spectrograms(pictures)


def embedding_maps(
    runs: Mapping[str, Path], clips: Sequence[Clip], labels: Sequence[str], cache: Path
) -> Iterator[EmbeddingMap]:
    """Map the embeddings that each run's network gives clips; a run without weights is passed over.

    Parameters
    ----------
    runs
        Directory of a finished run, by the title to give it.
    clips
        Clips of speakers that none of the networks was trained on.
    labels
        Names of the classes, in the order of the networks' outputs.
    cache
        Folder of prepared clips, see `dataset.prepare`.

    Raises
    ------
    AudioError, ConfigError
        When a recording cannot be read, or a run is damaged.
    """
    dataset, indices = None, np.arange(len(clips))
    for title, directory in runs.items():
        if not (directory / "model.safetensors").exists():
            continue
        if dataset is None:
            dataset = prepare(clips, cache, labels)
        _, embeddings = predict(_network(directory), dataset, indices)
        yield map_embeddings(
            title, embeddings, [c.label for c in clips], [c.speaker for c in clips]
        )


def _maps(
    results: Sequence[StudyResult], runs_of: Mapping[str, Sequence[Run]], clips: Recordings
) -> Iterator[EmbeddingMap]:
    """Map one network, the first seed's, of each model with the best row's front end."""
    for result in results:
        runs = [run for run in runs_of[result.name] if not run.is_inner]
        if result.study not in MAPPED or not runs:
            continue
        chosen: dict[str, Path] = {}
        for run in runs:
            if run.task == "contrastive":
                for title, part in PRETRAINED.items():
                    for last in sorted(run.directory.glob(part))[-1:]:
                        chosen.setdefault(title, last)
            elif run.front_end == result.best.method.front_end:
                model = MODELS[run.model]
                # Of a linear model its input vectors, whatever classifier is fitted on them.
                title = f"Input, {model.features}" if model.linear else model.title
                chosen.setdefault(title, run.directory)
        tests = runs[0].predictions
        named = zip(tests.files, (tests.label_names[label] for label in tests.labels), strict=True)
        tested = [clips[key] for key in named if key in clips]
        cache = runs[0].directory.parent / ".prepared"
        yield from embedding_maps(chosen, tested, result.label_names, cache)


def _network(directory: Path) -> DigitNet:
    """Load the network of a run, of a pre-training as well: its recipe has keys of its own."""
    if directory.name != "pretrain":
        return load_network(directory)[1]
    config = PretrainConfig.from_toml(directory / "config.toml")
    weights = read_weights(directory / "model.safetensors").tensors
    net = build_network(config, len(weights["head.bias"]))
    net.load_state_dict(weights)
    return net.eval()
