"""Studies: the runs that a plan lists, made here or on other machines; the finished are left alone.

Each run has a directory of its own and is complete when `evaluation.json`, written last, is there;
a study that was killed goes on with what is missing and ends with the same bytes.
"""

import json
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from spoken_digits.lab.data.corpora import CORPORA, Clip, best_corpus, data_hash, read_corpus
from spoken_digits.lab.data.dataset import Dataset, prepare
from spoken_digits.lab.data.splits import Split, one_split
from spoken_digits.lab.evaluation.metrics import Predictions, evaluate
from spoken_digits.lab.runs import versions, write_json, write_whole
from spoken_digits.lab.studies.executor import StudyError, run_all, say
from spoken_digits.lab.studies.grid import Job, plan, read_study
from spoken_digits.lab.studies.summary import predictions_file, summarize
from spoken_digits.lab.studies.tasks import TASKS, Bench
from spoken_digits.lab.training.config import ConfigError
from spoken_digits.lab.training.supervised import build_network, resolve_device

__all__ = ["Job", "StudyError", "run_job", "run_study"]


def run_study(
    name: str = "models",
    data: Path | str | None = None,
    out: Path | str | None = None,
    quick: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
) -> Path:
    """Run what is missing of a study on the best corpus at hand, and summarize it.

    Parameters
    ----------
    name
        A study that ships, or the path of a TOML file; the format is told in `plan`.
    data
        Folder of corpora; left out, SPOKEN_DIGITS_DATA or the cache.
    out
        Folder of the runs; left out, ``runs/<name>``, with ``-quick`` or the corpus behind it where
        they apply.
    quick
        Fewer seeds and epochs, as the study's file says.
    workers
        Processes, one thread each; left out, one a core.
    cluster
        Address of a dask scheduler whose workers see the same files; then `workers` counts for
        nothing.

    Returns
    -------
    The study's folder: a directory a run, and `summary.json`.

    Raises
    ------
    ConfigError, SplitError
        When the study's file asks for what there is not; nothing has been written then.
    StudyError
        When runs failed, the others being finished and kept, or the scheduler cannot be reached.
    """
    study = read_study(name)  # complains before anything is fetched
    data = _data_folder(data)
    corpus, clips = best_corpus(data)
    suffix = ("-quick" if quick else "") + ("" if corpus == "fsdd" else f"-{corpus}")
    study_dir = Path(out) if out else Path("runs") / f"{study.name}{suffix}"
    command = f"spoken-digits study {name}" + (" --quick" if quick else "")
    jobs = plan(study, corpus, clips, quick, data, study_dir.resolve(), command)
    fingerprint = data_hash(clips)
    missing = [job for job in jobs if not _finished(job, fingerprint)]
    say(
        f"study {name}: {len(jobs)} runs on {corpus}, {len(jobs) - len(missing)} of them finished; "
        f"everything goes to {study_dir}/"
    )
    study_dir.mkdir(parents=True, exist_ok=True)
    write_json(study_dir / "study.json", {"name": study.name, "question": study.question})
    if missing:
        for extra in sorted({job.config.extra for job in missing}):
            _material(corpus, extra, data, study_dir.resolve() / ".prepared")
        sizes = {s: len(one_split(s, clips).train) for s in {job.config.split for job in missing}}
        costs = [job.seconds(sizes[job.config.split]) for job in missing]
        run_all(run_job, missing, costs, workers or os.cpu_count() or 1, cluster)
    summary = json.dumps(summarize(study_dir), indent=1, sort_keys=True) + "\n"
    write_whole(study_dir / "summary.json", summary.encode())
    return study_dir


def run_job(job: Job, quiet: bool = True) -> str:
    """Do a run's task, evaluate; leaves a complete run directory and returns a line on it."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # two on a busy machine are many times slower than one
    clips, added, dataset = _material(
        job.corpus, job.config.extra, job.data, job.study_dir / ".prepared"
    )
    split = one_split(job.config.split, clips)
    training = Split(split.name, split.train + added, split.test)  # a shared name raises
    bench = Bench(
        dataset,
        dataset.indices(training.train),
        dataset.indices(split.test),
        job.directory,
        job.data,
        # Left-out training speakers may be watched while training; test speakers never are.
        may_watch=split.name.startswith("inner"),
        quiet=quiet,
    )
    scores = TASKS[job.task].run(job.config, bench)
    main, *_ = scores
    for condition, given in scores.items():
        predictions = Predictions.of(split.test, given, dataset.label_names)
        predictions.save(job.directory / predictions_file(condition, main))
    seconds = time.perf_counter() - began
    environment = _environment(job, split, clips, added, dataset, tuple(scores), seconds)
    write_json(job.directory / "environment.json", environment)
    predictions = Predictions.of(split.test, scores[main], dataset.label_names)
    evaluation = evaluate(predictions)
    write_json(job.directory / "evaluation.json", evaluation.to_dict())
    people = ", ".join(
        f"{name} {score.accuracy:.1%}" for name, score in evaluation.per_speaker.items()
    )
    return f"{job.name}: {evaluation.accuracy:.1%} ({people}) in {seconds:.0f} s"


def _data_folder(data: Path | str | None) -> Path | None:
    """Make the folder of corpora absolute: a worker may run elsewhere, in another environment."""
    named = data or os.environ.get("SPOKEN_DIGITS_DATA")
    return Path(named).resolve() if named else None


def _finished(job: Job, fingerprint: str) -> bool:
    if not (job.directory / "evaluation.json").exists():
        return False
    if (job.directory / "config.toml").read_text(encoding="utf-8") != job.config.to_toml():
        raise ConfigError(
            f"{job.directory}: finished with another recipe; remove it, or give --out another "
            "folder"
        )
    environment = json.loads((job.directory / "environment.json").read_text(encoding="utf-8"))
    if environment["data"]["hash"] != fingerprint:
        raise ConfigError(
            f"{job.directory}: finished with other recordings; remove it, or give --out another "
            "folder"
        )
    return True


@lru_cache(maxsize=2)
def _material(
    corpus: str, extra: str, data: Path | None, cache: Path
) -> tuple[tuple[Clip, ...], tuple[Clip, ...], Dataset]:
    """Return a corpus, what joins it for training alone, and both prepared.

    Once a worker process, for all the runs that it is given.
    """
    clips = read_corpus(corpus, data)
    known = {clip.label for clip in clips}
    more = () if extra == "none" else read_corpus(extra, data)
    added = tuple(clip for clip in more if clip.label in known)
    return clips, added, prepare(clips + added, cache)


def _environment(
    job: Job,
    split: Split,
    clips: Sequence[Clip],
    added: Sequence[Clip],
    dataset: Dataset,
    conditions: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    net = build_network(job.config, len(dataset.label_names))
    extra = job.config.extra
    licence = CORPORA[job.corpus].licence
    return {
        "command": job.command,
        **versions(),
        "device": resolve_device(job.config.device).type,
        "parameters": sum(p.numel() for p in net.parameters()),
        "seconds": round(seconds, 1),
        "labels": list(dataset.label_names),
        "task": job.task,
        "grid": job.grid,
        "family": job.family,
        "conditions": list(conditions),
        "data": {
            "corpus": job.corpus,
            "clips": len(clips),
            "hash": data_hash(clips),
            "licence": licence,
            "train_speakers": list(split.train_speakers),
            "test_speakers": list(split.test_speakers),
        },
        "extra": {"corpus": extra, "clips": len(added), "hash": data_hash(added)},
    }
