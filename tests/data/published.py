"""Small trees in the layouts of published data sets: two images a class and split, of different sizes, some of them grey."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from tenet.data.named.voc2012 import CLASSES

WNIDS = ("n02124075", "n01443537", "n04067472", "n01440764")  # not sorted, as in wnids.txt
BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
VOC_IMAGES = {
    "train": {"2008_000008": {"horse": 1, "person": 1}, "2008_000015": {"bottle": 1, "person": 0}},
    "val": {"2008_000002": {"tvmonitor": 1}, "2008_000003": {"person": 1, "train": 1}},
}  # fmt: skip
"""The flags of each image; those of all other classes are -1."""


def save(path: Path, *, value: int, size: tuple[int, int], grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if grey else (value, 255 - value, value // 2)
    Image.new("L" if grey else "RGB", size, colour).save(path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_tiny_imagenet(root: Path, *, size: int = 64) -> Path:
    write_lines(root / "wnids.txt", WNIDS)
    rows = []
    for label, wnid in enumerate(WNIDS):
        write_lines(root / "train" / wnid / f"{wnid}_boxes.txt", [f"{wnid}_0.JPEG\t0\t0\t9\t9"])
        for index in range(2):
            name = f"{wnid}_{index}.JPEG"
            value = 40 * label + index
            save(root / "train" / wnid / "images" / name, value=value, size=(size, size), grey=index == 1)
            number = 2 * (len(WNIDS) - label) + index
            save(root / "val" / "images" / f"val_{number}.JPEG", value=value, size=(size, size))
            rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t9\t9")
    write_lines(root / "val" / "val_annotations.txt", rows)
    save(root / "test" / "images" / "test_0.JPEG", value=0, size=(size, size))
    return root


def write_tiny_imagenet_c(root: Path, corruptions: Iterable[str], *, size: int = 64) -> Path:
    for corruption in corruptions:
        for severity in range(1, 6):
            for label, wnid in enumerate(WNIDS):
                for index in range(2):
                    folder = root / corruption / str(severity) / wnid
                    save(folder / f"{index}.JPEG", value=30 * label + severity, size=(size, size))
    return root


def write_cub200(root: Path, *, size: int = 40, images: int = 2) -> Path:
    """`images`: a class and split."""
    tables: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    for label, name in enumerate(BIRDS, start=1):
        for index in range(2 * images):
            number = len(tables["images"]) + 1
            path = f"{name}/{name[4:]}_{index:04}.jpg"
            save(root / "images" / path, value=50 * label + index, size=(size, size + 10), grey=index == 1)
            rows = (path, label, int(index >= images), "60.0 27.0 325.0 304.0")
            for table, row in zip(tables.values(), rows, strict=True):
                table.append(f"{number} {row}")
    for name, table in tables.items():
        write_lines(root / f"{name}.txt", table)
    write_lines(root / "classes.txt", (f"{number} {name}" for number, name in enumerate(BIRDS, start=1)))
    return root


def write_voc2012(root: Path, *, size: int = 40) -> Path:
    lists = root / "ImageSets" / "Main"
    for split, images in VOC_IMAGES.items():
        write_lines(lists / f"{split}.txt", images)
        for name in CLASSES:
            flags = (f"{image} {flags.get(name, -1):2}" for image, flags in images.items())
            write_lines(lists / f"{name}_{split}.txt", flags)
        for value, image in enumerate(images):
            save(root / "JPEGImages" / f"{image}.jpg", value=60 * value, size=(size + 10, size))
    return root


def write_imagenet(root: Path, *, size: int = 40, flat: bool = False) -> Path:
    """flat: the validation images in one folder, with the development kit."""
    numbers = []
    for label, wnid in enumerate(WNIDS):
        for index in range(2):
            value = 40 * label + index
            save(root / "train" / wnid / f"{wnid}_{index}.JPEG", value=value, size=(size, size + 10))
            folder = root / "val" if flat else root / "val" / wnid
            name = f"ILSVRC2012_val_{2 * label + index + 1:08}.JPEG"
            save(folder / name, value=value, size=(size + 10, size), grey=index == 1)
            numbers.append(str(label + 1))
    if flat:
        kit = root / "ILSVRC2012_devkit_t12" / "data"
        write_lines(kit / "ILSVRC2012_validation_ground_truth.txt", numbers)
        write_synsets(kit / "meta.mat")
    return root


def write_synsets(path: Path) -> None:
    import numpy as np
    from scipy.io import savemat

    rows = [(number, wnid, 0) for number, wnid in enumerate(WNIDS, start=1)]
    fields = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")]
    savemat(path, {"synsets": np.array(rows, dtype=fields)})
