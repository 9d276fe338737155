"""Figures of a report, as SVG to stand inside an HTML page: the same numbers give the same bytes.

Colors are Okabe and Ito's, shades of one hue, or cividis: legible to the color-blind and in print.
Shapes: C classes, M mel bands, T frames, E epochs.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Curves",
    "Spectrogram",
    "confusion_matrix",
    "learning_curves",
    "rejection_curves",
    "speaker_strip",
    "spectrograms",
]

FloatArray = NDArray[np.float64]

# Okabe and Ito, Color universal design; yellow left out, it is lost on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "s", "^", "v", "P")
INK = "#222222"
STYLE = {
    "svg.fonttype": "none",  # words stay words: to be searched, copied and read aloud
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Curves:
    """Training of one model on one front end: a line (E,) for each of several networks."""

    model: str
    n_mels: int
    loss: tuple[FloatArray, ...]
    accuracy: tuple[FloatArray, ...]
    heldout_accuracy: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Spectrogram:
    """Log-mel spectrogram (M, T) of one clip, under its title."""

    title: str
    log_mel: NDArray[np.float32]


def speaker_strip(rows: Sequence[Mapping[str, Any]], chance: float) -> str:
    """Draw each speaker's accuracy in each of a summary's rows: seeds small, their mean large."""
    speakers = sorted(rows[0]["per_speaker_seed"])
    told_apart = len(speakers) <= len(COLORS)

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        for y, row in enumerate(rows):
            if y % 2:
                ax.axhspan(y - 0.5, y + 0.5, color="#f4f4f4", linewidth=0)
            for k, speaker in enumerate(speakers):
                values = 100 * np.array(row["per_speaker_seed"][speaker])
                color, marker = (COLORS[k], MARKERS[k]) if told_apart else (COLORS[0], "o")
                lane = y + 0.6 * ((k + 0.5) / len(speakers) - 0.5)
                spread = lane + np.linspace(-0.1, 0.1, len(values))
                if len(values) > 1:
                    ax.plot(values, spread, ".", color=color, alpha=0.45, markersize=4)
                ax.plot(
                    values.mean(), lane, marker, color=color, markersize=6.5, markeredgecolor="w"
                )
            mean = 100 * row["accuracy_mean"]
            ax.plot([mean, mean], [y - 0.34, y + 0.34], color=INK, linewidth=1.4)
            ax.text(1.01, y, f"{mean:.1f}", va="center", transform=ax.get_yaxis_transform())
            if not told_apart:
                worst = row["worst_speaker"]
                at = 100 * row["per_speaker"][worst]["accuracy"]
                ax.text(at - 1, y, worst, va="center", ha="right", fontsize=8)
        ax.axvline(100 * chance, color="#666666", linestyle=":", linewidth=1)
        ax.text(100 * chance + 0.7, -0.55, "chance", va="bottom", fontsize=8, color="#555555")
        ax.text(1.01, -0.55, "mean", va="bottom", transform=ax.get_yaxis_transform(), fontsize=8)
        ax.set_yticks(range(len(rows)), [row["title"] for row in rows])
        ax.set(xlim=(0, 101), ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy, %")
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        if told_apart:
            for k, speaker in enumerate(speakers):
                ax.plot([], [], MARKERS[k], color=COLORS[k], label=speaker)
            figure.legend(loc="outside upper right", ncols=len(speakers), handletextpad=0.1)

    means = "; ".join(f"{row['title']} {100 * row['accuracy_mean']:.1f} %" for row in rows)
    return _svg("strip", (10, 1 + 0.36 * len(rows)), draw, f"Accuracy for each speaker. {means}.")


def confusion_matrix(name: str, counts: ArrayLike, labels: Sequence[str]) -> str:
    """Draw counts (C, C), truth in rows; the shade is the root of the row's share."""
    table = np.asarray(counts, np.float64)
    form = "{:.0f}".format if (table == table.round()).all() else "{:.1f}".format
    shade = np.sqrt(table / np.maximum(table.sum(axis=1, keepdims=True), 1))

    def draw(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        ax = figure.subplots()
        blues = LinearSegmentedColormap.from_list("blues", ["#ffffff", COLORS[0]])
        ax.imshow(shade, cmap=blues, vmin=0, vmax=1, interpolation="none")
        for (truth, heard), count in np.ndenumerate(table):
            if count:
                color = "white" if shade[truth, heard] > 0.6 else INK
                ax.text(heard, truth, form(count), ha="center", va="center", color=color)
        ticks = range(len(labels))
        ax.set_xticks(ticks, labels)
        ax.set_yticks(ticks, labels)
        ax.set(xlabel="heard", ylabel="spoken")
        ax.tick_params(which="both", length=0)
        ax.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="#e6e6e6", linewidth=0.6)
        ax.spines[:].set_visible(False)

    side = 0.6 + 0.42 * len(labels)
    share = table.trace() / max(table.sum(), 1)
    alt = f"Confusion matrix of {name}: {100 * share:.1f} % of clips lie on the diagonal."
    return _svg(f"confusion-{name}", (side, side - 0.1), draw, alt)


