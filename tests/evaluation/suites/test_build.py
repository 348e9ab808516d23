"""The suites that a configuration asks for."""

import pytest
import torch

from tenet.data import ImageArrays
from tenet.errors import ConfigError
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.build import build_suites
from tenet.evaluation.suites.clean import Clean
from tests.data.trees import folder_of, read_whole, write_classes


def suites_of(test, corruptions=None, *, option=lambda test, measures: None, **changes):
    asked = {"root": None, "names": None, "severities": [1, 2], "seed": 3, "normalize": "auto"}
    config = {
        "corruptions": {**asked, **(corruptions or {})},
        "measures": {"calibration": True, "likelihood": True, "per_class": False, "intervals": True},
        "attacks": {"names": None},
        "cifar101": None,
        "cifar_p": None,
        **changes,
    }
    model, device = Model("mine", "digits", "ResNet"), torch.device("cpu")
    return build_suites(config, test, model=model, device=device, build_option=option)


def images(classes=("a", "b")):
    return ImageArrays(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.arange(4) % 2, classes)


def test_clean_images_and_generated_corruptions_are_the_default():
    clean, corruptions = suites_of(images())
    assert [cell.name for cell in clean.cells()] == ["clean"]
    assert len(corruptions) == 2 * 19
    assert corruptions.origin == {"seed": 3}
    assert not corruptions.normalized
    assert suites_of(images(), {"normalize": "alexnet"})[1].normalized


def test_the_mce_of_a_tree_of_1000_classes_is_imagenet_cs(tmp_path):
    names = tuple(f"n{index:04d}" for index in range(1000))
    for severity in "12345":
        for name in names:
            (tmp_path / "fog" / severity / name).mkdir(parents=True)
    tree = {"root": str(tmp_path)}
    assert suites_of(images(names), tree)[1].normalized
    assert not suites_of(images(names), {**tree, "normalize": "none"})[1].normalized


def test_other_benchmarks_are_measured_if_their_folders_are_given(tmp_path):
    with pytest.raises(ConfigError, match=r"cifar_p=nowhere is not a folder"):
        suites_of(images(), cifar_p="nowhere")
    with pytest.raises(ValueError, match=r"holds no <perturbation>\.npy"):
        suites_of(images(), cifar_p=str(tmp_path))
    with pytest.raises(ValueError, match="needs a classifier of 10 classes"):
        suites_of(images(), cifar101=str(tmp_path))


def test_images_on_disk_are_corrupted_like_those_in_memory(tmp_path):
    write_classes(tmp_path)
    source = folder_of(tmp_path)
    held = ImageArrays(*source.read(torch.arange(6)), source.classes)
    on_disk, in_memory = (
        [read_whole(cell.source) for cell in suites_of(clean, {"names": ["gaussian_noise"]})[1].cells()]
        for clean in (source, held)
    )
    assert on_disk
    assert all(
        torch.equal(*pair)
        for cells in zip(on_disk, in_memory, strict=True)
        for pair in zip(*cells, strict=True)
    )
    clean, corruptions = suites_of(folder_of(tmp_path), {"names": []})
    assert len(next(clean.cells()).source) == 6
    assert list(corruptions.cells()) == []


def test_images_of_one_row_are_refused_before_they_are_corrupted():
    test = ImageArrays(torch.zeros(2, 1, 8, 3, dtype=torch.uint8), torch.arange(2), ("a", "b"))
    with pytest.raises(
        ValueError, match="images of 8 x 1 pixels can't be corrupted; they need at least 2 x 2"
    ):
        suites_of(test)
    assert len(suites_of(test, {"names": []})[1]) == 0


def test_the_suite_of_an_option_comes_last_and_needs_a_name_of_its_own():
    class Again(Clean):
        name = "again"

    assert [suite.name for suite in suites_of(images(), option=Again)] == ["clean", "corruptions", "again"]
    with pytest.raises(ConfigError, match="suite: its name, clean, is that of another suite"):
        suites_of(images(), option=Clean)
