"""Summaries, the README's table and the page, of run directories made up by a seeded generator."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spoken_digits.lab.data.corpora import Clip
from spoken_digits.lab.evaluation import rejection
from spoken_digits.lab.evaluation.embeddings import map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions, aggregate, mcnemar
from spoken_digits.lab.reporting import html as report
from spoken_digits.lab.reporting import readme as tables
from spoken_digits.lab.studies import summary

ROOT = Path(__file__).parents[3]
DIGITS = tuple("0123456789")
SKILL = {"sgd-pool": 1.0, "lstm": 2.5, "cnn": 4.0}


def predictions_of(model, front_end, seed, speakers=("lucas", "yweweler"), takes=5):
    """Every speaker says every digit `takes` times; the first ones are harder to hear."""
    key = [ord(c) for c in model + front_end]
    rng = np.random.default_rng([*key, seed])
    clips = [(d, s, t) for s in speakers for d in range(10) for t in range(takes)]
    labels = np.array([d for d, _, _ in clips])
    scores = rng.normal(size=(len(clips), 10))
    ease = np.array([1 - 0.2 / (1 + speakers.index(s)) for _, s, _ in clips])
    skill = SKILL.get(model, 2.0) * (0.7 if front_end == "original" else 1.0)
    scores[np.arange(len(clips)), labels] += skill * ease
    return Predictions(
        scores=scores,
        labels=labels,
        speakers=[s for _, s, _ in clips],
        files=[f"{d}_{s}_{t}.wav" for d, s, t in clips],
        label_names=DIGITS,
        listed=[t % 2 == 0 for _, _, t in clips],
    )


def make_run(study, model="cnn", front_end="ours", seed=0, split="xsdr", **changes):
    """Write one run directory; `changes` replace what stands in its environment or predictions."""
    directory = study / f"{model}-{front_end}-{split.replace(':', '-')}-s{seed}"
    directory.mkdir(parents=True)
    config = {"model": model, "front_end": front_end, "split": split, "seed": seed, "epochs": 8}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in config.items()]
    (directory / "config.toml").write_text("".join(lines))
    predictions = changes.pop("predictions", None) or predictions_of(model, front_end, seed)
    predictions.save(directory / "predictions.npz")
    environment = {
        "command": "spoken-digits study models",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "version": "0.1.0",
        "python": "3.11.9",
        "torch": "2.13.0",
        "numpy": "2.4.6",
        "platform": "Linux x86_64",
        "device": "cpu",
        "parameters": 64_123,
        "seconds": 60.5,
        "data": {
            "corpus": "fsdd",
            "clips": 3000,
            "hash": "ab" * 32,
            "licence": "CC BY-SA 4.0",
            "train_speakers": ["george", "jackson", "nicolas", "theo"],
            "test_speakers": sorted(set(predictions.speakers.tolist())),
        },
    }
    (directory / "environment.json").write_text(json.dumps(environment | changes))
    log = []
    for epoch in range(0 if model.startswith(("sgd", "logistic")) else 8):
        row = {"epoch": epoch + 1, "loss": 2.3 * 0.7**epoch + 0.01 * seed, "seconds": 1.0}
        row |= {"accuracy": 1 - 0.9 * 0.6**epoch, "learning_rate": 1e-3}
        if split.startswith("inner"):
            row["heldout_accuracy"] = 0.9 - 0.8 * 0.7**epoch
        log.append(json.dumps(row) + "\n")
    (directory / "log.jsonl").write_text("".join(log))
    return directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished study: three models, two front ends, two seeds, and a left-out speaker."""
    study = tmp_path_factory.mktemp("runs") / "models"
    for model in SKILL:
        for front_end in ("original", "ours"):
            for seed in (0, 1):
                make_run(study, model, front_end, seed)
    make_run(study, split="inner:theo")
    return study


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    """Return the page of the finished study."""
    return write(finished, tmp_path_factory.mktemp("page"))


