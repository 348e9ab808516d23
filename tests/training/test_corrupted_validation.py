"""Choosing by robustness: the error of held-out training images under corruptions that no benchmark measures."""

import logging
from pathlib import Path

import pytest
import torch

import tenet
from tenet.config.run_config import read_config
from tenet.corruptions import EXTRA_CORRUPTIONS, corrupt
from tenet.corruptions.names import CIFAR_BAR
from tenet.errors import ConfigError
from tenet.experiment import Experiment
from tenet.experiment.validation import CorruptedValidation
from tenet.files.json import read_json
from tenet.run.metrics_file import read_metrics
from tests.config.options import composed
from tests.faults.commands import Command, train, write_data

HELD_OUT = "dataset.validation_fraction=0.4"
ASKED = [
    HELD_OUT,
    "validation.corruptions=[spatter,lines]",
    "validation.severities=[5,1]",
    "validation.images=6",
]
NAME = "validation/corrupted_error_pct"


def measured(run_dir: Path) -> list[dict[str, float]]:
    """The validation figures of each evaluation, and its step."""
    rows = [row for row in read_metrics(run_dir / "metrics.jsonl") if NAME in row]
    return [{k: v for k, v in row.items() if k == "step" or k.startswith("validation")} for row in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("validation")
    write_data(place)
    ended = train(*ASKED, cwd=place)
    assert ended.code == 0, ended.output
    assert (
        "each evaluation also predicts 24 corrupted images (2 corruptions, 6 held-out images): as many as 100 % of an"
    ) in ended.output
    assert "corrupted" in next(line for line in ended.output.splitlines() if "epoch 3/3" in line)
    return place


def test_each_evaluation_measures_held_out_images_under_the_chosen_corruptions(place: Path) -> None:
    rows = measured(place / "run")
    assert len(rows) == 3
    summary = read_json(place / "run" / "summary.json")
    assert summary[NAME] == rows[-1][NAME]
    experiment = Experiment(read_config(place / "run"))
    images = experiment.splits.validation.images
    ids = torch.arange(6) * len(images) // 6
    labels = experiment.splits.validation.labels[ids]
    network = tenet.load(place / "run").eval()
    means = []
    for name in ("spatter", "lines"):
        wrong = []
        for severity in (1, 5):
            changed = corrupt(images[ids], corruption=name, severity=severity)
            with torch.no_grad():
                found = network(changed.permute(0, 3, 1, 2) / 255).argmax(1)
            wrong.append((found != labels).double().mean().item())
        means.append(100 * sum(wrong) / 2)
        assert summary[f"validation/{name}/error_pct"] == pytest.approx(means[-1])
    assert summary[NAME] == pytest.approx(sum(means) / 2)


def test_a_resumed_run_measures_the_same(place: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    assert train(*ASKED, "trainer.max_steps=3", cwd=tmp_path).code == 0
    resumed = Command("train", "resume=run", "trainer.max_steps=null", cwd=tmp_path).wait()
    assert resumed.code == 0, resumed.output
    known = {row["step"]: row for row in measured(place / "run")}
    found = {row["step"]: row for row in measured(tmp_path / "run") if row["step"] in known}
    assert list(found) == list(known)
    assert found == known


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            [HELD_OUT, "validation.corruptions=[spatter,fog]"],
            "validation.corruptions=fog: one of the 15 of the benchmark, so the mCE of what is chosen by it would no longer",
        ),
        (
            [HELD_OUT, "validation.corruptions=[spater]"],
            "validation.corruptions=spater: unknown; did you mean spatter?",
        ),
        (
            ["validation.corruptions=[extra]"],
            "validation.corruptions=[extra]: no images are held out; set dataset.val",
        ),
        (
            [HELD_OUT, "validation.corruptions=[extra]", "validation.severities=[]"],
            "validation.severities=[]: name at",
        ),
    ],
)
def test_what_would_not_be_a_choice_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        Experiment(composed("experiment=quickstart", "tracking=none", *words)).check()
    assert told in str(error.value)


def test_sets_stand_for_their_corruptions_at_the_size_of_the_images() -> None:
    settings = CorruptedValidation(corruptions=["extra", "lines", "c_bar"])
    assert settings.names(32) == (
        *EXTRA_CORRUPTIONS,
        "lines",
        *(name for name in CIFAR_BAR if name != "lines"),
    )
    with pytest.raises(
        ConfigError, match=r"corruptions=lines: not defined for images of 224 pixels; choose from"
    ):
        settings.names(224)


def test_a_run_without_it_keeps_its_configuration_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    config = composed("experiment=quickstart", "tracking=none", "validation.images=7")
    assert "validation" not in config
    with caplog.at_level(logging.INFO, logger="tenet"):
        Experiment(config).describe()
    assert "corrupted" not in caplog.text
