"""The command ``spoken-digits``: each verb imports what it needs when it is called.

Answers go to standard output, progress and warnings to standard error. Exit status: 0 all well,
1 something failed (other inputs are still answered), 2 wrong usage.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spoken_digits import __version__
from spoken_digits.audio import AudioError
from spoken_digits.recognize import Recognition, Recognizer, load

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process); its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    arguments.command = shlex.join(["spoken-digits", *argv])
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.verb(arguments)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return _complain("interrupted", status=130)
    except BrokenPipeError:  # the reader has seen enough: say nothing, now or at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return _complain(_explain(error, arguments))
    return status


def _explain(error: Exception, arguments: argparse.Namespace) -> str:
    """Say in one line what is wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("spoken_digits"):
        return f"{error.name} is not installed: pip install 'spoken-digits[{arguments.extras}]'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError | OSError):  # as every error type of the package
        return text
    return (
        f"{type(error).__name__}: {text}; this should not happen: please report it, with what "
        f"{arguments.command} prints when PYTHONDEVMODE=1 is set"
    )


def _complain(message: str, status: int = 1) -> int:
    print(f"spoken-digits: {message}", file=sys.stderr)
    return status


def _recognize(arguments: argparse.Namespace) -> int:
    recognizer = load(arguments.model, arguments.threshold)
    status = 0
    for file in arguments.files:
        row: dict[str, object] = {"file": file}
        try:
            answer = recognizer(file)
        except AudioError as error:
            status = 1
            if arguments.json:
                print(json.dumps(row | {"error": str(error)}), flush=True)
            else:
                _complain(str(error))
            continue
        if answer.utterances > 1:
            _complain(
                f"{file}: {answer.utterances} digits or more; the answer is for one of them, for "
                f"all run: spoken-digits transcribe {shlex.quote(file)}"
            )
        if arguments.json:
            row["digit"] = answer.digit
            if set(answer.labels) - set("0123456789"):
                row["label"] = answer.label
            row["probability"] = round(answer.probability, 6)
            row["probabilities"] = [round(p, 6) for p in answer.probabilities]
            row |= {"reason": answer.reason, "score": round(answer.score, 6)}
            if answer.utterances > 1:
                row["digits_heard"] = answer.utterances
            print(json.dumps(row), flush=True)
        else:
            print(f"{file}: {_in_words(answer, recognizer.threshold)}", flush=True)
    return status


def _in_words(answer: Recognition, threshold: float) -> str:
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


def _transcribe(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.grammar import Grammar

    pattern = arguments.pattern or "d" * (arguments.length or 0)
    grammar = Grammar(pattern, arguments.luhn) if pattern or arguments.luhn else None
    transcriber = Transcriber(arguments.model)
    status = 0
    for file in arguments.files:
        try:
            answer = transcriber(file, grammar=grammar, nbest=arguments.nbest)
        except AudioError as error:
            status = 1
            if arguments.json:
                print(json.dumps({"file": file, "error": str(error)}), flush=True)
            else:
                _complain(str(error))
            continue
        if arguments.json:
            row: dict[str, object] = {"file": file, "digits": answer.digits}
            row["segments"] = [_rounded(segment) for segment in answer.segments]
            row["duration_s"] = round(answer.duration_s, 3)
            if arguments.nbest:
                row["alternatives"] = [
                    {"digits": digits, "probability": round(p, 6)}
                    for digits, p in answer.alternatives
                ]
            print(json.dumps(row), flush=True)
        else:
            print(f"{file}: {answer.digits or 'no digits'}", flush=True)
            for digits, p in answer.alternatives:
                print(f"    {digits or 'no digits'} ({100 * p:.1f} %)", flush=True)
    return status


def _rounded(segment: Any) -> dict[str, object]:
    row: dict[str, object] = dataclasses.asdict(segment)
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}


