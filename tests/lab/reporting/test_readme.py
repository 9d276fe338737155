"""The README's table and lines, and docs/results.md: what they say is what results/ holds."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_results import MODELS, ONE_SPEAKER, result, source
from made_strings import scored_strings

from spoken_digits.lab.reporting import readme
from spoken_digits.lab.reporting.card import model_card
from spoken_digits.lab.reporting.exhibits import (
    Embedding,
    Exhibits,
    read_exhibits,
    write_exhibits,
)
from spoken_digits.lab.reporting.publish import publish, studies_in, write_documents
from spoken_digits.lab.reporting.tables import to_markdown
from spoken_digits.lab.studies.registry import STUDIES, study_of
from spoken_digits.lab.studies.results import read_result, read_results, write_result

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
README = (
    "# Top\n<!-- results:begin -->\nstale words\n<!-- results:end -->\n<!-- studies:begin -->\n"
)
README += "<!-- studies:end -->\nbottom\n"


@pytest.fixture
def tree(tmp_path):
    """A source tree with results made up by hand, beside those that are no study's."""
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    for made in (MODELS, ONE_SPEAKER):
        write_result(tmp_path / "results" / f"{made.name}.json", made)
    (tmp_path / "results" / "strings.json").write_text(json.dumps(scored_strings()))
    for name in ("references", "shipped", "benchmarks"):
        shutil.copy(RESULTS / f"{name}.json", tmp_path / "results")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def cells(table):
    """Return the texts of a table by its row's first cell."""
    return {line[0].text: [cell.text for cell in line[1:]] for line in table.rows}


def test_the_headline_holds_the_numbers_of_its_files(tree):
    shown = cells(readme.headline(tree / "results"))
    assert [len(line) for line in shown.values()] == [4] * 8

    def of(*words):
        (found,) = [line for key, line in shown.items() if all(w in key for w in words)]
        return found

    # The strong model, on all clips and on the list; the best of the original study.
    assert of("FSDD alone")[:2] == ["93.8 % (94.3 %)", "64.8 %"]
    # george beside synthetic speech, never the row without it.
    assert "not measured; one speaker (george) and synthetic speech: 95.0 %" in of("synthetic")
    people = json.loads((RESULTS / "shipped.json").read_text())["fsdd_speakers"]
    mean = (people["lucas"]["accuracy"] + people["yweweler"]["accuracy"]) / 2
    assert of("everything licensed") == [f"{100 * mean:.1f} %", "-", "80.9 %", "93.8 %"]
    sets = scored_strings()["evaluation"]["strings"]
    for row, found in (
        (of("joined digits", "digit error"), sets["all of the split"]),
        (of(f"{sets['an4']['strings']} fluent strings"), sets["an4"]),
    ):
        wrong = found["substitutions"] + found["insertions"] + found["deletions"]
        assert row[0] == (
            f"{100 * wrong / found['digits']:.1f} %; "
            f"{100 * found['whole'] / found['strings']:.1f} %"
        )
    assert of("time per clip")[1:] == ["-", "5.5 ms", "1.1 s"]
    assert of("size")[3] == "145 MB"


def test_one_speaker_without_synthetic_speech_is_never_told_as_with_it(tree):
    plain, mixed = ONE_SPEAKER.rows
    better = replace(plain, sources={"george": source(0.99, 0.99)})
    write_result(tree / "results" / "one-speaker.json", replace(ONE_SPEAKER, rows=(better, mixed)))
    (shown,) = [
        line for key, line in cells(readme.headline(tree / "results")).items() if "synth" in key
    ]
    assert shown[0].endswith("synthetic speech: 95.0 %")


