"""train.py and evaluate.py as a user types them, in processes of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tenet.run.metrics_file import read_metrics
from tenet.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[1]
# 144 digits, two views each, in batches of 32: 9 steps an epoch.
TINY = [
    "experiment=quickstart",
    "dataset.fraction=0.1",
    "backbone.width=4",
    "tenet.groups=3",
    "tenet.start_step=4",
    "trainer.batch_size=32",
    "trainer.epochs=3",
    "trainer.log_every_steps=3",
]


def command(script, *arguments):
    return [sys.executable, str(ROOT / script), *arguments]


def call(script, *arguments, cwd, fails=False):
    # One thread: test processes share the machine with each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(script, *arguments), cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run in `run`, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = call("train.py", *TINY, "hydra.run.dir=run", cwd=folder)
    return folder / "run", done.stdout


def test_a_run_folder_holds_all_that_the_run_was(trained):
    run, output = trained
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "metrics.jsonl", "summary.json", "checkpoint.pt", "weights.safetensors", "train.log",
    }  # fmt: skip
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tenet"]["groups"] == 3
    assert config["seed"] == 0
    metrics = read_metrics(run / "metrics.jsonl")
    assert {"train/loss", "train/error_pct", "train/loss_inhibited", "train/loss_orthogonality", "train/learning_rate",
            "speed/images_per_s"} <= set(metrics[-2])  # fmt: skip
    assert metrics[-1]["step"] == 27
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test/error_pct"] == metrics[-1]["test/error_pct"]
    assert f"test error {summary['test/error_pct']:.2f} %" in output
    # No terminal: plain lines with epoch, loss, error, speed and time left.
    line = next(line for line in output.splitlines() if "step 27/27" in line)
    for part in ("epoch 3/3", "loss ", "error ", "images/s", "0:00:00 left"):
        assert part in line


def test_evaluate_writes_json_csv_heatmap_and_a_table(trained):
    run, _ = trained
    done = call("evaluate.py", f"run={run}", "corruptions.names=[contrast,brightness]", cwd=run.parent)
    report = json.loads((run / "evaluation" / "corruptions-part.json").read_text())
    assert report["source"] == "generated"
    assert report["mce_pct"] is None
    assert list(report["corruptions"]) == ["brightness", "contrast"]
    assert list(report["corruptions"]["contrast"]) == ["1", "2", "3", "4", "5"]
    assert report["clean"]["error_pct"] == json.loads((run / "summary.json").read_text())["test/error_pct"]
    rows = (run / "evaluation" / "corruptions-part.csv").read_text().splitlines()
    assert len(rows) == 1 + 10
    assert (run / "evaluation" / "corruptions-part-heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "contrast" in done.stdout
    assert "no mCE" in done.stdout
    # A part of the sweep is no figure of the run.
    assert not any(name.startswith("corruption/") for name in json.loads((run / "summary.json").read_text()))


def test_evaluate_reads_official_files_and_any_weights(trained, tmp_path):
    from tenet.corruptions import CORRUPTIONS

    run, _ = trained
    generator = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(8), 5).astype(np.uint8))
    for name in CORRUPTIONS:
        np.save(tmp_path / f"{name}.npy", generator.integers(256, size=(40, 32, 32, 3), dtype=np.uint8))
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in load_file(run / "weights.safetensors").items()}},
        tmp_path / "w.pth",
    )
    output = tmp_path / "elsewhere" / "report.json"
    call(
        "evaluate.py", f"weights={tmp_path / 'w.pth'}", "backbone=resnet8", "backbone.width=4", "dataset=digits",
        f"corruptions.root={tmp_path}", f"output={output}", cwd=tmp_path,
    )  # fmt: skip
    report = json.loads(output.read_text())
    assert report["source"] == "files"
    assert report["images_per_cell"] == 8
    cells = [error for by_severity in report["corruptions"].values() for error in by_severity.values()]
    assert len(cells) == 75
    assert report["mce_pct"] == pytest.approx(np.mean(cells))


def test_a_killed_run_resumes_to_the_very_same_weights_and_metrics(trained, tmp_path):
    whole, _ = trained
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("train.py", *TINY, f"hydra.run.dir={run}"),
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (run / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "weights.safetensors").exists(), "the run was over before it could be killed"
    call("train.py", f"resume={run}", cwd=tmp_path)
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    lines = [
        [
            {k: v for k, v in line.items() if not k.startswith("speed/")}
            for line in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in (run, whole)
    ]
    assert lines[0] == lines[1]


def test_resuming_a_finished_run_says_so_and_changes_nothing(trained):
    run, _ = trained
    before = (run / "weights.safetensors").read_bytes()
    done = call("train.py", f"resume={run}", cwd=run.parent)
    assert "had finished already" in done.stdout
    assert (run / "weights.safetensors").read_bytes() == before


def test_a_resumed_run_that_is_refused_leaves_the_finished_one_as_it_was(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    checkpoints = Checkpoints(run, data=torch.load(run / "checkpoint.pt")["data"])
    content = checkpoints.load()
    content["model"].popitem()
    checkpoints.save(content)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".log"}
    refused = call("train.py", f"resume={run}", "trainer.epochs=9", cwd=tmp_path, fails=True)
    assert "does not fit this configuration" in refused.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_a_report_that_cannot_be_printed_is_written(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    words = command("evaluate.py", f"run={run}", "corruptions.names=[fog]", "corruptions.severities=[1]")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert (run / "evaluation" / "corruptions-part.json").exists()


def test_a_multirun_trains_every_combination_and_again_only_what_is_missing(tmp_path):
    arguments = [*TINY, "trainer.max_steps=2", "-m", "tenet.groups=2,3", "seed=0,1", "hydra.sweep.dir=sweep"]
    call("train.py", *arguments, cwd=tmp_path)
    runs = [path.parent for path in (tmp_path / "sweep").glob("*/weights.safetensors")]
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert sorted((c["tenet"]["groups"], c["seed"]) for c in configs) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    written = {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs}
    lost = runs[2]
    shutil.rmtree(lost)
    done = call("train.py", *arguments, cwd=tmp_path)
    assert done.stdout.count("has finished already") == 3
    again = {run: (run / "weights.safetensors").stat().st_mtime_ns for run in runs}
    assert [run for run in runs if again[run] != written[run]] == [lost]


def test_plain_training_has_no_inhibited_steps(tmp_path):
    arguments = [argument for argument in TINY if not argument.startswith("tenet.")]
    call("train.py", *arguments, "tenet=none", "trainer.epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert not any(
        "train/loss_inhibited" in line for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
    )


def test_a_non_finite_loss_ends_in_one_line_and_exit_code_1(tmp_path):
    done = call("train.py", *TINY, "optimizer.lr=1e6", "hydra.run.dir=run", cwd=tmp_path, fails=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: step ")
    assert "learning rate " in last
    assert "Last good checkpoint: none yet" in last
    assert "Traceback" not in done.stderr


def test_the_same_command_again_gives_the_result_and_another_one_is_refused(trained):
    run, _ = trained
    before = (run / "weights.safetensors").stat().st_mtime_ns
    done = call(
        "train.py", *TINY, f"hydra.run.dir={run}", "tracking.mode=offline", "tracking=wandb", cwd=run.parent
    )
    error = json.loads((run / "summary.json").read_text())["test/error_pct"]
    assert f"has finished already: test error {error:.2f} %" in done.stdout
    done = call("train.py", *TINY, "seed=1", f"hydra.run.dir={run}", cwd=run.parent, fails=True)
    assert "holds a run of another configuration or version (seed is 0 there, not 1)" in done.stderr
    assert (run / "weights.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_run_goes_on_by_its_command_while_no_other_process_holds_it(trained, tmp_path):
    whole, _ = trained
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command("train.py", *TINY), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    done = call("train.py", *TINY, cwd=tmp_path, fails=True)
    assert "another process is working in" in done.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = call("train.py", *TINY, cwd=tmp_path)
    assert "going on with" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("digits-resnet8-inhibition-seed0-")
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    # Anew: the old run is kept.
    call("train.py", *TINY, "rerun=true", cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("*/weights.safetensors"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tenet.group=4"], "there is no key tenet.group; did you mean tenet.groups"),
        (["dataset=cifar1000"], "dataset=cifar1000: no such option; did you mean cifar100"),
        (["tenet.groups=zero"], "tenet.groups=zero: must be an integer of at least 1"),
    ],
)
def test_a_wrong_command_fails_within_three_seconds_naming_the_right_one(tmp_path, arguments, message):
    start = time.monotonic()
    done = call("train.py", *arguments, cwd=tmp_path, fails=True)
    assert time.monotonic() - start < 3
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tenet.groups=700"], "tenet.groups=700 exceeds the 512 channels at layer stage_2"),
        (["trainer.device=cuda"], "no CUDA device"),
        (["dataset=arrays", "dataset.path=nowhere.npz"], "nowhere.npz is not a file"),
    ],
)
def test_what_only_torch_can_tell_is_refused_in_one_line_too(tmp_path, arguments, message):
    if "cuda" in arguments[0] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = call("train.py", *arguments, cwd=tmp_path, fails=True)
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_is_for_people_and_cfg_prints_the_configuration(tmp_path):
    text = call("train.py", "--help", cwd=tmp_path).stdout
    for part in (
        "usage: python train.py",
        "dataset: arrays, cifar10, cifar100, digits",
        "-m tenet.groups=2,4",
        "start_step: 500",
    ):
        assert part in text
    printed = call("train.py", "tenet.groups=4", "--cfg", "job", cwd=tmp_path).stdout
    assert yaml.safe_load(printed)["tenet"]["groups"] == 4


def test_a_sweep_killed_at_any_cell_goes_on_and_ends_with_the_same_figures(trained, tmp_path):
    run, _ = trained
    arguments = [
        f"run={run}",
        "corruptions.names=[contrast,brightness,saturate,pixelate]",
        "save_predictions=true",
    ]
    call("evaluate.py", *arguments, f"output={tmp_path / 'whole.json'}", cwd=tmp_path)
    cells = tmp_path / "parts-predictions"
    process = subprocess.Popen(
        command("evaluate.py", *arguments, f"output={tmp_path / 'parts.json'}"),
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(cells.glob("*.npz"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "parts.json").exists(), "the sweep was over before it could be killed"
    kept = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.npz")}
    done = call("evaluate.py", *arguments, f"output={tmp_path / 'parts.json'}", cwd=tmp_path)
    assert f"going on with an interrupted sweep: {len(kept)} sets of images" in done.stdout
    assert {name: (cells / name).stat().st_mtime_ns for name in kept} == kept
    assert (tmp_path / "parts.json").read_text() == (tmp_path / "whole.json").read_text()
    assert len(list(cells.glob("*.npz"))) == 21


def test_kept_predictions_of_other_weights_are_not_mixed_in_or_thrown_away(trained, tmp_path):
    run, _ = trained
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((run / "weights.safetensors").read_bytes())
    arguments = [
        f"weights={weights}", "backbone=resnet8", "backbone.width=4", "dataset=digits", "save_predictions=true",
        "corruptions.names=[contrast]", "corruptions.severities=[5]", f"output={tmp_path / 'report.json'}",
    ]  # fmt: skip
    call("evaluate.py", *arguments, cwd=tmp_path)
    from safetensors.torch import save_file

    save_file({k: torch.zeros_like(v) for k, v in load_file(weights).items()}, weights)
    done = call("evaluate.py", *arguments, cwd=tmp_path, fails=True)
    assert "keeps the predictions of another evaluation" in done.stderr
    call("evaluate.py", *arguments, f"output={tmp_path / 'other.json'}", cwd=tmp_path)
    assert json.loads((tmp_path / "other.json").read_text())["clean"]["error_pct"] == pytest.approx(90, abs=1)


def test_an_imagenet_c_tree_is_measured_relative_to_alexnet(tmp_path):
    from PIL import Image

    from tenet.corruptions import CORRUPTIONS
    from tenet.corruptions.alexnet import ALEXNET_ERRORS
    from tenet.files.weights import save_weights
    from tenet.networks import ResNet

    generator = np.random.default_rng(0)

    def picture(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(path)

    for name in ("n01", "n02"):
        for image in range(3):
            picture(tmp_path / "val" / name / f"{image}.JPEG")
            for corruption in CORRUPTIONS:
                for severity in range(1, 6):
                    picture(tmp_path / "C" / corruption / str(severity) / name / f"{image}.JPEG")
    torch.manual_seed(0)
    save_weights(ResNet(num_classes=2, depth=8, width=4), tmp_path / "w.safetensors")
    call(
        "evaluate.py", "weights=w.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=folder", "dataset.path=val",
        "dataset.resize=null", "dataset.crop=null", "corruptions.root=C", "corruptions.normalize=alexnet", cwd=tmp_path,
    )  # fmt: skip
    report = json.loads((tmp_path / "w-evaluation" / "corruptions-files.json").read_text())
    assert report["clean"]["images"] == 6
    relative = [
        100 * sum(by_severity.values()) / (5 * ALEXNET_ERRORS[name])
        for name, by_severity in report["corruptions"].items()
    ]
    assert report["mce_pct"] == pytest.approx(np.mean(relative))
    assert "AlexNet" in report["mce_definition"]


def test_cifar_10_1_and_cifar_p_are_measured_beside_the_test_set(trained, tmp_path):
    run, _ = trained
    generator = np.random.default_rng(0)
    np.save(
        tmp_path / "cifar10.1_v6_data.npy", generator.integers(256, size=(2000, 32, 32, 3), dtype=np.uint8)
    )
    np.save(tmp_path / "cifar10.1_v6_labels.npy", generator.integers(10, size=2000))
    still = np.repeat(generator.integers(256, size=(4, 1, 32, 32, 3), dtype=np.uint8), 5, axis=1)
    np.save(tmp_path / "tilt.npy", still)
    output = tmp_path / "report.json"
    call(
        "evaluate.py", f"run={run}", "corruptions.names=[]", f"cifar101={tmp_path}", f"cifar_p={tmp_path}",
        f"output={output}",
        cwd=tmp_path,
    )  # fmt: skip
    report = json.loads(output.read_text())
    assert report["corruptions"] == {}
    assert report["other_test_sets"]["cifar10.1-v6"]["images"] == 2000
    assert report["other_test_sets"]["cifar10.1-v6"]["error_pct"] == pytest.approx(90, abs=3)
    assert report["perturbations"]["flip_pct"] == {"tilt": 0.0}, "frames that don't change don't flip"
    assert report["perturbations"]["mean_flip_pct"] is None, "one of the ten is no mean"
