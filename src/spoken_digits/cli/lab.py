"""The verbs of the lab: train, pretrain, strings, evaluate, export, study, report, bench."""

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spoken_digits.cli.arguments import (
    add_data,
    add_group,
    add_verb,
    complain,
    hours,
    quiet_libraries,
    whole,
)
from spoken_digits.networks import ModelError
from spoken_digits.recognize import Recognizer, load

if TYPE_CHECKING:
    from spoken_digits.connected import Transcriber
    from spoken_digits.lab.connected.evaluation import Trial
    from spoken_digits.lab.evaluation.schema import StringsResult

__all__ = ["add_verbs"]

_OVERRIDES = ("model", "front_end", "split", "seed", "epochs", "device")


def add_verbs(verbs: Any) -> None:
    """Add them to those of the command."""
    verb = add_verb(
        verbs, "train", _train, "train a model on some speakers, test it on others", "train,report"
    )
    _add_run(verb)
    text = "words of your own: a folder <label>/<speaker>_<take>.*, or a table"
    verb.add_argument("--corpus", metavar="PATH", help=text)
    text = "start from a model's weights: 'shipped', or a .safetensors file (with --corpus)"
    verb.add_argument("--from", dest="start", metavar="WEIGHTS", help=text)
    verb.add_argument("--export", metavar="FILE", help="also write the model to this file, .onnx")
    text = "pre-train a model without labels, then fit and test a linear probe"
    verb = add_verb(verbs, "pretrain", _pretrain, text, "train")
    _add_run(verb)

    text = "train or evaluate the network for strings of digits"
    actions = add_group(verbs, "strings", text)
    text = (
        "train it on FSDD, Speech Commands and synthetic speech; also needs "
        "apt-get install flite festival festvox-kdlpc16k"
    )
    verb = add_verb(actions, "train", _strings_train, text, "train,synth,score")
    verb.add_argument("recipe", metavar="RECIPE", nargs="?", help="a TOML file, or its name")
    text = "file to write (%(default)s)"
    verb.add_argument("-o", "--output", metavar="FILE", default="strings.onnx", help=text)
    text = "split of FSDD whose training speakers are used (default: all speakers)"
    verb.add_argument("--split", help=text)
    text = "fluent recordings to train on: none, all, or 0 to 4, all but that fold"
    verb.add_argument("--fluent", metavar="FOLD", help=text)
    text = "run directory of the network to begin from"
    verb.add_argument("--initial", metavar="DIR", help=text)
    verb.add_argument("--seed", type=whole(0), help="key of its draws (default: 0)")
    verb.add_argument("--steps", metavar="N", type=whole(1), help="instead of the recipe's")
    text = "folder of runs (%(default)s)"
    verb.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help=text)
    add_data(verb)
    text = "evaluate it: digit errors, delay and false digits, on held-out speakers"
    verb = add_verb(actions, "score", _strings_score, text, "train,score")
    text = "a model of strings (default: what ships)"
    verb.add_argument("model", metavar="MODEL", nargs="?", help=text)
    text = "instead use a table of recordings, with the columns file and digits"
    verb.add_argument("--table", metavar="TSV", type=Path, help=text)
    _add_strings_split(verb)
    text = (
        "also evaluate on N synthetic strings with a doubled or tripled digit, and N without; "
        "needs the extra synth, flite and festival"
    )
    verb.add_argument("--doubled", metavar="N", type=whole(0), default=0, help=text)
    text = "JSON file to write as well"
    verb.add_argument("-o", "--output", metavar="FILE", type=Path, help=text)
    add_data(verb)
    text = "add up evaluations of networks that each held out a fold"
    verb = add_verb(actions, "pool", _strings_pool, text, "train")
    text = "what strings score wrote with -o"
    verb.add_argument("files", metavar="JSON", nargs="+", type=Path, help=text)
    text = "JSON file to write as well"
    verb.add_argument("-o", "--output", metavar="FILE", type=Path, help=text)

    verb = add_verb(
        verbs,
        "evaluate",
        _evaluate,
        "evaluate an exported model on speakers that it was not trained on",
        "train",
    )
    verb.add_argument("model", metavar="MODEL", help="an exported model, .onnx")
    verb.add_argument(
        "--corpus", help="corpus, folder or table to test on (default: the best at hand)"
    )
    verb.add_argument("--split", help="named split whose test side is used (default: the corpus')")
    text = (
        "evaluate rejection of other words and noise (default corpus: speech_commands); of a model "
        "of strings: false digits an hour and digits missed, over thresholds"
    )
    verb.add_argument("--rejection", action="store_true", help=text)
    verb.add_argument("--hours", metavar="H", type=hours, default=1.0, help=_HOURS_HELP)
    text = "with --rejection, also draw its curves into this SVG"
    verb.add_argument("--figure", metavar="SVG", type=Path, help=text)
    verb.add_argument("--json", action="store_true", help="one JSON object")
    add_data(verb)

    verb = add_verb(
        verbs, "export", _export, "write a trained run as one ONNX file", "train,report"
    )
    verb.add_argument("run", metavar="RUN", help="folder of a finished run")
    text = "default: digits.onnx in RUN; of 8 bits, digits-int8.onnx"
    verb.add_argument("-o", "--output", metavar="FILE", help=text)
    text = "the network in 8 bits, the front end in float; refused where its answers differ"
    verb.add_argument("--int8", action="store_true", help=text)

    verb = add_verb(
        verbs, "study", _study, "train and evaluate many models, write a report", "train,report"
    )
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
    where.add_argument("--workers", metavar="N", type=whole(1), help=text)
    text = "address of a dask scheduler whose workers do it, such as tcp://10.0.0.1:8786"
    where.add_argument("--cluster", metavar="ADDRESS", help=text)
    verb.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of the runs (default: runs/NAME)"
    )
    add_data(verb)

    verb = add_verb(
        verbs, "report", _report, "write the report of one study or of several", "train,report"
    )
    text = (
        "folders of studies' runs, or all: every study in runs/ (default: runs/models; with "
        "--publish none, only the documents)"
    )
    verb.add_argument("studies", metavar="STUDY_DIR", nargs="*", type=Path, help=text)
    text = (
        "also write results/, and from it README, docs/results.md, MODEL_CARD.md and the published "
        "report, in the source tree"
    )
    verb.add_argument("--publish", action="store_true", help=text)
    add_data(verb)

    verb = add_verb(verbs, "bench", _bench, "time it against its peers, in the source tree", "dev")
    verb.add_argument("--only", metavar="NAME", action="append", default=[], help="one measure")
    verb.add_argument("--smoke", action="store_true", help="tiny sizes: only see that it runs")


