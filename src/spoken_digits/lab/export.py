"""Export: a finished run to one ONNX file, waveform in, scores out, that describes itself.

The file holds the front end as well as the network, in standard operators; whoever has it needs
neither this package nor torch. Shapes: B batch, L samples, M mel bands, T frames, D embedding,
C classes.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import spoken_digits
from spoken_digits.audio import read_audio, to_clip
from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.features import FRONT_ENDS
from spoken_digits.lab.models import DigitNet
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.training.config import ConfigError, TrainConfig
from spoken_digits.lab.training.supervised import load_network
from spoken_digits.networks import FORMAT_VERSION
from spoken_digits.recognize import Recognizer
from spoken_digits.spotting import LABELS, OH

__all__ = [
    "OPSET",
    "OUTPUTS",
    "ExportError",
    "check_parity",
    "describe",
    "export",
    "quantize",
]

OUTPUTS = ("scores", "log_mel", "embedding")  # and "rejection", of a network that rejects
_TOLERANCE = 1e-4
OPSET = 17
# Synthetic clips that the ranges of activations are calibrated on, and others to compare answers.
_CALIBRATED, _COMPARED = slice(0, None, 9), slice(1, None, 3)
# Of the most probable label, and between it and the second; recognizing reads them in the file.
# Below them, an answer is unclear: it is wrong more often than right.
_MIN_PROBABILITY, _MIN_MARGIN = 0.4, 0.1
# Of a network that knows "oh": the weight of the answer of the network for strings, where the other
# is not sure, and the log-odds below which "oh" is like any other word.
_STRING_WEIGHT, _MIN_OH = 0.5, 0.0
_MIN_AGREEMENT = 0.98


class ExportError(ValueError):
    """The exported file and the network give different outputs; nothing was written."""


class _WaveformOnly(nn.Module):
    """The network as it is exported: every sample of the waveform counts, nothing is padding."""

    def __init__(self, net: DigitNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        output = self.net(waveform)
        return tuple(getattr(output, name) for name in _outputs(self.net))


def _outputs(net: DigitNet) -> tuple[str, ...]:
    return (*OUTPUTS, "rejection") if net.rejects else OUTPUTS


def export(run_dir: Path | str, output: Path | str | None = None, int8: bool = False) -> Path:
    """Write a finished run as ONNX, once ONNX and torch agree to 1e-4 on every output.

    The file takes ``waveform`` (B, L), float32 at 8 kHz, any B and any L of a tenth of a second or
    more, and gives ``scores`` (B, C), logits, ``log_mel`` (B, M, T) and ``embedding`` (B, D); of a
    network that rejects also ``rejection`` (B,), log-odds of being one of the labels. Its metadata
    names the labels, the front end, the recipe, the training data and their licence.

    Parameters
    ----------
    run_dir
        Folder of a finished run.
    output
        File to write; by default ``digits.onnx`` in `run_dir`, or ``digits-int8.onnx``.
    int8
        Whether to put the network into 8 bits, see `quantize`.

    Raises
    ------
    ConfigError
        When `run_dir` holds no finished run, or one without a record of its training.
    ExportError
        When outputs differ, or too many answers in 8 bits from those in float; nothing is written
        then.
    """
    run_dir = Path(run_dir)
    output = Path(output) if output else run_dir / f"digits{'-int8' * int8}.onnx"
    config, net = load_network(run_dir)
    content = describe(_to_onnx(net), _metadata(config, net, _environment(run_dir)))
    check_parity(net, content)
    write_whole(output, quantize(content) if int8 else content)
    return output


def _environment(run_dir: Path) -> dict[str, object]:
    """Read the record of a run's training, all of which goes into the exported file."""
    path, wanted = run_dir / "environment.json", ("labels", "data", "command", "commit")
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        return {key: environment[key] for key in wanted}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path}: missing or incomplete; expected a JSON object with {', '.join(wanted)}: "
            "train the run again"
        ) from None


