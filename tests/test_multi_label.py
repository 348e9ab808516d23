"""train.py and evaluate.py on images that show several classes."""

import json

import pytest

from tenet.corruptions import __main__ as archive
from tenet.errors import ConfigError
from tenet.run.metrics_file import read_metrics
from tenet.xray import __main__ as xray
from tests.config.options import composed
from tests.entry_points import evaluate, train
from tests.multi_label import CLASSES, write_npz

DATA = ["dataset=arrays", "dataset.path=d.npz", "dataset.multi_label=true"]
TINY = [
    *DATA, "objective=binary_cross_entropy", "backbone=resnet8", "backbone.width=4", "augment=none", "tracking=none",
    "tenet.groups=3", "tenet.start_step=2", "tenet.interval=1", "optimizer.lr=0.05", "trainer.device=cpu",
    "trainer.batch_size=24", "trainer.epochs=2", "trainer.log_every_steps=4", "ema.decay=0.5", "hydra.run.dir=run",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, and what train.py printed."""
    folder = tmp_path_factory.mktemp("multi_label")
    write_npz(folder / "d.npz")
    return folder / "run", train(*TINY, cwd=folder).output


def test_training_reports_the_label_error_and_two_mean_average_precisions(run):
    folder, output = run
    lines = read_metrics(folder / "metrics.jsonl")
    assert lines[-2]["train/inhibited_steps"] == 7
    assert {"train/loss", "train/error_pct", "train/loss_inhibited", "train/loss_orthogonality"} <= set(
        lines[-2]
    )
    last = lines[-1]
    for name in ("error_pct", "map_pct", "map_11point_pct"):
        assert {f"test/{name}", f"test_ema/{name}"} <= set(last)
    assert 50 < last["test/map_pct"] <= 100
    assert json.loads((folder / "summary.json").read_text())["test/map_pct"] == last["test/map_pct"]
    assert f"test error {last['test/error_pct']:.2f} %, mAP {last['test/map_pct']:.2f} %; evaluate" in output


def test_evaluation_reports_them_clean_and_under_corruption(run):
    folder, _ = run
    measure = ["corruptions.names=[fog]", "corruptions.severities=[1,5]", "measures.per_class=true"]
    output = evaluate(f"run={folder}", *measure, "save_predictions=true", cwd=folder.parent).output
    report = json.loads((folder / "evaluation" / "corruptions-part.json").read_text())
    clean, last = report["clean"], read_metrics(folder / "metrics.jsonl")[-1]
    for name in ("error_pct", "map_pct", "map_11point_pct"):
        assert clean[name] == pytest.approx(last[f"test/{name}"])
    assert list(clean["ap_pct_by_class"]) == list(CLASSES)
    assert clean["map_pct"] == pytest.approx(sum(clean["ap_pct_by_class"].values()) / 3)
    figures = report["corruption_generated"]
    cells = figures["map_under_corruption_pct"]["fog"]
    assert figures["corrupted"]["map_pct"] == pytest.approx((cells["1"] + cells["5"]) / 2)
    assert f"clean mAP {clean['map_pct']:.2f} % (11 points {clean['map_11point_pct']:.2f} %" in output
    for part in (
        "average precision in %",
        "green",
        "mAP in %, generated",
        f"under corruption mAP {cells['5']:.2f}"[:-9],
    ):
        assert part in output
    rows = (folder / "evaluation" / "corruptions-part.csv").read_text().splitlines()
    assert rows[0] == "corruption,severity,error_pct,images,source,map_pct"
    assert rows[2].endswith(f"{cells['5']:.4f}")
    assert (folder / "evaluation" / "corruptions-part-heatmap.png").exists()
    assert not list((folder / "evaluation").glob("robustbench*"))
    # From the predictions that were kept, the same report.
    again = evaluate(f"run={folder}", *measure, "save_predictions=true", cwd=folder.parent).output
    assert "using the predictions that were kept: 3 sets of images" in again


@pytest.mark.parametrize("key", ["corruptions.root", "cifar101", "cifar_p"])
def test_benchmarks_of_one_label_an_image_are_refused(run, key):
    folder, _ = run
    done = evaluate(f"run={folder}", f"{key}={folder}", cwd=folder.parent, code=1)
    assert (
        f"{key}={folder}: its images have one label each, but those of the data set may have several"
        in done.output
    )


def test_attacks_on_images_of_several_labels_are_refused(run):
    folder, _ = run
    done = evaluate(f"run={folder}", "attacks.names=[pgd]", cwd=folder.parent, code=1)
    assert (
        "error: attacks.names: attacks raise the loss of an image's one label, but images of" in done.output
    )


def test_an_x_ray_and_an_archive_of_such_images_are_refused(run, tmp_path, monkeypatch, capsys):
    folder, _ = run
    monkeypatch.chdir(folder.parent)
    assert xray.main([str(folder)]) == 1
    assert "an X-ray is of images with one label each" in capsys.readouterr().err
    config = composed(*DATA, name="corruptions_archive")
    with pytest.raises(ConfigError, match=r"^dataset: labels.npy of an archive holds one class an image"):
        archive.run(config, tmp_path / "archive")
