"""Embeddings: what a network represents of clips, as two projections and four numbers.

The input of the last linear layer should cluster by digit and not by speaker: linear probes measure
how well either can be predicted from it, silhouettes how well either clusters.

Shapes: N clips, n drawn clips, D embedding, K speakers. Needs no torch.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PROBE_C", "EmbeddingMap", "map_embeddings", "probe"]

FloatArray = NDArray[np.float64]
StrArray = NDArray[np.str_]

MAX_DRAWN = 180  # clips, for a small page; all are measured
COMPONENTS = 50  # principal components that t-SNE starts from (van der Maaten and Hinton 2008)
PERPLEXITY = 30.0
FOLDS = 5
PROBE_C = 0.1  # inverse strength of the probe's regularization (C of scikit-learn)


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Embeddings of N clips, projected to two dimensions, and how they cluster.

    Attributes
    ----------
    title
        Name of the network.
    clips
        N, all of which are measured; n of them are drawn.
    n_speakers
        K.
    labels, speakers
        Of the clips drawn: (n,) strings.
    tsne, pca
        Positions by t-SNE and on the first two principal components: (n, 2).
    explained
        Fraction of the variance that each of these two components explains.
    digit_probe
        Cross-validated accuracy of a linear probe for digits, see `probe`.
    digit_probe_by
        What was held out in turn: "speaker" or, with one speaker only, "clip".
    speaker_probe
        Cross-validated accuracy of a linear probe for speakers, by clip; None with one speaker.
        Chance is 1 / K.
    digit_silhouette, speaker_silhouette
        Mean silhouette (Rousseeuw 1987) of the groups, -1 to 1; None where there is one group.
    """

    title: str
    clips: int
    n_speakers: int
    labels: StrArray
    speakers: StrArray
    tsne: FloatArray
    pca: FloatArray
    explained: tuple[float, float]
    digit_probe: float
    digit_probe_by: str
    speaker_probe: float | None
    digit_silhouette: float | None
    speaker_silhouette: float | None

    def numbers(self) -> dict[str, object]:
        """Return the numbers that are published, as plain values."""
        return {
            "title": self.title,
            "clips": self.clips,
            "speakers": self.n_speakers,
            "digit_probe": self.digit_probe,
            "digit_probe_by": self.digit_probe_by,
            "speaker_probe": self.speaker_probe,
            "digit_silhouette": self.digit_silhouette,
            "speaker_silhouette": self.speaker_silhouette,
        }


def map_embeddings(
    title: str,
    embeddings: ArrayLike,
    labels: Sequence[str],
    speakers: Sequence[str],
    seed: int = 0,
    max_drawn: int = MAX_DRAWN,
) -> EmbeddingMap:
    """Project embeddings (N, D) to two dimensions, and measure how they cluster.

    Every coordinate is standardized first. The same input gives the same bytes on the same machine.

    Parameters
    ----------
    title
        Name of the network.
    embeddings
        One row for each clip, finite.
    labels, speakers
        Of the clips: N of each.
    seed
        Key of which clips are drawn and of the folds; t-SNE starts from the principal components.
    max_drawn
        Maximum number of clips drawn, the same ones for every embedding of the same N.

    Raises
    ------
    ValueError
        When lengths differ, a value is not finite, or there are fewer than ten clips or one digit.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    x, y = np.asarray(embeddings, np.float64), np.asarray(labels, np.str_)
    who = np.asarray(speakers, np.str_)
    if x.ndim != 2 or not len(x) == len(y) == len(who):
        raise ValueError(
            f"embeddings of shape {x.shape}, {len(y)} labels, {len(who)} speakers: expected "
            "(N, D), N and N"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"embeddings of {title}: expected finite values only")
    if len(x) < 10 or len(np.unique(y)) < 2:
        raise ValueError(
            f"{len(x)} clips of {len(np.unique(y))} digits: expected ten clips or more, of two "
            "digits or more"
        )
    scaled = StandardScaler().fit_transform(x)
    components = PCA(min(COMPONENTS, *scaled.shape), svd_solver="full")
    flat = components.fit_transform(scaled)  # (N, up to 50)
    if flat.shape[1] == 1:
        flat = np.pad(flat, ((0, 0), (0, 1)))
    shown = np.sort(np.random.default_rng([seed, 0]).permutation(len(x))[:max_drawn])
    start = (
        flat[shown, :2] * 1e-4 / max(flat[shown, 0].std(), 1e-12)
    )  # the scale of scikit-learn's own initialization
    tsne = TSNE(perplexity=min(PERPLEXITY, (len(shown) - 1) / 3), init=start)
    explained = (*map(float, components.explained_variance_ratio_[:2]), 0.0)
    digit_probe, by = probe(scaled, y, who, seed)
    several = len(np.unique(who)) > 1
    return EmbeddingMap(
        title=title,
        clips=len(x),
        n_speakers=len(np.unique(who)),
        labels=y[shown],
        speakers=who[shown],
        tsne=np.asarray(tsne.fit_transform(flat[shown]), np.float64),
        pca=flat[shown, :2],
        explained=(explained[0], explained[1]),
        digit_probe=digit_probe,
        digit_probe_by=by,
        speaker_probe=probe(scaled, who, None, seed)[0] if several else None,
        digit_silhouette=_silhouette(scaled, y),
        speaker_silhouette=_silhouette(scaled, who),
    )


def probe(
    embeddings: FloatArray, targets: StrArray, groups: StrArray | None, seed: int = 0
) -> tuple[float, str]:
    """Cross-validate a linear probe, logistic regression with `PROBE_C`.

    Parameters
    ----------
    embeddings
        Standardized, (N, D).
    targets
        Classes to predict: (N,).
    groups
        Groups to hold out in turn, each by itself up to `FOLDS` + 1 of them, else in `FOLDS`
        folds: (N,). With one group or None, a fifth of the clips is held out, stratified by
        `targets`.
    seed
        Key of the folds of clips.

    Returns
    -------
    The accuracy over all clips, and what was held out, "speaker" (groups) or "clip".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import (
        GroupKFold,
        LeaveOneGroupOut,
        StratifiedKFold,
        cross_val_predict,
    )

    n_groups = 1 if groups is None else len(np.unique(groups))
    folds: object
    if n_groups > 1:
        folds = LeaveOneGroupOut() if n_groups <= FOLDS + 1 else GroupKFold(FOLDS)
    else:
        smallest = int(np.unique(targets, return_counts=True)[1].min())
        folds = StratifiedKFold(min(FOLDS, max(2, smallest)), shuffle=True, random_state=seed)
    # Fixed: nothing is chosen on the clips that are measured.
    classifier = LogisticRegression(C=PROBE_C, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class in one fold only: its clips count as errors
        predicted = cross_val_predict(classifier, embeddings, targets, groups=groups, cv=folds)
    return float((predicted == targets).mean()), "speaker" if n_groups > 1 else "clip"


def _silhouette(scaled: FloatArray, groups: StrArray) -> float | None:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(groups)) < len(groups):
        return None
    return float(silhouette_score(scaled, groups))
