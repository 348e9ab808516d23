"""ImageNet-R, -A, -Sketch and -V2 on tiny folders, through the command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tenet.data import Crops, Images, index_folder
from tenet.evaluation.measures import Measures
from tenet.evaluation.suites.image_folder import ImageFolder
from tenet.files.weights import save_weights
from tenet.networks import Network, ResNet
from tests.data.trees import picture, write_classes
from tests.entry_points import evaluate

CLASSES = [f"n0000000{number}" for number in range(1, 5)]
SIZES = ["suite.resize=null", "suite.crop=null"]


def pictures(folder: Path, classes: list[str], *, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for image in range(3):
            pixels = generator.integers(256, size=(16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{image}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network of four classes, their test images, and folders of other images."""
    place = tmp_path_factory.mktemp("sets")
    for seed, (name, classes) in enumerate(
        {"val": CLASSES, "r": CLASSES[1::2], "v2": [str(number) for number in range(4)]}.items()
    ):
        pictures(place / name, classes, seed=seed)
    torch.manual_seed(0)
    save_weights(ResNet(num_classes=4, depth=8, width=4), place / "w.safetensors")
    return place


def logits(place: Path, folder: str, classes: list[str]) -> torch.Tensor:
    """Of the images of these classes, in order; [image, class]."""
    paths = [place / folder / name / f"{image}.png" for name in classes for image in range(3)]
    images = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in paths])
    backbone = ResNet(num_classes=4, depth=8, width=4)
    backbone.load_state_dict(load_file(place / "w.safetensors"))
    network = Network(backbone, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]).eval()
    with torch.no_grad():
        return network(images.permute(0, 3, 1, 2) / 255)


def measure(place: Path, *words: str, code: int = 0) -> tuple[dict, str]:
    shutil.rmtree(place / "w-evaluation", ignore_errors=True)
    done = evaluate(
        "weights=w.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=folder", "dataset.path=val",
        "dataset.resize=null", "dataset.crop=null", "corruptions.names=[]", *words, cwd=place, code=code,
    )  # fmt: skip
    report = place / "w-evaluation" / "corruptions-part.json"
    return (json.loads(report.read_text()) if code == 0 else {}), done.output


def test_a_subset_is_chosen_from_its_own_classes_and_compared_with_their_clean_images(place: Path) -> None:
    report, output = measure(place, "suite=imagenet_r", "suite.path=r", *SIZES)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    for folder, name in {"r": "imagenet-r", "val": "imagenet-r-clean"}.items():
        found = logits(place, folder, CLASSES[1::2])
        # The columns of these classes among the network's four.
        error = (found[:, 1::2].argmax(1) != labels).double().mean().item()
        assert (found.argmax(1) % 2 == 0).any(), "unrestricted, it chooses other classes"
        figures = report["other_test_sets"][name]
        assert figures["images"] == 6
        assert figures["error_pct"] == pytest.approx(100 * error)
        nll = torch.nn.functional.cross_entropy(found[:, 1::2], labels).item()
        assert figures["nll"] == pytest.approx(nll, rel=1e-4), "the softmax is over the subset"
    assert "choosing from its 2 classes" in output
    assert report["measured"]["cells"] == ["clean", "imagenet-r", "imagenet-r-clean"]


def test_folders_with_numbers_are_classes_by_number(place: Path) -> None:
    report, _ = measure(place, "suite=imagenet_v2", "suite.path=v2", *SIZES)
    found = logits(place, "v2", ["0", "1", "2", "3"]).argmax(1)
    error = (found != torch.arange(4).repeat_interleave(3)).double().mean().item()
    assert report["other_test_sets"]["imagenet-v2"]["error_pct"] == pytest.approx(100 * error)


@pytest.mark.parametrize(("upright", "size"), [(True, (6, 5)), (False, (5, 6))])
def test_photographs_are_turned_as_the_test_images_are(
    tmp_path: Path, upright: bool, size: tuple[int, int]
) -> None:
    write_classes(tmp_path)
    for path in tmp_path.rglob("*.*"):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter to the right
        picture(90).save(path, exif=exif)
    test = Images(index_folder(tmp_path), Crops(upright=upright))
    for clean in (test, test.take(torch.arange(3))):
        suite = ImageFolder(clean, Measures(test.classes), "own", str(tmp_path), resize=None, crop=None)
        assert next(suite.cells()).source.image_size() == size


def test_what_does_not_fit_is_refused_in_one_line(place: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "others", [CLASSES[0], "n99999999"], seed=0)
    path = f"suite.path={tmp_path / 'others'}"
    _, output = measure(place, "suite=imagenet_a", path, *SIZES, code=1)
    assert "1 of its 2 classes are not among the data set's 4, first n99999999; imagenet-a needs" in output
    _, output = measure(place, "suite=imagenet_sketch", path, *SIZES, code=1)
    assert "is none of the 4 expected classes" in output
    _, output = measure(place, "suite=imagenet_r", "suite.path=r", code=1)
    assert "its images have 224 x 224 pixels, but the data set's have 16 x 16" in output
