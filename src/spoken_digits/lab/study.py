"""Studies: a list of runs, each a recipe with a split and a seed; what is finished is left alone.

A study is a TOML file in `recipes/`: which models, front ends and seeds, on which split, and what
differs from the defaults of `TrainConfig`. Each run has a directory of its own and is complete when
`evaluation.json`, written last, is there; a study that was killed goes on with what is missing.
"""

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spoken_digits
from spoken_digits.lab.corpora import CORPORA, Clip, best_corpus, data_hash, read_corpus
from spoken_digits.lab.dataset import Dataset, prepare
from spoken_digits.lab.evaluate import Predictions, evaluate
from spoken_digits.lab.files import write_whole
from spoken_digits.lab.report import write_report
from spoken_digits.lab.splits import Split, one_split
from spoken_digits.lab.summary import summarize
from spoken_digits.lab.train import ConfigError, TrainConfig, predict, read_recipe, train

__all__ = ["Job", "StudyError", "commit", "run_job", "run_study"]

_SCOPE = {"split": str, "watch": str, "front_ends": list, "seeds": list, "epochs_share": float}
_SECTIONS: dict[str, dict[str, type] | None] = {  # None: the keys are checked with each run
    "study": _SCOPE,
    "quick": _SCOPE,
    "voices": {"epochs_share": float},
    "defaults": None,
    "models": None,
}
_NEEDED = {"study": ("split", "front_ends", "seeds"), "models": ()}


class StudyError(RuntimeError):
    """Some runs of a study failed; those that finished are kept."""


@dataclass(frozen=True)
class Job:
    """One run of a study, all that a worker needs to know."""

    config: TrainConfig
    corpus: str
    data: Path | None
    study_dir: Path
    command: str

    @property
    def directory(self) -> Path:
        """Where the run's files go."""
        config = self.config
        split = config.split.replace(":", "-")
        return self.study_dir / f"{config.model}-{config.front_end}-{split}-s{config.seed}"


def run_study(
    name: str = "models",
    data: Path | str | None = None,
    out: Path | str | None = None,
    quick: bool = False,
    workers: int | None = None,
) -> Path:
    """Run what is missing of a study on the best corpus at hand, and write its report.

    Parameters
    ----------
    name
        A study that ships, or the path of a TOML file.
    data
        Folder of corpora; left out, SPOKEN_DIGITS_DATA or the cache.
    out
        Folder of the runs; left out, ``runs/<name>``, with ``-quick`` or the corpus behind it where
        they apply.
    quick
        One seed and fewer epochs.
    workers
        Processes, one thread each; left out, one a core.

    Returns
    -------
    The path of the report.

    Raises
    ------
    ConfigError, SplitError
        When the study's file asks for what there is not; nothing has been written then.
    StudyError
        When runs failed; the others are finished and kept.
    """
    _read_study(name)  # complains before anything is fetched
    data = Path(data) if data else None
    corpus, clips = best_corpus(data)
    suffix = ("-quick" if quick else "") + ("" if corpus == "fsdd" else f"-{corpus}")
    study_dir = Path(out) if out else Path("runs") / f"{Path(name).stem}{suffix}"
    command = f"spoken-digits study {name}" + (" --quick" if quick else "")
    jobs = [Job(config, corpus, data, study_dir, command) for config in _plan(name, corpus, quick)]
    for split in {job.config.split for job in jobs}:
        one_split(split, clips)  # complains before hours of training, not after
    fingerprint = data_hash(clips)
    missing = [job for job in jobs if not _finished(job, fingerprint)]
    _say(
        f"study {name}: {len(jobs)} runs on {corpus}, {len(jobs) - len(missing)} of them finished; "
        f"everything goes to {study_dir}/"
    )
    if missing:
        study_dir.mkdir(parents=True, exist_ok=True)
        prepare(clips, study_dir / ".prepared")
        _run_all(missing, min(workers or os.cpu_count() or 1, len(missing)))
    summary = json.dumps(summarize(study_dir), indent=1, sort_keys=True) + "\n"
    write_whole(study_dir / "summary.json", summary.encode())
    report = study_dir / "report.html"
    write_report(study_dir, report, data)
    return report


