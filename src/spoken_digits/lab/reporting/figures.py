"""Figures of a report, as SVG to stand inside an HTML page: the same numbers give the same bytes.

`draw` renders the `Picture` that a study describes; the others draw matrices, training curves and
embeddings. Colors are Okabe and Ito's, shades of one hue, or cividis: legible to the color-blind
and in print. Shapes: C classes, E epochs.
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
from spoken_digits.lab.studies.presentation import Picture, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Curves",
    "confusion_matrix",
    "draw",
    "embedding_map",
    "false_digit_curves",
    "learning_curves",
    "rejection_curves",
    "svg",
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


def draw(picture: Picture, name: str) -> str:
    """Draw a picture that a study describes; `name` makes its ids differ from those of others."""
    size, paint = _KINDS[picture.kind](picture)
    told = "; ".join(
        f"{series.name} {', '.join(_spoken(point) for point in series.points)}"
        for series in picture.series
    )
    return svg(name, size, paint, f"{picture.title}; {_values(picture)}: {told}.")


def _values(picture: Picture) -> str:
    """Name what the values of a picture are: beside which axis that stands depends on its kind."""
    if picture.kind == "heatmap":
        return "accuracy, %"
    return picture.x_label if picture.kind == "ranked" else picture.y_label


def _spoken(point: Point) -> str:
    value = "not measured" if point.y is None else f"{100 * point.y:.1f}"
    return f"{point.x} {value}" if isinstance(point.x, str) else value


Painter = Callable[["Figure"], None]
Drawn = tuple[tuple[float, float], Painter]


def _curve(picture: Picture) -> Drawn:
    """Draw a line a series, its interval shaded."""

    def paint(figure: "Figure") -> None:
        ax = figure.subplots()
        for k, series in enumerate(picture.series):
            known = [point for point in series.points if point.y is not None]
            x = [float(point.x) for point in known]
            color = MORE_COLORS[k % len(MORE_COLORS)]
            if known and all(point.low is not None for point in known):
                low, high = (_percents(getattr(p, end) for p in known) for end in ("low", "high"))
                ax.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
            style = "-" if k < len(COLORS) else "--"
            y = _percents(point.y for point in known)
            ax.plot(x, y, style, marker=MARKERS[k % len(MARKERS)], color=color, label=series.name)
        if picture.is_log:
            ax.set_xscale("log")
            ax.minorticks_off()
        if picture.ticks:
            ax.set_xticks([x for x, _ in picture.ticks], [word for _, word in picture.ticks])
        if _is_near(picture):
            _mark_level(ax, picture, ax.axhline)
        ax.set(xlabel=picture.x_label, ylabel=picture.y_label)
        ax.grid()
        ax.set_axisbelow(True)
        if len(picture.series) > 1:
            figure.legend(loc="outside lower center", ncols=2)

    return (6.3, 3.6 + 0.11 * len(picture.series)), paint


def _ranked(picture: Picture) -> Drawn:
    """Draw a mark with its interval for each word, series beside one another in panels."""
    words = [tuple(point.x for point in series.points) for series in picture.series]
    together = len(set(words)) == 1 and len(words) <= 3
    panels = [picture.series] if together else [(series,) for series in picture.series]
    columns = min(len(panels), 2)
    n_rows = -(-len(panels) // columns)
    longest = max(len(names) for names in words)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots(n_rows, columns, squeeze=False, sharex=True)
        for ax, panel in zip(axes.flat, panels, strict=False):
            names = [str(point.x) for point in panel[0].points]
            for k, series in enumerate(panel):
                lane = (k - (len(panel) - 1) / 2) * 0.26
                color = COLORS[k % len(COLORS)]
                for row, point in enumerate(series.points):
                    if point.y is None:
                        continue
                    if point.low is not None and point.high is not None:
                        ends = [100 * point.low, 100 * point.high]
                        ax.plot(ends, [row + lane] * 2, color=color, alpha=0.45, linewidth=3)
                    marker = MARKERS[k % len(MARKERS)]
                    ax.plot(
                        100 * point.y, row + lane, marker, color=color, markeredgecolor="w",
                        markersize=7, label=series.name if row == 0 else None,
                    )  # fmt: skip
            for row in range(1, len(names), 2):
                ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
            _mark_level(ax, picture, ax.axvline)
            ax.set_yticks(range(len(names)), names)
            ax.set(ylim=(len(names) - 0.5, -0.5))
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="x")
            ax.set_axisbelow(True)
            if len(panels) > 1:
                ax.set_title(panel[0].name)
        for number, ax in enumerate(axes.flat):
            if number >= len(panels):
                ax.set_axis_off()
            elif number + columns >= len(panels):  # the lowest of its column
                ax.set_xlabel(_values(picture))
                ax.tick_params(axis="x", labelbottom=True)
        if together and len(panels[0]) > 1:
            figure.legend(loc="outside upper right", ncols=len(panels[0]), handletextpad=0.2)

    return (2.9 + 3.4 * columns, n_rows * (1 + 0.24 * longest)), paint


def _bars(picture: Picture) -> Drawn:
    """Draw groups of horizontal bars, a group a word, the number beside each."""
    bars: dict[str, list[tuple[int, Point]]] = {}
    for k, series in enumerate(picture.series):
        for point in series.points:
            lane = bars.setdefault(str(point.x), [])
            if point.y is not None:
                lane.append((k, point))
    width = 0.8 / max(map(len, bars.values()))

    def paint(figure: "Figure") -> None:
        ax = figure.subplots()
        for row, lane in enumerate(bars.values()):
            for number, (k, point) in enumerate(lane):
                assert point.y is not None
                at = row + (number - (len(lane) - 1) / 2) * width
                ax.barh(at, 100 * point.y, 0.9 * width, color=COLORS[k % len(COLORS)])
                end = point.y
                if point.low is not None and point.high is not None:
                    ends = [100 * point.low, 100 * point.high]
                    ax.plot(ends, [at, at], color=INK, linewidth=1)
                    end = max(end, point.high)
                ax.text(100 * end + 0.6, at, f"{100 * point.y:.1f}", va="center", fontsize=8)
        _mark_level(ax, picture, ax.axvline)
        ax.set_yticks(range(len(bars)), list(bars))
        ax.set(xlabel=_values(picture), ylim=(len(bars) - 0.5, -0.5))
        ax.margins(x=0.06)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        for k, series in enumerate(picture.series):
            ax.plot([], [], "s", color=COLORS[k % len(COLORS)], markersize=8, label=series.name)
        if len(picture.series) > 1:
            figure.legend(loc="outside upper right", ncols=len(picture.series))

    lanes = max(0.34, 0.2 * max(map(len, bars.values())))
    return (8.6, 1.0 + lanes * len(bars)), paint


def _heatmap(picture: Picture) -> Drawn:
    """Draw a row a series; what has no value stays empty."""
    columns = list(dict.fromkeys(str(p.x) for series in picture.series for p in series.points))
    table = np.full((len(picture.series), len(columns)), np.nan)
    for row, series in enumerate(picture.series):
        for point in series.points:
            if point.y is not None:
                table[row, columns.index(str(point.x))] = 100 * point.y

    def paint(figure: "Figure") -> None:
        ax = figure.subplots()
        shown = np.ma.masked_invalid(table)
        # Perceptually even and safe for the color-blind; dark is high, as ink is on paper.
        image = ax.imshow(shown, cmap="cividis_r", vmin=0, vmax=100, interpolation="none")
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                color = "white" if value > 48 else INK
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
        ax.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        ax.set_yticks(range(len(picture.series)), [series.name for series in picture.series])
        ax.set(xlabel=picture.x_label, ylabel=picture.y_label)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        figure.colorbar(image, ax=ax, label=_values(picture), shrink=0.8, pad=0.02)

    return (2.6 + 0.55 * len(columns), 1.3 + 0.42 * len(picture.series)), paint


def _mark_level(ax: "Axes", picture: Picture, line: Callable[..., Any]) -> None:
    """Mark the level that values are read against; its name goes into the legend's place."""
    if picture.reference is None:
        return
    line(100 * picture.reference, color="#666666", linestyle=":", linewidth=1.2)
    if picture.reference_label:
        ax.annotate(
            f"dotted: {picture.reference_label}", (1, 1), xycoords="axes fraction", ha="right",
            va="bottom", fontsize=8, color="#555555",
        )  # fmt: skip


