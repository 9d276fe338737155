"""Recognize a spoken digit with a network stored as ONNX: samples in, label and probability out.

Shapes: B batch, L samples, M mel bands, T frames, C classes.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import SAMPLE_RATE, AudioError, cut_clip, read_audio

if TYPE_CHECKING:
    from spoken_digits.connected import Transcriber, Transcript

__all__ = [
    "FORMAT_VERSION",
    "SHIPPED_MODEL",
    "ModelError",
    "Recognition",
    "Recognizer",
    "load",
    "open_session",
]

FloatArray = NDArray[np.float32]

FORMAT_VERSION = "1"  # of the inputs, outputs and metadata of a model file
_ASSETS = Path(__file__).parent / "assets"
SHIPPED_MODEL = _ASSETS / "digits.onnx"

_INPUT = "waveform"  # (B, L) float32 at 8 kHz
_OUTPUTS = ("scores", "log_mel")  # (B, C) of which softmax makes probabilities; (B, M, T)
_REMEDY = "take a file that spoken-digits export wrote"


class ModelError(ValueError):
    """A file that is no model of this package; the message says what was expected, the remedy."""


@dataclass(frozen=True)
class Recognition:
    """What was heard.

    Attributes
    ----------
    label : str
        The most probable of `labels`.
    digit : int or None
        The label as a number; None where it is none of "0" to "9".
    probability : float
        Of `label`, 0 to 1.
    probabilities : tuple of float
        Of all `labels`, in their order; they sum to 1.
    labels : tuple of str
        What the model tells apart.
    start_s, end_s : float
        Where in the recording the utterance lies.
    log_mel : (M, T) float32
        The spectrogram that the network saw.
    """

    label: str
    digit: int | None
    probability: float
    probabilities: tuple[float, ...] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    start_s: float
    end_s: float
    log_mel: FloatArray = field(repr=False, compare=False)


class Recognizer:
    """A network that hears digits, on one thread.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits export`` wrote; without it, the model that ships.

    Raises
    ------
    ModelError
        When the file is missing, or no model of this package.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None) -> None:
        self._path = SHIPPED_MODEL if model_path is None else Path(model_path)
        self._session, metadata, self._labels = _open(self._path)
        self._metadata = MappingProxyType(metadata)
        self._transcriber: Transcriber | None = None

    @property
    def path(self) -> Path:
        """The model's file."""
        return self._path

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model tells apart, in the order of its scores (C,)."""
        return self._labels

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file tells about itself: front end, version, training data, licence, ..."""
        return self._metadata

    def run(self, waveforms: ArrayLike) -> FloatArray:
        """Score (B, L) clips at 8 kHz: (B, C), of which softmax makes probabilities."""
        return self._infer(np.asarray(waveforms, np.float32))[0]

    def __call__(
        self, source: str | os.PathLike[str] | ArrayLike, sample_rate: float | None = None
    ) -> Recognition:
        """Recognize the digit in a recording.

        Parameters
        ----------
        source : path or (L,) or (L, channels) samples
            A file in any format that `read_audio` opens, or samples that `to_clip` accepts.
        sample_rate : float
            Of samples, in Hz; a file tells its own.

        Raises
        ------
        AudioError
            When the recording cannot be heard.
        """
        if isinstance(source, str | os.PathLike):
            name = str(source)
            samples, sample_rate = read_audio(source)
        else:
            name, samples = "samples", np.asarray(source)
        if sample_rate is None:
            raise AudioError(
                "samples: no sample rate; expected it beside them: "
                "recognizer(samples, sample_rate=44_100)"
            )
        clip, start_s, end_s = cut_clip(samples, sample_rate, name)
        scores, log_mel = self._infer(clip[None])
        probabilities = _softmax(scores[0])
        best = int(probabilities.argmax())
        label = self._labels[best]
        return Recognition(
            label=label,
            digit=int(label) if label in tuple("0123456789") else None,
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            labels=self._labels,
            start_s=start_s,
            end_s=end_s,
            log_mel=log_mel[0],
        )

    def transcribe(
        self, source: str | os.PathLike[str] | ArrayLike, sample_rate: float | None = None
    ) -> "Transcript":
        """Transcribe the digits in a recording of any length, with the shipped model for strings.

        `connected.Transcriber`, which this calls, also knows grammars, several answers and streams.

        Parameters
        ----------
        source, sample_rate
            As of `__call__`.

        Raises
        ------
        AudioError
            When the recording cannot be heard.
        """
        from spoken_digits.connected import Transcriber  # late: it stands upon this module

        if self._transcriber is None:
            self._transcriber = Transcriber()
        return self._transcriber(source, sample_rate)

    def _infer(self, waveforms: FloatArray) -> tuple[FloatArray, FloatArray]:
        scores, log_mel = self._session.run(list(_OUTPUTS), {_INPUT: waveforms})
        return scores, log_mel


def load(model_path: str | os.PathLike[str] | None = None) -> Recognizer:
    """Load a model, by default the one that ships: no download, no torch."""
    return Recognizer(model_path)


def open_session(path: Path) -> tuple[Any, dict[str, str]]:
    """Open an ONNX file to run on one thread of the CPU; return its session and metadata.

    Raises
    ------
    ModelError
        When there is none, or it is no ONNX file.
    """
    if not path.is_file():
        remedy = _REMEDY
        if path in (SHIPPED_MODEL, _ASSETS / path.name):
            remedy = "install spoken-digits again, or name another model"
        raise ModelError(f"{path}: no such file; expected an ONNX model: {remedy}")
    import onnxruntime  # late: importing this module stays cheap

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what concerns the user is raised
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelError(
            f"{path}: cannot be opened ({type(error).__name__}); expected an ONNX model: {_REMEDY}"
        ) from error
    return session, session.get_modelmeta().custom_metadata_map


def _open(path: Path) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Open a model file; return its session, metadata and labels."""
    session, metadata = open_session(path)
    names = {node.name for node in (*session.get_inputs(), *session.get_outputs())}
    version, rate = metadata.get("format_version"), metadata.get("sample_rate_hz")
    if version != FORMAT_VERSION or rate != str(SAMPLE_RATE) or not names >= {_INPUT, *_OUTPUTS}:
        raise ModelError(
            f"{path}: format_version {version}, sample_rate_hz {rate}, with {sorted(names)}; "
            f"expected {FORMAT_VERSION}, {SAMPLE_RATE}, with {[_INPUT, *_OUTPUTS]}: {_REMEDY}"
        )
    try:
        labels = json.loads(metadata["labels"])
    except (KeyError, ValueError):
        labels = None
    classes = next(node.shape[-1] for node in session.get_outputs() if node.name == _OUTPUTS[0])
    if not isinstance(labels, list) or len(labels) != classes:
        raise ModelError(
            f"{path}: labels {metadata.get('labels')}; expected a JSON list of {classes}: {_REMEDY}"
        )
    return session, metadata, tuple(map(str, labels))


def _softmax(scores: FloatArray) -> NDArray[np.float64]:
    exponentials = np.exp(scores.astype(np.float64) - scores.max())
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