def _listen(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.microphone import from_file, from_microphone, level_meter, listen

    transcriber = Transcriber(arguments.model)
    chunks = from_file(arguments.wav) if arguments.wav else from_microphone(arguments.device)
    digits: list[str] = []

    def show(level_db: float | None = None) -> None:
        if sys.stderr.isatty():  # the line is drawn again and again
            meter = level_meter(level_db) if level_db is not None else ""
            print(f"\r{meter}\x1b[K", end="", file=sys.stderr, flush=True)

    def heard(segment: Any) -> None:
        show()
        digits.append(str(segment.digit))
        print(json.dumps(_rounded(segment)) if arguments.json else segment.digit, flush=True)

    if not arguments.wav:
        print("Listening; Ctrl+C ends it.", file=sys.stderr, flush=True)
    try:
        listen(transcriber, chunks, heard, show)
    except KeyboardInterrupt:  # the usual way to end it
        pass
    finally:
        show()
    if not arguments.json:
        print(f"heard: {''.join(digits) or 'no digits'}", file=sys.stderr)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from spoken_digits.serve import copy_page, serve

    model = load(arguments.model).path  # a file that is no model is told here, not in the browser
    if arguments.copy:
        print(copy_page(arguments.copy, model))
    else:
        serve(arguments.host, arguments.port, model, arguments.open)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.show import show

    print(show(arguments.file, arguments.output or f"{Path(arguments.file).stem}.png"))
    return 0


def _corpus_list(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import CORPORA, find_corpus

    for name, corpus in CORPORA.items():
        folder = find_corpus(name, arguments.data)
        print(f"{name}: {folder or f'not at hand (spoken-digits corpus fetch {name})'}")
        print(f"    {corpus.licence}")
    return 0


def _corpus_fetch(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import fetch_corpus

    print(fetch_corpus(arguments.name, arguments.data))
    return 0


def _corpus_check(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import (
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
            status = _complain(str(error))
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
    from spoken_digits.lab.voices import ALL_VOICES, make_voices

    if arguments.voices == "all":
        print(make_voices(arguments.output, ALL_VOICES, takes=4, others=40, seed=arguments.seed))
    else:
        print(make_voices(arguments.output, seed=arguments.seed))
    return 0


def _make_strings(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.judge import read_test
    from spoken_digits.lab.strings import StringStyle, make_strings, read_spoken, write_strings

    style = StringStyle(arguments.fewest, arguments.most)
    name, clips = read_test(arguments.corpus, arguments.split, arguments.data)
    print(f"of {name}", file=sys.stderr)
    strings = make_strings(read_spoken(clips), arguments.count, style, arguments.seed)
    print(write_strings(strings, arguments.output))
    return 0


def _strings_train(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.ctc import StringConfig
    from spoken_digits.lab.transcripts import train_transcriber

    def progress(step: int, loss: float, _: object) -> None:
        if (step + 1) % 100 == 0:
            print(f"{step + 1:,} of {config.steps:,}: {loss:.2f}", file=sys.stderr, flush=True)

    config = StringConfig(seed=arguments.seed)
    if arguments.steps:
        config = dataclasses.replace(config, steps=arguments.steps)
    print(
        train_transcriber(
            arguments.output, arguments.split, arguments.data, config, arguments.command,
            progress=progress,
        )
    )  # fmt: skip
    return 0


def _strings_score(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.lab.files import write_whole
    from spoken_digits.lab.strings import read_references, score
    from spoken_digits.lab.transcripts import judge_transcriber

    transcriber = Transcriber(arguments.model)
    if arguments.table:
        references = read_references(arguments.table)
        heard = [transcriber(file).digits for file, _ in references]
        results: dict[str, Any] = score([digits for _, digits in references], heard).to_dict()
    else:
        results = judge_transcriber(transcriber, arguments.split, arguments.data, arguments.seed)
    text = json.dumps({"command": arguments.command} | results, indent=1)
    if arguments.output:
        write_whole(arguments.output, f"{text}\n".encode())
    print(text)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import best_corpus
    from spoken_digits.lab.recipe import TrainConfig
    from spoken_digits.lab.study import Job, run_job

    config = _config(TrainConfig, arguments)
    if arguments.start and not arguments.corpus:
        return _complain("--from: needs --corpus, the words to learn")
    if arguments.corpus:
        return _train_own(config, arguments)
    if config.split.partition(":")[0] == "open":
        return _train_open(config, arguments)
    corpus, _ = best_corpus(arguments.data)
    if corpus == "voices" and not arguments.split:
        config = dataclasses.replace(config, split=corpus)
    job = Job(config, corpus, arguments.data, arguments.out, arguments.command)
    print(run_job(job, quiet=False), file=sys.stderr)
    print(job.directory)
    if arguments.export:
        from spoken_digits.lab.export import export

        print(export(job.directory, arguments.export))
    return 0


def _train_own(config: Any, arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import read_corpus
    from spoken_digits.lab.files import write_whole
    from spoken_digits.lab.own import own_config, read_start, train_own

    clips = read_corpus(arguments.corpus, arguments.data)
    begun, weights = read_start(arguments.start) if arguments.start else (None, None)
    given = [key for key in _OVERRIDES if getattr(arguments, key) is not None]
    config = own_config(config, given, begun)
    run = arguments.out / f"{Path(arguments.corpus).stem}-s{config.seed}"
    model, trust = train_own(config, clips, run, arguments.command, weights, quiet=False)
    print(trust.text, file=sys.stderr)
    if arguments.export:
        model = Path(arguments.export)
        write_whole(model, (run / "digits.onnx").read_bytes())
    print(model)
    return 0


def _train_open(config: Any, arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.shipping import ship, train_open

    out, command = arguments.out, arguments.command
    run = train_open(config, arguments.data, out, command, quiet=False)
    print(run)
    if arguments.export:
        print(ship(run, arguments.export))
    return 0


def _pretrain(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.contrastive import PretrainConfig, run_pretraining
    from spoken_digits.lab.corpora import best_corpus

    config = _config(PretrainConfig, arguments)
    corpus, clips = best_corpus(arguments.data)
    if corpus == "voices" and not arguments.split:
        config = dataclasses.replace(config, split=corpus)
    folder, line = run_pretraining(config, clips, arguments.out)
    print(line, file=sys.stderr)
    print(folder)
    return 0


def _config(kind: Any, arguments: argparse.Namespace) -> Any:
    """Resolve the recipe of a run: a file if there is one, and the options, which win over it."""
    given = {key: getattr(arguments, key) for key in _OVERRIDES}
    overrides = {key: value for key, value in given.items() if value is not None}
    if arguments.recipe:
        return kind.from_toml(arguments.recipe, **overrides)
    return kind.from_dict(overrides, "options")


def _evaluate(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.judge import describe, heard_before, judge, read_test

    recognizer = load(arguments.model)
    if arguments.rejection:
        return _evaluate_rejection(recognizer, arguments)
    name, clips = read_test(arguments.corpus, arguments.split, arguments.data)
    if known := heard_before(recognizer, clips):
        names = ", ".join(known) if len(known) <= 6 else f"{len(known)} speakers"
        _complain(f"WARNING: {arguments.model} was trained on {names}, tested here")
    evaluation = judge(recognizer, clips)
    if arguments.json:
        print(json.dumps(evaluation.to_dict()))
    else:
        print(f"{arguments.model} on {name}\n\n{describe(evaluation)}")
    return 0


def _evaluate_rejection(recognizer: Recognizer, arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.corpora import data_hash, find_corpus, read_corpus
    from spoken_digits.lab.judge import heard_before
    from spoken_digits.lab.rejection import (
        describe_rejection,
        evaluate_rejection,
        score_clips,
        score_noise,
    )

    name = arguments.corpus or "speech_commands"
    clips = read_corpus(name, arguments.data)
    if known := heard_before(recognizer, clips):
        names = ", ".join(known) if len(known) <= 6 else f"{len(known)} speakers"
        _complain(f"WARNING: {arguments.model} was trained on {names}, tested here")
    folder = find_corpus("speech_commands", arguments.data)
    noises = sorted(folder.glob("_background_noise_/*.wav")) if folder else []
    evaluation = evaluate_rejection(
        score_clips(recognizer, clips), recognizer.threshold, score_noise(recognizer, noises)
    )
    if arguments.figure:
        from spoken_digits.lab.figures import rejection_curves
        from spoken_digits.lab.files import write_whole

        write_whole(arguments.figure, rejection_curves(evaluation.to_dict()).encode())
    if arguments.json:
        model = {"sha256": hashlib.sha256(recognizer.path.read_bytes()).hexdigest()}
        origin = {"command": arguments.command, "model": model, "corpus": name}
        origin |= {"hash": data_hash(clips), "heard_before": len(known)}
        print(json.dumps(origin | evaluation.to_dict()))
    else:
        print(f"{arguments.model} on {name}\n\n{describe_rejection(evaluation)}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.export import export, quantize

    path = export(arguments.run, arguments.output)
    if arguments.int8:
        from spoken_digits.audio import read_audio, to_clip
        from spoken_digits.lab.corpora import read_corpus

        clips = [to_clip(*read_audio(clip.file)) for clip in read_corpus("voices")[::9]]
        path = quantize(path, path, clips)
    print(path)
    return 0


def _study(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.plan import studies
    from spoken_digits.lab.study import StudyError, run_study

    if arguments.name == "shipped":
        return _study_shipped(arguments)
    names = studies() if arguments.name == "all" else (arguments.name,)
    for name in names:
        out = arguments.out and (arguments.out / name if len(names) > 1 else arguments.out)
        try:
            report = run_study(
                name, arguments.data, out, arguments.quick, arguments.workers, arguments.cluster
            )
        except StudyError as error:
            return _complain(str(error))
        print(f"report: {report}", flush=True)
    return 0


def _study_shipped(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.recipe import TrainConfig
    from spoken_digits.lab.shipping import study_shipped

    config, out = TrainConfig.from_toml("shipped"), arguments.out or Path("runs", "shipped")
    print(study_shipped(config, arguments.data, out, arguments.command, quiet=False))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.card import update_card
    from spoken_digits.lab.report import publish, write_report
    from spoken_digits.lab.tables import studies_in

    if arguments.publish and not Path("README.md").is_file():
        return _complain(
            "no README.md here to publish to; --publish writes results/ and the README of the "
            "source tree: run it there"
        )
    studies = arguments.studies
    if [study.name for study in studies] == ["all"] and not studies[0].exists():
        studies = studies_in("runs")
    folder = studies[0] if len(studies) == 1 else studies[0].parent
    maps = write_report(studies, folder / "report.html", arguments.data)
    if arguments.publish:
        for path in publish(studies, maps, "results", "README.md", arguments.data):
            print(f"results: {path}")
        update_card("MODEL_CARD.md", "results")
    print(f"report: {folder / 'report.html'}")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    if not Path("benchmarks", "__main__.py").is_file():
        return _complain(
            "no benchmarks here; they are no part of the package: run them in its source tree"
        )
    only = [word for name in arguments.only for word in ("--only", name)]
    smoke = ["--smoke"] if arguments.smoke else []
    return subprocess.call([sys.executable, "-m", "benchmarks", *only, *smoke])


_OVERRIDES = ("model", "front_end", "split", "seed", "epochs", "device")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spoken-digits", description="Hear which digit is spoken, and study how well."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, extras: str, to: Any = verbs
    ) -> argparse.ArgumentParser:
        verb: argparse.ArgumentParser = to.add_parser(name, help=text, description=text)
        verb.set_defaults(verb=run, extras=extras)
        return verb

    def add_data(verb: argparse.ArgumentParser) -> None:
        text = "folder of corpora (default: SPOKEN_DIGITS_DATA, else the cache of fetch)"
        verb.add_argument("--data", metavar="DIR", type=Path, help=text)

    def add_run(verb: argparse.ArgumentParser) -> None:
        verb.add_argument("recipe", metavar="RECIPE", nargs="?", help="a TOML file, or its name")
        for key in _OVERRIDES:
            verb.add_argument(
                f"--{key.replace('_', '-')}",
                type=_whole(0) if key in ("seed", "epochs") else str,
                help=f"{key.replace('_', ' ')}, whatever the recipe says",
            )
        text = "folder of runs (%(default)s)"
        verb.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help=text)
        add_data(verb)

    verb = add("recognize", _recognize, "tell which digit is spoken in recordings", "train")
    verb.add_argument("files", metavar="FILE", nargs="+", help="a recording of one digit")
    verb.add_argument("--json", action="store_true", help="a JSON object a line and file")
    verb.add_argument("--model", metavar="PATH", help="an exported model (default: what ships)")
    text = "least score of a digit, 0 (refuse nothing but silence) to 1 (default: the model's own)"
    verb.add_argument("--threshold", metavar="SCORE", type=_share, help=text)

    text = "tell the digits spoken in recordings of any length"
    verb = add("transcribe", _transcribe, text, "train")
    verb.add_argument("files", metavar="FILE", nargs="+", help="a recording of a string of digits")
    verb.add_argument("--json", action="store_true", help="a JSON object a line and file")
    verb.add_argument("--model", metavar="PATH", help="a model of strings (default: what ships)")
    shape = verb.add_mutually_exclusive_group()
    shape.add_argument("--length", metavar="N", type=_whole(1), help="digits that there must be")
    shape.add_argument(
        "--pattern", help="what they must be like: d for any digit, such as ddd-dddd"
    )
    text = "the last digit must be the check digit of the others, as on payment cards"
    verb.add_argument("--luhn", action="store_true", help=text)
    text = "also give the N most probable strings"
    verb.add_argument("--nbest", metavar="N", type=_whole(1), default=0, help=text)

    verb = add("listen", _listen, "tell digits while they are spoken", "mic")
    verb.add_argument("--wav", metavar="FILE", help="listen to a file, as if it were spoken now")
    verb.add_argument(
        "--device", metavar="NAME", help="microphone (default: the system's); part of its name"
    )
    verb.add_argument("--json", action="store_true", help="a JSON object a digit")
    verb.add_argument("--model", metavar="PATH", help="a model of strings (default: what ships)")

    verb = add("serve", _serve, "serve the page that hears what is spoken to a browser", "train")
    verb.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    text = "port to listen at, 0: any that is free (%(default)s)"
    verb.add_argument("--port", type=_whole(0), default=8000, help=text)
    verb.add_argument("--open", action="store_true", help="open it in the browser")
    verb.add_argument("--model", metavar="PATH", help="an exported model (default: what ships)")
    text = "do not serve: copy the page to a new folder, for any static host"
    verb.add_argument("--copy", metavar="DIR", type=Path, help=text)

    verb = add("show", _show, "draw a recording's waveform and mel spectrogram", "train,report")
    verb.add_argument("file", metavar="FILE", help="a recording of one digit")
    verb.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: FILE's name, .png, here)"
    )

    text = "list, fetch, check or make recordings to learn from"
    corpus = verbs.add_parser("corpus", help=text, description=text)
    actions = corpus.add_subparsers(title="verbs", metavar="VERB", required=True)
    verb = add("list", _corpus_list, "corpora: licence, and where they are", "train", actions)
    add_data(verb)
    verb = add("fetch", _corpus_fetch, "download a corpus and check its files", "train", actions)
    verb.add_argument("name", metavar="NAME", help="a corpus of the list")
    add_data(verb)
    text = "listen to every recording and report what is wrong; status 1 if anything is"
    verb = add("check", _corpus_check, text, "train", actions)
    verb.add_argument(
        "names", metavar="CORPUS", nargs="*", help="name, folder or table (default: all at hand)"
    )
    add_data(verb)

    text = "make a corpus of synthetic voices, or strings of digits of speakers held out"
    verb = add("make", _corpus_make, text, "train,synth", actions)
    verb.add_argument("kind", choices=["voices", "strings"], help="what to make")
    verb.add_argument("output", metavar="DIR", type=Path, help="folder to make; must not exist")
    verb.add_argument("--seed", type=_whole(0), default=0, help="key of its draws (%(default)s)")
    text = "those that ship, or all that the shipped model learned from, saying other words too"
    verb.add_argument("--voices", choices=["shipped", "all"], default="shipped", help=text)
    strings = verb.add_argument_group("of strings")
    text = "corpus, folder or table of single digits (default: the best at hand)"
    strings.add_argument("--corpus", help=text)
    text = "named split whose test side speaks (default: the corpus')"
    strings.add_argument("--split", help=text)
    text = "strings to make, of the speakers in turn (%(default)s)"
    strings.add_argument("--count", metavar="N", type=_whole(1), default=100, help=text)
    for name, number, word in (("fewest", 2, "least"), ("most", 13, "most")):
        text = f"digits in a string, at {word} (%(default)s)"
        strings.add_argument(f"--{name}", metavar="N", type=_whole(1), default=number, help=text)
    add_data(verb)

    verb = add("train", _train, "train a model on some speakers, test it on others", "train,report")
    add_run(verb)
    text = "words of your own: a folder <label>/<speaker>_<take>.*, or a table"
    verb.add_argument("--corpus", metavar="PATH", help=text)
    text = "start from a model's weights: 'shipped', or a .safetensors file (with --corpus)"
    verb.add_argument("--from", dest="start", metavar="WEIGHTS", help=text)
    verb.add_argument("--export", metavar="FILE", help="also write the model to this file, .onnx")
    text = "train a model on some speakers without labels, then probe it"
    verb = add("pretrain", _pretrain, text, "train")
    add_run(verb)

    text = "train or judge the network that transcribes strings of digits"
    actions = verbs.add_parser("strings", help=text, description=text).add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    text = "train it on FSDD, Speech Commands and synthetic speech"
    verb = add("train", _strings_train, text, "train,synth", actions)
    text = "file to write (%(default)s)"
    verb.add_argument("-o", "--output", metavar="FILE", default="strings.onnx", help=text)
    text = "split of FSDD whose training side is learned from (default: all speakers)"
    verb.add_argument("--split", help=text)
    verb.add_argument("--seed", type=_whole(0), default=0, help="key of its draws (%(default)s)")
    verb.add_argument("--steps", metavar="N", type=_whole(1), help="instead of the recipe's")
    add_data(verb)
    text = "judge it on strings, latency and false digits of speakers held out"
    verb = add("score", _strings_score, text, "train,bench", actions)
    text = "a model of strings (default: what ships)"
    verb.add_argument("model", metavar="MODEL", nargs="?", help=text)
    text = "instead judge it on a table of recordings, with the columns file and digits"
    verb.add_argument("--table", metavar="TSV", type=Path, help=text)
    text = "split of FSDD whose test side speaks (default: none)"
    verb.add_argument("--split", help=text)
    verb.add_argument("--seed", type=_whole(0), default=0, help="key of the strings (%(default)s)")
    text = "JSON file to write as well"
    verb.add_argument("-o", "--output", metavar="FILE", type=Path, help=text)
    add_data(verb)

    verb = add("evaluate", _evaluate, "judge an exported model on speakers it never heard", "train")
    verb.add_argument("model", metavar="MODEL", help="an exported model, .onnx")
    verb.add_argument(
        "--corpus", help="corpus, folder or table to test on (default: the best at hand)"
    )
    verb.add_argument("--split", help="named split whose test side is used (default: the corpus')")
    text = "how well it tells digits from other words and noise (default corpus: speech_commands)"
    verb.add_argument("--rejection", action="store_true", help=text)
    text = "with --rejection, also draw its curves into this SVG"
    verb.add_argument("--figure", metavar="SVG", type=Path, help=text)
    verb.add_argument("--json", action="store_true", help="one JSON object")
    add_data(verb)

    verb = add("export", _export, "write a trained run as one ONNX file", "train,report")
    verb.add_argument("run", metavar="RUN", help="folder of a finished run")
    verb.add_argument("-o", "--output", metavar="FILE", help="default: digits.onnx in RUN")
    verb.add_argument("--int8", action="store_true", help="weights in 8 bits: about half as large")

    verb = add("study", _study, "train and judge many models, write a report", "train,report")
    verb.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        default="models",
        help="study (%(default)s), its TOML, or all",
    )
    verb.add_argument("--quick", action="store_true", help="one seed, fewer epochs: minutes")
    where = verb.add_mutually_exclusive_group()
    text = "processes (default: one a core)"
    where.add_argument("--workers", metavar="N", type=_whole(1), help=text)
    text = "address of a dask scheduler whose workers do it, such as tcp://10.0.0.1:8786"
    where.add_argument("--cluster", metavar="ADDRESS", help=text)
    verb.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of the runs (default: runs/NAME)"
    )
    add_data(verb)

    verb = add("report", _report, "write the report of one study or of several", "train,report")
    text = "folders of studies' runs, or all: every study in runs/ (default: runs/models)"
    verb.add_argument(
        "studies",
        metavar="STUDY_DIR",
        nargs="*",
        type=Path,
        default=[Path("runs", "models")],
        help=text,
    )
    text = "also write results/ and the README's tables, in the source tree"
    verb.add_argument("--publish", action="store_true", help=text)
    add_data(verb)

    verb = add("bench", _bench, "time it against its peers, in the source tree", "dev")
    verb.add_argument("--only", metavar="NAME", action="append", default=[], help="one measure")
    verb.add_argument("--smoke", action="store_true", help="tiny sizes: only see that it runs")
    return parser


def _share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        if 0 <= (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")


def _whole(least: int) -> Callable[[str], int]:
    """Make a parser of whole numbers."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number, {least} or more")
        return int(text)

    return parse
