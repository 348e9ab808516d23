"""PASCAL VOC 2012, classification: twenty classes, any number of them in an image."""

from pathlib import Path

from tenet.data.named.tree import Archive, Listing, Tree

ARCHIVE = Archive(
    "voc2012",
    "VOCtrainval_11-May-2012.tar",
    "host.robots.ox.ac.uk",
    "its folder VOCdevkit/VOC2012",
    md5="6cd6e144f989b92b3379bac3b3de84fd",
)
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# The files' flags, as labels: present, absent, and present only as objects that are marked as difficult.
LABELS = {"1": 1, "-1": 0, "0": -1}
LISTS = "ImageSets/Main"


def list_voc2012(root: Path) -> Listing:
    """`ImageSets/Main/train.txt` and `val.txt`, ids of `JPEGImages/<id>.jpg`, and `<class>_train.txt` with a flag of
    each id. The labels of VOC's own test set are not public: the validation images are the test images.

    Raises DatasetError.
    """
    tree = Tree(root, ARCHIVE)
    tree.check(LISTS, "JPEGImages")
    return Listing(CLASSES, list_split(tree, "train"), list_split(tree, "val"))


def list_split(tree: Tree, split: str) -> list[tuple[str, tuple[int, ...]]]:
    ids = [fields[0] for fields in tree.table(f"{LISTS}/{split}.txt")]
    columns = []
    for name in CLASSES:
        table = f"{LISTS}/{name}_{split}.txt"
        flags = tree.mapping(table)
        if list(flags) != ids:
            raise tree.error(f"{tree.root / table} does not list the images of {split}.txt")
        if unknown := set(flags.values()) - set(LABELS):
            raise tree.error(f"{tree.root / table} has the flag {min(unknown)}, not 1, 0 or -1")
        columns.append([LABELS[flag] for flag in flags.values()])
    images = [
        (f"JPEGImages/{image}.jpg", labels)
        for image, labels in zip(ids, zip(*columns, strict=True), strict=True)
    ]
    tree.check_images(path for path, _ in images)
    return images
