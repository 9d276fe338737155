"""What the verbs share: how one is added, common options, parsers of numbers, error messages."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spoken_digits.audio import Encoding

__all__ = [
    "add_data",
    "add_group",
    "add_verb",
    "complain",
    "encoding",
    "hours",
    "probability",
    "quiet_libraries",
    "whole",
]


def complain(message: str, status: int = 1) -> int:
    """Print an error message to standard error; return the exit status.

    What a file or its name would make a terminal do is shown as an escape sequence instead.
    """
    shown = "".join(
        c if c.isprintable() or c in " \n" else c.encode("unicode_escape").decode() for c in message
    )
    print(f"spoken-digits: {shown}", file=sys.stderr)
    return status


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what libraries print themselves off standard error; messages of the verbs stand there.

    libmpg123 writes about damaged MP3 to file descriptor 2, and libsndfile does not let it be told
    not to. A descriptor belongs to the process: so this is for the command line only, around a
    whole verb that reads recordings. With PYTHONDEVMODE=1, all is shown.
    """
    if sys.flags.dev_mode or sys.stderr is None:
        yield
        return
    try:
        shown = os.dup(2)
    except OSError:  # closed
        yield
        return
    given = sys.stderr
    given.flush()
    is_descriptor = given is sys.__stderr__  # else it is replaced, by a test for instance
    with (
        Path(os.devnull).open("wb") as nowhere,
        os.fdopen(shown, "w", 1, given.encoding, given.errors) as stream,
    ):
        os.dup2(nowhere.fileno(), 2)
        try:
            if is_descriptor:
                sys.stderr = stream
            yield
        finally:
            stream.flush()
            sys.stderr = given
            os.dup2(shown, 2)


def add_verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, extras: str
) -> argparse.ArgumentParser:
    """Add a verb: what it runs, its help, and the extras that it needs."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(verb=run, extras=extras)
    return verb


def add_group(verbs: Any, name: str, text: str) -> Any:
    """Add a verb that has verbs of its own; return what those are added to."""
    group = verbs.add_parser(name, help=text, description=text)
    return group.add_subparsers(title="verbs", metavar="VERB", required=True)


def add_data(verb: argparse.ArgumentParser) -> None:
    """Add the option that says where the corpora are."""
    text = "folder of corpora (default: SPOKEN_DIGITS_DATA, else the cache of fetch)"
    verb.add_argument("--data", metavar="DIR", type=Path, help=text)


def probability(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        if 0 <= (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")


def encoding(text: str) -> Encoding:
    """Parse the encoding of a file without a header."""
    try:
        return Encoding.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def hours(text: str) -> float:
    """Parse a duration of 0 to 1,000 hours."""
    try:
        if 0 <= (value := float(text)) <= 1000:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text}: expected hours, 0 to 1000")


def whole(minimum: int) -> Callable[[str], int]:
    """Make a parser of whole numbers."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number, {minimum} or more")
        return int(text)

    return parse
