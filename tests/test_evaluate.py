"""evaluate.py: what it measures, writes and prints, and how an interrupted evaluation continues."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tenet.corruptions import CORRUPTIONS
from tenet.evaluation.mce import ALEXNET_ERRORS
from tenet.files.weights import save_weights
from tenet.networks import ResNet
from tests.entry_points import ROOT, TINY, evaluate, train
from tests.faults.places import Fault


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    train(*TINY, "mixing=pixmix", "trainer.epochs=1", "hydra.run.dir=run", cwd=folder)
    return folder / "run"


def write_weights(run, folder):
    """A copy of the run's weights, and the words that evaluate it."""
    path = shutil.copy(run / "weights.safetensors", folder / "w.safetensors")
    return path, [f"weights={path}", "backbone=resnet8", "backbone.width=4", "dataset=digits"]


def test_evaluate_writes_json_csv_heatmap_and_a_table(run):
    done = evaluate(f"run={run}", "corruptions.names=[contrast,brightness]", cwd=run.parent)
    report = json.loads((run / "evaluation" / "corruptions-part.json").read_text())
    assert report["source"] == "generated"
    assert report["corruptions_from"] == {"seed": 0}
    assert report["arithmetic"]["threads"] >= report["arithmetic"]["processes"] == 1
    figures = report["corruption_generated"]
    assert figures["mce_pct"] is None
    assert list(figures["corruptions"]) == ["brightness", "contrast"]
    assert list(figures["corruptions"]["contrast"]) == ["1", "2", "3", "4", "5"]
    assert report["clean"]["error_pct"] == json.loads((run / "summary.json").read_text())["test/error_pct"]
    rows = (run / "evaluation" / "corruptions-part.csv").read_text().splitlines()
    assert len(rows) == 1 + 10
    assert (run / "evaluation" / "corruptions-part-heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "contrast" in done.output
    assert "no mCE" in done.output
    pictures = "300 Julia sets rendered by this package (seed 0), not the authors' pictures"
    assert report["trained_with"] == {
        "overlaps": ["brightness", "contrast", "saturate"],
        "pictures": [pictures],
    }
    line = "trained with brightness, contrast, saturate: these corruptions overlap with the benchmark's"
    assert f"{line}\ntrained with pictures: {pictures}\n" in done.output
    # A part of the sweep is no figure of the run.
    assert not any(name.startswith("corruption") for name in json.loads((run / "summary.json").read_text()))


@pytest.mark.slow
def test_evaluate_reads_official_files_and_any_weights(run, tmp_path):
    generator = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(8), 5).astype(np.uint8))
    for name in CORRUPTIONS:
        np.save(tmp_path / f"{name}.npy", generator.integers(256, size=(40, 32, 32, 3), dtype=np.uint8))
    weights = {f"module.{name}": tensor for name, tensor in load_file(run / "weights.safetensors").items()}
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    _, words = write_weights(run, tmp_path)
    output = tmp_path / "elsewhere" / "report.json"
    words = [f"weights={tmp_path / 'w.pth'}", *words[1:], f"corruptions.root={tmp_path}", f"output={output}"]
    evaluate(*words, cwd=tmp_path)
    report = json.loads(output.read_text())
    assert report["source"] == "files"
    figures = report["corruption"]
    assert figures["images_per_cell"] == 8
    cells = [error for by_severity in figures["corruptions"].values() for error in by_severity.values()]
    assert len(cells) == 75
    assert figures["mce_pct"] == pytest.approx(np.mean(cells))


def test_the_last_checkpoint_of_an_unfinished_run_is_evaluated(run, tmp_path):
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "weights.safetensors").unlink()
    done = evaluate(f"run={unfinished}", "corruptions.names=[]", cwd=tmp_path)
    assert "has not finished: evaluating its last checkpoint" in done.output
    report = json.loads((unfinished / "evaluation" / "corruptions-part.json").read_text())
    assert report["weights"].endswith("checkpoint.pt")
    assert report["clean"]["error_pct"] == json.loads((run / "summary.json").read_text())["test/error_pct"]


