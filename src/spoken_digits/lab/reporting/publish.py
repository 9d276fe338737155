"""Publishing: from finished studies to results/, and from results/ to every generated document."""

from collections.abc import Sequence
from pathlib import Path

from spoken_digits.lab.reporting.card import model_card
from spoken_digits.lab.reporting.exhibits import (
    EXHIBITS,
    Exhibits,
    merged,
    read_exhibits,
    write_exhibits,
)
from spoken_digits.lab.reporting.html import published_report
from spoken_digits.lab.reporting.readme import results_document, update_readme
from spoken_digits.lab.runs import write_whole
from spoken_digits.lab.studies.registry import STUDIES
from spoken_digits.lab.studies.results import write_result
from spoken_digits.lab.studies.summary import summarize

__all__ = ["publish", "studies_in", "write_documents"]


def publish(studies: Sequence[Path], exhibits: Exhibits | None, root: Path | str) -> list[Path]:
    """Put studies into results/ and write the documents again; return the paths that changed.

    Parameters
    ----------
    studies
        Folders of runs.
    exhibits
        What is shown of their runs, see `exhibits.merged`; None keeps what was published before.
    root
        The source tree.
    """
    results = Path(root) / "results"
    written = []
    for study in studies:
        result = summarize(study)
        written.append(results / f"{result.name}.json")
        write_result(written[-1], result)
    if exhibits is not None:
        written.append(results / EXHIBITS)
        write_exhibits(written[-1], merged(read_exhibits(written[-1]), exhibits))
    return [*written, *write_documents(root)]


def write_documents(root: Path | str) -> list[Path]:
    """Write README, docs/results.md, MODEL_CARD.md and the report from results/.

    Returns
    -------
    The documents that changed.

    Raises
    ------
    FileNotFoundError, ValueError
        When `root` is not the source tree, or a file of results/ is none.
    """
    root = Path(root)
    results = root / "results"
    if not (root / "README.md").is_file() or not results.is_dir():
        raise FileNotFoundError(
            f"{root}: no README.md and results/ here; the documents are made in the source tree"
        )
    changed = [root / "README.md"] if update_readme(root / "README.md", results) else []
    made = {
        root / "docs" / "results.md": results_document(results),
        root / "MODEL_CARD.md": model_card(results),
        results / "report.html": published_report(results),
    }
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text.encode())
            changed.append(path)
    return changed


def studies_in(folder: Path | str) -> list[Path]:
    """Return the directories in `folder` that hold a study that ships, in order.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    found = [path for name in STUDIES if (path := Path(folder, name)).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no study here, expected one of {', '.join(STUDIES)}; run "
            "`spoken-digits study` first, or name the directories"
        )
    return found