@pytest.fixture
def study(finished, tmp_path):
    """Return a copy of the finished study, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "models"))


class Page(HTMLParser):
    """What a browser would see of a page: tags, ids, what it loads, the words."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.ids, self.loaded, self.linked, self.words = [], [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src", "srcset", "data", "poster", "action"):
                (self.linked if tag in ("a", "use") else self.loaded).append(value)

    def handle_data(self, data):
        self.words.append(data)


def write(study, tmp_path, **options):
    path = tmp_path / "out" / "report.html"
    report.write_report(study, path, **options)
    return Page(path)


# The summary


def test_a_summary_is_what_its_parts_say(finished):
    total = summary.summarize(finished)
    keys = [(row["model"], row["front_end"]) for row in total["rows"]]
    assert keys == [(model, f) for model in SKILL for f in ("original", "ours")]
    row = total["rows"][-1]
    expected = aggregate(
        [(seed, predictions_of("cnn", "ours", seed)) for seed in (0, 1)], np.random.default_rng(0)
    )
    for name in ("accuracy_mean", "accuracy_sd", "macro_f1", "ece", "listed_accuracy"):
        assert row[name] == getattr(expected, name)
    assert row["seeds"] == [0, 1]
    assert row["worst_speaker"] == "lucas"
    assert row["epochs"] == 8
    assert total["seconds_total"] == pytest.approx(13 * 60.5)
    assert total["data"]["clips_tested"] == 100
    assert total["warnings"] == []
    assert total["missing"] == []
    assert not total["quick"]


def test_a_summary_is_json_and_always_the_same(finished):
    total = summary.summarize(finished)
    assert json.loads(json.dumps(total)) == total
    assert summary.summarize(finished) == total


def test_the_strong_model_is_compared_with_every_other(finished):
    comparisons = summary.summarize(finished)["comparisons"]
    assert len(comparisons) == 5
    lstm = next(c for c in comparisons if (c["model"], c["front_end"]) == ("lstm", "ours"))
    test = mcnemar(predictions_of("cnn", "ours", 0), predictions_of("lstm", "ours", 0))
    assert (lstm["only_reference"], lstm["only_other"]) == (test.only_first, test.only_second)
    assert lstm["p"] == test.p
    assert lstm["p_holm"] >= lstm["p"]
    assert lstm["sign_flip_p_holm"] is None  # two speakers have none


def test_six_speakers_get_a_p_value_over_speakers(tmp_path):
    people = tuple("abcdef")
    for model in ("sgd-pool", "cnn"):
        made = predictions_of(model, "ours", 0, people)
        make_run(tmp_path / "six", model, predictions=made)
    total = summary.summarize(tmp_path / "six")
    assert total["note"] is None
    assert total["comparisons"][0]["sign_flip_p_holm"] == 2 / 64
    assert "p over speakers" in write(tmp_path / "six", tmp_path).text


def test_runs_that_left_out_a_training_speaker_are_no_results(study):
    make_run(study, "rnn", split="inner:theo")
    assert all(row["model"] != "rnn" for row in summary.summarize(study)["rows"])


@pytest.mark.parametrize("what", ["missing", "empty", "a file", "other things", "inner runs only"])
def test_a_directory_without_results_is_named_with_the_remedy(tmp_path, what):
    study = tmp_path / "here"
    if what == "a file":
        study.write_text("")
    elif what == "other things":
        (study / "photographs").mkdir(parents=True)
    elif what == "inner runs only":
        make_run(study, split="inner:theo")
    elif what == "empty":
        study.mkdir()
    with pytest.raises(FileNotFoundError, match=r"here: no .*spoken-digits study"):
        report.write_report(study, tmp_path / "out" / "report.html")
    assert not (tmp_path / "out").exists()


