"""Run a study on workers that SLURM starts: docs/cluster.md says how."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def cluster_options(queue: str, hours: int) -> dict[str, Any]:
    """Return what each SLURM job is: one core, one process of one thread, 2 GB."""
    return {
        "queue": queue,
        "cores": 1,
        "processes": 1,
        "memory": "2GB",
        "walltime": f"{hours:02d}:00:00",
        # The second line: dask's own setting makes training two to three times as long.
        "job_script_prologue": [
            "export OMP_NUM_THREADS=1",
            "export MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=33554432",
        ],
        # Shortly before its time is over a worker hands its run back, to be resumed elsewhere.
        "worker_extra_args": ["--lifetime", f"{60 * hours - 5}m", "--lifetime-stagger", "2m"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Start the workers, run the study, give them back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a study, or its TOML")
    parser.add_argument("--jobs", type=int, default=8, help="SLURM jobs, one worker each")
    parser.add_argument("--queue", required=True, help="SLURM partition")
    parser.add_argument("--hours", type=int, default=4, help="of each job")
    parser.add_argument("--data", type=Path, help="folder of corpora that every machine sees")
    parser.add_argument("--out", type=Path, help="folder of runs that every machine sees")
    parser.add_argument("--print", action="store_true", help="only show the job script")
    arguments = parser.parse_args(argv)

    from dask_jobqueue import SLURMCluster

    from spoken_digits.lab.reporting.html import write_report
    from spoken_digits.lab.studies.run import run_study

    with SLURMCluster(**cluster_options(arguments.queue, arguments.hours)) as cluster:
        if arguments.print:
            print(cluster.job_script())
            return
        cluster.scale(jobs=arguments.jobs)
        address = cluster.scheduler_address
        folder = run_study(arguments.name, arguments.data, arguments.out, cluster=address)
        write_report(folder, folder / "report.html", arguments.data)
        print(folder / "report.html")


if __name__ == "__main__":
    main()
