"""The notebook: its script runs from end to end, and no recording lies in what is committed."""

import os
from pathlib import Path

import pytest

pytest.importorskip("jupytext")

import nbformat
from notebooks.make_experiments import SCRIPT, read, run, without_sound

from spoken_digits.lab.data.corpora import find_corpus

pytestmark = pytest.mark.xdist_group("notebook")  # one worker runs it once

NOTEBOOK = SCRIPT.with_suffix(".ipynb")


TAKES = 3  # of the fifty that each speaker of FSDD has of each digit


def few_takes(folder: Path) -> Path:
    """Make a folder of corpora with some takes of the FSDD at hand: the script runs in seconds."""
    recordings = folder / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for file in (find_corpus("fsdd") / "recordings").glob("*.wav"):
        if int(file.stem.rpartition("_")[2]) < TAKES:
            (recordings / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the notebook, run on recordings at hand or on the synthetic speech that ships."""
    notebook = read()
    with pytest.MonkeyPatch.context() as patch:
        source = Path(__file__).parents[1] / "src"
        if find_corpus("fsdd"):
            patch.setenv("SPOKEN_DIGITS_DATA", str(few_takes(tmp_path_factory.mktemp("data"))))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("work")))
        run(notebook, tmp_path_factory.mktemp("notebook"))
    return notebook


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def test_the_script_runs_from_end_to_end(finished):
    said = printed(finished)
    assert "The recordings of FSDD" in said or "FSDD is not at hand" in said
    assert "random split:" in said
    assert "recognized: 7 (" in said
    drawn = [o for cell in finished.cells for o in cell.get("outputs", []) if "data" in o]
    assert sum("image/png" in o.data or "image/svg+xml" in o.data for o in drawn) >= 5
    assert sum("data:audio" in o.data.get("text/html", "") for o in drawn) >= 10


def test_the_random_split_flatters(finished):
    lines = dict(line.split(":") for line in printed(finished).splitlines() if line.endswith("%"))
    accuracies = {name.strip(): float(text.strip(" %")) for name, text in lines.items()}
    assert accuracies["random split"] > accuracies["mean of those"]


def test_sounds_are_dropped_before_it_is_written(finished):
    notebook = nbformat.from_dict(finished)
    without_sound(notebook)
    text = nbformat.writes(notebook)
    assert "data:audio" not in text
    assert "run the cell to hear it" in text
    nbformat.validate(notebook)


def test_the_committed_notebook_is_its_script_without_recordings():
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in read().cells
    ], "run `make notebook`"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type in ("stream", "display_data", "execute_result")
            assert set(output.get("data", {})) <= {"text/plain", "image/png", "image/svg+xml"}
    assert "data:audio" not in text
    assert str(Path.home()) not in text
    assert len(text) < 1_000_000
