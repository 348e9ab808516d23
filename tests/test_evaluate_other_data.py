"""evaluate.py on other data than a run's own: the normalisation stays the network's, and classes go by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.entry_points import evaluate, train

COLOURS = {
    "red": (220, 60, 60), "green": (60, 220, 60), "blue": (60, 60, 220), "grey": (90, 90, 90), "sky": (60, 200, 220),
}  # fmt: skip
NAMES = list(COLOURS)
NORMALIZATION = ["dataset.mean=[.2,.2,.2]", "dataset.std=[.1,.1,.1]"]
PLAIN = "corruptions.names=[]"


def arrays(names: list[str], *, images: int, seed: int) -> dict[str, np.ndarray]:
    """Noisy images of one colour each, 16x16, labelled in the order of `names`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % len(names)
    colours = np.array([COLOURS[name] for name in names])[labels]
    noise = generator.integers(-30, 30, size=(images, 16, 16, 3))
    return {"images": (colours[:, None, None] + noise).astype(np.uint8), "labels": labels}


def write_npz(path: Path, names: list[str], *, has_names: bool = True) -> Path:
    parts = {"train": arrays(names, images=200, seed=0), "test": arrays(names, images=50, seed=1)}
    content = {f"{split}_{key}": value for split, part in parts.items() for key, value in part.items()}
    np.savez(path, **content, **({"classes": np.array(names)} if has_names else {}))
    return path


def write_folders(folder: Path, names: list[str]) -> list[str]:
    """Test images as a tree, `val`, and its archive, `C`; return the words that evaluate them."""
    test = arrays(NAMES, images=20, seed=1)
    for root in (folder / "val", *(folder / "C" / "fog" / str(severity) for severity in range(1, 6))):
        for index, (image, label) in enumerate(zip(test["images"], test["labels"], strict=True)):
            (root / names[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / names[label] / f"{index}.png")
    return ["dataset=folder", "dataset.path=val", "corruptions.root=C", "corruptions.severities=[1]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the colours, with a normalisation of its own."""
    folder = tmp_path_factory.mktemp("colours")
    write_npz(folder / "d.npz", NAMES)
    train(
        "dataset=arrays", "dataset.path=d.npz", *NORMALIZATION, "backbone=resnet8", "backbone.width=4",
        "augment=none", "tenet=none", "tracking=none", "optimizer.lr=0.05",
        "trainer.device=cpu", "trainer.epochs=6", "trainer.batch_size=20", "hydra.run.dir=run",
        cwd=folder,
    )  # fmt: skip
    assert json.loads((folder / "run" / "summary.json").read_text())["test/error_pct"] == 0
    return folder / "run"


def figures(*words: str, cwd: Path, code: int = 0) -> tuple[Any, str]:
    """The report and what was printed."""
    (cwd / "report.json").unlink(missing_ok=True)
    suites = [] if "corruptions.root=C" in words else [PLAIN]
    done = evaluate(*words, *suites, f"output={cwd / 'report.json'}", cwd=cwd, code=code)
    return (json.loads((cwd / "report.json").read_text()) if code == 0 else None), done.output


@pytest.mark.slow
def test_a_data_set_beside_the_run_does_not_replace_the_normalisation(run: Path, tmp_path: Path) -> None:
    data = ["dataset=arrays", f"dataset.path={run.parent / 'd.npz'}"]
    report, output = figures(f"run={run}", *data, cwd=tmp_path)
    assert report["clean"]["error_pct"] == 0
    assert report["dataset"]["mean"] == [0.2, 0.2, 0.2]
    assert "dataset.mean" not in output
    report, output = figures(f"run={run}", *data, "dataset.mean=[.9,.9,.9]", cwd=tmp_path)
    assert report["clean"]["error_pct"] > 0
    assert "dataset.mean=[0.9, 0.9, 0.9] was given; the network was trained with [0.2, 0.2, 0.2]" in output
    assert "dataset.std" not in output


@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoint.pt"])
def test_a_file_of_weights_brings_its_normalisation_and_classes(run: Path, tmp_path: Path, name: str) -> None:
    weights = shutil.copy(run / name, tmp_path)
    write_npz(tmp_path / "other.npz", NAMES[::-1])
    words = [f"weights={weights}", "backbone=resnet8", "backbone.width=4", "dataset=arrays"]
    report, output = figures(*words, "dataset.path=other.npz", "measures.per_class=true", cwd=tmp_path)
    assert report["clean"]["error_pct"] == 0
    assert set(report["clean"]["error_pct_by_class"].values()) == {0}
    assert "in another order; they are matched by name" in output


def test_foreign_weights_are_evaluated_with_a_normalisation_that_is_printed(
    run: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(run / "weights.safetensors"), tmp_path / "w.safetensors")
    words = ["weights=w.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=arrays",
             f"dataset.path={run.parent / 'd.npz'}"]  # fmt: skip
    _, output = figures(*words, cwd=tmp_path)
    assert "does not say how its images are normalised: assuming dataset.mean=[0.5, 0.5, 0.5]" in output
    assert "does not name its classes: assuming the data set's, in this order: red, green" in output
    report, output = figures(*words, *NORMALIZATION, cwd=tmp_path)
    assert report["clean"]["error_pct"] == 0
    assert "assuming dataset." not in output


def test_a_folder_has_its_images_prepared_as_in_training_and_its_classes_matched(
    run: Path, tmp_path: Path
) -> None:
    words = [f"run={run}", *write_folders(tmp_path, NAMES)]
    report, output = figures(*words, cwd=tmp_path)
    assert report["clean"]["error_pct"] == report["corruption"]["corruptions"]["fog"]["1"] == 0
    assert report["dataset"]["mean"] == [0.2, 0.2, 0.2]
    assert "pixels" not in output
    _, output = figures(*words, "dataset.crop=8", cwd=tmp_path, code=1)
    assert "its images are 8 x 8 pixels, but the network was trained on 16 x 16" in output


def test_other_classes_are_refused_with_their_names(run: Path, tmp_path: Path) -> None:
    words = write_folders(tmp_path, [*NAMES[:4], "rose"])
    _, output = figures(f"run={run}", *words, cwd=tmp_path, code=1)
    assert "only the network has sky; only the data has rose" in output


def test_an_archive_is_numbered_as_its_data_set_is(run: Path, tmp_path: Path) -> None:
    """The classes of other.npz, and so those of its archive, have another order than the network's."""
    write_npz(tmp_path / "other.npz", NAMES[::-1])
    test = arrays(NAMES[::-1], images=50, seed=1)
    np.save(tmp_path / "labels.npy", np.tile(test["labels"], 5))
    np.save(tmp_path / "fog.npy", np.tile(test["images"], (5, 1, 1, 1)))
    done = evaluate(
        f"run={run}", "dataset=arrays", "dataset.path=other.npz", f"corruptions.root={tmp_path}",
        "output=report.json", cwd=tmp_path,
    )  # fmt: skip
    assert "matched by name" in done.output
    assert json.loads((tmp_path / "report.json").read_text())["corruption"]["corruptions"]["fog"]["1"] == 0