@pytest.mark.slow
def test_a_report_that_cannot_be_printed_is_written(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    words = [f"run={copy}", "corruptions.names=[fog]", "corruptions.severities=[1]"]
    command = [sys.executable, str(ROOT / "evaluate.py"), *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert (copy / "evaluation" / "corruptions-part.json").exists()


def test_a_sweep_killed_at_any_cell_continues_and_ends_with_the_same_figures(run, tmp_path):
    arguments = [
        f"run={run}", "corruptions.names=[contrast,saturate]", "corruptions.severities=[1,5]",
        "save_predictions=true",
    ]  # fmt: skip
    evaluate(*arguments, f"output={tmp_path / 'whole.json'}", cwd=tmp_path)
    parts = [*arguments, f"output={tmp_path / 'parts.json'}"]
    evaluate(*parts, cwd=tmp_path, fault=Fault("kill", "cell", 3), code=-9)
    assert not (tmp_path / "parts.json").exists()
    cells = tmp_path / "parts-predictions"
    kept = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.npz")}
    assert set(kept) == {"clean.npz", "contrast-1.npz"}
    done = evaluate(*parts, cwd=tmp_path)
    assert "continuing an interrupted evaluation: 2 sets of images" in done.output
    assert {name: (cells / name).stat().st_mtime_ns for name in kept} == kept
    assert (tmp_path / "parts.json").read_text() == (tmp_path / "whole.json").read_text()
    assert {path.name for path in cells.glob("*.npz")} == {
        "clean.npz", "contrast-1.npz", "contrast-5.npz", "saturate-1.npz", "saturate-5.npz",
    }  # fmt: skip


@pytest.mark.slow
def test_kept_predictions_of_other_weights_are_not_mixed_in_or_thrown_away(run, tmp_path):
    weights, words = write_weights(run, tmp_path)
    arguments = [
        *words,
        "save_predictions=true",
        "corruptions.names=[contrast]",
        "corruptions.severities=[5]",
    ]
    report, other = tmp_path / "report.json", tmp_path / "other.json"
    evaluate(*arguments, f"output={report}", cwd=tmp_path)
    save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(weights).items()}, weights)
    refused = evaluate(*arguments, f"output={report}", cwd=tmp_path, code=1)
    assert "keeps the predictions of another evaluation" in refused.output
    evaluate(*arguments, f"output={other}", cwd=tmp_path)
    assert json.loads(other.read_text())["clean"]["error_pct"] == pytest.approx(90, abs=1)


@pytest.mark.slow
def test_an_imagenet_c_tree_is_measured_relative_to_alexnet(tmp_path):
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
    evaluate(
        "weights=w.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=folder", "dataset.path=val",
        "dataset.resize=null", "dataset.crop=null", "corruptions.root=C", "corruptions.normalize=alexnet", cwd=tmp_path,
    )  # fmt: skip
    report = json.loads((tmp_path / "w-evaluation" / "corruptions-files.json").read_text())
    assert report["corruptions_from"] == {"root": "C"}
    assert report["clean"]["images"] == 6
    figures = report["corruption"]
    relative = [
        100 * sum(by_severity.values()) / (5 * ALEXNET_ERRORS[name])
        for name, by_severity in figures["corruptions"].items()
    ]
    assert figures["mce_pct"] == pytest.approx(np.mean(relative))
    assert "AlexNet" in figures["mce_definition"]


def test_cifar_10_1_and_cifar_p_are_measured_with_the_test_set(run, tmp_path):
    generator = np.random.default_rng(0)
    np.save(
        tmp_path / "cifar10.1_v6_data.npy", generator.integers(256, size=(2000, 32, 32, 3), dtype=np.uint8)
    )
    np.save(tmp_path / "cifar10.1_v6_labels.npy", generator.integers(10, size=2000))
    still = np.repeat(generator.integers(256, size=(4, 1, 32, 32, 3), dtype=np.uint8), 5, axis=1)
    np.save(tmp_path / "tilt.npy", still)
    output = tmp_path / "report.json"
    done = evaluate(
        f"run={run}", "corruptions.names=[]", f"cifar101={tmp_path}", f"cifar_p={tmp_path}", f"output={output}",
        cwd=tmp_path,
    )  # fmt: skip
    report = json.loads(output.read_text())
    assert report["corruption_generated"]["corruptions"] == {}
    assert report["other_test_sets"]["cifar10.1-v6"]["images"] == 2000
    assert report["other_test_sets"]["cifar10.1-v6"]["error_pct"] == pytest.approx(90, abs=3)
    assert report["perturbations"]["flip_pct"] == {"tilt": 0.0}, "frames that don't change don't flip"
    assert report["perturbations"]["mean_flip_pct"] is None, "one of the ten is no mean"
    assert "cifar10.1-v6 error" in done.output


def test_weights_of_one_name_and_two_kinds_are_evaluated_in_one_multirun(run, tmp_path):
    state = load_file(run / "weights.safetensors")
    torch.save(state, tmp_path / "model.pth")
    save_file(state, tmp_path / "model.safetensors")
    evaluate(
        "-m", "weights=model.pth,model.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=digits",
        "corruptions.names=[fog]", "corruptions.severities=[1]", "batch_size=100", cwd=tmp_path,
    )  # fmt: skip
    reports = (tmp_path / "model-evaluation").glob("corruptions*.json")
    first, second = (json.loads(report.read_text()) for report in reports)
    assert first["clean"] == second["clean"]
    assert first["weights_sha256"] != second["weights_sha256"]


def test_a_run_is_evaluated_from_inside_and_under_another_working_directory(run):
    arguments = ["corruptions.names=[fog]", "corruptions.severities=[2]", "tracking=none"]
    evaluate("run=.", "hydra.job.chdir=true", "output=inside.json", *arguments, cwd=run)
    assert json.loads((run / "inside.json").read_text())["weights"] == "weights.safetensors"
