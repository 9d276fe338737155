"""The verbs of recordings to learn from: show, corpus."""

import argparse
import sys
from pathlib import Path
from typing import Any

from spoken_digits.cli.arguments import add_data, add_group, add_verb, complain, whole

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add them to those of the command."""
    verb = add_verb(
        verbs, "show", _show, "draw a recording's waveform and mel spectrogram", "train,report"
    )
    verb.add_argument("file", metavar="FILE", help="a recording of one digit")
    verb.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: FILE's name, .png, here)"
    )

    text = "list, fetch, check or make recordings to learn from"
    actions = add_group(verbs, "corpus", text)
    verb = add_verb(actions, "list", _corpus_list, "corpora: licence, and where they are", "train")
    add_data(verb)
    verb = add_verb(
        actions, "fetch", _corpus_fetch, "download a corpus and check its files", "train"
    )
    verb.add_argument("name", metavar="NAME", help="a corpus of the list")
    add_data(verb)
    text = "listen to every recording and report what is wrong; status 1 if anything is"
    verb = add_verb(actions, "check", _corpus_check, text, "train")
    verb.add_argument(
        "names", metavar="CORPUS", nargs="*", help="name, folder or table (default: all at hand)"
    )
    add_data(verb)

    text = "make a corpus of synthetic voices, or strings of digits of speakers held out"
    verb = add_verb(actions, "make", _corpus_make, text, "train,synth")
    verb.add_argument("kind", choices=["voices", "strings"], help="what to make")
    verb.add_argument("output", metavar="DIR", type=Path, help="folder to make; must not exist")
    verb.add_argument("--seed", type=whole(0), default=0, help="key of its draws (%(default)s)")
    text = (
        "of espeak-ng, those that ship, or all that the shipped model learned from, saying other "
        "words too; or the readers of flite and festival"
    )
    choices = ["shipped", "all", "readers"]
    verb.add_argument("--voices", choices=choices, default="shipped", help=text)
    strings = verb.add_argument_group("of strings")
    text = "corpus, folder or table of single digits (default: the best at hand)"
    strings.add_argument("--corpus", help=text)
    text = "named split whose test side speaks (default: the corpus')"
    strings.add_argument("--split", help=text)
    text = "strings to make, of the speakers in turn (%(default)s)"
    strings.add_argument("--count", metavar="N", type=whole(1), default=100, help=text)
    for name, number, word in (("fewest", 2, "least"), ("most", 13, "most")):
        text = f"digits in a string, at {word} (%(default)s)"
        strings.add_argument(f"--{name}", metavar="N", type=whole(1), default=number, help=text)
    add_data(verb)


def _show(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.reporting.recordings import show

    print(show(arguments.file, arguments.output or f"{Path(arguments.file).stem}.png"))
    return 0


def _corpus_list(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import CORPORA, find_corpus

    for name, corpus in CORPORA.items():
        folder = find_corpus(name, arguments.data)
        print(f"{name}: {folder or f'not at hand (spoken-digits corpus fetch {name})'}")
        print(f"    {corpus.licence}")
    return 0


def _corpus_fetch(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import fetch_corpus

    print(fetch_corpus(arguments.name, arguments.data))
    return 0


def _corpus_check(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import (
        CORPORA,
        CorpusError,
        check_corpus,
        find_corpus,
        read_corpus,
        summarize_corpus,
    )

    at_hand = [name for name in CORPORA if find_corpus(name, arguments.data)]
    status = 0
    for name in arguments.names or at_hand:
        try:
            clips = read_corpus(name, arguments.data)
        except CorpusError as error:
            status = complain(str(error))
            continue
        problems, summary = check_corpus(clips), summarize_corpus(clips)
        for problem in problems:
            print(f"{problem.file or name}: {problem.kind}: {problem.detail}")
        print(
            f"{name}: {summary.clips:,} clips, {summary.speakers:,} speakers, "
            f"{len(summary.labels)} labels, {summary.duration_s / 60:.1f} minutes; "
            f"{len(problems) or 'no'} problem{'s' * (len(problems) != 1)}"
        )
        status = 1 if problems else status
    return status


def _corpus_make(arguments: argparse.Namespace) -> int:
    if arguments.kind == "strings":
        return _make_strings(arguments)
    from spoken_digits.lab.tts.espeak import ALL_VOICES, make_voices
    from spoken_digits.lab.tts.flite_festival import make_readers

    if arguments.voices == "readers":
        print(make_readers(arguments.output, seed=arguments.seed))
    elif arguments.voices == "all":
        print(make_voices(arguments.output, ALL_VOICES, takes=4, others=40, seed=arguments.seed))
    else:
        print(make_voices(arguments.output, seed=arguments.seed))
    return 0


def _make_strings(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.connected.strings import (
        StringStyle,
        make_strings,
        read_spoken,
        write_strings,
    )
    from spoken_digits.lab.evaluation.exported import read_test

    style = StringStyle(arguments.fewest, arguments.most)
    name, clips = read_test(arguments.corpus, arguments.split, arguments.data)
    print(f"of {name}", file=sys.stderr)
    strings = make_strings(read_spoken(clips), arguments.count, style, arguments.seed)
    print(write_strings(strings, arguments.output))
    return 0
