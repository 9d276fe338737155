"""The two networks, as ONNX files on one thread: one for single digits, one for strings of them.

A file describes itself: besides its inputs and outputs, its metadata name the labels, the sample
rate, and every threshold and weight that was fitted to it. Python and the page read them there. One
that does not ship is checked before anything runs it, see `onnx_check`.
Shapes: B batch, L samples, M mel bands, T frames, D embedding, C classes, U steps.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spoken_digits.audio import MAX_CLIP_DURATION_S, MIN_CLIP_DURATION_S, SAMPLE_RATE
from spoken_digits.onnx_check import (
    MAX_FILE_BYTES,
    Cost,
    Model,
    OnnxError,
    measure,
    printable,
    read,
)
from spoken_digits.probability import log_odds, log_softmax
from spoken_digits.spotting import LABELS, OH, Decoding, single_word

__all__ = [
    "FORMAT_VERSION",
    "MAX_BLOCKS",
    "SHIPPED_MODEL",
    "SHIPPED_STRINGS",
    "STRINGS_FORMAT_VERSION",
    "Decision",
    "DigitNetwork",
    "ModelError",
    "StringNetwork",
    "absolute",
]

FloatArray = NDArray[np.float32]
Outputs = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # see `DigitNetwork.analyze`

# The wheels of onnxruntime 1.32 write an identifier to the user's cache and report their use to
# their publisher, unless this is set before they are first imported, which this module precedes.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_BATCH = 8  # clips that go through the network together; more would leave the cache
FORMAT_VERSION = "2"  # of the inputs, outputs and metadata of a model for single digits
STRINGS_FORMAT_VERSION = "3"  # ... of a model for strings
_ASSETS = Path(__file__).parent / "assets"
SHIPPED_MODEL = _ASSETS / "digits.onnx"
SHIPPED_STRINGS = _ASSETS / "strings.onnx"

_INPUT = "waveform"  # (B, L) float32 at 8 kHz
_DIGIT_OUTPUTS = ("scores", "log_mel")  # (B, C), logits; (B, M, T)
_REJECTION = "rejection"  # (B,) log-odds of being one of the labels at all; a model may lack it
_STRING_OUTPUTS = ("scores", "edges")  # (1, U, C) logits; (1, U, 2) s since a digit's start and end
_RANKS = {"scores": 2, "log_mel": 3, "embedding": 2, "rejection": 1}  # of a model for single digits
MAX_BLOCKS = 50  # that `Stream` runs at once, 3 s: six times as fast as one by one
_MAX_BLOCK, _MAX_LOOKAHEAD = SAMPLE_RATE, 2 * SAMPLE_RATE  # samples, of a model for strings
_STATE, _NEW_STATE = "state_", "new_state_"  # the output of one block is the input of the next
_REMEDY = "take a file that spoken-digits export wrote"


class ModelError(ValueError):
    """A file that is no model of this package; the message says what was expected, the remedy."""


@dataclass(frozen=True)
class Decision:
    """The thresholds by which an answer is rejected; they stand in the model file's metadata.

    Attributes
    ----------
    rejection_threshold : float
        Log-odds of being one of the labels, below which an answer is rejected; -inf for a network
        that does not estimate them.
    min_probability, min_margin : float
        Of the most probable label, and between it and the second; below, the answer is unclear.
    string_weight : float
        Of the answer of the network for strings to the same clip, 0 or more; a file that names
        none, or 0, is not asked together with it.
    min_oh : float
        Log-odds of "oh" below which that word is like any other; 0 where a file names none.
    """

    rejection_threshold: float
    min_probability: float
    min_margin: float
    string_weight: float = 0.0
    min_oh: float = 0.0


def absolute(path: str | os.PathLike[str] | None) -> Path | None:
    """Return where a model's file is found from any folder; None stays None."""
    return None if path is None else Path(path).absolute()


