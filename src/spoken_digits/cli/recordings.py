"""The verbs of recordings: show, corpus."""

import argparse
import sys
from pathlib import Path
from typing import Any

from spoken_digits.cli.arguments import (
    add_data,
    add_group,
    add_verb,
    complain,
    quiet_libraries,
    whole,
)

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add them to those of the command."""
    verb = add_verb(verbs, "show", _show, "draw a recording's waveform and log-mel", "train,report")
    verb.add_argument("file", metavar="FILE", help="a recording of one digit")
    verb.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: FILE's name, .png, here)"
    )

    text = "list, fetch, check or make corpora"
    actions = add_group(verbs, "corpus", text)
    verb = add_verb(actions, "list", _corpus_list, "corpora: licence, and where they are", "train")
    add_data(verb)
    verb = add_verb(actions, "fetch", _corpus_fetch, "download a corpus and check it", "train")
    verb.add_argument("name", metavar="NAME", help="a corpus of the list")
    text = "address of the same archive elsewhere; proxies are taken from the environment"
    verb.add_argument("--mirror", metavar="URL", help=text)
    text = "of the archive (default: the published one, where there is one)"
    verb.add_argument("--sha256", metavar="HEX", help=text)
    add_data(verb)
    text = "read every recording and report what is wrong; status 1 if anything is"
    verb = add_verb(actions, "check", _corpus_check, text, "train")
    verb.add_argument(
        "names", metavar="CORPUS", nargs="*", help="name, folder or table (default: all at hand)"
    )
    add_data(verb)

    text = "make a corpus of synthetic speech, or digit strings of held-out speakers"
    verb = add_verb(actions, "make", _corpus_make, text, "train,synth")
    kinds = ["voices", "strings", "sentences"]
    verb.add_argument("kind", choices=kinds, help="what to make; sentences by --engine kokoro only")
    verb.add_argument("output", metavar="DIR", type=Path, help="folder to make; must not exist")
    verb.add_argument("--seed", type=whole(0), default=0, help="key of its draws (%(default)s)")
    text = (
        "TTS voices: some of espeak-ng; all of espeak-ng that the shipped model is trained on, "
        "with other words too; those of flite and festival; or the corpus that ships, which needs "
        "Kokoro as well (%(default)s)"
    )
    choices = ["espeak-ng", "all", "flite-festival", "shipped"]
    verb.add_argument("--set", choices=choices, default="espeak-ng", help=text)
    text = "synthesizer (default: espeak-ng for voices; strings are then made of recordings)"
    verb.add_argument("--engine", choices=["espeak-ng", "kokoro"], help=text)
    neural = verb.add_argument_group("of --engine kokoro and --set shipped")
    text = "folder of the model's Python packages (default: those installed)"
    neural.add_argument("--kokoro-packages", metavar="DIR", type=Path, help=text)
    text = "folder of its voices, *.bin (default: web/node_modules/kokoro-js/voices)"
    neural.add_argument("--kokoro-voices", metavar="DIR", type=Path, help=text)
    text = "mixtures of two voices to add to the 54 (%(default)s)"
    neural.add_argument("--mixtures", metavar="N", type=whole(0), default=0, help=text)
    text = "of voices: clips of each digit and voice (%(default)s)"
    neural.add_argument("--takes", metavar="N", type=whole(1), default=2, help=text)
    text = "of voices: words that sound like a digit, of each voice; with them, 'oh' (%(default)s)"
    neural.add_argument("--near-words", metavar="N", type=whole(0), default=0, help=text)
    strings = verb.add_argument_group("of strings")
    text = "corpus, folder or table of single digits (default: the best at hand)"
    strings.add_argument("--corpus", help=text)
    text = "named split whose test side speaks (default: the corpus')"
    strings.add_argument("--split", help=text)
    text = "strings to make, of the speakers in turn (%(default)s)"
    strings.add_argument("--count", metavar="N", type=whole(1), default=100, help=text)
    for bound, number in (("min", 2), ("max", 13)):
        text = f"{bound}imum number of digits in a string (%(default)s)"
        option = f"--{bound}-digits"
        strings.add_argument(option, metavar="N", type=whole(1), default=number, help=text)
    add_data(verb)


@quiet_libraries()
def _show(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.reporting.recordings import show

    print(show(arguments.file, arguments.output or f"{Path(arguments.file).stem}.png"))
    return 0


def _corpus_list(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import CORPORA, find_corpus

    for name, corpus in CORPORA.items():
        folder = find_corpus(name, arguments.data)
        fetch = f"spoken-digits corpus fetch {name}" if corpus.url else "no address is known"
        print(f"{name}: {folder or f'not at hand ({fetch})'}")
        print(f"    {corpus.licence}")
    return 0


def _corpus_fetch(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import fetch_corpus

    print(
        fetch_corpus(
            arguments.name, arguments.data, mirror=arguments.mirror, sha256=arguments.sha256
        )
    )
    return 0


@quiet_libraries()
def _corpus_check(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data import validate
    from spoken_digits.lab.data.corpora import CORPORA, CorpusError, find_corpus, scan_corpus
    from spoken_digits.lab.data.utterances import is_transcribed, scan_utterances

    names = arguments.names or [name for name in CORPORA if find_corpus(name, arguments.data)]
    status = 0
    for name in names:
        try:
            if is_transcribed(name):
                utterances, faults = scan_utterances(name, arguments.data)
                problems = validate.check_utterances(utterances, faults)
                held = str(validate.summarize_utterances(utterances))
            else:
                clips, faults = scan_corpus(name, arguments.data)
                problems = (*validate.check_corpus(clips, faults), *validate.check_files(name))
                held = str(validate.summarize_corpus(clips))
        except CorpusError as error:
            status = complain(str(error))
            continue
        for problem in problems:
            print(f"{problem.file or name}: {problem.kind}: {problem.detail}")
        severe = sum(problem.severe for problem in problems)
        print(f"{name}: {held}; {severe or 'no'} problem{'s' * (severe != 1)}")
        status = 1 if severe else status
    return status


def _corpus_make(arguments: argparse.Namespace) -> int:
    if arguments.min_digits > arguments.max_digits:
        bounds = f"--min-digits {arguments.min_digits} --max-digits {arguments.max_digits}"
        return complain(f"{bounds}: expected the minimum not to exceed the maximum", 2)
    if arguments.engine == "kokoro":
        return _make_with_kokoro(arguments)
    if arguments.kind == "sentences":
        return complain("sentences: expected --engine kokoro, which synthesizes them", 2)
    if arguments.kind == "strings":
        return _make_strings(arguments)
    if arguments.set == "shipped":
        return _make_shipped(arguments)
    from spoken_digits.lab.tts.espeak import ALL_VOICES, make_voices
    from spoken_digits.lab.tts.flite_festival import make_flite_festival

    output, seed = arguments.output, arguments.seed
    if arguments.set == "flite-festival":
        print(make_flite_festival(output, seed=seed))
    elif arguments.set == "all":
        print(make_voices(output, ALL_VOICES, takes=4, oov_words=40, seed=seed))
    else:
        print(make_voices(output, seed=seed))
    return 0


def _make_shipped(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.tts.kokoro import Kokoro
    from spoken_digits.lab.tts.shipped import make_shipped

    engine = Kokoro(arguments.kokoro_packages, arguments.kokoro_voices)
    print(make_shipped(arguments.output, engine=engine, seed=arguments.seed))
    return 0


def _make_strings(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.connected.strings import (
        StringStyle,
        make_strings,
        read_words,
        write_strings,
    )
    from spoken_digits.lab.evaluation.exported import read_test_set

    style = StringStyle(arguments.min_digits, arguments.max_digits)
    name, clips = read_test_set(arguments.corpus, arguments.split, arguments.data)
    print(f"of {name}", file=sys.stderr)
    strings = make_strings(read_words(clips), arguments.count, style, arguments.seed)
    print(write_strings(strings, arguments.output))
    return 0


def _make_with_kokoro(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.connected.phrases import PhraseKind, synthesize_phrases
    from spoken_digits.lab.connected.strings import StringStyle, write_strings
    from spoken_digits.lab.tts import kokoro

    seed = arguments.seed
    voices = (*kokoro.KOKORO_VOICES, *kokoro.draw_mixtures(arguments.mixtures, seed))
    style = StringStyle(arguments.min_digits, arguments.max_digits)
    engine = kokoro.Kokoro(arguments.kokoro_packages, arguments.kokoro_voices)
    if arguments.kind == "voices":
        print(
            kokoro.make_kokoro_voices(
                arguments.output,
                voices,
                engine=engine,
                takes=arguments.takes,
                near_words=arguments.near_words,
                oh=arguments.near_words > 0,
                seed=seed,
            )
        )
        return 0
    kinds: list[PhraseKind] = ["strings"] if arguments.kind == "strings" else ["sentences", "mixed"]
    phrases = synthesize_phrases(
        engine,
        voices,
        [kinds[i % len(kinds)] for i in range(arguments.count)],
        min_digits=style.min_digits,
        max_digits=style.max_digits,
        seed=seed,
    )
    print(write_strings(phrases, arguments.output))
    return 0
