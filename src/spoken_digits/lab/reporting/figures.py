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

from spoken_digits.lab.evaluation.embeddings import EmbeddingMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Curves",
    "Line",
    "Spectrogram",
    "confusion_matrix",
    "embedding_map",
    "heat_map",
    "interval_strip",
    "learning_curves",
    "line_plot",
    "rejection_curves",
    "small_spectrogram",
    "speaker_strip",
    "spectrograms",
]

FloatArray = NDArray[np.float64]

# Okabe and Ito, Color universal design; yellow left out, it is lost on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "s", "^", "v", "P")
MORE_COLORS = (*COLORS, "#000000", "#882255", "#44AA99", "#999933")  # digits, told apart by glyph
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


@dataclass(frozen=True)
class Line:
    """A curve (n,) over positions `x`, with an interval where `low` and `high` are given."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def speaker_strip(rows: Sequence[Mapping[str, Any]], chance: float, name: str = "strip") -> str:
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
    return _svg(name, (10, 1 + 0.36 * len(rows)), draw, f"Accuracy for each speaker. {means}.")


def interval_strip(
    name: str, rows: Sequence[Mapping[str, Any]], chance: float, baseline: str | None = None
) -> str:
    """Draw the mean of each of a summary's rows with its interval over speakers.

    Speakers are small marks. `baseline` is the title of the row that a dotted line is drawn from.
    """
    lowest = 100 * min(min(_speaker_means(row)) for row in rows)

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        for y, row in enumerate(rows):
            low, high = (100 * edge for edge in row["speaker_interval"])
            mean = 100 * row["accuracy_mean"]
            if y % 2:
                ax.axhspan(y - 0.5, y + 0.5, color="#f4f4f4", linewidth=0)
            ax.plot([low, high], [y, y], color=COLORS[0], linewidth=4, solid_capstyle="butt")
            speakers = [100 * value for value in _speaker_means(row)]
            ax.plot(speakers, [y] * len(speakers), "|", color=COLORS[1], markersize=11, mew=1.6)
            ax.plot(mean, y, "o", color=INK, markersize=6.5, markeredgecolor="w")
            ax.text(1.01, y, f"{mean:.1f}", va="center", transform=ax.get_yaxis_transform())
            if row["title"] == baseline:
                ax.axvline(mean, color="#666666", linestyle=":", linewidth=1)
        ax.set_yticks(range(len(rows)), [row["title"] for row in rows])
        start = max(0.0, 10 * np.floor(lowest / 10 - 0.2))
        ax.set(xlim=(start, 100.6), ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy, %")
        if start <= 100 * chance:
            ax.axvline(100 * chance, color="#666666", linestyle="--", linewidth=1)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        ax.plot([], [], "o", color=INK, label="mean")
        ax.plot([], [], color=COLORS[0], linewidth=4, label="95 % over speakers")
        ax.plot([], [], "|", color=COLORS[1], markersize=11, mew=1.6, ls="", label="a speaker")
        figure.legend(loc="outside upper right", ncols=3)

    means = "; ".join(f"{row['title']} {100 * row['accuracy_mean']:.1f} %" for row in rows)
    size = (8, 1 + 0.3 * len(rows))
    return _svg(f"interval {name}", size, draw, f"Accuracy with intervals. {means}.")


def heat_map(title: str, sources: Sequence[str], targets: Sequence[str], shares: ArrayLike) -> str:
    """Draw shares (sources, targets), 0 to 1, as percent; what is not a number stays empty."""
    table = 100 * np.asarray(shares, np.float64)

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        shown = np.ma.masked_invalid(table)
        # Perceptually even and safe for the color-blind; dark is high, as ink is on paper.
        image = ax.imshow(shown, cmap="cividis_r", vmin=0, vmax=100, interpolation="none")
        for (source, target), share in np.ndenumerate(table):
            if np.isfinite(share):
                color = "white" if share > 48 else INK
                ax.text(target, source, f"{share:.0f}", ha="center", va="center", color=color)
        ax.set_xticks(range(len(targets)), targets, rotation=30, ha="right")
        ax.set_yticks(range(len(sources)), sources)
        ax.set(xlabel="heard in", ylabel="trained on")
        ax.set_title(title)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        figure.colorbar(image, ax=ax, label="accuracy, %", shrink=0.8, pad=0.02)

    size = (2.1 + 0.5 * len(targets), 1.3 + 0.42 * len(sources))
    mean = np.nanmean(table)
    alt = f"{title}: accuracy by training and test speaker; mean {mean:.1f} %."
    return _svg(f"heat {title}", size, draw, alt)


def line_plot(
    name: str,
    curves: Sequence[Line],
    x_label: str,
    x_ticks: Mapping[float, str],
    chance: float | None = None,
    log_x: bool = False,
) -> str:
    """Draw accuracies, 0 to 1, over what was varied; `x_ticks` names the positions."""

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        for k, curve in enumerate(curves):
            color = MORE_COLORS[k % len(MORE_COLORS)]
            marker = MARKERS[k % len(MARKERS)]
            if curve.low:
                low, high = 100 * np.array(curve.low), 100 * np.array(curve.high)
                ax.fill_between(curve.x, low, high, color=color, alpha=0.12, linewidth=0)
            dashes = "-" if k < len(COLORS) else "--"
            y = 100 * np.array(curve.y)
            ax.plot(curve.x, y, dashes, marker=marker, color=color, label=curve.title)
        if chance is not None:
            ax.axhline(100 * chance, color="#666666", linestyle=":", linewidth=1)
        if log_x:
            ax.set_xscale("log")
            ax.minorticks_off()
        ax.set_xticks(list(x_ticks), list(x_ticks.values()))
        ax.set(xlabel=x_label, ylabel="accuracy, %", ylim=(0, 102))
        ax.grid()
        ax.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2)

    lines = "; ".join(f"{c.title} {', '.join(f'{100 * y:.0f}' for y in c.y)} %" for c in curves)
    size = (6.4, 3.6 + 0.1 * len(curves))
    return _svg(f"lines {name}", size, draw, f"Accuracy over {x_label}. {lines}.")


def embedding_map(drawn: EmbeddingMap) -> str:
    """Draw t-SNE above and principal components below, by digit on the left, by speaker right."""
    digits, speakers = (sorted(set(names.tolist())) for names in (drawn.labels, drawn.speakers))
    told_apart = len(speakers) <= len(COLORS)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(2, 2)
        for (left, right), place, name in zip(
            axes, (drawn.tsne, drawn.pca), ("t-SNE", "PCA"), strict=True
        ):
            # Points become one picture a panel: thousands of them as shapes would weigh megabytes.
            for k, digit in enumerate(digits):
                mine, color = place[drawn.labels == digit], MORE_COLORS[k % len(MORE_COLORS)]
                glyph = f"${digit}$" if digit.isalnum() and len(digit) == 1 else "o"
                left.scatter(*mine.T, s=22, c=color, marker=glyph, linewidths=0, rasterized=True)
            for k, speaker in enumerate(speakers):
                mine = place[drawn.speakers == speaker]
                color = COLORS[k] if told_apart else MORE_COLORS[k % len(MORE_COLORS)]
                marker = MARKERS[k % len(MARKERS)]
                right.scatter(
                    *mine.T, s=11, c=color, marker=marker, linewidths=0, alpha=0.7, rasterized=True
                )
            for ax, what in ((left, "digit"), (right, "speaker")):
                ax.set_title(f"{name}, by {what}")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(True)
                ax.spines[:].set_color("#cccccc")
        if told_apart:
            for k, speaker in enumerate(speakers):
                axes[0, 0].plot([], [], MARKERS[k], color=COLORS[k], label=speaker)
            figure.legend(loc="outside lower center", ncols=len(speakers), handletextpad=0.1)

    alt = (
        f"Embeddings of {drawn.title} on a plane, {len(drawn.labels)} clips: by t-SNE and by "
        "principal components, colored by digit and by speaker."
    )
    return _svg(f"embedding-{drawn.title}", (4.6, 4.7), draw, alt)


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


def learning_curves(curves: Sequence[Curves], name: str = "curves") -> str:
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
    return _svg(name, (10, 4.6), draw, f"Loss and accuracy after each epoch of {names}.")


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


def small_spectrogram(name: str, picture: Spectrogram, band_hz: FloatArray, hop_ms: float) -> str:
    """Draw one log-mel spectrogram without words beside it, but for the ends of its axes."""
    n_mels, frames = picture.log_mel.shape
    marks_hz = np.array([500, 1000, 3000])

    def draw(figure: "Figure") -> None:
        ax = figure.subplots()
        ax.imshow(
            picture.log_mel,
            cmap="cividis",
            origin="lower",
            aspect="auto",
            interpolation="none",
            extent=(0, frames * hop_ms / 1000, -0.5, n_mels - 0.5),
        )
        ax.set_yticks(np.interp(marks_hz, band_hz, np.arange(n_mels)), ["500", "1k", "3k Hz"])
        ax.set_xticks([0, frames * hop_ms / 1000], ["0", f"{frames * hop_ms / 1000:.2f} s"])

    return _svg(f"small {name}", (2.6, 1.5), draw, f"Log-mel spectrogram of {picture.title}.")


def _speaker_means(row: Mapping[str, Any]) -> list[float]:
    return [float(np.mean(values)) for values in row["per_speaker_seed"].values()]


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
    svg = re.sub(r"\n\s+", "\n", svg[svg.index("<svg") :].strip())  # indents only weigh
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
