"""Make `experiments.ipynb` of its script: run it, keep what is printed and drawn, drop the sounds.

No recording of a corpus may lie in the repository, so every player is replaced by a word on it.
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from spoken_digits.lab.runs import write_whole

SCRIPT = Path(__file__).with_name("experiments.py")
PATIENCE_S = 600


def read(script: Path = SCRIPT) -> nbformat.NotebookNode:
    """Read the script as a notebook without outputs; the same script gives the same ids."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
    notebook.metadata.pop("jupytext", None)
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run every cell, in a kernel whose working directory is `folder`."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=PATIENCE_S, kernel_name="python3", resources=resources
    ).execute()


def without_sound(notebook: nbformat.NotebookNode) -> None:
    """Replace every player by a word, and drop what differs from one run to the next."""
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        # What is written to standard error names paths of this machine.
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "data:audio" in str(output.get("data", {}).get("text/html", "")):
                output.data = {"text/plain": "(a sound: run the cell to hear it)"}


def main(path: Path) -> None:
    """Run the script and write the notebook."""
    notebook = read()
    run(notebook, path.parent)
    without_sound(notebook)
    write_whole(path, (nbformat.writes(notebook) + "\n").encode())
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else SCRIPT.with_suffix(".ipynb"))
