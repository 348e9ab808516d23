"""The commands train.py and evaluate.py with W&B: what is sent, and what a failing server does."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tenet.config.run_config import read_config, run_id
from tenet.run.metrics_file import read_metrics
from tests.faults.commands import Command, Ended
from tests.tracking.wandb_offline import RunRecords, read_wandb_file, wandb_files
from tests.tracking.wandb_server import serving

SECRET = "planted-3b2e9c4d"
ROWS = 12
ARGUMENTS = [
    "dataset=arrays", "dataset.path=images.npz", "backbone=resnet8", "backbone.width=4", "tenet.groups=3",
    "tenet.start_step=4", "trainer.batch_size=32", f"trainer.max_steps={ROWS}", "trainer.log_every_steps=1",
    "tracking.init_timeout_s=1.0", "tracking.finish_timeout_s=1.0",
]  # fmt: skip


def start(script: str, *arguments: str, cwd: Path, **variables: str) -> Command:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {**kept, "SECRET_TOKEN": SECRET, **variables})
        return Command(script, *arguments, cwd=cwd)


class Runs(NamedTuple):
    folder: Path
    commands: dict[str, Ended]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A training run with a working W&B, and one whose server stops answering."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(160, 32, 32, 3), dtype=np.uint8)
    np.savez(
        folder / "images.npz",
        train_images=images, train_labels=np.arange(160) % 4, test_images=images[:8], test_labels=np.arange(8) % 4,
    )  # fmt: skip
    # Git reads this remote, which contains credentials, from the environment.
    remote = {
        "KEY_0": "remote.origin.url",
        "VALUE_0": f"https://me:{SECRET}@example.org/tenet.git",
        "COUNT": "1",
    }
    offline = {f"GIT_CONFIG_{name}": value for name, value in remote.items()} | {
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": SECRET * 2 + "12345678",
    }
    with serving(turns="stall") as turning:
        processes = {
            "good": start(
                "train", *ARGUMENTS, "hydra.run.dir=good", "tracking.artifacts=checkpoints", cwd=folder, **offline
            ),
            "turned": start("train", *ARGUMENTS, "hydra.run.dir=turned", cwd=folder, **turning.environment),
        }  # fmt: skip
        return Runs(folder, {name: process.wait() for name, process in processes.items()})


@pytest.fixture(scope="module")
def run_dir(runs: Runs) -> Path:
    """The folder of the run with a working W&B."""
    assert runs.commands["good"].code == 0, runs.commands["good"].output
    return runs.folder / "good"


@pytest.mark.slow
def test_training_succeeds_with_all_metrics_if_the_server_stops_answering(runs: Runs, run_dir: Path) -> None:
    code, output = runs.commands["turned"]
    assert code == 0, output
    assert "Traceback" not in output
    assert output.count("W&B failed (") == 1
    rows, undisturbed = (
        [
            {key: value for key, value in row.items() if not key.startswith("speed/")}
            for row in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in (runs.folder / "turned", run_dir)
    )
    assert rows == undisturbed
    assert (runs.folder / "turned" / "weights.safetensors").exists()


def test_a_run_has_its_experiments_id_its_config_and_all_its_metrics(runs: Runs, run_dir: Path) -> None:
    (run,) = map(read_wandb_file, wandb_files(run_dir)[:1])
    config = read_config(run_dir)
    assert run.run.run_id.startswith(f"{run_id(config)}-")
    choices = {"dataset": "arrays", "backbone": "resnet8", "tenet": "inhibition", "attack": "none"}
    assert choices.items() <= config["choices"].items()
    assert run.config["choices"] == config["choices"]
    assert run.config["tenet"].items() < config["tenet"].items()
    shown = json.dumps(run.config)
    assert not any(word in shown for word in ("_target_", "tracking", "rerun", str(run_dir), "hydra"))
    metrics = read_metrics(run_dir / "metrics.jsonl")
    assert [{name: row[name] for name in row if not name.startswith("_")} for row in run.history] == metrics


def test_weights_and_checkpoint_artifacts_carry_their_figures(run_dir: Path) -> None:
    (run,) = map(read_wandb_file, wandb_files(run_dir)[:1])
    kept = {artifact.type: artifact for artifact in run.artifacts}
    summary = json.loads((run_dir / "summary.json").read_text())
    for kind, file in {"model": "weights.safetensors", "checkpoint": "checkpoint.pt"}.items():
        assert [entry.path for entry in kept[kind].manifest.contents] == [file]
        metadata = json.loads(kept[kind].metadata)
        assert (metadata["step"], metadata["test/error_pct"]) == (ROWS, summary["test/error_pct"])


@pytest.fixture(scope="module")
def evaluated(runs: Runs, run_dir: Path) -> RunRecords:
    code, output = start("evaluate", f"run={run_dir}", cwd=runs.folder, WANDB_MODE="offline").wait()
    assert code == 0, output
    training, evaluation = map(read_wandb_file, wandb_files(run_dir))
    assert (evaluation.run.run_id, evaluation.run.project) == (training.run.run_id, training.run.project)
    return evaluation


@pytest.mark.slow
def test_an_evaluation_adds_figures_table_pictures_and_report_to_the_same_wandb_run(
    run_dir: Path, evaluated: RunRecords
) -> None:
    report = json.loads((run_dir / "evaluation" / "corruptions.json").read_text())
    summary = json.loads((run_dir / "summary.json").read_text())
    figures = report["corruption_generated"]
    name = "corruption_generated/mce_pct"
    assert summary[name] == evaluated.summary[name] == figures["mce_pct"]
    assert "corruption/mce_pct" not in {**summary, **evaluated.summary}, "no official file was measured"
    cell = "corruption_generated/contrast/5/error_pct"
    assert summary[cell] == figures["corruptions"]["contrast"]["5"]
    assert cell not in evaluated.summary, "single cells are in the table"
    training = read_wandb_file(wandb_files(run_dir)[0])
    shown = [{**run.config, "_wandb": None} for run in (training, evaluated)]
    assert shown[0] == shown[1], "an evaluation leaves the configuration as it is"
    assert f"{run_dir.name}/config.yaml" in training.saved_files
    assert evaluated.summary["corruption_generated/table"]["nrows"] == 95
    for name in ("heatmap", "curves", "sheet"):
        assert evaluated.summary[f"corruption_generated/{name}"]["_type"] == "image-file"
    (kept,) = [artifact for artifact in evaluated.artifacts if artifact.type == "evaluation"]
    assert {"corruptions.json", "corruptions.csv"} <= {entry.path for entry in kept.manifest.contents}
    assert json.loads(kept.metadata)["corruption_generated/mce_pct"] == figures["mce_pct"]


@pytest.mark.slow
def test_no_file_of_a_run_contains_a_secret_of_environment_or_remote(run_dir: Path, evaluated: Any) -> None:
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    if (git := json.loads((run_dir / "environment.json").read_text())["git"]) is not None:
        assert git["remote"] == "https://example.org/tenet.git"