def _is_near(picture: Picture) -> bool:
    """Whether the level lies no further from the values than they from one another."""
    values = [p.y for series in picture.series for p in series.points if p.y is not None]
    if picture.reference is None or not values:
        return False
    spread = max(values) - min(values)
    return min(values) - spread <= picture.reference <= max(values) + spread


def _percents(fractions: Any) -> FloatArray:
    return 100 * np.array(list(fractions), np.float64)


_KINDS: dict[str, Callable[[Picture], Drawn]] = {
    "curve": _curve,
    "bars": _bars,
    "ranked": _ranked,
    "heatmap": _heatmap,
}


def embedding_map(drawn: EmbeddingMap) -> str:
    """Draw t-SNE above and principal components below, by digit on the left, by speaker right."""
    digits, speakers = (sorted(set(names.tolist())) for names in (drawn.labels, drawn.speakers))
    told_apart = len(speakers) <= len(COLORS)

    def paint(figure: "Figure") -> None:
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
    return svg(f"embedding-{drawn.title}", (4.6, 4.7), paint, alt)


def confusion_matrix(name: str, counts: ArrayLike, labels: Sequence[str]) -> str:
    """Draw counts (C, C), truth in rows; the shade is the root of the fraction of its row."""
    table = np.asarray(counts, np.float64)
    form = "{:.0f}".format if (table == table.round()).all() else "{:.1f}".format
    shade = np.sqrt(table / np.maximum(table.sum(axis=1, keepdims=True), 1))

    def paint(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        ax = figure.subplots()
        blues = LinearSegmentedColormap.from_list("blues", ["#ffffff", COLORS[0]])
        ax.imshow(shade, cmap=blues, vmin=0, vmax=1, interpolation="none")
        for (truth, found), count in np.ndenumerate(table):
            if count:
                color = "white" if shade[truth, found] > 0.6 else INK
                ax.text(found, truth, form(count), ha="center", va="center", color=color)
        ticks = range(len(labels))
        ax.set_xticks(ticks, labels)
        ax.set_yticks(ticks, labels)
        ax.set(xlabel="recognized", ylabel="spoken")
        ax.tick_params(which="both", length=0)
        ax.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="#e6e6e6", linewidth=0.6)
        ax.spines[:].set_visible(False)

    side = 0.6 + 0.42 * len(labels)
    diagonal = table.trace() / max(table.sum(), 1)
    alt = f"Confusion matrix of {name}: {100 * diagonal:.1f} % of clips lie on the diagonal."
    return svg(f"confusion-{name}", (side, side - 0.1), paint, alt)


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

    def paint(figure: "Figure") -> None:
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
    return svg(name, (10, 4.6), paint, f"Loss and accuracy after each epoch of {names}.")