def _to_onnx(net: DigitNet) -> bytes:
    buffer = io.BytesIO()
    # Two clips: an example batch of one would be traced into the graph of a recurrent network.
    example = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        # Only the tracing exporter keeps the time axis of recurrent networks dynamic. It warns that
        # it is deprecated, and of traced shapes; `check_parity` tests that they are dynamic.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _WaveformOnly(net).eval(),
            (example,),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes a stream
            dynamo=False,
            opset_version=OPSET,
            input_names=["waveform"],
            output_names=list(_outputs(net)),
            dynamic_axes={
                "waveform": {0: "B", 1: "L"},
                "scores": {0: "B"},
                "log_mel": {0: "B", 2: "T"},
                "embedding": {0: "B"},
                **({"rejection": {0: "B"}} if net.rejects else {}),
            },
        )
    return without_masks(buffer.getvalue())


def without_masks(content: bytes) -> bytes:
    """Remove from an exported graph what the masks do, as nothing is padding there.

    A network multiplies by masks that are 1 everywhere, and adds 0 where they are; a runtime does
    not know that, and takes a quarter of its time for it. Sums over masks, numbers of frames, stay.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    given = {output.name for output in graph.output}
    everywhere: dict[str, float] = {}  # value of tensors that have but one
    renamed: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        values, output, same = [everywhere.get(name) for name in node.input], node.output[0], None
        match node.op_type, values:
            case (("Constant" | "ConstantOfShape"), _):
                array = _float_value(node)
                if array is not None and array.size == 1:
                    everywhere[output] = float(array.item())
            case (("Unsqueeze" | "Slice" | "Gather"), [float(value), *_]):
                everywhere[output] = value
            case "Sub", [float(one), float(other)]:
                everywhere[output] = one - other
            case "Mul", [float(one), float(other)]:
                everywhere[output] = one * other
            case ("Mul", [1.0, _]) | ("Add", [0.0, _]):
                same = node.input[1]
            case ("Mul", [_, 1.0]) | ("Add", [_, 0.0]):
                same = node.input[0]
        if same is None:
            kept.append(node)
        elif output in given:  # keeps its name: what made the other gets it
            renamed[same] = output
            for earlier in kept:
                for names in (earlier.input, earlier.output):
                    names[:] = [output if name == same else name for name in names]
        else:
            renamed[output] = same
    needed, last = set(given), []
    for node in reversed(kept):
        if needed & set(node.output):
            last.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(last))
    return bytes(model.SerializeToString())


def _float_value(node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """Return what a node of constants gives, if that is of type float32."""
    for attribute in node.attribute:
        array = onnx.numpy_helper.to_array(attribute.t)
        if attribute.name == "value" and array.dtype == np.float32:
            return np.asarray(array, np.float32)
    return None


def _metadata(config: TrainConfig, net: DigitNet, environment: dict[str, object]) -> dict[str, str]:
    front_end = FRONT_ENDS[config.front_end]
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "format_version": FORMAT_VERSION,
        "labels": json.dumps(environment["labels"]),
        "sample_rate_hz": str(front_end.sample_rate),
        "front_end": json.dumps(asdict(front_end)),
        "model": config.model,
        "precision": "float32",
        "recipe": json.dumps(asdict(config)),
        "parameters": str(parameters),
        "version": spoken_digits.__version__,
        "training_data": json.dumps(environment["data"]),
        **({"rejection_threshold": str(config.rejection_threshold)} if net.rejects else {}),
        "min_probability": str(_MIN_PROBABILITY),
        "min_margin": str(_MIN_MARGIN),
        **(
            {"string_weight": str(_STRING_WEIGHT), "min_oh": str(_MIN_OH)}
            if net.rejects and environment["labels"] == [*LABELS[: OH + 1]]
            else {}
        ),
        "temperature": str(config.temperature),
        "licence": _licence(environment["data"]),
        "command": str(environment["command"]),
        "commit": str(environment["commit"]),
    }


def _licence(data: object) -> str:
    """Return the licence of weights: that of share-alike recordings extends to them."""
    if "CC BY-SA 4.0" in json.dumps(data):
        return "CC BY-SA 4.0, as recordings that it was trained on; see training_data"
    return "Apache-2.0; trained on the corpora of training_data, under their licences"


def describe(content: bytes, metadata: dict[str, str]) -> bytes:
    """Set the metadata of an ONNX file, and check that the file is valid."""
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def check_parity(net: DigitNet, content: bytes) -> None:
    """Compare ONNX with torch at lengths and batch sizes other than the traced ones.

    Raises
    ------
    ExportError
        When an output differs by more than 1e-4.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    for batch, length in ((1, 800), (3, 3111), (2, 12000)):
        waveform = 0.1 * torch.randn(batch, length, generator=generator)
        with torch.inference_mode():
            expected = net(waveform)
        found = session.run(list(_outputs(net)), {"waveform": waveform.numpy()})
        for name, array in zip(_outputs(net), found, strict=True):
            want = getattr(expected, name).numpy()
            difference = np.abs(array - want).max() if array.shape == want.shape else np.inf
            if not difference <= _TOLERANCE:
                raise ExportError(
                    f"{name} of ONNX and torch differ by {difference:.2g} on {batch} clips of "
                    f"{length} samples, expected at most {_TOLERANCE:g}; nothing was written"
                )