def _add_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("recipe", metavar="RECIPE", nargs="?", help="a TOML file, or its name")
    for key in _OVERRIDES:
        verb.add_argument(
            f"--{key.replace('_', '-')}",
            type=whole(0) if key in ("seed", "epochs") else str,
            help=f"{key.replace('_', ' ')}, instead of the recipe's",
        )
    text = "folder of runs (%(default)s)"
    verb.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help=text)
    add_data(verb)


_HOURS_HELP = "of each kind of handling noise that strings are evaluated on (%(default)g)"


def _add_strings_split(verb: argparse.ArgumentParser) -> None:
    text = (
        "what it has not been trained on, with commas between: a split of FSDD, folds of AN4 and "
        "WUW II, such as xsdr,an4:0,wuw2:0 (default: none of these)"
    )
    verb.add_argument("--split", help=text)
    verb.add_argument("--seed", type=whole(0), default=0, help="key of what is made (%(default)s)")
    verb.add_argument("--hours", metavar="H", type=hours, default=1.0, help=_HOURS_HELP)


def _strings_train(arguments: argparse.Namespace) -> int:
    keys = ("seed", "split", "fluent", "initial", "steps")
    wanted = {key: getattr(arguments, key) for key in keys}
    given = {key: value for key, value in wanted.items() if value is not None}
    name, config = _configure(arguments, "strings", given)
    return _run(name, config, arguments, export=arguments.output, show_run=False)


