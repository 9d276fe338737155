"""Recognize a spoken digit with a network stored as ONNX: samples in, label and probability out.

What is no digit is refused, with a reason: silence, not a digit, unclear.
Shapes: B batch, L samples, M mel bands, T frames, C classes.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import SAMPLE_RATE, AudioError, hear, read_audio

if TYPE_CHECKING:
    from spoken_digits.connected import Transcriber, Transcript

__all__ = [
    "FORMAT_VERSION",
    "SHIPPED_MODEL",
    "ModelError",
    "Reason",
    "Recognition",
    "Recognizer",
    "load",
    "open_session",
]

FloatArray = NDArray[np.float32]
Reason = Literal["silence", "not a digit", "unclear"]

FORMAT_VERSION = "1"  # of the inputs, outputs and metadata of a model file
_ASSETS = Path(__file__).parent / "assets"
SHIPPED_MODEL = _ASSETS / "digits.onnx"

_INPUT = "waveform"  # (B, L) float32 at 8 kHz
_OUTPUTS = ("scores", "log_mel")  # (B, C) of which softmax makes probabilities; (B, M, T)
_REMEDY = "take a file that spoken-digits export wrote"
_REJECTION = "rejection"  # (B,) log-odds of being one of the labels at all; a model may lack it

_QUIETEST_DBFS = -80  # a recording that never gets louder is of no voice: the last bits of 16
_LEAST_PROBABILITY, _LEAST_MARGIN = 0.4, 0.1  # below, an answer is wrong more often than right


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
        The label as a number; None where it is none of "0" to "9", or where there is a `reason`.
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
    score : float
        How surely it is a digit at all, 0 to 1: what the threshold cuts. The model's own
        judgement where it has one, otherwise `probability`; 0 of silence.
    reason : "silence", "not a digit", "unclear" or None
        Why no digit is given: nothing stands out of the background, or nothing is louder than
        -80 dBFS; the score is below the threshold; the probability is below 0.4, or the second
        best comes within 0.1 of it. `label` then is the likeliest guess all the same.
    utterances : int
        How many utterances like digits the recording holds, at least; the answer is for the
        strongest. From 2 on, ``spoken-digits transcribe`` is what to ask.
    """

    label: str
    digit: int | None
    probability: float
    probabilities: tuple[float, ...] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    start_s: float
    end_s: float
    log_mel: FloatArray = field(repr=False, compare=False)
    score: float = 1.0
    reason: Reason | None = None
    utterances: int = field(default=1, repr=False)


