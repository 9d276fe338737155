"""The command as people call it: answers, complaints and exit status of every verb."""

import argparse
import ast
import errno
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from toy_model import write_toy_model

import spoken_digits
from spoken_digits import cli
from spoken_digits.cli import main
from spoken_digits.lab.data import corpora
from spoken_digits.lab.data.splits import XSDR_TEST, XSDR_TRAIN
from spoken_digits.lab.evaluation.schema import CrossValidationResult, RunEvaluation
from spoken_digits.lab.reporting import html as report
from spoken_digits.lab.reporting import publish
from spoken_digits.lab.studies import run as study
from spoken_digits.lab.studies import tasks
from spoken_digits.lab.tts import espeak as voices

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(spoken_digits.__file__).parent


def speech(seed: int = 0, rate: int = 8_000) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(rate // 2)
    return 0.1 * np.hanning(rate // 2) * noise


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to call the command in, with no recordings at hand and no way to any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOKEN_DIGITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPOKEN_DIGITS_DATA", raising=False)
    return tmp_path


@pytest.fixture
def toy(here) -> str:
    return str(write_toy_model(here / "toy.onnx"))


@pytest.fixture
def files(here) -> list[str]:
    """Two recordings, and between them one that is none."""
    soundfile.write("a.wav", speech(1), 8_000)
    Path("b.wav").write_text("no sound")
    soundfile.write("c.flac", speech(2, 16_000), 16_000)
    return ["a.wav", "b.wav", "c.flac"]


def no_connection(*_: object, **__: object) -> None:
    raise ConnectionError("no connection")


def command(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "spoken_digits", *arguments],
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


# recognize


def test_recognize_answers_a_line_a_file_and_complains_of_the_bad_one(files, toy, capsys):
    assert main(["recognize", *files, "--model", toy]) == 1
    out, err = capsys.readouterr()
    answers = [spoken_digits.load(toy)(file) for file in ("a.wav", "c.flac")]
    assert out.splitlines() == [
        f"a.wav: 9 ({100 * answers[0].probability:.1f} %)",
        f"c.flac: 9 ({100 * answers[1].probability:.1f} %)",
    ]
    (complaint,) = err.splitlines()
    assert complaint.startswith("spoken-digits: b.wav: cannot be read as audio")


def test_recognize_json_is_an_object_a_line(files, toy, capsys):
    assert main(["recognize", "--json", "--model", toy, *files]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    answered = ["file", "digit", "word", "probability", "probabilities", "reason", "score"]
    assert [list(row) for row in rows] == [answered, ["file", "error"], answered]
    assert [row["file"] for row in rows] == files
    assert (rows[0]["digit"], rows[0]["word"]) == (9, "nine")
    assert rows[0]["probability"] == max(rows[0]["probabilities"])
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert rows[1]["error"].startswith("b.wav: cannot be read as audio")
    assert err == ""


def test_recognize_json_names_the_label_where_it_is_no_digit(files, here, capsys):
    model = str(write_toy_model(here / "words.onnx", ("no", "12", "yes")))
    assert main(["recognize", "--json", "--model", model, "a.wav"]) == 0
    row = json.loads(capsys.readouterr().out)
    known = ["file", "digit", "word", "label", "probability", "probabilities", "reason", "score"]
    assert list(row) == known
    assert (row["digit"], row["label"]) == (None, "yes")


def test_recognize_says_why_there_is_no_digit(files, toy, capsys):
    soundfile.write("silent.wav", np.zeros(8_000), 8_000)
    refuse = ["recognize", "silent.wav", "a.wav", "--threshold", "0.9"]
    assert main([*refuse, "--model", toy]) == 0
    silent, refused = capsys.readouterr().out.splitlines()
    assert silent == "silent.wav: no digit (silence)"
    assert refused.startswith("a.wav: no digit (not a digit: score 0.1")
    assert refused.endswith(", below 0.90)")
    assert main([*refuse, "--json", "--model", toy]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["digit"], row["reason"]) for row in rows] == [
        (None, "silence"), (None, "not a digit")
    ]  # fmt: skip
    assert rows[0]["score"] == 0
    assert rows[1]["score"] == rows[1]["probability"]
    assert main(["recognize", "a.wav", "--threshold", "0.01", "--model", toy]) == 0
    assert capsys.readouterr().out.startswith("a.wav: no digit (unclear: 9, 1")
    assert main(["recognize", "a.wav", "--threshold", "0", "--model", toy]) == 0
    assert capsys.readouterr().out.startswith("a.wav: 9 (")


def test_recognize_points_to_transcribe_where_there_are_several_digits(toy, capsys):
    pause = np.zeros(3_000)
    soundfile.write("two of them.wav", np.concatenate([speech(1), pause, speech(2)]), 8_000)
    assert main(["recognize", "two of them.wav", "--json", "--model", toy]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["utterances"] == 2
    assert err == (
        "spoken-digits: two of them.wav: 2 digits or more; the answer is for one of them, for "
        "all run: spoken-digits transcribe 'two of them.wav'\n"
    )


def test_all_well_is_status_0(files, toy, capsys):
    assert main(["recognize", "a.wav", "c.flac", "--model", toy]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recognize", "a.wav", "--model", "none.onnx"], "none.onnx: no such file; expected"),
        (["recognize", "a.wav", "--model", "b.wav"], "b.wav: cannot be opened"),
        (["recognize", "missing.wav", "--model", "toy.onnx"], "missing.wav: no such file"),
        (["recognize", ".", "--model", "toy.onnx"], ".: a folder; expected a recording"),
        (["show", "b.wav"], "b.wav: cannot be read as audio"),
        (["show", "a.wav", "-o", "b.wav/a.png"], "b.wav"),
        (["corpus", "check", "nowhere"], "nowhere: no such corpus"),
        (["corpus", "check", "audiomnist"], "audiomnist"),
        (["corpus", "check", "own.csv"], "own.csv, line 2: no label; fill it in"),
        (["train", "--corpus", "own"], "eleven: one word, expected two or more to tell apart"),
        (
            ["train", "--from", "shipped"],
            "--from: needs --corpus, recordings of the words to recognize",
        ),
        (["train", "--corpus", "own", "--from", "no.safetensors"], "no.safetensors: no such file"),
        (["corpus", "check", "a.wav"], "a.wav: no such corpus, folder or table; expected"),
        (["corpus", "list", "--data", "nowhere"], "nowhere: no such folder, expected one that"),
        (["corpus", "make", "voices", "own"], "own: exists, expected a new or empty folder"),
        (["corpus", "fetch", "nothing"], "nothing: cannot be fetched, expected one of"),
        (["train", "nothing"], "nothing: no such recipe; give a .toml file or"),
        (["train", "bad.toml"], "bad.toml: unknown key 'modle'; the keys are model,"),
        (["train", "--model", "oracle"], "model = 'oracle': expected one of"),
        (["train", "--epochs", "0"], "epochs = 0: expected more than zero"),
        (["pretrain", "bad.toml"], "bad.toml: unknown key 'modle'; the keys are model,"),
        (["pretrain", "--model", "sgd-pool"], "model = 'sgd-pool': has no weights to pre-train"),
        (["evaluate", "none.onnx"], "none.onnx: no such file"),
        (["evaluate", "toy.onnx", "--corpus", "nowhere"], "nowhere: no such corpus"),
        (["export", "nowhere"], "nowhere: no model.safetensors"),
        (["study", "bad.toml"], "bad.toml: unknown key 'modle'; the keys are study,"),
        (["report", "nowhere"], "nowhere: no such directory"),
        (["report", "nowhere", "--publish"], "no README.md here to publish to"),
        (["bench"], "run them in its source tree"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(here, files, toy, arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(corpora, "download", no_connection)
    Path("bad.toml").write_text('modle = "cnn"\n')
    Path("own", "eleven").mkdir(parents=True)
    soundfile.write(Path("own", "eleven", "ann_0.wav"), speech(), 8_000)
    Path("own.csv").write_text("file,label,speaker\na.wav,,ann\n")
    before = sorted(here.rglob("*"))
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if not line.startswith("WARNING: ")]
    assert line.startswith("spoken-digits: ")
    assert said in line
    assert sorted(here.rglob("*")) == before, "a failure leaves nothing behind"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["recognise", "a.wav"],
        ["recognize"],
        ["recognize", "a.wav", "--jsn"],
        ["corpus"],
        ["recognize", "a.wav", "--threshold", "2"],
        ["recognize", "a.wav", "--threshold", "high"],
        ["study", "--workers", "0"],
        ["study", "--workers", "many"],
        ["train", "--seed", "x"],
        ["train", "--seed", "-1"],
        ["corpus", "make", "people", "mine"],
        ["corpus", "make", "voices"],
        ["corpus", "make", "voices", "mine", "--seed", "-1"],
    ],
)
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("usage: spoken-digits")


@pytest.mark.parametrize(
    ("arguments", "module", "extras"),
    [
        (["show", "a.wav"], "torch", "[train,report]"),
        (["strings", "score", "--table", "a.tsv"], "jiwer", "[train,score]"),
        (["corpus", "make", "voices", "new"], "espeakng_loader", "[train,synth]"),
        (["evaluate", "toy.onnx"], "matplotlib", "[train,report]"),  # with --figure alone
        (["recognize", "a.wav"], "soundfile", ""),
    ],
)
def test_a_missing_extra_is_named(files, toy, arguments, module, extras, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=f"{module}.part")

    for run in ("lab._strings_score", "lab._evaluate", "recordings._show"):
        monkeypatch.setattr(f"spoken_digits.cli.{run}", fail)
    monkeypatch.setattr("spoken_digits.cli.recordings._corpus_make", fail)
    monkeypatch.setattr("spoken_digits.cli.recognizing._recognize", fail)
    assert main(arguments) == 1
    line = f"{module}.part is not installed: pip install 'spoken-digits{extras}'"
    assert capsys.readouterr().err == f"spoken-digits: {line}\n"


def imports(tree: ast.AST) -> set[str]:
    """Every module that some code imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def brought_by() -> dict[str, set[str]]:
    """The extras, "" for the base, that bring each module, as pyproject.toml says."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, set[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for extra, lines in extras.items():
            if {canonicalize_name(n) for n in names} & {
                canonicalize_name(Requirement(line).name) for line in lines
            }:
                found.setdefault(module, set()).add(extra)
    return found


def test_every_module_that_is_imported_is_brought_by_the_extra_that_is_named():
    package, brought = Path(spoken_digits.__file__).parent, brought_by()
    for file in package.rglob("*.py"):
        for name in imports(ast.parse(file.read_text())):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top == "spoken_digits":
                continue
            assert cli._EXTRAS.get(top, "") in brought[top], (file, top)


def verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.Namespace]:
    """Every verb of the command: its name, function and extras."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                if verb := child.get_default("verb"):
                    extras = child.get_default("extras")
                    yield argparse.Namespace(name=name, verb=verb, extras=extras)
                yield from verbs(child)


def modules_of(function) -> set[str]:
    """What a verb imports before it begins: its own imports, and the top level of those."""
    tree = ast.parse(inspect.getsource(function))
    for node in ast.walk(tree):  # and what it calls in its own file
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            other = vars(sys.modules[function.__module__]).get(node.func.id)
            if inspect.isfunction(other) and other.__module__ == function.__module__:
                tree.body += ast.parse(inspect.getsource(other)).body
    found, waiting = set(), imports(tree)
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name.partition(".")[0])
        if name in found or spec is None:
            continue
        found.add(name)
        path = PACKAGE.parent / Path(*name.split("."))
        file = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        )
        if name.startswith("spoken_digits.") and file.is_file():
            body = ast.parse(file.read_text()).body
            top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
            waiting |= imports(ast.Module(top, []))
    return found


def test_every_verb_names_the_extras_that_it_needs_to_begin():
    names = set()
    for verb in verbs(cli._parser()):
        names.add(verb.name)
        needed = {
            cli._EXTRAS[top]
            for m in modules_of(verb.verb)
            if (top := m.partition(".")[0]) in cli._EXTRAS
        }
        assert needed <= set(verb.extras.split(",")), (verb.name, needed)
    assert {"recognize", "train", "score", "fetch", "show"} <= names


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("x / 0"), "ZeroDivisionError: x / 0; this should not happen: please"),
        (OSError(errno.ENOSPC, "No space left on device", "f.html"), "f.html: No space left on"),
        (OSError(errno.EIO, "Input/output error"), "spoken-digits: Input/output error\n"),
        (study.StudyError("2 of 3 runs failed"), "spoken-digits: 2 of 3 runs failed\n"),
        (ValueError("two\nlines"), "spoken-digits: two lines\n"),
    ],
)
def test_no_exception_leaves_a_traceback(error, said, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(study, "run_study", fail)
    assert main(["study"]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_an_interruption_is_status_130(monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", interrupt)
    assert main(["study"]) == 130
    assert capsys.readouterr().err == "spoken-digits: interrupted\n"


# The verbs of the lab: what is handed on, what is printed


def test_study_hands_on_its_options_and_ends_with_the_report(here, monkeypatch, capsys):
    def fake(name, data, out, quick, workers, cluster):
        print("progress", file=sys.stderr)
        return Path(f"{name}-{data}-{out}-{quick}-{workers or cluster}")

    written = []
    monkeypatch.setattr(study, "run_study", fake)
    monkeypatch.setattr(report, "write_report", lambda *a: written.append(a))
    assert main(["study", "--quick", "--workers", "3", "--data", "d", "--out", "o"]) == 0
    assert capsys.readouterr().out == "report: models-d-o-True-3/report.html\n"
    folder = Path("models-d-o-True-3")
    assert written == [(folder, folder / "report.html", Path("d"))]
    assert main(["study", "mine.toml"]) == 0
    assert capsys.readouterr().out == "report: mine.toml-None-None-False-None/report.html\n"
    assert main(["study", "all", "--cluster", "tcp://127.0.0.1:8786", "--out", "o"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "report: models-None-o/models-False-tcp:/127.0.0.1:8786/report.html"
    assert len(lines) == 6
    assert main(["study", "shipped"]) == 0
    assert capsys.readouterr().out == "results: shipped-None-None-False-None/summary.json\n"


def test_report_publishes_only_when_told(here, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(report, "write_report", lambda *a: written.append(a))
    monkeypatch.setattr(publish, "publish", lambda *a: [written.append(a), Path("results/x")][1:])
    Path("README.md").touch()
    assert main(["report"]) == 0
    assert written == [([Path("runs/models")], Path("runs/models/report.html"), None)]
    assert main(["report", "runs/other", "--publish"]) == 0
    assert written[-1] == ([Path("runs/other")], None, ".")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "report: runs/other/report.html",
        "written: results/x",
    ]
    assert main(["report", "--publish"]) == 0
    assert written[-1] == ([], None, ".")
    assert capsys.readouterr().out == "written: results/x\n"


def test_report_takes_several_studies_or_all_of_them(here, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(report, "write_report", lambda *a: written.append(a))
    assert main(["report", "all"]) == 1
    assert "runs: no study here" in capsys.readouterr().err
    for name in ("noise", "models", "mine"):
        Path("runs", name).mkdir(parents=True)
    assert main(["report", "all"]) == 0
    assert main(["report", "runs/noise", "runs/mine"]) == 0
    assert written == [
        ([Path("runs/models"), Path("runs/noise")], Path("runs/report.html"), None),
        ([Path("runs/noise"), Path("runs/mine")], Path("runs/report.html"), None),
    ]


def test_pretrain_hands_on_its_recipe_and_ends_with_the_folder(here, monkeypatch, capsys):
    def run(name, config, context):
        assert (name, config.seed, config.epochs, config.split) == ("pretrain", 2, 3, "synthetic")
        assert (context.corpus, context.cache) == ("voices", Path("mine", ".prepared"))
        assert context.command == "spoken-digits pretrain --seed 2 --epochs 3 --out mine"
        return RunEvaluation("pretrain", cross_validation=CrossValidationResult("probe: 50.0%"))

    monkeypatch.setattr(tasks, "run_task", run)
    assert main(["pretrain", "--seed", "2", "--epochs", "3", "--out", "mine"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{Path('mine', 'pretrain-cnn-ours-synthetic-s2')}\n"
    assert "probe: 50.0%" in printed.err


def test_train_reads_its_task_from_the_recipe(here, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        tasks, "run_task", lambda name, config, _: asked.append((name, config)) or Empty(name)
    )
    monkeypatch.setattr(corpora, "download", no_connection)
    assert main(["train", "shipped", "--split", "pooled:xsdr"]) == 0
    assert capsys.readouterr().out == f"{Path('runs', 'cnn-wide-shipped-pooled-xsdr-s0')}\n"
    assert asked[-1][0] == "pooled"
    assert asked[-1][1].split == "pooled:xsdr"
    Path("mine.toml").write_text('task = "pretrain"\nseed = 3\n')
    assert main(["train", "mine.toml", "--export", "x.onnx"]) == 1
    assert "a run of the task pretrain has no network to export" in capsys.readouterr().err
    assert main(["train", "mine.toml"]) == 0
    assert (asked[-1][0], asked[-1][1].seed) == ("pretrain", 3)
    assert main(["train", "--seed", "1"]) == 0
    assert (asked[-1][0], asked[-1][1].split) == ("train", "synthetic")


def Empty(name):  # noqa: N802
    return RunEvaluation(name)


def test_custom_words_are_trained_and_the_model_printed(here, monkeypatch, capsys):
    for word in ("yes", "no"):
        for speaker in ("ann", "bob"):
            path = Path("mine", word, f"{speaker}_0.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speech(), 8_000)
    asked = []
    monkeypatch.setattr(
        tasks, "run_task", lambda name, *rest: asked.append((name, *rest)) or Empty(name)
    )
    assert main(["train", "--corpus", "mine", "--epochs", "5", "--seed", "2"]) == 0
    assert capsys.readouterr().out == f"{Path('runs', 'mine-s2', 'digits.onnx')}\n"
    ((name, config, context),) = asked
    assert (name, context.corpus) == ("custom-words", "mine")
    assert (config.epochs, config.seed, config.split) == (5, 2, "custom")
    assert (config.augmentation, config.start) == ("robust", "none")
    assert main(["train", "--corpus", "mine", "--from", "shipped"]) == 0
    assert (asked[-1][1].start, asked[-1][1].model) == ("shipped", "cnn-wide")


def test_corpus_fetch_prints_the_folder(monkeypatch, capsys):
    monkeypatch.setattr(corpora, "fetch_corpus", lambda name, data, **_: f"{data}/{name}")
    assert main(["corpus", "fetch", "fsdd", "--data", "here"]) == 0
    assert capsys.readouterr().out == "here/fsdd\n"


def test_corpus_list_tells_where_each_is_and_how_to_get_it(here, capsys):
    assert main(["corpus", "list"]) == 0
    out = capsys.readouterr().out
    assert "fsdd: not at hand (spoken-digits corpus fetch fsdd)\n    CC BY-SA 4.0\n" in out
    for name in corpora.CORPORA:
        assert f"{name}: " in out


def test_corpus_check_tells_problems_and_counts_and_fails(here, capsys):
    for digit in range(10):
        path = here / "mine" / str(digit) / "ann_0.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, speech(digit), 8_000)
    assert main(["corpus", "check", "mine"]) == 0
    out = capsys.readouterr().out
    assert out == "mine: 10 clips, 1 speakers, 10 labels, 0.1 minutes; no problems\n"
    path.write_bytes(b"")
    assert main(["corpus", "check", "mine"]) == 1
    problem, total = capsys.readouterr().out.splitlines()
    assert problem.startswith(f"{Path('mine', '9', 'ann_0.wav')}: unreadable: an empty file")
    assert total.endswith("; 1 problem")


def test_corpus_check_goes_on_after_a_corpus_that_cannot_be_read(here, capsys):
    for digit in range(10):
        path = here / "mine" / str(digit) / "ann_0.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, speech(digit), 8_000)
    assert main(["corpus", "check", "nowhere", "mine"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("mine: 10 clips")
    assert err.startswith("spoken-digits: nowhere: no such corpus")


def test_corpus_make_prints_the_folder(monkeypatch, capsys):
    monkeypatch.setattr(voices, "make_voices", lambda output, seed: f"{output} of seed {seed}")
    assert main(["corpus", "make", "voices", "mine"]) == 0
    assert main(["corpus", "make", "voices", "mine", "--seed", "7"]) == 0
    assert capsys.readouterr().out == "mine of seed 0\nmine of seed 7\n"


def test_bench_runs_in_the_source_tree(here, capfd):
    Path("benchmarks").mkdir()
    Path("benchmarks/__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    assert main(["bench", "--only", "start", "--smoke"]) == 3
    assert capfd.readouterr().out == "['--only', 'start', '--smoke']\n"


@pytest.fixture(scope="module")
def fsdd(tmp_path_factory) -> Path:
    """A made-up FSDD of two takes: a chord a digit, shifted for each person."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for k, speaker in enumerate(XSDR_TRAIN + XSDR_TEST):
        for digit in range(10):
            for take in range(2):
                t = np.arange(2_400 + 80 * take) / 8_000
                hz = (1 + 0.02 * k) * np.array([300 + 70 * (digit % 5), 1500 + 900 * (digit // 5)])
                tones = np.sin(2 * np.pi * hz[:, None] * t).mean(axis=0) * np.hanning(len(t))
                soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", 0.3 * tones, 8_000)
    return root


def test_train_export_evaluate_recognize_follow_one_another(here, fsdd, capsys):
    data = ["--data", str(fsdd)]
    train = ["train", "--model", "cnn", "--epochs", "2", "--seed", "4", "--out", "mine", *data]
    assert main(train) == 0
    run = capsys.readouterr().out.strip()
    assert run == str(Path("mine", "cnn-ours-xsdr-s4"))
    environment = json.loads(Path(run, "environment.json").read_text())
    assert environment["command"].startswith("spoken-digits train --model cnn --epochs 2")

    assert main(["export", run, "-o", "mine.onnx"]) == 0
    assert capsys.readouterr().out == "mine.onnx\n"
    assert main(["export", run, "--int8"]) == 0
    small, err = capsys.readouterr()
    assert (small, err) == (f"{Path(run, 'digits-int8.onnx')}\n", "")
    assert Path(small.strip()).stat().st_size < 0.7 * Path("mine.onnx").stat().st_size

    assert main(["evaluate", "mine.onnx", *data]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("mine.onnx on fsdd, test side of xsdr\n\naccuracy ")
    assert main(["evaluate", "mine.onnx", "--json", *data]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    judged = json.loads(Path(run, "evaluation.json").read_text())
    assert evaluation["clips"] == 40
    assert evaluation["confusion"] == judged["tests"][0]["metrics"]["confusion"]

    assert main(["evaluate", "mine.onnx", "--corpus", str(fsdd / "fsdd"), *data]) == 0
    assert "WARNING: mine.onnx was trained on george, jackson, nicolas, theo" in (
        capsys.readouterr().err
    )

    files = sorted(map(str, (fsdd / "fsdd" / "recordings").glob("?_lucas_0.wav")))
    assert main(["recognize", *files, "--model", "mine.onnx"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


# The process


def test_the_process_ends_with_the_status_and_without_a_traceback(files, toy):
    done = command("recognize", *files, "--model", toy)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.startswith("spoken-digits: b.wav: ")
    assert "Traceback" not in done.stderr
    assert command("recognise").returncode == 2
    assert command("--version").stdout == f"spoken-digits {spoken_digits.__version__}\n"


def test_a_name_that_would_control_the_terminal_is_shown_as_it_is(toy, capsys):
    assert main(["recognize", "--model", toy, "\x1b[2Jf\u00fcnf.wav"]) == 1
    assert capsys.readouterr().err.startswith("spoken-digits: \\x1b[2Jf\u00fcnf.wav: no such file")


def test_a_reader_that_leaves_early_is_no_error(toy):
    soundfile.write("a.wav", speech(), 8_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "spoken_digits", "recognize", *["a.wav"] * 500, "--model", toy],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


def test_a_file_name_that_is_no_text_is_answered(toy, here):
    path = os.fsdecode(os.fsencode(here) + b"/\xff.wav")
    try:
        soundfile.write("a.wav", speech(), 8_000)
        Path("a.wav").rename(path)
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    plain = command("recognize", path, "--model", toy)
    assert plain.returncode == 0
    assert "\\udcff.wav: 9 (" in plain.stdout
    row = json.loads(command("recognize", path, "--model", toy, "--json").stdout)
    assert row["file"] == path
