"""Two processes with uneven shares of a multi-label batch take the steps of one process with the whole batch."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.distributed import multi_label_member
from tests.distributed.launch import ROOT


@pytest.mark.alone
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.distributed.multi_label_member", str(tmp_path)]
    members = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [member.wait(timeout=120) for member in members] == [0, 0]
    alone = multi_label_member.train(slice(None))
    assert alone["inhibited_steps"] == multi_label_member.STEPS
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, value in alone["weights"].items():
            torch.testing.assert_close(found["weights"][name], value, rtol=1e-5, atol=1e-6)
        assert found["metrics"]["train/error_pct"] == pytest.approx(alone["metrics"]["train/error_pct"])
        for name in ("train/loss", "train/loss_inhibited", "train/loss_orthogonality"):
            assert found["metrics"][name] == pytest.approx(alone["metrics"][name], rel=1e-5)
