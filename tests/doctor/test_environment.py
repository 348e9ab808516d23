"""Software and hardware: what is installed, and what the machine has."""

import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from tenet.doctor import hardware, software
from tenet.doctor.findings import Finding
from tenet.errors import ConfigError
from tests.doctor.plans import plan_in, statuses

SMI = """
| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4 |
"""


def test_this_environment_meets_the_requirements() -> None:
    (found,) = software.check_packages()
    assert found.status == "ok"
    assert found.figures["versions"]["torch"] == torch.__version__.partition("+")[0]


@pytest.mark.parametrize(
    ("requirement", "installed", "is_met"),
    [
        ("torch>=2.6", "2.11.0+cpu", True),
        ("torch>=2.6", "2.5.1", False),
        ("torch (==2.11.0)", "2.11", True),
        ("torch (==2.11.0)", "2.10.0+cu128", False),
        ("hydra-core>=1.3.8", "1.4.0.dev1", True),
        ("hydra-core>=1.3.8", "1.3.2", False),
        ("pillow (!=8.3.*,>=5.3.0)", "8.3.1", False),
    ],
)
def test_requirements_are_compared_by_their_numbers(
    requirement: str, installed: str, is_met: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "requires", lambda package: [requirement])
    monkeypatch.setattr(software, "version", lambda package: installed)
    unmet = software.find_unmet("tenet-training")
    assert unmet == ([] if is_met else [(Requirement(requirement), f"but {installed} is installed")])


def test_a_torchvision_for_another_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        software, "requires", lambda package: ["numpy", "torch (==2.6.0)"] if package == "torchvision" else []
    )
    found = [finding for finding in software.check_packages() if finding.status == "problem"]
    (pair,) = found
    assert "was built for torch==2.6.0, but 2." in pair.what
    assert pair.remedy == "pip install --upgrade torchvision 'torch==2.6.0'"


def test_a_package_that_is_missing_is_a_problem_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        software, "requires", lambda package: ["absent-thing>=1.0", 'other>=1; extra == "test"']
    )
    (found,) = (finding for finding in software.check_packages() if finding.status == "problem")
    assert found.what == "absent-thing>=1.0 is required, and it is not installed"
    assert found.remedy == "pip install 'absent-thing>=1.0'"


def test_the_commit_is_reported_and_changes_to_it_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    version = {"commit": "0123456789abcdef", "dirty": False, "remote": None}
    monkeypatch.setattr(software, "code_version", lambda: version)
    assert software.check_commit() == ("ok", "commit 0123456", None, version)
    monkeypatch.setattr(software, "code_version", lambda: {**version, "dirty": True})
    found = software.check_commit()
    assert (found.status, found.remedy) == ("warning", "git commit")
    monkeypatch.setattr(software, "code_version", lambda: None)
    assert software.check_commit().status == "warning"


def test_free_memory_is_below_the_limit_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = hardware.free_memory()
    assert free is None or 1e8 < free < 1e14
    own = Path("/proc/self/cgroup")
    if not own.exists():
        pytest.skip("there are no control groups")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path)
    assert hardware.free_memory() == 600


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nvidia-smi finds a driver."""
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat <<'EOF'{SMI}EOF\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def missing(*, is_required: bool = False) -> Finding:
    return hardware.explain_missing_cuda(hardware.read_driver(), is_required=is_required)


@pytest.mark.usefixtures("smi")
def test_a_torch_without_cuda_next_to_a_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    found = missing()
    assert found.status == "warning"
    assert "is a build without CUDA, but there is an NVIDIA driver 550.54.15 (up to CUDA 12.4)" in found.what
    assert missing(is_required=True).status == "problem"


@pytest.mark.usefixtures("smi")
@pytest.mark.parametrize(
    ("cuda", "start"),
    [("13.0", "torch is built for CUDA 13.0, but"), ("12.8", "torch sees no device, though")],
)
def test_a_torch_for_a_newer_cuda_than_the_driver_has_is_reported(
    cuda: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert missing().what.startswith(start)
    assert missing().remedy


@pytest.mark.usefixtures("smi")
def test_hidden_devices_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert missing().remedy == "unset CUDA_VISIBLE_DEVICES"


def test_cuda_asked_for_and_not_there_leaves_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "read_driver", lambda: None)
    plan = plan_in(tmp_path, "trainer.device=cuda", with_data=False)
    found = list(hardware.check(plan))
    assert statuses(found)[-1] == "problem"
    assert found[-1].what.startswith("trainer.device=cuda: there is no CUDA device")
    with pytest.raises(ConfigError) as error:
        assert plan.experiment.device
    assert str(error.value) in plan.known_errors, "other checks do not report it again"
    plan = plan_in(tmp_path, "trainer.device=auto", with_data=False)
    assert statuses(list(hardware.check(plan)))[-1] == "ok"
    assert plan.experiment.device == torch.device("cpu")


def test_devices_are_listed_with_what_keeps_the_run_from_using_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SimpleNamespace(name="Old", major=7, minor=0)
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda index: old,
        "mem_get_info": lambda index: (4_000_000_000, 16_000_000_000),
        "get_arch_list": lambda: ["sm_80", "sm_90", "compute_90"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    plan = plan_in(tmp_path, "trainer.device=cuda", "trainer.precision=bf16", with_data=False)
    found = "\n".join(finding.what for finding in hardware.check(plan))
    assert "cuda:0 Old, 4.0 of 16.0 GB free, capability 7.0" in found
    assert "other processes hold 12.0 GB" in found
    assert "built for sm_80, sm_90, compute_90, can't compute on capability 7.0: " in found
    assert "Old emulates bfloat16" in found
