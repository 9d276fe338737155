"""The SLURM example makes a job script, where dask-jobqueue is at hand; no SLURM is needed."""

import pytest
from docs import slurm_study


def test_the_job_script_asks_for_one_core_and_one_thread(capsys, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    slurm_study.main(["models", "--queue", "normal", "--hours", "2", "--print"])
    script = capsys.readouterr().out
    for words in ("#SBATCH -p normal", "#SBATCH --cpus-per-task=1", "#SBATCH -t 02:00:00"):
        assert words in script
    assert "export OMP_NUM_THREADS=1" in script
    assert "--nthreads 1" in script
    assert "--lifetime 115m" in script
