"""Exhibits: what a report shows that needs the recordings, or the networks themselves.

Spectrograms, the worst errors with their sound, and embeddings on a plane. Each function returns
what was found; drawing it is `figures`' part.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import special

from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.evaluation.embeddings import EmbeddingMap, map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions
from spoken_digits.lab.features import FRONT_ENDS, log_mel, mel_filter_bank
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.reporting.figures import Spectrogram
from spoken_digits.lab.training.contrastive import PretrainConfig
from spoken_digits.lab.training.supervised import build_network, load_network, predict

__all__ = [
    "FRONT_END",
    "Mistake",
    "band_hz",
    "digit_spectrograms",
    "embedding_maps",
    "sound",
    "spectrogram",
    "worst_mistakes",
]

FRONT_END = FRONT_ENDS["ours"]  # what spectrograms are drawn with
ALIKE = 2  # mistakes that are shown of one digit and speaker at most


@dataclass(frozen=True)
class Mistake:
    """A clip that a method hears wrong, and how sure of that it is, 0 to 1."""

    file: str
    speaker: str
    spoken: str
    heard: str
    confidence: float
    wrong: int  # of the method's networks


def worst_mistakes(networks: Sequence[Predictions], most: int = 12) -> list[Mistake]:
    """Return the clips that the mean of a method's networks is surest to hear as something else.

    The networks' probabilities are averaged. At most two clips of a digit and speaker are taken:
    one voice's trouble with one word would fill the page.

    Parameters
    ----------
    networks
        What each network said of the same clips in the same order.
    most
        How many to return at most.
    """
    first = networks[0]
    probabilities = np.mean([special.softmax(n.scores, axis=1) for n in networks], axis=0)  # (N, C)
    heard = probabilities.argmax(axis=1)
    wrong = np.sum([~network.correct for network in networks], axis=0)
    confidence = probabilities[np.arange(len(first)), heard]
    order = np.lexsort((first.files, -confidence))  # ties by name
    taken: dict[tuple[str, str], int] = {}
    mistakes: list[Mistake] = []
    for row in order[heard[order] != first.labels[order]]:
        spoken, speaker = first.label_names[first.labels[row]], str(first.speakers[row])
        taken[spoken, speaker] = taken.get((spoken, speaker), 0) + 1
        if taken[spoken, speaker] <= ALIKE and len(mistakes) < most:
            mistakes.append(
                Mistake(
                    file=str(first.files[row]),
                    speaker=speaker,
                    spoken=spoken,
                    heard=first.label_names[heard[row]],
                    confidence=float(confidence[row]),
                    wrong=int(wrong[row]),
                )
            )
    return mistakes


def sound(path: Path) -> str:
    """Return a recording as a ``data:`` address of WAV, 16 bits at its own rate."""
    samples, rate = read_audio(path)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def band_hz() -> NDArray[np.float64]:
    """Return the frequency at which each band of `FRONT_END` hears best: (M,)."""
    peaks = mel_filter_bank(FRONT_END).argmax(axis=1)
    return np.asarray(peaks * FRONT_END.sample_rate / FRONT_END.n_fft, np.float64)


def spectrogram(path: Path, title: str) -> Spectrogram:
    """Return the log-mel spectrogram (M, T) of a recording, as a network sees it."""
    return Spectrogram(title, log_mel(to_clip(*read_audio(path)), FRONT_END))


def digit_spectrograms(
    corpus: Mapping[str, Any], clips: Sequence[Clip], labels: Sequence[str]
) -> list[Spectrogram]:
    """Return a clip of each label, spoken by the first training speaker.

    Raises
    ------
    AudioError, ValueError
        When a recording cannot be read, or none has one of the labels.
    """
    speaker = corpus["train_speakers"][0]
    theirs = [clip for clip in clips if clip.speaker == speaker]
    found = {label: next((c for c in theirs if c.label == label), None) for label in labels}
    pictures = [
        spectrogram(clip.file, f"{label} ({clip.file.name})")
        for label, clip in found.items()
        if clip
    ]
    if not pictures:
        raise ValueError(f"{corpus['corpus']}: no clip of {speaker} has one of the labels")
    return pictures


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
        Names of the classes, as the networks know them.
    cache
        Folder of prepared clips, see `dataset.prepare`.

    Raises
    ------
    AudioError, ConfigError
        When a recording cannot be read, or a run is damaged.
    """
    dataset, rows = None, np.arange(len(clips))
    for title, directory in runs.items():
        if not (directory / "model.safetensors").exists():
            continue
        if dataset is None:
            dataset = prepare(clips, cache, labels)
        _, embeddings = predict(_network(directory), dataset, rows)
        yield map_embeddings(
            title, embeddings, [c.label for c in clips], [c.speaker for c in clips]
        )


def _network(directory: Path) -> DigitNet:
    """Load the network of a run, of a pre-training as well: its recipe has keys of its own."""
    if directory.name != "pretrain":
        return load_network(directory)[1]
    config = PretrainConfig.from_toml(directory / "config.toml")
    weights = load_file(directory / "model.safetensors")
    net = build_network(config, len(weights["head.bias"]))
    net.load_state_dict(weights)
    return net.eval()
