"""Synthetic speech in a training set: which engines, and how many speakers of each.

What a recipe calls ``extra``: names joined by ``+``, each with a number of speakers behind a colon
or without one, as in ``kokoro:54+espeak-ng``. Subsets are nested: the first 10 speakers are among
the first 30, whatever else is at hand. The speech of an engine is a folder of its name among the
corpora, `<digit>/<speaker>_<take>.flac`; the corpus ``voices`` ships.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from spoken_digits.lab.data.corpora import (
    CORPORA,
    DIGITS,
    Clip,
    CorpusError,
    data_roots,
    read_corpus,
)

__all__ = ["ENGINES", "Selection", "in_order", "parse_extra", "read_extra"]

# The command that makes an engine's speech; DIR is a folder of corpora, such as SPOKEN_DIGITS_DATA.
ENGINES = {
    "espeak-ng": "spoken-digits corpus make voices DIR/espeak-ng",
    "flite-festival": "spoken-digits corpus make voices DIR/flite-festival --set flite-festival",
    "kokoro": "spoken-digits corpus make voices DIR/kokoro --engine kokoro --mixtures 146",
}
# A published voice of Kokoro, its gender behind the accent, or a mixture of two of them.
_KOKORO = re.compile(r"kokoro-[a-z](?P<gender>[fm])_[a-z]+(?P<mixture>-[a-z][fm]_[a-z]+-\d+)?")


@dataclass(frozen=True)
class Selection:
    """Synthetic speech of one corpus: its first `count` speakers, or all where it is None."""

    corpus: str
    count: int | None = None


def parse_extra(extra: str) -> tuple[Selection, ...]:
    """Return what ``extra`` names; nothing for ``none``.

    Raises
    ------
    ValueError
        When a name is unknown or named twice, or a number is none above zero.
    """
    if extra == "none":
        return ()
    known = [*(name for name, corpus in CORPORA.items() if corpus.read), *ENGINES]
    found = []
    for part in extra.split("+"):
        name, colon, count = part.partition(":")
        if name not in known:
            raise ValueError(f"expected none or one of {', '.join(known)}, joined by +")
        if colon and (name != "kokoro" or not re.fullmatch(r"[1-9]\d*", count)):
            raise ValueError(
                f"{part!r}: expected a number of speakers above zero behind kokoro:, and no number "
                "behind another name"
            )
        found.append(Selection(name, int(count) if colon else None))
    if len({each.corpus for each in found}) < len(found):
        raise ValueError("expected each name once")
    return tuple(found)


def read_extra(extra: str, data: Path | str | None = None) -> tuple[Clip, ...]:
    """Read the clips that ``extra`` names, in the order of its names.

    Parameters
    ----------
    extra
        See `parse_extra`.
    data
        Folder of corpora, as in `corpora.data_root`.

    Raises
    ------
    ValueError
        As `parse_extra`.
    CorpusError
        When speech is not at hand, or of fewer speakers than asked for; the message has the command
        that makes it.
    """
    clips: list[Clip] = []
    for selection in parse_extra(extra):
        own = _read(selection.corpus, data)
        if selection.count is not None:
            speakers = in_order({clip.speaker for clip in own})
            if len(speakers) < selection.count:
                raise CorpusError(
                    f"{selection.corpus}:{selection.count}: {len(speakers)} speakers at hand; make "
                    f"them with '{ENGINES[selection.corpus]}'"
                )
            chosen = {*speakers[: selection.count]}
            own = [clip for clip in own if clip.speaker in chosen]
        clips += own
    return tuple(clips)


def in_order(speakers: Iterable[str]) -> tuple[str, ...]:
    """Return speakers of Kokoro in the order in which they join a training set.

    Published voices come before mixtures, women and men in turn as long as there are both, by the
    SHA-256 of their names: a subset depends neither on the accents' order nor on who else is at
    hand, as long as the mixtures are.

    Raises
    ------
    CorpusError
        When a name is none of Kokoro's.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for speaker in sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).digest()):
        found = _KOKORO.fullmatch(speaker)
        if found is None:
            raise CorpusError(
                f"{speaker}: no speaker of Kokoro; expected a name such as kokoro-af_heart; make "
                f"the corpus with '{ENGINES['kokoro']}'"
            )
        groups.setdefault((found["mixture"] is not None, found["gender"]), []).append(speaker)
    return tuple(
        name
        for mixture in (False, True)
        for pair in zip_longest(groups.get((mixture, "f"), []), groups.get((mixture, "m"), []))
        for name in pair
        if name is not None
    )


def _read(name: str, data: Path | str | None) -> Sequence[Clip]:
    if name not in ENGINES:
        return read_corpus(name, data)
    folders = [root / name for root in data_roots(data)]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        places = " or ".join(map(str, folders)) or "a folder of corpora"
        raise CorpusError(
            f"{name}: synthetic speech that is not at hand, expected in {places}; make it with "
            f"'{ENGINES[name]}'"
        )
    return [replace(clip, corpus=name) for clip in read_corpus(folder) if clip.label in DIGITS]
