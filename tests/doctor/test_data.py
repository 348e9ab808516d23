"""Is the data set there, whole, and what it says it is?"""

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.corruptions.write import ArchiveWriter
from tenet.data import Cifar, ImageArrays
from tenet.doctor import augmentation, corruptions, data
from tenet.doctor.findings import Finding, Plan, examine
from tenet.doctor.report import Report
from tests.data.test_download import Archive
from tests.doctor.plans import plan_in, statuses


def found_by(check: Any, plan: Plan) -> list[Finding]:
    return examine("", check, plan).findings


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small CIFAR-10, which torchvision takes for the official one."""
    archive = Archive("cifar10")
    archive.stand_in(monkeypatch, url="http://127.0.0.1:9/nothing-is-to-be-downloaded")
    folder = tmp_path / "root" / archive.source.base_folder
    folder.mkdir(parents=True)
    for name, content in archive.members.items():
        (folder / name).write_bytes(content)
    return folder


def cifar_plan(tmp_path: Path) -> Plan:
    # fraction: the small set can't be cut.
    overrides = ("dataset=cifar10", f"dataset.root={tmp_path / 'root'}", "dataset.fraction=1.0")
    return plan_in(tmp_path, *overrides, with_data=False)


def test_whole_cifar_files_are_read_and_counted(cifar: Path, tmp_path: Path) -> None:
    plan = cifar_plan(tmp_path)
    files, contents = found_by(data.check, plan)
    assert (files.status, files.what) == ("ok", f"{cifar}: 4 files, MD5 as published")
    assert contents.what.startswith(
        "12 training, 4 test images of 32 x 32 in 2 classes; 6 training images of each"
    )
    assert not plan.has_stand_ins


def test_a_damaged_cifar_file_is_named_and_random_images_stand_in(cifar: Path, tmp_path: Path) -> None:
    (cifar / "batch_2").write_bytes(b"damaged")
    (cifar / "meta").unlink()
    plan = cifar_plan(tmp_path)
    (found,) = found_by(data.check, plan)
    assert found.status == "problem"
    assert found.what == f"{cifar}: missing: meta; not the published file: batch_2"
    assert found.remedy is not None
    assert found.remedy.startswith(f"rm -r {cifar}; python -c ")
    assert plan.has_stand_ins
    splits = plan.experiment.splits
    assert [len(part) for part in (splits.train, splits.test)] == [50_000, 10_000]


def test_a_missing_cifar_is_a_problem_whose_remedy_is_a_command_for_a_shell(tmp_path: Path) -> None:
    dataset = Cifar(name="cifar100", root=str(tmp_path / "it's $HOME"))
    found = data.check_cifar_files(dataset)
    assert found.status == "problem"
    assert f"is not in {dataset.root}, 170 MB to download when the run starts" in found.what
    assert found.remedy is not None
    # The same command, except that it prints its arguments: the quotes are right, and the Python.
    shown = found.remedy.replace("from tenet.data import Cifar; Cifar(", "print(dict(").replace(
        ").read()", "))"
    )
    shown = shown.replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str({"name": dataset.name, "root": dataset.root})
    plain = data.check_cifar_files(Cifar(name="cifar10", root="absent")).remedy
    assert plain == "python -c \"from tenet.data import Cifar; Cifar(name='cifar10', root='absent').read()\""


def test_stand_ins_are_as_many_as_the_settings_ask_for() -> None:
    splits = data.make_stand_ins(Cifar(name="cifar100", fraction=0.5, validation_fraction=0.1))
    assert splits.validation is not None
    counts = [len(part.labels) for part in (splits.train, splits.validation, splits.test)]
    assert counts == [22_500, 5_000, 10_000]
    assert len(splits.classes) == 100


def write_npz(path: Path, *, scale: int = 255, labels: int = 3, classes: str = "abc") -> None:
    generator = np.random.default_rng(0)
    images = (generator.random((12, 8, 8, 3)) * scale).astype(np.uint8)
    train = np.arange(12) % labels
    np.savez(
        path, train_images=images, train_labels=train, test_images=images[:4], test_labels=train[:4] * 0,
        classes=list(classes),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({}, "warning", "no test images of 2 of the 3 classes: b, c"),
        ({"scale": 2}, "problem", "the training images hold values from 0 to 1: they are almost black"),
        ({"labels": 2}, "warning", "no training images of 1 of the 3 classes: c"),
    ],
)
def test_implausible_images_are_reported(
    change: dict[str, int], status: str, text: str, tmp_path: Path
) -> None:
    write_npz(tmp_path / "own.npz", **change)
    overrides = ("dataset=arrays", f"dataset.path={tmp_path / 'own.npz'}", "dataset.fraction=1.0")
    findings = found_by(data.check, plan_in(tmp_path, *overrides, with_data=False))
    assert (status, text) in [(finding.status, finding.what) for finding in findings]


def test_a_file_that_is_no_data_set_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"no zip")
    plan = plan_in(tmp_path, "dataset=arrays", f"dataset.path={tmp_path / 'own.npz'}", with_data=False)
    assert statuses(found_by(data.check, plan)) == ["ok", "problem"]


def test_all_images_on_disk_that_can_not_be_read_are_named_at_once(tmp_path: Path) -> None:
    for part, name in product(("train", "val"), ("cat", "dog")):
        (tmp_path / "images" / part / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (10, 8)).save(tmp_path / "images" / part / name / f"{index}.png")
    (tmp_path / "images/train/cat/1.png").write_bytes(b"torn")
    (tmp_path / "images/train/dog/2.png").write_bytes(b"")
    cuts = ("dataset.resize=8", "dataset.crop=8", "dataset.workers=1", "dataset.fraction=1.0")
    plan = plan_in(tmp_path, "dataset=images", f"dataset.path={tmp_path / 'images'}", *cuts, with_data=False)
    counted, torn, whole = found_by(data.check, plan)
    assert "6 training, 6 test images of 8 x 8 in 2 classes; 3 training images of each" in counted.what
    assert torn.status == "problem"
    assert "2 of 6 training images can't be used" in torn.what
    assert all(str(tmp_path / "images/train" / name) in torn.what for name in ("cat/1.png", "dog/2.png"))
    assert (whole.status, "6 test images decoded" in whole.what) == ("ok", True)


def test_a_folder_for_evaluation_with_images_of_two_sizes_is_a_problem(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (10, 8)).save(tmp_path / "images" / name / "0.png")
    Image.new("RGB", (6, 6)).save(tmp_path / "images" / "dog" / "2.png")
    plan = plan_in(
        tmp_path, "dataset=folder", f"dataset.path={tmp_path / 'images'}", "dataset.resize=null",
        "dataset.crop=null", with_data=False,
    )  # fmt: skip
    sizes, *_ = found_by(data.check, plan)
    assert "1 of 3 test images can't be used" in sizes.what
    assert "6 x 6 pixels, not 10 x 8 as the others" in sizes.what


def test_an_archive_of_corruptions_is_held_against_the_data_set_and_its_manifest(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "--corruptions", str(tmp_path / "digits-c"))
    test = plan.experiment.splits.test
    writer = ArchiveWriter(tmp_path / "digits-c", test.images, test.labels, num_classes=10)
    writer.write("labels")
    writer.write("contrast")
    lacking, present, sums = found_by(corruptions.check, plan)
    assert lacking.status == "problem"
    assert "lacks gaussian_noise, " in lacking.what
    assert "1 of 15 corruptions and 0 of 4 extra ones, made by the generator" in present.what
    assert sums.what == "2 files, SHA-256 as in manifest.json"
    with (tmp_path / "digits-c" / "contrast.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    assert "differs from manifest.json: contrast.npy" in found_by(corruptions.check, plan)[-1].what


def test_an_archive_of_another_data_set_is_a_problem(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "--corruptions", str(tmp_path / "CIFAR-10-C"))
    (tmp_path / "CIFAR-10-C").mkdir()
    (found,) = found_by(corruptions.check, plan)
    assert (found.status, "labels.npy is missing" in found.what) == ("problem", True)
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", np.full(50, 99, dtype=np.uint8))
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", np.zeros((50, 32, 32, 3), dtype=np.uint8))
    (found,) = found_by(corruptions.check, plan)
    assert "is this the archive of another data set?" in found.what
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", np.tile(np.arange(10, dtype=np.uint8), 5))
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", np.zeros((50, 8, 8, 3), dtype=np.uint8))
    (found,) = found_by(corruptions.check, plan)
    assert "holds images of [8, 8, 3]" in found.what


def test_the_picture_shows_each_view_beside_the_originals(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    (found,) = augmentation.check(plan)
    assert "AugMix, clean view, drawn 3 times on 6 images" in found.what
    with Image.open(tmp_path / "doctor" / "augmentation.png") as picture:
        assert picture.width > picture.height > 400
    names, drawn = augmentation.draw_views(plan)
    assert names == ["0", "1", "2", "3", "4", "5"]
    assert [len(draws) for draws in drawn.values()] == [1, 3, 3]
    changed = torch.stack(drawn["AugMix"]) - drawn["original"][0]
    assert (changed.abs().amax(dim=(2, 3, 4)) > 0.1).any(dim=0).all()


class Glaring:
    """An augmentation with one view, of pixels up to 255."""

    @property
    def views(self) -> tuple[Any, ...]:
        return (self.view,)

    def view(self, images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        return images.float()


def test_a_view_that_leaves_the_range_of_pixels_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path)
    monkeypatch.setattr(augmentation, "build", lambda config, key: Glaring())
    glaring, _ = augmentation.check(plan)
    assert (glaring.status, glaring.what) == (
        "problem", "AugMix returns values from 0 to 255, outside [0, 1]",
    )  # fmt: skip


def test_names_of_classes_are_plain_text_in_terminal_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npz(tmp_path / "own.npz", classes="$[_")
    overrides = ("dataset=arrays", f"dataset.path={tmp_path / 'own.npz'}", "dataset.fraction=1.0")
    plan = plan_in(tmp_path, *overrides, with_data=False)
    section = examine("data", lambda plan: [*data.check(plan), *augmentation.check(plan)], plan)
    assert statuses(section.findings) == ["ok", "ok", "warning", "ok"]
    Report().show(section)
    assert set(capsys.readouterr().out) & {"\x1b", "\x07"} == set()


def test_few_images_make_a_picture_too() -> None:
    few = ImageArrays(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.tensor([1, 1]), ("a", "b"))
    assert augmentation.first_of_classes(few).tolist() == [0, 1]
