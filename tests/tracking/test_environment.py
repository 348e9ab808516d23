"""W&B's own variables are heard where no key is typed, and a wrong one is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenet.errors import ConfigError
from tenet.tracking import WandbTracking
from tests.entry_points import train
from tests.tracking.wandb_offline import read_wandb_file, wandb_files

VARIABLES = {
    "WANDB_PROJECT": "theirs",
    "WANDB_ENTITY": "team",
    "WANDB_NAME": "first",
    "WANDB_RUN_GROUP": "ablation",
    "WANDB_JOB_TYPE": "sweep",
    "WANDB_TAGS": "a, b,",
    "WANDB_NOTES": "why",
}


@pytest.fixture(autouse=True)
def _wandb_that_reads_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import wandb

    os.environ.pop("WANDB_SERVICE", None)  # not to be restored: the service ends with this test
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    wandb.teardown()
    yield
    wandb.teardown()


def place(tracking: WandbTracking, run_dir: Path, *, job_type: str | None = None) -> dict[str, object]:
    """Where W&B's own file says that the run belongs."""
    tracking.start(run_dir, config={}, job_type=job_type).finish()
    (run,) = map(read_wandb_file, wandb_files(run_dir))
    names = ("project", "entity", "display_name", "run_group", "job_type", "notes")
    return {**{name: getattr(run.run, name) for name in names}, "tags": list(run.run.tags)}


def test_variables_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert place(WandbTracking(mode="offline"), tmp_path, job_type="evaluate") == {
        "project": "theirs", "entity": "team", "display_name": "first", "run_group": "ablation",
        "job_type": "sweep", "notes": "why", "tags": ["a", "b"],
    }  # fmt: skip


def test_a_key_that_is_typed_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    tracking = WandbTracking(
        mode="offline", project="tenet", entity="own", name="n", group="g", job_type="train", tags=["t"], notes="o"
    )  # fmt: skip
    assert place(tracking, tmp_path) == {
        "project": "tenet", "entity": "own", "display_name": "n", "run_group": "g", "job_type": "train",
        "notes": "o", "tags": ["t"],
    }  # fmt: skip


def test_empty_variables_count_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "WANDB_MODE", "WANDB_RUN_ID", "WANDB_SILENT", "WANDB_HTTP_TIMEOUT"):
        monkeypatch.setenv(name, "")
    assert place(WandbTracking(mode="offline"), tmp_path / "run") == {
        "project": "tenet", "entity": "", "display_name": f"{tmp_path.name}/run", "run_group": "",
        "job_type": "train", "notes": "", "tags": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_MODE", "Offline"),
        ("WANDB_HTTP_TIMEOUT", "abc"),
        ("WANDB_SILENT", "maybe"),
        ("WANDB_BASE_URL", "nowhere"),
        ("WANDB_RUN_ID", "a/b"),
    ],
)
def test_a_variable_that_wandb_cannot_read_is_named_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}: .*; correct the variable, or unset it$") as error:
        WandbTracking().check()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_each_job_of_a_multirun_has_an_id_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    done = train(
        "-m", "seed=0,1", "experiment=quickstart", "dataset.fraction=0.05", "backbone.width=4", "tenet=none",
        "trainer.max_steps=1", "tracking=wandb", "tracking.mode=offline", cwd=tmp_path,
    )  # fmt: skip
    assert done.output.count("WANDB_RUN_ID is the id of one run") == 1
    runs = [read_wandb_file(*wandb_files(folder)).run for folder in (tmp_path / "runs").glob("digits-*")]
    assert len({run.run_id for run in runs} - {"mine"}) == 2
    assert {run.run_group for run in runs} == {"theirs"}
    assert {run.display_name for run in runs} == {"seed=0", "seed=1"}
