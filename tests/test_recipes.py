"""The experiments of conf/experiment: each is a published recipe that trains, and says what it costs and should reach."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tenet.experiment import Experiment
from tenet.run.metrics_file import read_metrics
from tenet.tracking import Tracker
from tests.config.options import CONF, REQUIRED, composed
from tests.data.published import write_cub200, write_imagenet, write_tiny_imagenet, write_voc2012
from tests.faults.commands import write_data

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PUBLISHED = [name for name in RECIPES if name not in ("debug", "quickstart", "finetune")]
SMALL = {
    "ResNeXt": ("backbone.depth=11", "backbone.base_width=4", "backbone.widen_factor=1"),
    "WideResNet": ("backbone.depth=10", "backbone.widen_factor=1"),
    "ResNet18": ("backbone.width=4",),
    "PreActResNet18": ("backbone.width=4",),
    "ResNet": ("backbone.width=4",),
    "imagenet_resnet": ("backbone.blocks=[1,1,1,1]",),
    "zoo_model": ("backbone.name=resnet18", "backbone.pretrained=false"),
}
TINY = (
    "trainer.max_steps=2",
    "trainer.log_every_steps=1",
    "trainer.evaluate_images=1",
)
# Of the data sets of image files, small trees in their layouts.
TREES: dict[str, Callable[[Path], Path]] = {
    "ImageNet": write_imagenet,
    "ImageFolders": write_imagenet,
    "Cub200": write_cub200,
    "Voc2012": write_voc2012,
    "TinyImageNet": partial(write_tiny_imagenet, size=32),
}


def small_data(dataset, folder):
    """Overrides: a small tree in the layout of the data set and images of 32 pixels, or twenty images in place of CIFAR."""
    write = TREES.get(dataset["_target_"].rpartition(".")[2])
    if write is None:
        write_data(folder, size=32)
        path = f"dataset.path={folder / 'data.npz'}"
        return "dataset=arrays", path, "dataset.fraction=1.0", "trainer.batch_size=10"
    cut = ("dataset.resize=36", "dataset.crop=32") if dataset["crop"] else ()
    return f"dataset.path={write(folder / 'data')}", "dataset.workers=0", "trainer.batch_size=4", *cut


def metrics_of(folder, *overrides):
    """The rows of a run in `folder`, and the counters of its method."""
    folder.mkdir(exist_ok=True)
    experiment = Experiment(composed(*overrides, "trainer.device=cpu", "tracking=none"))
    experiment.check()
    checkpoints = experiment.checkpoints(folder)
    state = experiment.restore(checkpoints)
    with Tracker(folder) as tracker:
        experiment.train(state, checkpoints=checkpoints, tracker=tracker)
    return read_metrics(folder / "metrics.jsonl"), experiment.method.counters()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_takes_two_steps(recipe, tmp_path):
    whole = composed(f"experiment={recipe}", *REQUIRED.get(recipe, []))
    small = SMALL[whole["backbone"]["_target_"].rpartition(".")[2]]
    inhibits = ("tenet.start_step=0", "tenet.interval=1") if whole["tenet"]["_target_"] else ()
    data = small_data(whole["dataset"], tmp_path)
    rows, _ = metrics_of(tmp_path / "run", f"experiment={recipe}", *data, *TINY, *small, *inhibits)
    assert rows[-1]["step"] == 2
    assert 0 < next(row["train/loss"] for row in rows if "train/loss" in row) < 1000


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_recipe_names_its_paper_command_cost_and_published_figures(recipe):
    header = re.match(r"(#.*\n)+", (CONF / "experiment" / f"{recipe}.yaml").read_text())[0]
    assert re.search(r"arXiv \d{4}\.\d{4,5}", header)
    assert f"# Command: python train.py experiment={recipe}" in header
    for start in ("# Cost: ", "# Published: "):
        assert start in header


def test_the_official_recipe_is_the_default():
    assert composed("experiment=tenet_cifar10") == composed()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PUBLISHED)
def test_inhibition_on_top_of_a_recipe_is_one_override(recipe):
    Experiment(composed(f"experiment={recipe}", "tenet=inhibition", "tracking=none")).check(
        resumes=True  # downloads no weights
    )


def test_debug_reaches_no_training_error_on_its_one_batch(tmp_path):
    rows, counters = metrics_of(tmp_path, "experiment=debug")
    errors = [row["train/error_pct"] for row in rows if "train/error_pct" in row]
    assert len(errors) == 10
    assert errors[0] > 50
    assert errors[-1] == 0
    assert counters["inhibited_steps"] >= 8