@quiet_libraries()
def _strings_score(arguments: argparse.Namespace) -> int:
    from spoken_digits.connected import Transcriber
    from spoken_digits.lab.runs import expect_writable

    if arguments.output:  # now, not after an hour
        expect_writable(arguments.output)
    transcriber = Transcriber(arguments.model)
    if arguments.table:
        from spoken_digits.lab.connected.strings import read_references, score

        references = read_references(arguments.table)
        transcripts = [transcriber(file).digits for file, _ in references]
        found = score([digits for _, digits in references], transcripts)
        return _show_json({"command": arguments.command} | found.to_dict(), arguments.output)
    extra: list[Trial] = []
    if arguments.doubled:
        import tempfile

        from spoken_digits.lab.connected.evaluation import synthetic_trials

        with tempfile.TemporaryDirectory() as cache:
            extra = synthetic_trials(arguments.doubled, Path(cache), arguments.seed)
    result = _evaluate_strings(transcriber, arguments, extra)
    return _show_json(dataclasses.asdict(result), arguments.output)


def _evaluate_strings(
    transcriber: "Transcriber", arguments: argparse.Namespace, extra: "Sequence[Trial]" = ()
) -> "StringsResult":
    from spoken_digits.lab.connected.evaluation import (
        THRESHOLDS,
        at_thresholds,
        evaluate_transcriber,
    )
    from spoken_digits.lab.connected.pipeline import (
        NO_FLUENT,
        describe_models,
        handling_trained_on,
        words_left_out,
    )
    from spoken_digits.lab.evaluation.schema import StringsResult

    recipe = json.loads(transcriber.network.metadata.get("recipe", "{}"))
    fluent = recipe.get("fluent", NO_FLUENT)

    evaluation, _ = evaluate_transcriber(
        at_thresholds(transcriber.network),
        arguments.split,
        arguments.data,
        arguments.seed,
        hours=arguments.hours,
        words=words_left_out(fluent, arguments.data),
        handling_seen=handling_trained_on(fluent),
        thresholds=THRESHOLDS,
        streaming=transcriber,
        extra=extra,
    )
    return StringsResult(
        command=arguments.command,
        models=describe_models(transcriber),
        split=arguments.split,
        seed=arguments.seed,
        evaluation=evaluation,
    )