def run_job(job: Job, quiet: bool = True) -> str:
    """Train, test, evaluate; leaves a complete run directory and returns a line on the result."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # two on a busy machine are many times slower than one
    clips, dataset = _dataset(job.corpus, job.data, job.study_dir / ".prepared")
    split = one_split(job.config.split, clips)
    rows, test_rows = dataset.indices(split.train), dataset.indices(split.test)
    # Left-out training speakers may be watched while training; test speakers never are.
    watched = test_rows if split.name.startswith("inner") else None
    net = train(job.config, dataset, rows, job.directory, watched, quiet)
    scores, _ = predict(net, dataset, test_rows)
    predictions = Predictions.of(split.test, scores, dataset.label_names)
    predictions.save(job.directory / "predictions.npz")
    seconds = time.perf_counter() - began
    parameters = sum(p.numel() for p in net.parameters())
    environment = _environment(job, split, clips, dataset, parameters, seconds)
    _write_json(job.directory / "environment.json", environment)
    evaluation = evaluate(predictions)
    _write_json(job.directory / "evaluation.json", evaluation.to_dict())
    people = ", ".join(
        f"{name} {score.accuracy:.1%}" for name, score in evaluation.per_speaker.items()
    )
    return f"{job.directory.name}: {evaluation.accuracy:.1%} ({people}) in {seconds:.0f} s"


def _plan(name: str, corpus: str, quick: bool) -> Iterator[TrainConfig]:
    """Yield the runs of a study, the longest first, so that no worker idles at the end."""
    recipe = _read_study(name)
    study: dict[str, Any] = recipe["study"] | (recipe.get("quick", {}) if quick else {})
    # Without FSDD there are no named people: synthetic voices are held out instead.
    split, watch = (study["split"], study.get("watch")) if corpus == "fsdd" else (corpus, None)
    share = study.get("epochs_share", 1.0) * recipe.get(corpus, {}).get("epochs_share", 1.0)
    configs = []
    for model, delta in recipe["models"].items():
        for front_end in study["front_ends"]:
            values = {**recipe.get("defaults", {}), **delta, "model": model, "front_end": front_end}
            where = f"{name}, models.{model}"
            base = TrainConfig.from_dict(values, where)
            values["epochs"] = max(1, round(base.epochs * share))
            for seed in study["seeds"]:
                values |= {"seed": seed, "split": split}
                configs.append(TrainConfig.from_dict(values, where))
            if watch and front_end == study["front_ends"][0] and not base.is_linear:
                values |= {"seed": study["seeds"][0], "split": watch}
                configs.append(TrainConfig.from_dict(values, where))
    order = list(recipe["models"])
    yield from sorted(configs, key=lambda c: (-order.index(c.model), c.seed))


def _read_study(name: str) -> dict[str, Any]:
    """Read a study's file: sections and keys are known, there, and of their kind."""
    recipe = read_recipe(name)
    _check_keys(name, recipe, dict.fromkeys(_SECTIONS, dict), _NEEDED)
    for section, keys in _SECTIONS.items():
        where, given = f"{name}, {section}", recipe.get(section, {})
        if keys is not None:
            _check_keys(where, given, keys, _NEEDED.get(section, ()))
        elif section == "models":
            _check_keys(where, given, dict.fromkeys(given, dict))
    if not recipe["models"]:
        raise ConfigError(f"{name}: no models; expected a section [models.NAME] for each")
    return recipe


def _check_keys(
    where: str, given: Mapping[str, Any], kinds: Mapping[str, type], needed: Iterable[str] = ()
) -> None:
    for key, value in given.items():
        if key not in kinds:
            raise ConfigError(f"{where}: unknown key {key!r}; the keys are {', '.join(kinds)}")
        kind = kinds[key]
        if not isinstance(value, (float, int) if kind is float else kind):
            word = "table" if kind is dict else kind.__name__
            raise ConfigError(f"{where}: {key} = {value!r}: expected {word}")
        if value == []:
            raise ConfigError(f"{where}: {key} is empty; expected one or more")
    if missing := [key for key in needed if key not in given]:
        raise ConfigError(f"{where}: no {missing[0]}; expected {', '.join(needed)}")


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


def _run_all(jobs: Sequence[Job], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    failed: list[str] = []
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(run_job, job): job for job in jobs}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                name = futures[future].directory.name
                try:
                    line = future.result()
                except BrokenProcessPool:
                    raise StudyError(
                        "a worker was killed, perhaps for want of memory; call the study again to "
                        "go on, with fewer --workers if it happens again"
                    ) from None
                except Exception as error:
                    failed.append(name)
                    line = f"{name}: failed: {error}"
                _say(f"[{done}/{len(jobs)}] {line}")
        except BaseException:
            # What runs is cut off, not waited for: it resumes from its last epoch.
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(jobs)} runs failed ({', '.join(failed)}), see above; the "
            "others are kept, and calling the study again tries only what is missing"
        )


@lru_cache(maxsize=1)
def _dataset(corpus: str, data: Path | None, cache: Path) -> tuple[tuple[Clip, ...], Dataset]:
    # Once a worker process, for all the runs that it is given.
    clips = read_corpus(corpus, data)
    return clips, prepare(clips, cache)


def _environment(
    job: Job,
    split: Split,
    clips: Sequence[Clip],
    dataset: Dataset,
    parameters: int,
    seconds: float,
) -> dict[str, Any]:
    return {
        "command": job.command,
        "commit": commit(),
        "version": spoken_digits.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": job.config.device,
        "parameters": parameters,
        "seconds": round(seconds, 1),
        "labels": list(dataset.label_names),
        "data": {
            "corpus": job.corpus,
            "clips": len(clips),
            "hash": data_hash(clips),
            "licence": CORPORA[job.corpus].licence,
            "train_speakers": list(split.train_speakers),
            "test_speakers": list(split.test_speakers),
        },
    }


def commit() -> str:
    """Return the commit of the source tree, with -dirty behind it if it was changed, or unknown."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
