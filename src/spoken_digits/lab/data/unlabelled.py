"""Speech of many people without a digit in it, to pre-train on without labels."""

from pathlib import Path

from spoken_digits.lab.data.corpora import Clip, read_corpus
from spoken_digits.lab.data.pooled import is_held_out
from spoken_digits.lab.data.utterances import READERS, read_utterances

__all__ = ["read_unlabelled"]

_LABEL = "speech"


def read_unlabelled(data: Path | str | None = None) -> tuple[Clip, ...]:
    """Return recordings in which no digit is said, of people whom no study of FSDD tests.

    The utterances of AN4 and WUW II whose transcript holds no digit word, and the other words of
    Speech Commands but for its held-out speakers. What is said is not told: the label of all is
    ``speech``. A speaker is the whole corpus, since most people have one or two recordings:
    `contrastive.pretrain` compares a clip with others of its speaker.

    Parameters
    ----------
    data
        Folder of corpora, as in `corpora.data_root`.

    Raises
    ------
    CorpusError
        When one of the three corpora is not at hand.
    """
    clips = [
        Clip(utterance.file, _LABEL, name, name)
        for name in READERS
        for utterance in read_utterances(name, data)
        if utterance.content == "none"
    ]
    for clip in read_corpus("speech_commands", data):
        if not clip.label.isdecimal() and not is_held_out(clip.speaker):
            clips.append(Clip(clip.file, _LABEL, clip.corpus, clip.corpus))
    return tuple(clips)
