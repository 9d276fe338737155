"""Embeddings: where a network puts clips, as two pictures and four numbers.

What the last linear layer sees of each clip should lie together by digit, whoever speaks. Shapes:
N clips, D embedding, K speakers. Needs no torch.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EmbeddingMap", "map_embeddings", "probe"]

FloatArray = NDArray[np.float64]
StrArray = NDArray[np.str_]

CROWD = 180  # clips that are drawn at most, for a light page; all are measured
DENOISED = 50  # principal components that t-SNE is given (van der Maaten and Hinton 2008)
PERPLEXITY = 30.0
FOLDS = 5
PROBE_DECAY = 0.01  # weight decay of the probe, with the mean loss a clip


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Embeddings of N clips on a plane, and how well digit and speaker can be read off them.

    Attributes
    ----------
    title
        Whose embeddings.
    clips
        N, all of which are measured; the n that are drawn are some of them.
    n_speakers
        K.
    labels, speakers
        What is said in each clip that is drawn, and by whom: (n,) strings.
    tsne, pca
        Positions on the plane: (n, 2).
    explained
        Share of the variance that lies along each of the two principal components.
    digit_probe
        Accuracy of a linear classifier of digits, on clips that it was not fitted on.
    digit_probe_by
        What it was cross-validated by: "speaker", each in turn left out (beyond `FOLDS` of them a
        fifth in turn), or "clip" where there is one speaker only.
    speaker_probe
        The same for who speaks, cross-validated by clip, five folds that are even in speakers; None
        with one speaker. Chance is one in K.
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
        """Return what is published of it, as plain values."""
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
    most: int = CROWD,
) -> EmbeddingMap:
    """Lay embeddings (N, D) out on a plane, and measure them.

    Every coordinate is brought to zero mean and unit deviation first. The same input gives the same
    bytes on the same machine.

    Parameters
    ----------
    title
        Whose embeddings.
    embeddings
        One row a clip, finite.
    labels, speakers
        What is said in each clip, and by whom: N of each.
    seed
        Key of what is drawn and of the folds; t-SNE starts from the principal components.
    most
        Clips that are drawn at most, the same ones for every embedding of the same N.

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
    components = PCA(min(DENOISED, *scaled.shape), svd_solver="full")
    flat = components.fit_transform(scaled)  # (N, up to 50)
    if flat.shape[1] == 1:
        flat = np.pad(flat, ((0, 0), (0, 1)))
    shown = np.sort(np.random.default_rng([seed, 0]).permutation(len(x))[:most])
    start = flat[shown, :2] * 1e-4 / max(flat[shown, 0].std(), 1e-12)  # as scikit-learn's own does
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
    """Cross-validate logistic regression on embeddings (N, D): accuracy, and what was left out.

    Each group is left out in turn, a fifth of the groups where there are more than `FOLDS`; without
    groups, or with one only, a fifth of the clips, even in `targets`. The accuracy is over all
    clips.
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
        fewest = int(np.unique(targets, return_counts=True)[1].min())
        folds = StratifiedKFold(min(FOLDS, max(2, fewest)), shuffle=True, random_state=seed)
    # Fixed, as strong for many clips as for few: nothing is chosen on the clips that are measured.
    classifier = LogisticRegression(C=1 / (PROBE_DECAY * len(embeddings)), max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a digit said once, by one speaker, is only counted wrong
        heard = cross_val_predict(classifier, embeddings, targets, groups=groups, cv=folds)
    return float((heard == targets).mean()), "speaker" if n_groups > 1 else "clip"


def _silhouette(scaled: FloatArray, groups: StrArray) -> float | None:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(groups)) < len(groups):
        return None
    return float(silhouette_score(scaled, groups))