def _strings_pool(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.connected.evaluation import pool_results
    from spoken_digits.lab.evaluation.schema import StringsResult
    from spoken_digits.lab.runs import read_json

    results = [read_json(file, StringsResult) for file in arguments.files]
    pooled = pool_results(results, arguments.command)
    return _show_json(dataclasses.asdict(pooled), arguments.output)


def _show_json(result: Mapping[str, Any], output: Path | None) -> int:
    """Print an object, and write it, if a file is named."""
    if output:
        from spoken_digits.lab.runs import write_json

        write_json(output, result)
    print(json.dumps(result, indent=1))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    if arguments.start and not arguments.corpus:
        return complain("--from: needs --corpus, recordings of the words to recognize")
    if arguments.corpus:
        return _train_custom_words(arguments)
    name, config = _configure(arguments, "train", _overrides(arguments))
    return _run(name, config, arguments, _corpus_of(arguments), export=arguments.export)


def _train_custom_words(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.release.finetune import (
        custom_words_config,
        read_custom_words,
        read_start,
    )

    start = read_start(arguments.start)[0] if arguments.start else None
    given = _overrides(arguments)
    clips = read_custom_words(arguments.corpus, arguments.data)
    overrides = given | ({"start": arguments.start} if arguments.start else {})
    name, config = _configure(arguments, "custom-words", overrides)
    config = custom_words_config(config, list(given), len(clips), start)
    return _run(name, config, arguments, arguments.corpus, export=arguments.export, show_run=False)


def _pretrain(arguments: argparse.Namespace) -> int:
    name, config = _configure(arguments, "pretrain", _overrides(arguments))
    return _run(name, config, arguments, _corpus_of(arguments))


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(arguments, key) for key in _OVERRIDES}
    return {key: value for key, value in given.items() if value is not None}


def _configure(
    arguments: argparse.Namespace, task: str, given: Mapping[str, Any]
) -> tuple[str, Any]:
    """Return the kind of task and its configuration: a recipe's, and options, which win over it."""
    from spoken_digits.lab.studies.tasks import read_task

    return read_task(arguments.recipe, task, given)


def _corpus_of(arguments: argparse.Namespace) -> str:
    """Return the name of the corpus that the recipe is for; "" for the best at hand."""
    from spoken_digits.lab.studies.tasks import corpus_of

    return corpus_of(arguments.recipe)


def _run(
    name: str,
    config: Any,
    arguments: argparse.Namespace,
    corpus: str = "",
    export: Path | str | None = None,
    show_run: bool = True,
) -> int:
    """Do a task; print its folder and what was exported."""
    from spoken_digits.lab.data.corpora import best_corpus
    from spoken_digits.lab.runs import RunContext, expect_writable
    from spoken_digits.lab.studies.executor import compute_on_one_thread
    from spoken_digits.lab.studies.run import describe_run
    from spoken_digits.lab.studies.tasks import find_task, run_task

    task = find_task(name)
    if export and task.export is None:
        return complain(f"--export: a run of the task {name} has no network to export")
    if export:  # now, not after hours
        expect_writable(export)
    if task.needs_corpus and not corpus:
        corpus, _ = best_corpus(arguments.data)
        if corpus == "voices" and not arguments.split:
            config = dataclasses.replace(config, split="synthetic")
    compute_on_one_thread()
    directory = arguments.out / task.name(config, corpus).replace(":", "-")
    context = RunContext(
        directory=directory,
        cache=arguments.out / ".prepared",
        data=arguments.data,
        corpus=corpus,
        command=arguments.command,
        quiet=False,
    )
    evaluation = run_task(name, config, context)
    print(describe_run(directory.name, evaluation), file=sys.stderr)
    if show_run:
        print(directory)
    if export and task.export:
        print(task.export(directory, Path(export)))
    elif not show_run:
        print(directory / "digits.onnx")
    return 0


@quiet_libraries()
def _evaluate(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.evaluation.exported import (
        describe_evaluation,
        evaluate_model,
        read_test_set,
        seen_speakers,
    )
    from spoken_digits.lab.runs import expect_writable

    if arguments.figure:  # now, not after an hour
        expect_writable(arguments.figure)
    if transcriber := _open_strings(arguments.model):
        return _evaluate_rejection_of_strings(transcriber, arguments)
    recognizer = load(arguments.model)
    if arguments.rejection:
        return _evaluate_rejection(recognizer, arguments)
    name, clips = read_test_set(arguments.corpus, arguments.split, arguments.data)
    _warn_of(seen_speakers(recognizer, clips), arguments.model)
    evaluation = evaluate_model(recognizer, clips)
    if arguments.json:
        print(json.dumps(evaluation.to_dict()))
    else:
        print(f"{arguments.model} on {name}\n\n{describe_evaluation(evaluation)}")
    return 0


def _evaluate_rejection(recognizer: Recognizer, arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.data.corpora import data_hash, read_corpus
    from spoken_digits.lab.data.noise import find_noises
    from spoken_digits.lab.evaluation.exported import seen_speakers
    from spoken_digits.lab.evaluation.rejection import (
        describe_rejection,
        evaluate_rejection,
        score_clips,
        score_noise,
    )

    name = arguments.corpus or "speech_commands"
    clips = read_corpus(name, arguments.data)
    known = seen_speakers(recognizer, clips)
    _warn_of(known, arguments.model)
    noise = score_noise(recognizer, find_noises(arguments.data))
    evaluation = evaluate_rejection(score_clips(recognizer, clips), recognizer.threshold, noise)
    if arguments.figure:
        from spoken_digits.lab.reporting.figures import rejection_curves
        from spoken_digits.lab.runs import write_whole

        write_whole(arguments.figure, rejection_curves(evaluation.to_dict()).encode())
    if arguments.json:
        model = {"sha256": hashlib.sha256(recognizer.path.read_bytes()).hexdigest()}
        origin = {"command": arguments.command, "model": model, "corpus": name}
        origin |= {"hash": data_hash(clips), "seen_speakers": len(known)}
        print(json.dumps(origin | evaluation.to_dict()))
    else:
        print(f"{arguments.model} on {name}\n\n{describe_rejection(evaluation)}")
    return 0


def _open_strings(path: str) -> "Transcriber | None":
    """Open a model of strings; None for any other file: `load` tells what is wrong with it."""
    from spoken_digits.connected import Transcriber

    try:
        return Transcriber(path)
    except ModelError:
        return None


def _evaluate_rejection_of_strings(
    transcriber: "Transcriber", arguments: argparse.Namespace
) -> int:
    if not arguments.rejection or arguments.corpus:
        return complain(
            f"{arguments.model}: a model of strings of digits; here only --rejection evaluates "
            "one, on what --split names; see also spoken-digits strings score"
        )
    arguments.seed = 0
    from spoken_digits.lab.connected.evaluation import describe_strings

    result = _evaluate_strings(transcriber, arguments)
    if arguments.figure:
        from spoken_digits.lab.reporting.figures import false_digit_curves
        from spoken_digits.lab.runs import write_whole

        assert result.evaluation.curve
        drawn = false_digit_curves(dataclasses.asdict(result.evaluation), {})
        write_whole(arguments.figure, drawn.encode())
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
    else:
        held_out = arguments.split or "no fold"
        print(f"{arguments.model} on {held_out}\n\n{describe_strings(result.evaluation)}")
    return 0


def _warn_of(known: Sequence[str], model: str) -> None:
    if known:
        names = ", ".join(known) if len(known) <= 6 else f"{len(known)} speakers"
        complain(f"WARNING: {model} was trained on {names}, tested here")


def _export(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.export import export

    print(export(arguments.run, arguments.output, arguments.int8))
    return 0


def _study(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.reporting.html import write_report
    from spoken_digits.lab.studies.executor import compute_on_one_thread
    from spoken_digits.lab.studies.registry import find_study, studies
    from spoken_digits.lab.studies.run import StudyError, run_study

    compute_on_one_thread()
    names = studies() if arguments.name == "all" else (arguments.name,)
    for name in names:
        out = arguments.out and (arguments.out / name if len(names) > 1 else arguments.out)
        try:
            folder = run_study(
                name, arguments.data, out, arguments.quick, arguments.workers, arguments.cluster
            )
        except StudyError as error:
            return complain(str(error))
        study = find_study(name)
        if study and study.summarize:
            print(f"results: {folder / 'summary.json'}", flush=True)
            continue
        report = folder / "report.html"
        write_report(folder, report, arguments.data)
        print(f"report: {report}", flush=True)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from spoken_digits.lab.reporting.html import write_report
    from spoken_digits.lab.reporting.publish import publish, studies_in

    if arguments.publish and not Path("README.md").is_file():
        return complain(
            "no README.md here to publish to; --publish writes results/ and the documents of the "
            "source tree: run it there"
        )
    studies = arguments.studies
    if [study.name for study in studies] == ["all"] and not studies[0].exists():
        studies = studies_in("runs")
    elif not studies and not arguments.publish:
        studies = [Path("runs", "models")]
    exhibits = None
    if studies:
        folder = studies[0] if len(studies) == 1 else studies[0].parent
        exhibits = write_report(studies, folder / "report.html", arguments.data)
        print(f"report: {folder / 'report.html'}")
    if arguments.publish:
        for path in publish(studies, exhibits, "."):
            print(f"written: {path}")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    if not Path("benchmarks", "__main__.py").is_file():
        return complain(
            "no benchmarks here; they are no part of the package: run them in its source tree"
        )
    only = [word for name in arguments.only for word in ("--only", name)]
    smoke = ["--smoke"] if arguments.smoke else []
    return subprocess.call([sys.executable, "-m", "benchmarks", *only, *smoke])
