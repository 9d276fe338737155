"""From text to the phonemes of Kokoro's table, by way of espeak-ng's IPA.

A text is lower-case words, with ``, . ! ? ;`` between them. The ten digit words have phonemes of
their own here, so that a digit sounds the same in a string and in a sentence. The word ``0`` is
the digit zero said as "oh"; ``oh`` is always the exclamation. All other words are espeak-ng's,
clause by clause: in a sentence "to" and "for" are unstressed.

espeak-ng runs in a process of its own, once for a list of clauses.
"""

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from spoken_digits.lab.data.corpora import DIGIT_WORDS, CorpusError

__all__ = [
    "ACCENTS",
    "DIGITS_OF",
    "Phonemes",
    "from_ipa",
    "spoken_digits_of",
    "to_phonemes",
    "words_of",
]

# espeak-ng's name of the language that is spoken with each accent.
ACCENTS = {"us": "en-us", "gb": "en"}
DIGITS_OF = {word: str(digit) for digit, word in enumerate(DIGIT_WORDS)} | {"0": "0"}
_PUNCTUATION = ",.!?;"
# A I O Q stand for diphthongs in the table.
_DIGIT_PHONEMES = {
    "us": "zˈɪɹO wˈʌn tˈu θɹˈi fˈɔɹ fˈIv sˈɪks sˈɛvən ˈAt nˈIn",
    "gb": "zˈɪəɹQ wˈʌn tˈuː θɹˈiː fˈɔː fˈIv sˈɪks sˈɛvən ˈAt nˈIn",
}
_OH_PHONEMES = {"us": "ˈO", "gb": "ˈQ"}
_TIE = "^"  # espeak-ng is asked to join the letters of one phoneme by it
# espeak-ng's phonemes of two letters, and the table's letter. Ties that remain are dropped.
_LETTERS = {
    "a^ɪ": "I",
    "e^ɪ": "A",
    "o^ʊ": "O",
    "ə^ʊ": "Q",
    "a^ʊ": "W",
    "ɔ^ɪ": "Y",
    "d^ʒ": "ʤ",
    "t^ʃ": "ʧ",
    "ə^l": "ᵊl",
    "n\u0329": "ᵊn",  # syllabic
    "l\u0329": "ᵊl",
    "r": "ɹ",
    "ɬ": "l",
}


class Phonemes(NamedTuple):
    """Phonemes of a text, as letters of Kokoro's table.

    Attributes
    ----------
    letters
        One string.
    digits
        The n digits in the text.
    spans
        Of each digit, first and stop among the letters.
    """

    letters: str
    digits: str
    spans: list[tuple[int, int]]


def spoken_digits_of(text: str) -> str:
    """Return the digits in a text: its digit words, and ``0``, "oh"."""
    return "".join(DIGITS_OF.get(word, "") for word in words_of(text))


def to_phonemes(texts: Sequence[str], accent: str) -> list[Phonemes]:
    """Return the phonemes of each text, with an accent of `ACCENTS`.

    Raises
    ------
    CorpusError
        When the accent is unknown, or a text has none but punctuation.
    ImportError
        When a text has words that are no digits, without the extra `synth`.
    """
    if accent not in ACCENTS:
        raise CorpusError(f"accent {accent!r}: expected one of {', '.join(ACCENTS)}")
    parts_of = [_parts(text) for text in texts]
    clauses = sorted({part for parts in parts_of for part in parts if _is_clause(part)})
    ipa = dict(zip(clauses, _espeak_ipa(clauses, accent), strict=True)) if clauses else {}
    sounds = dict(zip(DIGIT_WORDS, _DIGIT_PHONEMES[accent].split(), strict=True))
    sounds |= {"0": _OH_PHONEMES[accent]}
    results = []
    for text, parts in zip(texts, parts_of, strict=True):
        letters, digits, spans = "", "", []
        for part in parts:
            if part in _PUNCTUATION:
                letters += part
                continue
            letters += " " * bool(letters)
            if part in DIGITS_OF:
                spans.append((len(letters), len(letters) + len(sounds[part])))
                digits += DIGITS_OF[part]
                letters += sounds[part]
            else:
                letters += from_ipa(ipa[part], accent)
        if not letters.strip(_PUNCTUATION + " "):
            raise CorpusError(f"{text!r}: nothing to say, expected lower-case words")
        results.append(Phonemes(letters, digits, spans))
    return results


def from_ipa(ipa: str, accent: str) -> str:
    """Map espeak-ng's IPA, phonemes of several letters tied by ``^``, onto Kokoro's table.

    American vowels are written without their length there.
    """
    for letters, letter in _LETTERS.items():
        ipa = ipa.replace(letters, letter)
    ipa = ipa.replace(_TIE, "")
    return ipa.replace("ː", "") if accent == "us" else ipa


def words_of(text: str) -> list[str]:
    """Return the words of a text, without its punctuation."""
    return re.findall(r"[^\s,.!?;]+", text)


def _is_clause(part: str) -> bool:
    return part not in DIGITS_OF and part not in _PUNCTUATION


def _parts(text: str) -> list[str]:
    """Split a text into digit words, marks of punctuation, and clauses of the words between."""
    tokens = re.findall(r"[^\s,.!?;]+|[,.!?;]", text)
    parts: list[str] = []
    for is_clause, group in groupby(tokens, _is_clause):
        words = list(group)
        parts += [" ".join(words)] if is_clause else words
    return parts


def _espeak_ipa(clauses: Sequence[str], accent: str) -> list[str]:
    """Return espeak-ng's IPA of each clause, from a process of its own."""
    import espeakng_loader  # noqa: F401  the child process needs it: fail here rather than there

    job = json.dumps({"clauses": clauses, "language": ACCENTS[accent]})
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=job.encode(), capture_output=True, check=False
    )
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CorpusError(f"espeak-ng: {reason}; install the extra 'synth' anew")
    spoken: list[str] = json.loads(child.stdout)
    return spoken


def _print_ipa(clauses: Sequence[str], language: str) -> None:
    """Print a JSON list of the clauses' IPA. Names are those of espeak-ng's speak_lib.h."""
    import espeakng_loader

    retrieval, utf8, ipa = 1, 1, 0x02
    tie = 0x80 | ord(_TIE) << 8
    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
    espeak.espeak_Initialize(retrieval, 0, str(Path(espeakng_loader.get_data_path())).encode(), 0)
    if espeak.espeak_SetVoiceByName(language.encode()):
        raise SystemExit(f"no language {language!r}")
    results = []
    for clause in clauses:
        rest, spoken = ctypes.c_char_p(clause.encode()), []
        while rest.value:  # it takes a clause at a time, and moves the pointer on
            spoken.append(
                espeak.espeak_TextToPhonemes(ctypes.byref(rest), utf8, ipa | tie).decode()
            )
        results.append(" ".join(spoken).strip())
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    _print_ipa(**json.load(sys.stdin))