class DigitNetwork:
    """A network for single digits, or other words: (B, L) clips to scores of its labels.

    One that knows "oh" beside the ten digits scores it apart (`analyze`): it is none of the labels,
    and where these are rejected it is like any other word.

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
        self._session, metadata = _open_session(self._path, _measure_digits)
        self._metadata = MappingProxyType(metadata)
        inputs, outputs = _shapes(self._session)
        self._labels = _read_labels(self._path, metadata, inputs, outputs)
        self._outputs = [*_DIGIT_OUTPUTS, *(name for name in outputs if name == _REJECTION)]
        self._knows_oh = self.rejects and self._labels == LABELS[: OH + 1]
        if self._knows_oh:
            self._labels = LABELS[:OH]
        self._decision = _read_decision(self._path, metadata, self.rejects)

    @property
    def path(self) -> Path:
        """The model's file."""
        return self._path

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the C classes, in the order of the scores."""
        return self._labels

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's description of itself: front end, version, training data, licence, ..."""
        return self._metadata

    @property
    def decision(self) -> Decision:
        """Its thresholds, as its file names them."""
        return self._decision

    @property
    def rejects(self) -> bool:
        """Whether the network estimates if a clip is any of its labels, apart from which one."""
        return _REJECTION in self._outputs

    @property
    def knows_oh(self) -> bool:
        """Whether the network scores "oh", zero said as the letter, apart; see `analyze`."""
        return self._knows_oh

    def run(self, waveforms: ArrayLike) -> FloatArray:
        """Score (B, L) clips at 8 kHz: (B, C) logits, of which softmax makes probabilities."""
        return self.analyze(waveforms)[0]

    def score(self, waveforms: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Score (B, L) clips as `run` does, (B, C), with the log-odds of being any label, (B,).

        For a network without an output for the latter, they are those of its largest probability:
        that separated digits from other words better than largest logit or energy did.
        """
        scores, _, log_odds, _ = self.analyze(waveforms)
        return scores, log_odds

    def analyze(self, waveforms: ArrayLike) -> Outputs:
        """Score (B, L) clips as `score` does: scores, log-mel (B, M, T), log-odds, is_oh.

        The last are the log-odds that a clip is "oh", (B,): -inf for a network that does not know
        it.
        """
        clips = np.asarray(waveforms, np.float32)
        scores, log_mel, *rejection = self._session.run(self._outputs, {_INPUT: clips})
        scores, is_digit, is_oh = self._interpret(scores, *rejection)
        return scores, log_mel, is_digit, is_oh

    def analyze_clips(
        self, clips: Sequence[FloatArray]
    ) -> tuple[FloatArray, list[FloatArray], FloatArray, FloatArray]:
        """Score N clips, one or more, of (L,) samples each, as `analyze` does.

        Those of one length go through the network together. The log-mels are a list, as their
        lengths differ.
        """
        by_length: dict[int, list[int]] = {}
        for i, clip in enumerate(clips):
            by_length.setdefault(len(clip), []).append(i)
        found: dict[int, tuple[FloatArray, ...]] = {}
        for same in by_length.values():
            for start in range(0, len(same), _BATCH):
                indices = same[start : start + _BATCH]
                batch = np.stack([clips[i] for i in indices])
                outputs = self._session.run(self._outputs, {_INPUT: batch})
                found.update(zip(indices, zip(*outputs, strict=True), strict=True))
        scores, log_mels, *rejection = zip(*(found[i] for i in range(len(clips))), strict=True)
        # Copies: a view would keep the whole batch.
        copies = [log_mel.copy() for log_mel in log_mels]
        stacked, is_digit, is_oh = self._interpret(*map(np.stack, (scores, *rejection)))
        return stacked, copies, is_digit, is_oh

    def _interpret(
        self, scores: FloatArray, rejection: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Make scores, log-odds and is_oh, as of `analyze`, of what the network gives."""
        if self._knows_oh and rejection is not None:
            return _without_oh(scores, rejection)
        is_oh = np.full(len(scores), -np.inf, np.float32)
        if rejection is not None:
            return scores, rejection, is_oh
        largest = np.exp(log_softmax(scores.astype(np.float64))).max(axis=-1)
        return scores, log_odds(largest).astype(np.float32), is_oh

    def embed(self, waveforms: ArrayLike) -> FloatArray:
        """Return the input of the network's last layer for (B, L) clips: (B, D)."""
        embedding: FloatArray
        (embedding,) = self._session.run(["embedding"], {_INPUT: np.asarray(waveforms, np.float32)})
        return embedding


class StringNetwork:
    """A network for strings of digits, run block by block; the state of one goes into the next.

    Parameters
    ----------
    model_path : path, optional
        A file that ``spoken-digits strings train`` wrote; without it, the model that ships.

    Attributes
    ----------
    labels : tuple of str
        Of the C classes: `spotting.LABELS`.
    decoding : Decoding
        Thresholds and times, as the file names them.
    step, block, lookahead : int
        Samples of a step, of a block of steps, and from a digit's end to its emission at most.

    Raises
    ------
    ModelError
        When the file is missing, or no such model.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None) -> None:
        self.path = SHIPPED_STRINGS if model_path is None else Path(model_path)
        self._session, metadata = _open_session(self.path, _measure_strings)
        self.metadata: Mapping[str, str] = MappingProxyType(metadata)
        inputs, outputs = _shapes(self._session)
        settings = _read_settings(self.path, metadata, inputs, outputs)
        self.decoding, self.labels, self.step, self.block, self.lookahead, names = settings
        self._wanted = [*_STRING_OUTPUTS, *(_NEW_STATE + name for name in names)]
        self._first = {_STATE + name: np.zeros(inputs[_STATE + name], np.float32) for name in names}

    def first_state(self) -> dict[str, FloatArray]:
        """Return the state before the first block."""
        return dict(self._first)

    def run(
        self, block: FloatArray, state: dict[str, FloatArray]
    ) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """Run the next (L,) samples, L a multiple of `block`.

        Returns
        -------
        log_p, edges, state
            (U, C) log-probabilities of `labels`; (U, 2) seconds since start and end of the digit
            that is emitted, without meaning for other words; the new state.
        """
        scores, edges, *news = self._session.run(self._wanted, {_INPUT: block[None], **state})
        names = (_STATE + n.removeprefix(_NEW_STATE) for n in self._wanted[len(_STRING_OUTPUTS) :])
        return log_softmax(scores[0]), edges[0], dict(zip(names, news, strict=True))

    def silence_after(self, count: int) -> FloatArray:
        """Make the silence to run after the last `count` samples: (L,).

        In it the network may emit the last word. So it is of `lookahead` or more, and both together
        are of whole blocks.
        """
        return np.zeros(self.lookahead + -(count + self.lookahead) % self.block, np.float32)

    def score_clip(self, clip: FloatArray) -> NDArray[np.float64]:
        """Score a clip (L,) at 8 kHz, and silence after it: (C,), as `single_word` does.

        That is the log-probability that each word is said in it once, and nothing else; last, that
        none is.
        """
        samples = np.concatenate([clip, self.silence_after(len(clip))])
        log_p, _, _ = self.run(samples, self.first_state())
        return single_word(log_p)


class _Settings(NamedTuple):
    """What the metadata of a model for strings say, and the names of its states."""

    decoding: Decoding
    labels: tuple[str, ...]
    step: int
    block: int
    lookahead: int
    names: list[str]


def _read_settings(
    path: Path, metadata: Mapping[str, str], inputs: Iterable[str], outputs: Iterable[str]
) -> _Settings:
    """Read the metadata of a model for strings.

    Raises
    ------
    ModelError
        When they are not those of such a model, or its inputs and outputs are not.
    """
    names = [name.removeprefix(_STATE) for name in inputs if name.startswith(_STATE)]
    wanted = {*_STRING_OUTPUTS, *(_NEW_STATE + name for name in names)}
    version, rate = metadata.get("format_version"), metadata.get("sample_rate_hz")
    try:
        settings = _Settings(
            Decoding.from_metadata(metadata),
            tuple(json.loads(metadata["labels"])),
            int(metadata["step"]),
            int(metadata["block"]),
            int(metadata["lookahead"]),
            names,
        )
        is_complete = (
            0 < settings.step <= settings.block <= _MAX_BLOCK
            and settings.block % settings.step == 0
            and 0 <= settings.lookahead <= _MAX_LOOKAHEAD
            and settings.labels == LABELS
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        is_complete = False
    if (
        not is_complete
        or version != STRINGS_FORMAT_VERSION
        or rate != str(SAMPLE_RATE)
        or not names
        or _INPUT not in inputs
        or not wanted <= set(outputs)
    ):
        lengths = ", ".join(f"{key} {metadata.get(key)}" for key in ("step", "block", "lookahead"))
        labels = printable(str(metadata.get("labels")))
        found = f"format_version {version}, {lengths}, inputs {sorted(inputs)}"
        raise ModelError(
            f"{path}: not a model of strings of digits ({printable(found)}, labels {labels}); "
            "expected a file that "
            f"spoken-digits strings train wrote, of format_version {STRINGS_FORMAT_VERSION}, "
            f"with the labels {', '.join(LABELS)}: name one, or leave --model out"
        )
    return settings


def _open_session(path: Path, check: Callable[[Path, Model], object]) -> tuple[Any, dict[str, str]]:
    """Open an ONNX file to run on one thread of the CPU; return its session and metadata.

    One that does not ship is read and checked first, and what was read is what is opened.

    Raises
    ------
    ModelError
        When there is none, or it is no ONNX file, or not one to run: `check` and `onnx_check.read`.
    """
    ships = path in (SHIPPED_MODEL, SHIPPED_STRINGS)
    if not path.is_file():
        remedy = "install spoken-digits again, or name another model" if ships else _REMEDY
        raise ModelError(f"{path}: no such file; expected an ONNX model: {remedy}")
    content = None
    if not ships:  # what ships is trusted as the code beside it is, and opens in half the time
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            check(path, read(content))
        except OnnxError as error:
            raise ModelError(f"{path}: cannot be opened: {error}: {_REMEDY}") from None
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); expected an ONNX model: {_REMEDY}"
            ) from None
    import onnxruntime  # late: importing this module stays cheap

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what concerns the user is raised
    # Or the first bytes would choose: a file may be both ONNX and the runtime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(
            content or str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelError(
            f"{path}: cannot be opened ({type(error).__name__}); expected an ONNX model: {_REMEDY}"
        ) from error
    return session, session.get_modelmeta().custom_metadata_map


def _measure_digits(path: Path, model: Model) -> None:
    """Check the shapes and the cost of a model for single digits, for clips of all lengths.

    Raises
    ------
    ModelError, OnnxError
        When they are not those of such a model, or memory grows faster than the number of clips.
    """
    _read_labels(path, model.metadata, model.inputs, model.outputs)
    dims = model.inputs.get(_INPUT, ())
    if len(model.inputs) != 1 or len(dims) != 2 or len({d for d in dims if isinstance(d, str)}) < 2:
        raise OnnxError(f"inputs {dict(model.inputs)}; expected {_INPUT} alone, of (B, L)")

    def run(clips: int, duration_s: float) -> Cost:
        length = round(duration_s * SAMPLE_RATE)
        return measure(
            model, dict(zip(map(str, dims), (clips, length), strict=True)), duration_s * clips
        )

    run(1, MIN_CLIP_DURATION_S)
    one, two, three = (run(clips, MAX_CLIP_DURATION_S) for clips in (1, 2, 3))
    if three.bytes - two.bytes > two.bytes - one.bytes:
        raise OnnxError("memory that grows faster than the number of clips; expected as fast")
    for name, rank in _RANKS.items():
        shape = two.shapes.get(name, (2,) * rank)
        if len(shape) != rank or shape[0] != 2:
            raise OnnxError(f"{name} of the shape {shape} for 2 clips; expected {rank} sizes, of 2")


def _measure_strings(path: Path, model: Model) -> None:
    """Check the shapes and the cost of a model for strings, for a block and for all run at once.

    Raises
    ------
    ModelError, OnnxError
        When they are not those of such a model, or its state is not as large as before.
    """
    settings = _read_settings(path, model.metadata, model.inputs, model.outputs)
    dims = model.inputs[_INPUT]
    if len(dims) != 2 or dims[0] != 1 or not isinstance(dims[1], str):
        raise OnnxError(f"{_INPUT} of {dims}; expected (1, L)")
    if len(model.inputs) != 1 + len(settings.names):
        raise OnnxError(f"inputs {', '.join(model.inputs)}; expected {_INPUT} and states alone")
    for blocks in (1, MAX_BLOCKS):  # a clip and the silence after it are less
        length = blocks * settings.block
        shapes = measure(model, {dims[1]: length}, 1.0).shapes
        steps = length // settings.step
        expected: dict[str, tuple[int | str, ...]] = {
            "scores": (1, steps, len(LABELS)),
            "edges": (1, steps, 2),
            **{_NEW_STATE + name: model.inputs[_STATE + name] for name in settings.names},
        }
        for name, shape in expected.items():
            if shapes[name] != shape:
                raise OnnxError(f"{name} of the shape {shapes[name]}; expected {shape}")


def _shapes(session: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the shapes of a session's inputs and outputs by name: numbers, or names."""
    inputs, outputs = (
        {node.name: node.shape for node in nodes}
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _without_oh(
    scores: FloatArray, rejection: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Take "oh" out of the labels: scores, log-odds and is_oh, from a network's outputs.

    The network's classes are the ten digits, "oh" and anything else.
    """
    digits, oh = np.logaddexp.reduce(scores[:, :OH], axis=1), scores[:, OH]
    other = np.logaddexp(digits, oh) - rejection
    is_digit, is_oh = digits - np.logaddexp(other, oh), oh - np.logaddexp(other, digits)
    return scores[:, :OH], is_digit, is_oh


def _read_labels(
    path: Path,
    metadata: Mapping[str, str],
    inputs: Iterable[str],
    outputs: Mapping[str, Sequence[Any]],
) -> tuple[str, ...]:
    """Check the metadata of a model for single digits, and what it takes and gives; its labels."""
    names = {*inputs, *outputs}
    version, rate = metadata.get("format_version"), metadata.get("sample_rate_hz")
    wanted = {_INPUT, *_DIGIT_OUTPUTS}
    if version != FORMAT_VERSION or rate != str(SAMPLE_RATE) or not names >= wanted:
        found = printable(f"format_version {version}, sample_rate_hz {rate}, with {sorted(names)}")
        raise ModelError(
            f"{path}: {found}; "
            f"expected {FORMAT_VERSION}, {SAMPLE_RATE}, with {[_INPUT, *_DIGIT_OUTPUTS]}: {_REMEDY}"
        )
    try:
        labels = json.loads(metadata["labels"])
    except (KeyError, ValueError, RecursionError):
        labels = None
    *_, classes = (None, *outputs[_DIGIT_OUTPUTS[0]])
    if not isinstance(labels, list) or len(labels) != classes:
        raise ModelError(
            f"{path}: labels {printable(str(metadata.get('labels')))}; expected a JSON list of "
            f"{classes}: {_REMEDY}"
        )
    return tuple(map(str, labels))


def _read_decision(path: Path, metadata: Mapping[str, str], rejects: bool) -> Decision:
    """Read the thresholds that a model's file names."""
    threshold = _number(path, metadata, "rejection_threshold", "log-odds") if rejects else -np.inf
    return Decision(
        threshold,
        _number(path, metadata, "min_probability", "0 to 1"),
        _number(path, metadata, "min_margin", "0 to 1"),
        _number(path, {"string_weight": "0"} | dict(metadata), "string_weight", "0 or more"),
        _number(path, {"min_oh": "0"} | dict(metadata), "min_oh", "log-odds"),
    )


def _number(path: Path, metadata: Mapping[str, str], key: str, unit: str) -> float:
    named = metadata.get(key, "")
    try:
        value = float(named)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise ModelError(f"{path}: {key} {printable(named)}; expected a number, {unit}: {_REMEDY}")
    return value