def test_runs_that_do_not_belong_together_are_refused(study):
    other = make_run(study, "rnn")
    environment = json.loads((other / "environment.json").read_text())
    environment["data"]["hash"] = "cd" * 32
    (other / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(ValueError, match="runs on different data"):
        summary.summarize(study)


def test_broken_runs_are_left_out_and_named(study, tmp_path):
    (make_run(study, "rnn") / "predictions.npz").unlink()
    (make_run(study, "cnn", seed=7) / "predictions.npz").write_text("half a fi")
    (make_run(study, "cnn", seed=8) / "environment.json").write_text("{}")
    (make_run(study, "cnn", seed=9) / "config.toml").write_text("model = ")
    config = make_run(study, "cnn", seed=10) / "config.toml"
    config.write_text(config.read_text().replace("cnn", "wavenet"))
    total = summary.summarize(study)
    assert len(total["rows"]) == 6
    assert total["warnings"][0].count("-ours-xsdr-s") == 5
    text = write(study, tmp_path).text
    assert "Run rnn-ours-xsdr-s0: no predictions.npz" in text
    assert "Run cnn-ours-xsdr-s7:" in text
    assert "Run cnn-ours-xsdr-s8: no 'version' in config.toml or environment.json" in text
    assert "Run cnn-ours-xsdr-s9:" in text
    assert "model 'wavenet' in config.toml is none of" in text


def test_uneven_runs_carry_a_warning(study):
    make_run(study, "cnn", seed=2, commit="fedcba9876543210")
    uneven = " ".join(summary.summarize(study)["warnings"])
    assert "LSTM, 40 mels has finished seeds 0, 1 only" in uneven
    assert "different commits: 0123456789" in uneven
    config = study / "cnn-ours-xsdr-s2" / "config.toml"
    config.write_text(config.read_text().replace("epochs = 8", "epochs = 9"))
    assert "were trained with different settings" in " ".join(summary.summarize(study)["warnings"])


# The page


def test_a_page_asks_the_network_for_nothing(page):
    assert all(value.startswith("data:") for value in page.loaded)
    assert all(value.startswith("#") for value in page.linked)
    assert not {"script", "iframe", "object", "embed", "img"} & set(page.tags)
    assert "@import" not in page.source
    # What is left of addresses are the names of XML namespaces.
    addresses = re.findall(r'https?://[^"\s<]+', page.source)
    assert {a for a in addresses if not a.startswith("http://www.w3.org/")} == set()
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", page.source))


def test_a_page_has_every_section_and_figure(page):
    sections = ["results", "speakers", "digits", "confusions"]
    sections += ["curves", "errors", "embeddings", "spectrograms", "unhelpful"]
    sections += ["provenance", "missing"]
    assert [name for name in page.ids if name in sections] == sections
    figures = page.tags.count("svg")
    errors = page.source.count('aria-label="Log-mel spectrogram of ')  # of the recordings at hand
    at_hand = "The recordings are not at hand" not in page.text
    assert figures == 5 + errors + at_hand  # 3 of them confusions
    assert page.tags.count("audio") == errors
    assert len(re.findall(r'<svg role="img" aria-label="[^"]+"', page.source)) == figures
    assert page.tags.count("figcaption") == page.tags.count("figure") - errors == figures - errors
    targets = {link[1:] for link in page.linked}
    assert targets <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_a_page_begins_with_the_verdict(finished, page):
    total = summary.summarize(finished)
    best = total["rows"][-1]
    mean, hardest = best["accuracy_mean"], best["per_speaker"]["lucas"]["accuracy"]
    said = tables.answer(total)
    assert said.startswith(f"2-D CNN (ours), 40 mels is best: {100 * mean:.1f} % of the digits")
    assert f"lucas {100 * hardest:.1f} % the worst" in said
    for line in said.splitlines():
        assert page.text.index(line) < page.text.index("Results")
    old = tables.verdict(total)  # of a summary that holds no answer yet
    assert old.startswith("The best model, 2-D CNN (ours), 40 mels, recognizes ")
    assert f" {100 * mean:.1f} % of the digits" in old
    assert tables.answer({**total, "answer": ""}) == old
    assert "With 2 test speakers the smallest two-sided sign-flip p is 0.5" in page.text


def test_a_page_says_where_its_numbers_come_from(page):
    for fact in ("spoken-digits study models", "0123456789abcdef", "ab" * 32, "CC BY-SA 4.0",
                 "torch 2.13.0", "13 min", "xsdr", "0, 1"):  # fmt: skip
        assert fact in page.text


def test_the_same_study_gives_the_same_page(finished, page, tmp_path):
    assert write(finished, tmp_path).source == page.source


def test_other_peoples_figures_stand_apart_and_only_beside_the_list(page, tmp_path):
    assert "Published or measured elsewhere" in page.text
    unlisted = predictions_of("cnn", "ours", 0)
    unlisted.listed[:] = False
    make_run(tmp_path / "unlisted", predictions=unlisted)
    text = write(tmp_path / "unlisted", tmp_path).text
    assert "PocketSphinx" not in text
    assert "no clip tested is on it" in text


def test_synthetic_voices_are_said_loudly(tmp_path):
    people = tuple(f"voice{k:02d}" for k in range(9))
    for model in ("lstm", "cnn"):
        made = predictions_of(model, "ours", 0, people)
        directory = make_run(tmp_path / "models-voices", model, predictions=made, split="voices")
        environment = json.loads((directory / "environment.json").read_text())
        environment["data"] |= {"corpus": "voices", "licence": "Apache-2.0"}
        (directory / "environment.json").write_text(json.dumps(environment))
    page = write(tmp_path / "models-voices", tmp_path)
    total = summary.summarize(tmp_path / "models-voices")
    assert tables.verdict(total).startswith("On synthetic speech, the best model")
    assert tables.answer(total).startswith("On synthetic speech: ")
    assert page.text.index("Synthetic speech: ") < page.text.index("Results")
    assert "Nothing here is a claim about people" in page.text
    assert "**Synthetic speech: " in tables.readme_table(total)


def test_a_quick_study_without_log_or_recordings_still_gives_a_page(tmp_path):
    directory = make_run(tmp_path / "quick", command="spoken-digits study models --quick")
    (directory / "log.jsonl").unlink()
    text = write(tmp_path / "quick", tmp_path, data=tmp_path).text
    assert "A quick run" in text
    assert "One seed only" in text
    assert "No run has logged its training" in text
    assert "Spectrograms: fsdd" in text


def test_what_stands_in_a_run_is_text_and_never_markup(tmp_path):
    made = predictions_of("cnn", "ours", 0, ("<hr>bob", "o'neil & co"))
    make_run(tmp_path / "runs", predictions=made, command="<script>alert(1)</script>")
    page = write(tmp_path / "runs", tmp_path)
    assert not {"hr", "script"} & set(page.tags)
    assert "<hr>bob" in page.text


def test_spectrograms_are_drawn_from_the_recordings(tmp_path, data_root):
    make_run(tmp_path / "runs")
    page = write(tmp_path / "runs", tmp_path, data=data_root)
    for digit in DIGITS:
        assert f"{digit}_george_0.wav" in page.text


def test_publishing_writes_results_a_page_without_recordings_and_the_readme(finished, tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text("<!-- results:begin --><!-- results:end -->")
    labels, people = list("0123456789") * 4, ["ann", "bob"] * 20
    points = np.random.default_rng(0).normal(size=(40, 3))
    drawn = [map_embeddings("2-D CNN", points, labels, people)]
    written = report.publish([finished], drawn, results, readme)
    assert [path.name for path in written] == ["models.json", "embeddings.json", "report.html"]
    total = json.loads(written[0].read_text())
    assert total == summary.summarize(finished)
    numbers = json.loads(written[1].read_text())
    assert numbers["embeddings"] == [drawn[0].numbers()]
    assert numbers["commit"] == total["commit"]
    page = written[2].read_text(encoding="utf-8")
    assert "data:audio" not in page
    assert report.study_tables(total).strip() in page
    assert "Embeddings of 2-D CNN on a plane" in page
    text = readme.read_text(encoding="utf-8")
    assert all(f"- {line}\n" in text for line in tables.answer(total).splitlines())


def test_what_the_shipped_network_refuses_is_drawn_from_the_folds_left_out(finished, tmp_path):
    rng = np.random.default_rng(0)
    digits, others = rng.normal(2, 1, 200), rng.normal(0, 1, 100)
    fold = {
        "words": ["bed", "cat"],
        "rejection": {
            "others": 100,
            "auroc": rejection.auroc(digits, others),
            "eer": rejection.equal_error(digits, others)[0],
            "curve": [[x, x**0.2] for x in np.linspace(0, 1, 101)],
            "cuts": [
                {"threshold": t, "digits_accepted": 1 - t, "digits_right": 0.9 - 0.9 * t,
                 "others_accepted": (1 - t) ** 3} for t in (0.0, 0.5, 1.0)
            ],
            "default": {"threshold": 0.5},
        },
    }  # fmt: skip
    compared = [{"score": "energy", "auroc": 0.912, "eer": 0.157}]
    shipped = tmp_path / "shipped.json"
    shipped.write_text(
        json.dumps(
            {
                "left_out": {"open:fsdd": {}, "open:0": fold},
                "rejection_of_words_never_trained_on": compared,
                "recipe": "rejection_threshold = -1.0\n",
                "command": "spoken-digits study shipped",
                "commit": "abc",
            }
        )
    )
    report.write_report(finished, tmp_path / "r.html", sound=False, maps=[], shipped=shipped)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "What is no digit" in page
    assert re.search(r"100 recordings of\s+bed, cat", page)
    assert f"AUROC {100 * fold['rejection']['auroc']:.1f} %" in page
    assert "<td>energy</td><td>91.2</td><td>15.7</td>" in page


# The README


def test_the_table_of_a_readme_is_rewritten_between_its_markers(finished, tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    results.mkdir()
    total = summary.summarize(finished)
    (results / "models.json").write_text(json.dumps(total))
    (results / "other.json").write_text('{"ratio": 3}')
    readme.write_text("# Top\n<!-- results:begin -->\nold\n<!-- results:end -->\nbottom\n")
    assert tables.update_readme(readme, results)
    text = readme.read_text()
    assert text.startswith("# Top\n<!-- results:begin -->\n")
    assert text.endswith("<!-- results:end -->\nbottom\n")
    assert "old" not in text
    assert tables.readme_table(total) in text
    assert not tables.update_readme(readme, results)


def test_a_table_has_a_cell_for_every_column(finished):
    lines = tables.readme_table(summary.summarize(finished)).splitlines()
    bars = [line.count("|") for line in lines if line.startswith("|")]
    assert bars[:8] == [bars[0]] * 8
    assert any(line.startswith("| 2-D CNN (ours), 40 mels | ") for line in lines)


def test_a_readme_without_markers_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("<!-- results:end --> <!-- results:begin -->")
    with pytest.raises(ValueError, match=r"README.md: expected a line <!-- results:begin -->"):
        tables.update_readme(tmp_path / "README.md", tmp_path)


def test_the_readme_says_what_the_results_say(tmp_path):
    if not list((ROOT / "results").glob("*.json")):
        pytest.skip("no results are committed yet")
    copy = tmp_path / "README.md"
    copy.write_bytes((ROOT / "README.md").read_bytes())
    assert not tables.update_readme(copy, ROOT / "results"), "run `make report`"


def test_recordings_of_one_name_are_told_apart_by_their_label(monkeypatch):
    # As in the synthetic voices, where every digit has a folder.
    clips = [Clip(Path(label, "ann_0.flac"), label, "ann", "voices") for label in "37"]
    predictions = Predictions.of(clips, np.eye(2), ["3", "7"])
    run = SimpleNamespace(
        predictions=predictions, is_inner=False, task="train", front_end="ours", model="cnn",
        title="CNN", directory=Path("runs", "cnn"),
    )  # fmt: skip
    drawn = []
    monkeypatch.setattr(report, "reference_row", lambda _: {"front_end": "ours"})
    monkeypatch.setattr(
        report.exhibits, "embedding_maps", lambda chosen, tested, *_: drawn.append(tested) or []
    )
    summary = {"study": "models", "rows": [], "label_names": ["3", "7"]}
    recordings = {(clip.file.name, clip.label): clip for clip in clips}
    assert list(report._maps([summary], {"models": [run]}, recordings)) == []
    assert drawn == [clips]
