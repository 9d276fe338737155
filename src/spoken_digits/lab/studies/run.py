"""Running a study: its runs, made here or on other machines, and their summary.

Finished runs are left alone: a study that was killed resumes with what is missing, and ends with
the same bytes.
"""

import os
import time
from pathlib import Path

from spoken_digits.lab.data.corpora import best_corpus, read_corpus
from spoken_digits.lab.evaluation.schema import RunEvaluation
from spoken_digits.lab.runs import RunContext, is_finished, write_json
from spoken_digits.lab.studies.executor import StudyError, run_all, say
from spoken_digits.lab.studies.grid import Job, count_clips, plan
from spoken_digits.lab.studies.registry import read_study
from spoken_digits.lab.studies.results import write_result
from spoken_digits.lab.studies.sentences import MAX_NAMED_SPEAKERS
from spoken_digits.lab.studies.summary import summarize
from spoken_digits.lab.studies.tasks import find_task, run_task

__all__ = ["StudyError", "describe_run", "run_job", "run_study"]


def run_study(
    name: str = "models",
    data: Path | str | None = None,
    out: Path | str | None = None,
    quick: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
) -> Path:
    """Run what is missing of a study on its corpus or the best at hand, and summarize it.

    Parameters
    ----------
    name
        A study that ships, or the path of a TOML file; `grid` describes the format.
    data
        Folder of corpora; by default SPOKEN_DIGITS_DATA or the cache.
    out
        Folder of the runs; by default ``runs/<name>``, followed by ``-quick`` or the corpus, where
        it is neither FSDD nor the study's own.
    quick
        Fewer seeds and epochs, as the study says.
    workers
        Processes, one thread each; by default as many as cores.
    cluster
        Address of a dask scheduler whose workers see the same files; `workers` is then ignored.

    Returns
    -------
    The study's folder: a directory a run, and `summary.json`.

    Raises
    ------
    ConfigError, SplitError
        When the study names what does not exist; nothing has been written then.
    CorpusError
        When its corpus is not at hand, or does not fit its layout.
    RunError
        When its folder holds a finished run of another recipe or of other recordings.
    StudyError
        When runs failed, the others being finished and kept, or the scheduler cannot be reached.
    """
    study = read_study(name)  # complains before anything is fetched
    data = _data_folder(data)
    if study.corpus:
        corpus, clips = study.corpus, read_corpus(study.corpus, data)
    else:
        corpus, clips = best_corpus(data)
    suffix = ("-quick" if quick else "") + f"-{corpus}" * (corpus not in ("fsdd", study.corpus))
    study_dir = Path(out) if out else Path("runs") / f"{study.name}{suffix}"
    command = f"spoken-digits study {name}" + (" --quick" if quick else "")
    jobs = plan(study, corpus, clips, quick, data, study_dir.resolve(), command)
    missing = [job for job in jobs if not _finished(job)]
    say(
        f"study {name}: {len(jobs)} runs on {corpus}, {len(jobs) - len(missing)} of them finished; "
        f"everything goes to {study_dir}/"
    )
    study_dir.mkdir(parents=True, exist_ok=True)
    write_json(study_dir / "study.json", {"name": study.name, "question": study.question})
    if missing:
        for job in missing:
            find_task(job.task).prepare(job.config, _context(job))
        sizes = count_clips(missing, clips)
        costs = [job.seconds(sizes[job.config.split]) for job in missing]
        run_all(run_job, missing, costs, workers or os.cpu_count() or 1, cluster)
    if study.summarize:
        write_json(study_dir / "summary.json", study.summarize(study_dir))
    else:
        write_result(study_dir / "summary.json", summarize(study_dir))
    return study_dir


def run_job(job: Job, quiet: bool = True) -> str:
    """Do a run's task; leaves a complete run directory, and returns a line on the result."""
    context = _context(job, quiet)
    evaluation = run_task(job.task, job.config, context)
    seconds = time.perf_counter() - context.started
    return f"{describe_run(job.name, evaluation)} in {seconds:.0f} s"


def describe_run(name: str, evaluation: RunEvaluation) -> str:
    """Return one line on the result of a run."""
    words = []
    for test in evaluation.tests[:1]:
        speakers = test.metrics.per_speaker
        by_speaker = ", ".join(f"{who} {score.accuracy:.1%}" for who, score in speakers.items())
        few = f" ({by_speaker})" if len(speakers) <= MAX_NAMED_SPEAKERS else ""
        words.append(f"{test.condition.name} {test.corpus} {test.metrics.accuracy:.1%}{few}")
    if evaluation.strings:
        words += [
            f"{who} {score.digit_error:.1%} digit errors"
            for who, score in evaluation.strings.strings.items()
        ]
    if evaluation.cross_validation:
        words.append(evaluation.cross_validation.text)
    return f"{name}: {', '.join(words) or 'trained; its split holds nothing out to test on'}"


def _data_folder(data: Path | str | None) -> Path | None:
    """Make the folder of corpora absolute: a worker may run elsewhere, in another environment."""
    named = data or os.environ.get("SPOKEN_DIGITS_DATA")
    return Path(named).resolve() if named else None


def _context(job: Job, quiet: bool = True) -> RunContext:
    return RunContext(
        directory=job.directory,
        cache=job.study_dir / ".prepared",
        data=job.data,
        corpus=job.corpus,
        command=job.command,
        grid=job.grid,
        family=job.family,
        quiet=quiet,
    )


def _finished(job: Job) -> bool:
    if not (job.directory / "evaluation.json").exists():
        return False  # no recording need be read to know
    fingerprint = find_task(job.task).data_hash(job.config, _context(job))
    return is_finished(job.directory, job.task, job.config, fingerprint)
