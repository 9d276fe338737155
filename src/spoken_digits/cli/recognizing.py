"""The verbs that recognize: recognize, transcribe, listen, serve."""

import argparse
import dataclasses
import io
import json
import shlex
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from spoken_digits.audio import AudioError
from spoken_digits.cli.arguments import (
    add_verb,
    complain,
    encoding,
    probability,
    quiet_libraries,
    whole,
)
from spoken_digits.cli.processes import count_processes, share
from spoken_digits.reading import NO_HEADER
from spoken_digits.recognize import Recognition, Recognizer, load

if TYPE_CHECKING:
    from spoken_digits.connected import Transcriber
    from spoken_digits.grammar import Grammar

_ONE_WORD_S = 2.0  # a recording in which one digit may be meant

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add them to those of the command."""
    verb = add_verb(verbs, "recognize", _recognize, "recognize the digit in each recording", "")
    verb.add_argument(
        "files", metavar="FILE", nargs="+", help="a recording of one digit, - for standard input"
    )
    verb.add_argument("--json", action="store_true", help="one JSON object a line for each file")
    _add_reading(verb)
    verb.add_argument("--model", metavar="PATH", help="an exported model (default: what ships)")
    text = "smallest score of a digit, 0 (reject only silence) to 1 (default: the model's own)"
    verb.add_argument("--threshold", metavar="SCORE", type=probability, help=text)
    _add_oh(verb)

    text = "transcribe the digits in recordings of any length"
    verb = add_verb(verbs, "transcribe", _transcribe, text, "")
    verb.add_argument(
        "files", metavar="FILE", nargs="+", help="a recording of digits, - for standard input"
    )
    verb.add_argument("--json", action="store_true", help="one JSON object a line for each file")
    _add_reading(verb)
    text = "a model of strings (default: the shipped one)"
    verb.add_argument("--model", metavar="PATH", help=text)
    shape = verb.add_mutually_exclusive_group()
    shape.add_argument("--length", metavar="N", type=whole(1), help="number of digits")
    shape.add_argument(
        "--pattern", help="form of the string, with d for any digit, such as ddd-dddd"
    )
    text = "require a check digit at the end, as on payment cards"
    verb.add_argument("--luhn", action="store_true", help=text)
    text = "also print the N most probable strings"
    verb.add_argument("--nbest", metavar="N", type=whole(1), default=0, help=text)
    _add_oh(verb)
    _add_doubles(verb)

    verb = add_verb(verbs, "listen", _listen, "print digits while they are spoken", "mic")
    verb.add_argument("--wav", metavar="FILE", help="take a file, in real time, as the microphone")
    verb.add_argument(
        "--device", metavar="NAME", help="microphone (default: the system's); part of its name"
    )
    verb.add_argument("--json", action="store_true", help="one JSON object a line for each digit")
    _add_reading(verb)
    text = "a model of strings (default: the shipped one)"
    verb.add_argument("--model", metavar="PATH", help=text)
    _add_oh(verb)
    _add_doubles(verb)

    verb = add_verb(verbs, "serve", _serve, "serve the demo page to a browser", "")
    verb.add_argument("--host", default="127.0.0.1", help="address to bind to (%(default)s)")
    text = "port to bind to, 0: any that is free (%(default)s)"
    verb.add_argument("--port", type=whole(0), default=8000, help=text)
    verb.add_argument("--open", action="store_true", help="open it in the browser")
    verb.add_argument("--model", metavar="PATH", help="an exported model (default: what ships)")
    _add_oh(verb)
    text = "do not serve: copy the page to a new folder, for any static host"
    verb.add_argument("--copy", metavar="DIR", type=Path, help=text)


def _add_reading(verb: argparse.ArgumentParser) -> None:
    text = "files have no header, and this encoding, rate and number of channels: ulaw,8000,1"
    verb.add_argument("--raw", metavar="ENCODING", type=encoding, help=text)
    text = "channel to take, 1 is the first (default: the one with the most speech)"
    verb.add_argument("--channel", metavar="N", type=whole(1), help=text)


def _source(file: str) -> str | BinaryIO:
    if file != "-":
        return file
    return sys.stdin.buffer if sys.stdin else io.BytesIO()  # closed: an empty file


def _add_oh(verb: argparse.ArgumentParser) -> None:
    text = 'reject "oh" instead of taking it for zero'
    verb.add_argument("--no-oh", dest="oh", action="store_false", help=text)


def _add_doubles(verb: argparse.ArgumentParser) -> None:
    text = 'take "double four" and "triple four" for one 4'
    verb.add_argument("--no-doubles", dest="doubles", action="store_false", help=text)


class _Printed(NamedTuple):
    """What is printed about a file: on standard error and on standard output."""

    complaints: list[str]
    line: str | None
    is_error: bool = False


class _Warnings:
    """Prints warnings; of many files without a header one is named, and how many more there are."""

    def __init__(self) -> None:
        self._headerless = 0

    def __enter__(self) -> "_Warnings":
        return self

    def print(self, warning: str) -> None:
        is_headerless = f": {NO_HEADER}; taken as " in warning
        if not (is_headerless and self._headerless):
            complain(warning)
        self._headerless += is_headerless

    def __exit__(self, *_: object) -> None:
        if (more := self._headerless - 1) > 0:
            files = "file has" if more == 1 else "files have"
            complain(f"{more:,} more {files} no header: taken by name as well; for others, --raw")


@quiet_libraries()
def _recognize(arguments: argparse.Namespace) -> int:
    recognizer = load(arguments.model, arguments.threshold)
    work = partial(
        _recognize_files,
        recognizer=recognizer,
        as_json=arguments.json,
        oh=arguments.oh,
        channel=arguments.channel,
        encoding=arguments.raw,
    )
    if (processes := count_processes(arguments.files)) > 1:
        answers = share(work, arguments.files, processes)
    else:
        answers = work(arguments.files)
    status = 0
    with closing(answers), _Warnings() as warnings:
        for answer in answers:
            for complaint in answer.complaints:
                if answer.is_error:
                    complain(complaint)
                else:
                    warnings.print(complaint)
            if answer.line is not None:
                print(answer.line, flush=True)
            status = max(status, int(answer.is_error))
    return status


def _recognize_files(
    files: Sequence[str], recognizer: Recognizer, as_json: bool, **settings: Any
) -> Generator[_Printed, None, None]:
    """Recognize each file, by `recognize_many` and its settings; yield what is to be printed."""
    with closing(recognizer.recognize_many(map(_source, files), **settings)) as answers:
        for file, answer in zip(files, answers, strict=True):
            row: dict[str, object] = {"file": file}
            if isinstance(answer, AudioError):
                if as_json:
                    yield _Printed([], json.dumps(row | {"error": str(answer)}), is_error=True)
                else:
                    yield _Printed([str(answer)], None, is_error=True)
                continue
            complaints = list(answer.warnings)
            if answer.utterances > 1:
                complaints.append(
                    f"{file}: {answer.utterances} digits or more; the answer is for one of them, "
                    f"for all run: spoken-digits transcribe {shlex.quote(file)}"
                )
            if as_json:
                yield _Printed(complaints, json.dumps(row | _to_json(answer)))
            else:
                described = _describe(answer, recognizer.threshold)
                yield _Printed(complaints, f"{file}: {described}")


def _to_json(answer: Recognition) -> dict[str, object]:
    row: dict[str, object] = {"digit": answer.digit, "word": answer.word}
    if set(answer.labels) - set("0123456789"):
        row["label"] = answer.label
    row["probability"] = round(answer.probability, 6)
    row["probabilities"] = [round(p, 6) for p in answer.probabilities]
    row |= {"reason": answer.reason, "score": round(answer.score, 6)}
    if answer.utterances > 1:
        row["utterances"] = answer.utterances
    if answer.warnings:
        row["warnings"] = list(answer.warnings)
    return row


def _describe(answer: Recognition, threshold: float) -> str:
    if answer.reason is None:
        return f"{answer.label} ({100 * answer.probability:.1f} %)"
    details = {
        "silence": "",
        "not a digit": f": score {answer.score:.2f}, below {threshold:.2f}",
        "unclear": f": {answer.label}, {100 * answer.probability:.1f} %?",
    }
    kind = "word" if set(answer.labels) - set("0123456789") else "digit"
    reason = answer.reason.replace("digit", kind)
    return f"no {kind} ({reason}{details[answer.reason]})"


@quiet_libraries()
def _transcribe(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.grammar import Grammar

    pattern = arguments.pattern or "d" * (arguments.length or 0)
    grammar = Grammar(pattern, arguments.luhn) if pattern or arguments.luhn else None
    transcriber = Transcriber(arguments.model)
    with _Warnings() as warnings:
        return max(
            _transcribe_file(file, transcriber, grammar, arguments, warnings)
            for file in arguments.files
        )


def _transcribe_file(
    file: str,
    transcriber: "Transcriber",
    grammar: "Grammar | None",
    arguments: argparse.Namespace,
    warnings: _Warnings,
) -> int:
    """Transcribe one file and print the answer; return the exit status."""
    try:
        answer = transcriber(
            _source(file),
            grammar=grammar,
            nbest=arguments.nbest,
            oh=arguments.oh,
            doubles=arguments.doubles,
            channel=arguments.channel,
            encoding=arguments.raw,
        )
    except AudioError as error:
        if arguments.json:
            print(json.dumps({"file": file, "error": str(error)}), flush=True)
        else:
            complain(str(error))
        return 1
    for warning in answer.warnings:
        warnings.print(warning)
    if arguments.json:
        row: dict[str, object] = {"file": file, "digits": answer.digits}
        row["segments"] = [_rounded(segment) for segment in answer.segments]
        row["duration_s"] = round(answer.duration_s, 3)
        if arguments.nbest:
            row["alternatives"] = [
                {"digits": digits, "probability": round(p, 6)} for digits, p in answer.alternatives
            ]
        if answer.warnings:
            row["warnings"] = list(answer.warnings)
        print(json.dumps(row), flush=True)
        return 0
    print(f"{file}: {answer.digits or 'no digits'}", flush=True)
    for digits, p in answer.alternatives:
        print(f"    {digits or 'no digits'} ({100 * p:.1f} %)", flush=True)
    if not answer.digits and answer.duration_s <= _ONE_WORD_S:
        complain(
            f"{file}: a digit that stands alone must be clearer here; for one digit run: "
            f"spoken-digits recognize {shlex.quote(file)}"
        )
    return 0


def _rounded(segment: Any) -> dict[str, object]:
    row: dict[str, object] = dataclasses.asdict(segment)
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}


@quiet_libraries()
def _listen(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.microphone import (
        RECONNECT_S,
        from_file,
        from_microphone,
        level_meter,
        listen,
    )

    transcriber = Transcriber(arguments.model)
    digits: list[str] = []

    def draw_meter(level_dbfs: float | None = None) -> None:
        if sys.stderr.isatty():  # the line is drawn again and again
            meter = level_meter(level_dbfs) if level_dbfs is not None else ""
            print(f"\r{meter}\x1b[K", end="", file=sys.stderr, flush=True)

    def give_notice(text: str) -> None:
        draw_meter()
        complain(text)

    if arguments.wav:
        chunks = from_file(
            _source(arguments.wav),
            channel=arguments.channel,
            encoding=arguments.raw,
            on_warning=complain,
        )
    else:
        chunks = from_microphone(arguments.device, RECONNECT_S, give_notice)

    def print_digit(segment: Any) -> None:
        draw_meter()
        digits.append(str(segment.digit))
        print(json.dumps(_rounded(segment)) if arguments.json else segment.digit, flush=True)

    def announced() -> Iterator[tuple[Any, float]]:
        """Say that it listens once the microphone gives samples."""
        for number, chunk in enumerate(chunks):
            if not (number or arguments.wav):
                print("Listening; Ctrl+C ends it.", file=sys.stderr, flush=True)
            yield chunk

    try:
        listen(
            transcriber,
            announced(),
            print_digit,
            draw_meter,
            oh=arguments.oh,
            doubles=arguments.doubles,
        )
    except KeyboardInterrupt:  # the usual way to end it
        pass
    finally:
        draw_meter()
    if not arguments.json:
        print(f"digits: {''.join(digits) or 'none'}", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from spoken_digits.serve import copy_page, serve

    model = load(arguments.model).path  # a file that is no model fails here, not in the browser
    if arguments.copy and not arguments.oh:
        return complain("--no-oh: a copied page rejects it where its address ends with ?no-oh", 2)
    if arguments.copy:
        print(copy_page(arguments.copy, model))
    else:
        serve(arguments.host, arguments.port, model, arguments.open, oh=arguments.oh)
    return 0
