"""Splits by speaker: no speaker is in both the training and the test clips.

A network is evaluated on unseen speakers, so the unit of every split is the speaker. The named
splits are those of the protocol (docs/protocol.md). Training on one corpus and testing on another
needs no split: ``spoken-digits evaluate MODEL --corpus NAME`` tests a trained model on a whole
corpus. The pooled training set has splits of its own, `pooled.partition`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.data.utterances import TranscribedUtterance

__all__ = [
    "AUDIOMNIST_GROUPS",
    "SPLITS",
    "XSDR_TEST",
    "XSDR_TRAIN",
    "Split",
    "SplitError",
    "UtteranceSplit",
    "named_splits",
    "one_split",
    "split_by_speaker",
    "utterance_folds",
]

# Cross-speaker digit recognition, the split of the original study.
XSDR_TRAIN = ("george", "jackson", "nicolas", "theo")
XSDR_TEST = ("lucas", "yweweler")
# Published with the corpus (Becker et al. 2018, arXiv:1807.03418): five groups of twelve people.
# Fold k of 0 to 4 tests on group k - 1, leaves k - 2 for validation and trains on the other three.
AUDIOMNIST_GROUPS = (
    ("28", "56", "07", "19", "35", "01", "06", "16", "23", "34", "46", "53"),
    ("36", "57", "09", "24", "37", "02", "08", "17", "29", "39", "48", "54"),
    ("43", "58", "14", "25", "38", "03", "10", "20", "30", "40", "49", "55"),
    ("12", "47", "59", "15", "27", "41", "04", "11", "21", "31", "44", "50"),
    ("26", "52", "60", "18", "32", "42", "05", "13", "22", "33", "45", "51"),
)
UTTERANCE_FOLDS = 5
_SYNTHETIC_STEP = 4  # one TTS voice in four is held out


class SplitError(ValueError):
    """A split that shares a speaker, names an unknown one, or leaves a side empty."""


class _Sides:
    """The speakers of both sides of a split, of whatever is said; see `Split`."""

    name: str
    train: tuple[Clip, ...] | tuple[TranscribedUtterance, ...]
    test: tuple[Clip, ...] | tuple[TranscribedUtterance, ...]

    def __post_init__(self) -> None:
        _check_sides(self.name, self.train_speakers, self.test_speakers)

    @property
    def train_speakers(self) -> tuple[str, ...]:
        """Names of the training speakers, sorted."""
        return _speakers(self.train)

    @property
    def test_speakers(self) -> tuple[str, ...]:
        """Names of the test speakers, sorted."""
        return _speakers(self.test)


@dataclass(frozen=True)
class Split(_Sides):
    """Clips to train on and clips to test on.

    Raises
    ------
    SplitError
        When a speaker is on both sides, or a side is empty.
    """

    name: str
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]


@dataclass(frozen=True)
class UtteranceSplit(_Sides):
    """Transcribed utterances to train on and to test on.

    Raises
    ------
    SplitError
        When a speaker (WUW II: a call) is on both sides, or a side is empty.
    """

    name: str
    train: tuple[TranscribedUtterance, ...]
    test: tuple[TranscribedUtterance, ...]


def utterance_folds(
    utterances: Iterable[TranscribedUtterance], folds: int = UTTERANCE_FOLDS
) -> tuple[UtteranceSplit, ...]:
    """Return the folds of the protocol: the sorted speakers of a corpus are dealt out in turn.

    Each fold tests on its own speakers, a fifth of them, and trains on all others. The folds are
    named `<corpus>:<fold>`. Deal before choosing utterances by their content: the folds of the
    digit strings are then those of the other utterances.

    Raises
    ------
    SplitError
        When there are fewer speakers than folds, or utterances of several corpora: deal out each
        corpus apart.
    """
    utterances = tuple(utterances)
    corpora = sorted({utterance.corpus for utterance in utterances})
    speakers = _speakers(utterances)
    if len(corpora) > 1 or len(speakers) < max(folds, 2):
        raise SplitError(
            f"folds of {', '.join(corpora) or 'no utterances'}: {len(speakers)} speakers, expected "
            f"one corpus with at least {max(folds, 2)}"
        )
    return tuple(
        UtteranceSplit(
            f"{corpora[0]}:{fold}",
            tuple(each for each in utterances if each.speaker not in held_out),
            tuple(each for each in utterances if each.speaker in held_out),
        )
        for fold, held_out in ((fold, set(speakers[fold::folds])) for fold in range(folds))
    )


def split_by_speaker(
    clips: Iterable[Clip], test_speakers: Iterable[str], name: str = "by speaker"
) -> Split:
    """Return the split that tests on every clip of `test_speakers` and trains on all others.

    Raises
    ------
    SplitError
        When a speaker is not in `clips`, or a side would be empty.
    """
    clips, held_out = tuple(clips), set(test_speakers)
    if unknown := held_out - set(_speakers(clips)):
        raise SplitError(
            f"split {name!r}: no clips of {', '.join(sorted(unknown))}; "
            f"the speakers at hand are {', '.join(_speakers(clips)) or '(none)'}"
        )
    return Split(
        name,
        tuple(clip for clip in clips if clip.speaker not in held_out),
        tuple(clip for clip in clips if clip.speaker in held_out),
    )


def named_splits(name: str, clips: Iterable[Clip]) -> tuple[Split, ...]:
    """Return the splits of the protocol called `name`, or the one fold `name:fold`.

    Raises
    ------
    SplitError
        When the name or the fold is unknown, or `clips` lack a speaker that the split needs.
    """
    family, _, fold = name.partition(":")
    if family not in SPLITS:
        raise SplitError(f"split {name!r}: unknown, expected one of {', '.join(SPLITS)}")
    splits = SPLITS[family](tuple(clips))
    if not fold:
        return splits
    if chosen := tuple(split for split in splits if split.name == name):
        return chosen
    raise SplitError(
        f"split {name!r}: no such fold, expected one of {', '.join(s.name for s in splits)}"
    )


def one_split(name: str, clips: Iterable[Clip]) -> Split:
    """Return the split called `name`, for one network to be trained and evaluated on.

    Raises
    ------
    SplitError
        As `named_splits`, and when there are several folds of that name.
    """
    split, *others = named_splits(name, clips)
    if others:
        raise SplitError(
            f"split {name!r}: {1 + len(others)} folds, expected one for one model; name one of "
            f"{', '.join(fold.name for fold in (split, *others))}"
        )
    return split


def _speakers(clips: Iterable[Clip | TranscribedUtterance]) -> tuple[str, ...]:
    return tuple(sorted({clip.speaker for clip in clips}))


def _check_sides(name: str, train: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Raise a `SplitError` unless there are speakers on both sides, and none on both at once."""
    for side, speakers in (("training", train), ("test", test)):
        if not speakers:
            raise SplitError(
                f"split {name!r}: the {side} side is empty, expected at least one speaker on each "
                "side; use a corpus with more speakers"
            )
    if shared := set(train) & set(test):
        raise SplitError(
            f"split {name!r}: {', '.join(sorted(shared))} on both sides, expected no speaker on "
            "both; move all clips of a speaker to one side, or rename one of two people who share "
            "a name"
        )