def learning_curves(curves: Sequence[Curves]) -> str:
    """Draw loss above, accuracy below, a column a model: networks thin, their mean bold."""
    models = list(dict.fromkeys(curve.model for curve in curves))
    bands = sorted({curve.n_mels for curve in curves}, reverse=True)
    colors = dict(zip(bands, COLORS, strict=False))

    def lines(ax: "Axes", networks: Sequence[FloatArray], color: str, style: str) -> None:
        for network in networks:
            ax.plot(np.arange(1, len(network) + 1), network, color=color, alpha=0.25, linewidth=0.7)
        if networks:
            shared = min(map(len, networks))
            mean = np.mean([network[:shared] for network in networks], axis=0)
            ax.plot(np.arange(1, shared + 1), mean, style, color=color, linewidth=1.7)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(2, len(models), sharex="col", sharey="row", squeeze=False)
        for curve in curves:
            loss, accuracy = axes[:, models.index(curve.model)]
            color = colors[curve.n_mels]
            lines(loss, curve.loss, color, "-")
            lines(accuracy, [100 * line for line in curve.accuracy], color, "-")
            lines(accuracy, [100 * line for line in curve.heldout_accuracy], color, "--")
        for model, (loss, accuracy) in zip(models, axes.T, strict=True):
            loss.set_title(model)
            loss.set_ylim(bottom=0)
            accuracy.set(xlabel="epoch", ylim=(0, 102))
            accuracy.xaxis.get_major_locator().set_params(integer=True)
            for ax in (loss, accuracy):
                ax.grid()
        axes[0, 0].set_ylabel("training loss")
        axes[1, 0].set_ylabel("accuracy, %")
        for n_mels, color in colors.items():
            axes[0, 0].plot([], [], color=color, label=f"{n_mels} mels")
        axes[0, 0].plot([], [], "-", color=INK, label="training clips")
        if any(curve.heldout_accuracy for curve in curves):
            axes[0, 0].plot([], [], "--", color=INK, label="held-out training speaker")
        figure.legend(loc="outside upper center", ncols=4)

    names = ", ".join(models)
    return _svg("curves", (10, 4.6), draw, f"Loss and accuracy after each epoch of {names}.")


def spectrograms(pictures: Sequence[Spectrogram], band_hz: FloatArray, hop_ms: float) -> str:
    """Draw log-mel spectrograms on one scale of level and time; `band_hz` (M,) names the bands."""
    low, high = np.quantile(np.concatenate([p.log_mel.ravel() for p in pictures]), [0.02, 0.998])
    columns, longest = 5, max(p.log_mel.shape[1] for p in pictures)
    n_rows = -(-len(pictures) // columns)
    marks_hz = np.array([250, 500, 1000, 2000, 3500])

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax, picture in zip(axes.flat, pictures, strict=False):
            n_mels, frames = picture.log_mel.shape
            image = ax.imshow(
                picture.log_mel,
                cmap="cividis",
                vmin=low,
                vmax=high,
                origin="lower",
                aspect="auto",
                interpolation="none",
                extent=(0, frames * hop_ms / 1000, -0.5, n_mels - 0.5),
            )
            ax.set_title(picture.title)
            ax.set_xlim(0, longest * hop_ms / 1000)
            ax.set_yticks(np.interp(marks_hz, band_hz, np.arange(n_mels)), marks_hz)
        for ax in axes.flat[len(pictures) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel("time, s")
        for ax in axes[:, 0]:
            ax.set_ylabel("frequency, Hz")
        figure.colorbar(image, ax=axes, label="log-mel, normalized", aspect=40, pad=0.01)

    titles = ", ".join(picture.title for picture in pictures)
    return _svg("spectrograms", (10, 2.1 * n_rows + 0.4), draw, f"Log-mel spectrograms: {titles}.")


def rejection_curves(evaluation: Mapping[str, Any]) -> str:
    """Draw the ROC curve, and beside it what each threshold accepts; of an evaluation's dict."""
    cuts, own = evaluation["cuts"], evaluation["default"]
    thresholds = [cut["threshold"] for cut in cuts]

    def draw(figure: "Figure") -> None:
        roc, cost = figure.subplots(1, 2)
        roc.plot(*(100 * np.array(evaluation["curve"]).T), color=COLORS[0])
        roc.plot([0, 100], [100, 0], ":", color="#666666", linewidth=1)
        rate = 100 * evaluation["eer"]
        roc.plot(rate, 100 - rate, "o", color=INK)
        roc.annotate(f" equal errors, {rate:.1f} %", (rate, 100 - rate), va="top")
        roc.set(xlabel="other words accepted, %", ylabel="digits accepted, %", ylim=(0, 101))
        roc.set_title(f"AUROC {100 * evaluation['auroc']:.1f} %")
        for key, text, color in (
            ("digits_accepted", "digits accepted", COLORS[0]),
            ("digits_right", "digits accepted and right", COLORS[2]),
            ("others_accepted", "other words accepted", COLORS[1]),
        ):
            shares = [100 * cut[key] for cut in cuts]
            cost.plot(thresholds, shares, "o-", color=color, label=text, markersize=3)
        cost.axvline(own["threshold"], color=INK, linestyle="--", linewidth=1, label="in use")
        cost.set(xlabel="threshold", ylabel="share, %", xlim=(0, 1), ylim=(0, 101))
        cost.legend(loc="lower left")
        for ax in (roc, cost):
            ax.grid()

    alt = (
        f"Digits against other words: AUROC {evaluation['auroc']:.3f}, EER {evaluation['eer']:.3f}."
    )
    return _svg("rejection", (10, 3.6), draw, alt)


def _svg(
    name: str, size_in: tuple[float, float], draw: Callable[["Figure"], None], alt: str
) -> str:
    """Draw and return an <svg> element whose ids no other figure of the page shares."""
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=size_in, layout="constrained")
        draw(figure)
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata, transparent=True)
    prefix = re.sub(r"\W+", "-", name).lower()
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