def rejection_curves(evaluation: Mapping[str, Any]) -> str:
    """Draw the ROC curve, and beside it the rates at each threshold; of an evaluation's dict."""
    points, own = evaluation["operating_points"], evaluation["default"]
    thresholds = [point["threshold"] for point in points]

    def paint(figure: "Figure") -> None:
        roc, cost = figure.subplots(1, 2)
        roc.plot(*(100 * np.array(evaluation["roc_curve"]).T), color=COLORS[0])
        roc.plot([0, 100], [100, 0], ":", color="#666666", linewidth=1)
        rate = 100 * evaluation["eer"]
        roc.plot(rate, 100 - rate, "o", color=INK)
        roc.annotate(
            f"equal error rate, {rate:.1f} %", (rate, 100 - rate), (8, -14),
            textcoords="offset points",
        )  # fmt: skip
        roc.set(xlabel="false accept rate, %", ylabel="digits accepted, %", ylim=(0, 101))
        roc.set_title(f"AUROC {100 * evaluation['auroc']:.1f} %")
        for key, text, color in (
            ("accuracy", "digits accepted and correct", COLORS[2]),
            ("false_reject_rate", "false rejects (digits)", COLORS[0]),
            ("false_accept_rate", "false accepts (other words)", COLORS[1]),
        ):
            percents = [100 * point[key] for point in points]
            cost.plot(thresholds, percents, "o-", color=color, label=text, markersize=3)
        cost.axvline(own["threshold"], color=INK, linestyle="--", linewidth=1, label="in use")
        cost.set(xlabel="threshold", ylabel="fraction, %", xlim=(0, 1), ylim=(0, 101))
        cost.legend(loc="center left")
        for ax in (roc, cost):
            ax.grid()

    alt = (
        f"Digits against other words: AUROC {evaluation['auroc']:.3f}, EER {evaluation['eer']:.3f}."
    )
    return svg("rejection", (10, 3.6), paint, alt)