def test_a_file_of_results_that_is_missing_is_named(tree):
    (tree / "results" / "references.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"references\.json"):
        readme.headline(tree / "results")


def test_a_measure_that_is_missing_is_named(tree):
    path = tree / "results" / "benchmarks.json"
    path.write_text(path.read_text().replace("503 digits", "500 digits"))
    with pytest.raises(ValueError, match="pocketsphinx: no row with 503 digits, recognized"):
        readme.headline(tree / "results")


def test_each_study_has_a_line_in_the_order_of_the_registry(tree):
    lines = readme.study_lines(reversed([MODELS, ONE_SPEAKER])).splitlines()
    assert lines == [
        *(
            f"- **{r.name}**: *{r.question}* {readme.sentences(r)[0]}"
            for r in (MODELS, ONE_SPEAKER)
        ),
        *(f"- **{s.name}**: *{s.question}* Not run yet." for s in STUDIES.values() if s.corpus),
    ]


def test_synthetic_speech_is_said_before_anything_else():
    made = result("models", MODELS.rows, corpus="voices", test_speakers=("en-1", "en-2"))
    assert all(s.startswith("On synthetic speech: ") for s in readme.sentences(made))


def test_a_readme_is_rewritten_between_its_markers_once(tree):
    assert readme.update_readme(tree / "README.md", tree / "results")
    text = (tree / "README.md").read_text()
    assert text.startswith("# Top\n<!-- results:begin -->\n\n| ")
    assert text.endswith("<!-- studies:end -->\nbottom\n")
    assert "stale words" not in text
    assert to_markdown(readme.headline(tree / "results")) in text
    assert not readme.update_readme(tree / "README.md", tree / "results")


def test_a_readme_without_markers_is_left_alone(tree):
    (tree / "README.md").write_text("<!-- results:end --> <!-- results:begin -->")
    with pytest.raises(ValueError, match=r"README.md: expected a line <!-- results:begin -->"):
        readme.update_readme(tree / "README.md", tree / "results")
    assert (tree / "README.md").read_text() == "<!-- results:end --> <!-- results:begin -->"


def test_the_results_document_holds_every_sentence_and_table_with_one_line_of_provenance(tree):
    text = readme.results_document(tree / "results")
    for made in (MODELS, ONE_SPEAKER):
        assert f"## {made.question}\n" in text
        assert all(f"- {sentence}\n" in text for sentence in readme.sentences(made))
        for shown in study_of(made).tables(made):
            assert to_markdown(shown) in text
        assert f"[results/{made.name}.json](../results/{made.name}.json)\n" in text
    assert text.index(MODELS.question) < text.index(ONE_SPEAKER.question)
    assert "Made by `spoken-digits study models`, seeds 0, 1, commit 0123456;" in text
    assert MODELS.provenance.commits[0] not in text


def test_publishing_writes_every_document_and_a_second_time_nothing(tree):
    written = publish([], None, tree)
    assert [path.relative_to(tree).as_posix() for path in written] == [
        "README.md", "docs/results.md", "MODEL_CARD.md", "results/report.html"
    ]  # fmt: skip
    assert publish([], None, tree) == []


def test_documents_are_made_in_the_source_tree_only(tmp_path):
    with pytest.raises(FileNotFoundError, match="made in the source tree"):
        write_documents(tmp_path)


def test_a_folder_of_runs_gives_its_studies_in_order(tmp_path):
    for name in ("noise", "models", "mine"):
        (tmp_path / name).mkdir()
    assert [path.name for path in studies_in(tmp_path)] == ["models", "noise"]
    with pytest.raises(FileNotFoundError, match="no study here, expected one of models"):
        studies_in(tmp_path / "mine")


# What is committed


def test_the_readme_says_what_the_results_say(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_bytes((ROOT / "README.md").read_bytes())
    assert not readme.update_readme(copy, RESULTS), "run `make docs`"


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_bytes()) <= 9216


def test_the_committed_documents_are_those_that_are_made():
    made = readme.results_document(RESULTS)
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == made, "run `make docs`"
    assert (ROOT / "MODEL_CARD.md").read_text("utf-8") == model_card(RESULTS), "run `make docs`"


def test_tables_hold_no_grid_names_and_no_hashes():
    text = (ROOT / "docs" / "results.md").read_text("utf-8")
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert table_lines
    for line in table_lines:
        assert not re.search(r"\b[0-9a-f]{8,40}\b", line), line
        assert not re.search(r"xsdr|alone:|single:|four-voices|one-speaker", line), line
    commits = {commit for r in read_results(RESULTS) for commit in r.provenance.commits}
    assert not any(commit in text for commit in commits)  # eight digits, never forty


@pytest.mark.parametrize(
    "name",
    ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))],
)
def test_what_a_document_names_is_there(name):
    """Links within the repository, their headings, and files that stand in code."""
    path = ROOT / name
    text = path.read_text("utf-8")
    for target in re.findall(r'\]\(([^)#\s]*)(?:#[^)]*)?\)|src="([^"]*)"', text):
        target = "".join(target)
        if target and "://" not in target:
            assert (path.parent / target).exists(), f"{name} links to {target}"
    for target, heading in re.findall(r"\]\(([^)#\s:]*)#([^)]*)\)", text):
        there = ((path.parent / target) if target else path).read_text("utf-8")
        anchors = [
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in there.splitlines()
            if line.startswith("#")
        ]
        assert heading in anchors, f"{name} links to {target}#{heading}"
    for target in re.findall(r"`((?:src|tests|docs|results|recipes|notebooks)/[\w./-]+)`", text):
        if "NAME" in target:
            continue
        assert (ROOT / target).exists(), f"{name} names {target}"


def test_of_several_runs_with_synthetic_speech_the_best_is_told(tree):
    plain, mixed = ONE_SPEAKER.rows
    worse = replace(mixed, sources={"george": source(0.6, 0.61)})
    for rows in ((plain, mixed, worse), (plain, worse, mixed)):
        write_result(tree / "results" / "one-speaker.json", replace(ONE_SPEAKER, rows=rows))
        shown = cells(readme.headline(tree / "results"))
        (line,) = (line for key, line in shown.items() if "and synthetic speech" in key)
        assert line[0].endswith("synthetic speech: 95.0 %")


def test_a_study_is_published_under_its_name_and_what_others_showed_stays(tree, monkeypatch):
    mine = replace(MODELS, name="mine")
    monkeypatch.setattr("spoken_digits.lab.reporting.publish.summarize", lambda folder: mine)
    file = tree / "results" / "exhibits.json"

    def of(*titles):
        return Exhibits(
            embeddings=tuple(Embedding(t, 9, 2, 0.5, 0.1, 0.1, "<svg/>") for t in titles)
        )

    write_exhibits(file, of("LSTM", "RNN"))
    written = publish([tree / "anywhere"], of("RNN", "SimCLR"), tree)
    assert written[:2] == [tree / "results" / "mine.json", file]
    assert read_result(tree / "results" / "mine.json") == mine
    assert [e.title for e in read_exhibits(file).embeddings] == ["LSTM", "RNN", "SimCLR"]
