"""Published data sets by name, from small trees in their layouts to a run and its evaluation."""

import json
from pathlib import Path

import pytest
import torch

from tenet.config.build import build
from tenet.data import Cub200, ImageNet, TinyImageNet, Voc2012
from tenet.data.named.datasets import Counts
from tenet.data.named.voc2012 import CLASSES
from tenet.errors import DatasetError
from tests.config.options import composed
from tests.data.published import (
    WNIDS,
    save,
    write_cub200,
    write_imagenet,
    write_tiny_imagenet,
    write_tiny_imagenet_c,
    write_voc2012,
)
from tests.entry_points import evaluate, train


def test_the_images_of_a_class_are_drawn_by_the_split_seed_and_nested(tmp_path: Path) -> None:
    path = str(write_cub200(tmp_path, images=6))

    def drawn(images: int, **settings: float) -> set[str]:
        source = Cub200(path=path, per_class=images, workers=0, **settings).load().train
        assert source.images_by_class() == [min(images, 6)] * 3
        return set(map(Cub200(path=path).train_index().name, source.ids.tolist()))

    assert drawn(2) < drawn(4) < drawn(10)
    assert drawn(2) == drawn(2)
    assert drawn(2) != drawn(2, split_seed=1)
    splits = Cub200(path=path, per_class=2, validation_fraction=0.5, workers=0).load()
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 9, 18)


def test_an_image_of_voc2012_has_a_label_for_each_class(tmp_path: Path) -> None:
    dataset = Voc2012(path=str(write_voc2012(tmp_path)), resize=36, crop=32, workers=0)
    assert dataset.multi_label
    train_part, _, test_part = dataset.load()
    assert train_part.classes == CLASSES
    images, labels = train_part.read(torch.tensor([1, 0]))
    assert images.shape == (2, 32, 32, 3)
    assert labels.dtype == torch.int8
    assert (labels[0, CLASSES.index("bottle")], labels[0, CLASSES.index("person")]) == (1, -1)
    assert labels.sum(dim=1).tolist() == [0, 2]
    assert test_part.labels.shape == (2, 20)


def test_classes_of_imagenet_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    path, ordered = write_imagenet(tmp_path, size=64), sorted(WNIDS)
    config = composed(f"dataset.path={path}", "dataset=imagenet", f"dataset.classes=[{WNIDS[0]},{WNIDS[1]}]")
    assert build(config["dataset"], key="dataset").load().classes == tuple(sorted(WNIDS[:2]))
    halved = ImageNet(path=str(path), class_step=2, workers=0).load()
    assert halved.classes == (ordered[0], ordered[2])
    assert halved.test.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(DatasetError, match=r"dataset\.classes: n02102040 is none of the 4 folders"):
        ImageNet(path=str(path), classes=["n02102040"]).load()


def test_a_data_set_that_is_there_in_part_is_named(tmp_path: Path, monkeypatch, caplog) -> None:
    dataset = TinyImageNet(path=str(write_tiny_imagenet(tmp_path)), resize=None, crop=None, workers=0)
    monkeypatch.setattr(TinyImageNet, "counts", Counts(4, 2000, 8))
    dataset.load()
    (record,) = caplog.records
    assert f"{tmp_path} holds 8 training images, the published data set 2,000" in record.getMessage()
    for image in (tmp_path / "train" / WNIDS[2] / "images").iterdir():
        image.unlink()
    with pytest.raises(
        DatasetError, match=rf"class {WNIDS[2]} has no training image; unpack tiny-imagenet-200"
    ):
        dataset.load()


def test_a_data_set_that_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    done = train("dataset=cub200", f"dataset.path={tmp_path / 'CUB'}", "tracking=none", cwd=tmp_path, code=1)
    assert f"dataset=cub200: {tmp_path / 'CUB'} is not a folder; unpack CUB_200_2011.tgz" in done.output


def test_tiny_imagenet_c_is_measured_without_pairing_its_images(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path / "tiny", size=32)
    tree = write_tiny_imagenet_c(tmp_path / "C", ["frost", "fog"], size=32)
    # The first archive holds all classes of ImageNet under frost.
    save(tree / "frost" / "1" / "n99999999" / "0.JPEG", value=0, size=(32, 32))
    train(
        "experiment=tiny_imagenet_tenet", "dataset.path=tiny", "dataset.workers=0", "backbone.depth=11",
        "backbone.base_width=4", "backbone.widen_factor=1", "trainer.batch_size=4", "trainer.max_steps=2",
        "trainer.device=cpu", "tenet=none", "tracking=none", "hydra.run.dir=run",
        cwd=tmp_path,
    )  # fmt: skip
    words = ["corruptions.root=C", "corruptions.severities=[1]", f"output={tmp_path / 'report.json'}"]
    done = evaluate("run=run", *words, cwd=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert "Tiny-ImageNet-C are not corrupted versions of the clean ones" in report["corruptions_note"]
    assert "Tiny-ImageNet-C are not corrupted versions" in " ".join(done.output.split())
    assert "1 of its classes left out" in done.output
    assert report["corruption"]["images_per_cell"] == 8
    assert set(report["corruption"]["corruptions"]) == {"frost", "fog"}