def false_digit_curves(evaluation: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Draw false digits an hour over digits missed, a plot for each set of strings.

    Parameters
    ----------
    evaluation
        The dict of a `StringsEvaluation` with a curve. Thresholds at which no false digit is left
        have no point: the axis is logarithmic. Dots mark the threshold in use.
    titles
        Of sets; others are called by their names.
    """
    curve = evaluation["curve"]

    def paint(figure: "Figure") -> None:
        axes = figure.subplots(1, len(curve["missed"]), squeeze=False, sharey=True)[0]
        for ax, (strings, missed) in zip(axes, curve["missed"].items(), strict=True):
            x = 100 * np.array(missed) / max(curve["digits"][strings], 1)
            score = evaluation["strings"][strings]
            x_in_use = 100 * score["deletions"] / max(score["digits"], 1)
            for k, (quiet, counts) in enumerate(curve["false_digits"].items()):
                per_hour = 3600 * np.array(counts) / curve["seconds"][quiet]
                color = MORE_COLORS[k % len(MORE_COLORS)]
                style = "-" if k < len(COLORS) else "--"
                shown = per_hour > 0
                label = titles.get(quiet, quiet)
                ax.plot(x[shown], per_hour[shown], style, color=color, label=label)
                in_use = evaluation["false_digits"][quiet]["per_hour"]
                if in_use > 0:
                    ax.plot(x_in_use, in_use, MARKERS[k % len(MARKERS)], color=color)
            ax.set(xlabel="digits missed, %", yscale="log")
            ax.set_title(titles.get(strings, strings))
            ax.grid()
        axes[0].set(ylabel="false digits an hour")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    quiet = ", ".join(titles.get(name, name) for name in curve["false_digits"])
    alt = f"False digits an hour in {quiet}, over the digits missed in strings."
    return svg("false-digits", (10, 4.2), paint, alt)


def svg(
    name: str, size_in: tuple[float, float], paint: Callable[["Figure"], None], alt: str
) -> str:
    """Draw and return an <svg> element whose ids no other figure of the page shares."""
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=size_in, layout="constrained")
        paint(figure)
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata, transparent=True)
    prefix = re.sub(r"\W+", "-", name).lower()
    text = buffer.getvalue()
    text = re.sub(r"\n\s+", "\n", text[text.index("<svg") :].strip())  # indents only weigh
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