class Recognizer:
    """A network that hears digits, on one thread.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits export`` wrote; without it, the model that ships.
    threshold : float, optional
        Least `score` of a digit, 0 to 1. With 0 nothing is refused but silence, not even what is
        unclear.
        Without it, the threshold that the model's file names; 0 for a model that does not judge
        by itself what is a digit.

    Raises
    ------
    ModelError
        When the file is missing, or no model of this package.
    ValueError
        When the threshold is not within 0 to 1.
    """

    def __init__(
        self, model_path: str | os.PathLike[str] | None = None, threshold: float | None = None
    ) -> None:
        self._path = SHIPPED_MODEL if model_path is None else Path(model_path)
        self._session, metadata, self._labels = _open(self._path)
        self._metadata = MappingProxyType(metadata)
        names = [node.name for node in self._session.get_outputs()]
        self._outputs = [*_OUTPUTS, *(name for name in names if name == _REJECTION)]
        if threshold is None:
            threshold = _threshold(self._path, metadata) if self.rejects else 0
        self._threshold = _checked(threshold)
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

    @property
    def threshold(self) -> float:
        """Least score of a digit, unless a call says otherwise."""
        return self._threshold

    @property
    def rejects(self) -> bool:
        """Whether the model judges by itself what is a digit, apart from which one."""
        return _REJECTION in self._outputs

    def run(self, waveforms: ArrayLike) -> FloatArray:
        """Score (B, L) clips at 8 kHz: (B, C), of which softmax makes probabilities."""
        return self._infer(np.asarray(waveforms, np.float32))[0]

    def judge(self, waveforms: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Score (B, L) clips as `run` does, (B, C); and how surely each is a digit, (B,), 0 to 1.

        A model without an output for the latter is judged by its largest probability, which told
        digits from other words better than largest logit or energy did.
        """
        scores, _, sure = self._infer(np.asarray(waveforms, np.float32))
        return scores, sure

    def embed(self, waveforms: ArrayLike) -> FloatArray:
        """Return what the network's last layer sees of (B, L) clips: (B, D)."""
        embedding: FloatArray
        (embedding,) = self._session.run(["embedding"], {_INPUT: np.asarray(waveforms, np.float32)})
        return embedding

    def __call__(
        self,
        source: str | os.PathLike[str] | ArrayLike,
        sample_rate: float | None = None,
        *,
        threshold: float | None = None,
    ) -> Recognition:
        """Recognize the digit in a recording.

        Parameters
        ----------
        source : path or (L,) or (L, channels) samples
            A file in any format that `read_audio` opens, or samples that `to_clip` accepts.
        sample_rate : float
            Of samples, in Hz; a file tells its own.
        threshold : float
            Least score of a digit, 0 to 1; left out, the recognizer's.

        Raises
        ------
        AudioError
            When the recording cannot be read; silence is an answer, with that reason.
        ValueError
            When the threshold is not within 0 to 1.
        """
        threshold = self._threshold if threshold is None else _checked(threshold)
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
        heard = hear(samples, sample_rate, name)
        scores, log_mel, sure = self._infer(heard.clip[None])
        probabilities = _softmax(scores[0])
        best = int(probabilities.argmax())
        label = self._labels[best]
        silent = not heard.stands_out or heard.level_dbfs < _QUIETEST_DBFS
        score = 0.0 if silent else float(sure[0])
        reason = "silence" if silent else _reason(probabilities, score, threshold)
        return Recognition(
            label=label,
            digit=int(label) if reason is None and label in tuple("0123456789") else None,
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            labels=self._labels,
            start_s=heard.start_s,
            end_s=heard.end_s,
            log_mel=log_mel[0],
            score=score,
            reason=reason,
            utterances=heard.utterances,
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
            # It hears single digits as well; the model that ships is at hand already.
            shipped = self if self._path == SHIPPED_MODEL else None
            self._transcriber = Transcriber(recognizer=shipped)
        return self._transcriber(source, sample_rate)

    def _infer(self, waveforms: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Scores (B, C), log-mel (B, M, T) and how surely each is a digit (B,)."""
        scores, log_mel, *rejection = self._session.run(self._outputs, {_INPUT: waveforms})
        if rejection:
            return scores, log_mel, _sigmoid(rejection[0])
        return scores, log_mel, np.array([_softmax(row).max() for row in scores], np.float32)


def load(
    model_path: str | os.PathLike[str] | None = None, threshold: float | None = None
) -> Recognizer:
    """Load a model, by default the one that ships: no download, no torch. See `Recognizer`."""
    return Recognizer(model_path, threshold)


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


def _sigmoid(log_odds: ArrayLike) -> FloatArray:
    # So written, nothing overflows.
    return np.asarray(0.5 + 0.5 * np.tanh(np.asarray(log_odds) / 2), np.float32)


def _threshold(path: Path, metadata: Mapping[str, str]) -> float:
    """Return the threshold that a model's file names, there in log-odds, as a probability."""
    named = metadata.get("rejection_threshold", "")
    try:
        return _checked(float(_sigmoid(float(named))))
    except ValueError:
        raise ModelError(
            f"{path}: rejection_threshold {named}; expected a number, log-odds: "
            "take a file that spoken-digits export wrote"
        ) from None


def _checked(threshold: float) -> float:
    if not 0 <= threshold <= 1:  # so written, NaN fails as well
        raise ValueError(f"threshold {threshold}: expected 0 (refuse nothing) to 1")
    return float(threshold)


def _reason(probabilities: NDArray[np.float64], score: float, threshold: float) -> Reason | None:
    """Say why the most probable label is not to be trusted; None when it is."""
    if threshold == 0:
        return None
    if score < threshold:
        return "not a digit"
    second, best = np.sort(np.append(probabilities, 0))[-2:]
    return "unclear" if best < _LEAST_PROBABILITY or best - second < _LEAST_MARGIN else None