def _of(clips: Iterable[Clip], speakers: Sequence[str], name: str) -> tuple[Clip, ...]:
    chosen = tuple(clip for clip in clips if clip.speaker in speakers)
    if missing := set(speakers) - set(_speakers(chosen)):
        raise SplitError(
            f"split {name!r}: no clips of {', '.join(sorted(missing))}; "
            "use the whole corpus that the split is defined on"
        )
    return chosen


def _xsdr(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    chosen = _of(clips, XSDR_TRAIN + XSDR_TEST, "xsdr")
    return (split_by_speaker(chosen, XSDR_TEST, "xsdr"),)


def _few(count: int, clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    """Return the splits that train on `count` of the four training speakers of `xsdr`."""
    chosen = _of(clips, XSDR_TRAIN + XSDR_TEST, f"xsdr-{count}")
    return tuple(
        split_by_speaker(
            [clip for clip in chosen if clip.speaker in (*speakers, *XSDR_TEST)],
            XSDR_TEST,
            f"xsdr-{count}:{'+'.join(speakers)}",
        )
        for speakers in combinations(XSDR_TRAIN, count)
    )


def _inner(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    return _leave_one_out(_of(clips, XSDR_TRAIN, "inner"), "inner")


def _loso(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    return _leave_one_out(clips, "loso")


def _leave_one_out(clips: tuple[Clip, ...], family: str) -> tuple[Split, ...]:
    return tuple(
        split_by_speaker(clips, [speaker], f"{family}:{speaker}") for speaker in _speakers(clips)
    )


def _single(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    speakers = set(_speakers(clips))
    return tuple(
        split_by_speaker(clips, speakers - {speaker}, f"single:{speaker}")
        for speaker in sorted(speakers)
    )


def _audiomnist(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    groups = [_of(clips, group, "audiomnist") for group in AUDIOMNIST_GROUPS]
    return tuple(
        Split(
            f"audiomnist:{fold}",
            groups[fold] + groups[(fold + 1) % 5] + groups[(fold + 2) % 5],
            groups[fold - 1],
        )
        for fold in range(5)
    )


def _speech_commands(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    train, test = (
        tuple(clip for clip in clips if clip.split == side) for side in ("training", "testing")
    )
    if not test:
        raise SplitError(
            "split 'speech_commands': no recording is on the list of those for testing; it needs "
            "the whole corpus with validation_list.txt and testing_list.txt: 'spoken-digits corpus "
            "fetch speech_commands' brings it"
        )
    return (Split("speech_commands", train, test),)


def _synthetic(clips: tuple[Clip, ...]) -> tuple[Split, ...]:
    held_out = _speakers(clips)[_SYNTHETIC_STEP - 1 :: _SYNTHETIC_STEP]
    return (split_by_speaker(clips, held_out, "synthetic"),)


SPLITS: dict[str, Callable[[tuple[Clip, ...]], tuple[Split, ...]]] = {
    "xsdr": _xsdr,
    **{f"xsdr-{count}": partial(_few, count) for count in (1, 2, 3)},
    "inner": _inner,
    "single": _single,
    "loso": _loso,
    "audiomnist": _audiomnist,
    "speech_commands": _speech_commands,
    "synthetic": _synthetic,
}
