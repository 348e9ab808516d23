"""The two scripts of docs/clusters.md, which use no launcher."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.launching.app import ROOT, wait_for
from tests.launching.test_slurm import TINY, has_logged, records

SCRIPTS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)


@pytest.mark.alone
@pytest.mark.parametrize(
    ("script", "processes"), [*zip(SCRIPTS, (1, 2), strict=True)], ids=["one GPU", "two machines"]
)
def test_a_script_of_the_page_continues_after_a_time_limit(
    tmp_path: Path, slurm: dict[str, str], script: str, processes: int
) -> None:
    for old, new in {
        "train.py dataset=cifar100": f"{ROOT}/train.py {' '.join(TINY)}",
        "--nproc-per-node=4": "--nproc-per-node=1",
        "trainer.processes=8": "trainer.processes=2",
    }.items():
        script = script.replace(old, new)
    (tmp_path / "job.sh").write_text(script)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{slurm['PATH']}"
    environment = {**slurm, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(["sbatch", "job.sh"], cwd=tmp_path, env=environment, check=True)
    wait_for(partial(has_logged, tmp_path, 10), within_s=500)
    (tmp_path / "slurm" / "101.limit").touch()
    ended = ("COMPLETED", "FAILED", "TIMEOUT")
    wait_for(lambda: (tmp_path / "slurm" / "101.state").read_text() in ended, within_s=500)
    output = (tmp_path / "slurm-101.out").read_text()
    assert (tmp_path / "slurm" / "101.state").read_text() == "COMPLETED", output
    assert records(slurm).count("REQUEUED 101\n") == 1
    assert "continuing run" in output
    assert ("in 2 processes" in output) == (processes == 2)
    assert f"continue: {'python' if processes == 1 else 'torchrun ...'} train.py resume=runs/" in output
    assert has_logged(tmp_path, 70)
