"""Which mode is chosen, what a missing W&B or a missing API key does, and runs without tracking."""

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tenet.config.command_line import plan
from tenet.errors import ConfigError
from tenet.run.metrics_file import read_metrics
from tenet.tracking import NoTracking, Tracking, WandbTracking

CONF = Path(__file__).resolve().parents[2] / "conf"
METRICS = {"epoch": 0, "train/loss": 1.9, "corruption/fog/3/error_pct": 41.5}


@pytest.fixture
def without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """wandb in a process without credentials; the path of its .netrc file, which does not exist."""
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # otherwise wandb keeps the settings of an earlier environment
    return tmp_path / "netrc"


@pytest.mark.parametrize("tracking", [NoTracking(), WandbTracking()])
def test_every_kind_of_tracking_has_one_base_class(tracking: object) -> None:
    assert isinstance(tracking, Tracking)


@pytest.mark.parametrize("module", [None, ModuleType("wandb")], ids=["missing", "broken"])
def test_without_a_working_wandb_there_is_one_warning_and_the_local_files(
    module: ModuleType | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", module)
    tracking = WandbTracking(mode="online")
    tracking.check()
    with tracking.start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.0}, step=1)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith("W&B is off (")
    assert warning.getMessage().endswith(f"every metric is in {tmp_path / 'metrics.jsonl'}")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize(
    ("mode", "wandb_mode", "key"), [("online", "offline", "tracking.mode"), ("auto", "online", "WANDB_MODE")]
)
def test_online_without_an_api_key_is_an_error_that_names_the_remedies(
    mode: str, wandb_mode: str, key: str, without_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", wandb_mode)
    tracking = WandbTracking(mode=mode)
    message = rf"^{key}=online .*wandb login.*WANDB_API_KEY.*mode=offline.*=none"
    with pytest.raises(ConfigError, match=message):
        tracking.check()
    with pytest.raises(ConfigError, match=message):
        tracking.start(tmp_path, config={})


def test_offline_and_none_pass_the_check_without_an_api_key(without_key: Path) -> None:
    WandbTracking(mode="offline").check()
    NoTracking().check()


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        ("machine api.wandb.ai\n  login user\n  password {key}\n", "online"),
        ("machine other.example\n  login user\n  password {key}\n", "offline"),
        ("machine api.wandb.ai login\n", "offline"),
    ],
    ids=["as `wandb login` writes it", "another server", "damaged"],
)
def test_a_key_in_netrc_is_found(
    content: str, mode: str, without_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    without_key.write_text(content.format(key="0123456789" * 4))
    assert WandbTracking().choose_mode()[0] == mode


def test_without_an_api_key_the_run_is_offline_and_one_line_says_how_to_upload_it(
    without_key: Path, tmp_path: Path, caplog: Any
) -> None:
    import wandb

    caplog.set_level(logging.INFO, "tenet")
    WandbTracking().start(tmp_path / "run", config={}).finish()
    wandb.teardown()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tenet"]
    assert line.startswith("W&B is offline (no API key is set up)")
    assert line.endswith(f": wandb sync {tmp_path / 'run' / 'wandb'}")


@pytest.mark.parametrize(
    "setting", ["mode=sometimes", "init_timeout_s=0.0", "finish_timeout_s=-1.0", "artifacts=all", "tags=cifar"]
)  # fmt: skip
def test_settings_that_cannot_work_are_errors(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"tracking.{setting}: must be"):
        plan([f"tracking.{setting}"], config_dir=CONF, config_name="train")


def test_wandb_mode_disabled_writes_local_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with WandbTracking().start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.0}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_no_tracking_writes_local_files_only(tmp_path: Path) -> None:
    NoTracking().report_finished(tmp_path / "new", config={}, run_id="1f0c5a2b3d")
    with NoTracking().start(tmp_path / "new", config={}) as tracker:
        tracker.log(METRICS, step=12)
        tracker.log_table("table", ("a",), [(1,)])
        tracker.log_image("image", tmp_path / "absent.png")
        tracker.log_artifact("weights", [tmp_path / "absent.safetensors"], metadata={})
        tracker.summarize({"test/error_pct": math.inf})
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == [{"step": 12, **METRICS}]
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == {"test/error_pct": None}
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_importing_tracking_does_not_import_wandb() -> None:
    code = "import sys, tenet.tracking; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