def quantize(content: bytes) -> bytes:
    """Quantize an exported model's convolutions and last layer to 8 bits.

    The front end, whose power exceeds the range of 8 bits, stays in float, and so does the output
    of the last layer, from which answers and rejections are computed. Weights have a scale for each
    channel, activations one that is calibrated on part of the synthetic speech that ships (Jacob et
    al. 2018, arXiv:1712.05877). Both files then recognize other clips of it. Answers count as the
    same when both files reject or accept a clip, and the answer is the float file's most probable
    label, or one whose probability there is within 0.1 of it, the margin that `recognize` asks for.

    Parameters
    ----------
    content
        ONNX, as `export` writes it.

    Returns
    -------
    ONNX of the same inputs, outputs and metadata, but for ``precision``, which is ``int8``.

    Raises
    ------
    ExportError
        When less than 98 % of the answers are the same.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, clips: Iterable[NDArray[np.float32]]) -> None:
            self.clips = iter(clips)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            clip = next(self.clips, None)
            return None if clip is None else {"waveform": clip[None]}

    def read(clips: Iterable[Clip]) -> list[NDArray[np.float32]]:
        return [to_clip(*read_audio(clip.file)) for clip in clips]

    clips = read_corpus("voices")
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    # Marked as preprocessed: the library warns otherwise, and its preprocessing makes operators
    # that are not standard. `describe` removes the mark.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as scratch:
        whole, small = Path(scratch, "float32.onnx"), Path(scratch, "int8.onnx")
        onnx.save(model, str(whole))
        quantize_static(
            str(whole),
            str(small),
            Reader(read(clips[_CALIBRATED])),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm"],
            nodes_to_exclude=_makers_of(model.graph, "log_mel"),
            per_channel=True,
            # Sums with 8-bit weights overflow on processors without VNNI, those with 7-bit weights
            # do not: the outputs are then the same on all processors.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        whole.write_bytes(content)
        small.write_bytes(describe(small.read_bytes(), metadata | {"precision": "int8"}))
        agreement = _agreement(Recognizer(whole), Recognizer(small), read(clips[_COMPARED]))
        if not agreement >= _MIN_AGREEMENT:
            raise ExportError(
                f"in 8 bits {agreement:.1%} of the synthetic clips are answered as in float, "
                f"expected at least {_MIN_AGREEMENT:.0%}; nothing was written: export it without "
                "--int8"
            )
        return small.read_bytes()


def _makers_of(graph: onnx.GraphProto, output: str) -> list[str]:
    """Return the names of all nodes that an output of a graph depends on."""
    makers = {name: node for node in graph.node for name in node.output}
    found, wanted = set(), [output]
    while wanted:
        node = makers.get(wanted.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            wanted += node.input
    return sorted(found)


def _agreement(one: Recognizer, other: Recognizer, clips: Sequence[NDArray[np.float32]]) -> float:
    """Return the fraction of clips (L,) with the same answer of both; see `quantize`."""
    same = []
    for clip in clips:
        (scores, log_odds), (scores_other, log_odds_other) = (
            r.score(clip[None]) for r in (one, other)
        )
        likely = torch.from_numpy(scores[0]).softmax(0).numpy()  # (C,)
        is_likely = likely[scores_other[0].argmax()] >= likely.max() - _MIN_MARGIN
        rejections_agree = (log_odds >= one.log_odds_threshold) == (
            log_odds_other >= other.log_odds_threshold
        )
        same.append(bool(is_likely and rejections_agree[0]))
    return float(np.mean(same))
