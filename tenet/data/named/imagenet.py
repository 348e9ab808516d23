"""ImageNet-1k (ILSVRC 2012), and subsets of its classes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tenet.data.folders import find_classes, is_litter
from tenet.data.named.tree import Archive, Listing, Tree, is_wordnet_id
from tenet.errors import DatasetError

ARCHIVE = Archive(
    "imagenet",
    "ILSVRC2012_img_train.tar (and each class's archive in it, into train/<wnid>) and ILSVRC2012_img_val.tar",
    "image-net.org",
    "the folder with train and val",
)
DEVKIT = "ILSVRC2012_devkit_t12/data"
TRUTH, SYNSETS = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt", f"{DEVKIT}/meta.mat"


def list_imagenet(root: Path, *, classes: Sequence[str] | None = None, class_step: int = 1) -> Listing:
    """`train/<wnid>/*.JPEG`, and `val/<wnid>/*.JPEG` or, as in the archive, `val/*.JPEG` with the development kit.

    The classes are ordered by WordNet id, as in published weights. classes: the ids to keep; class_step: keep the first
    of them and every class_step-th after it. Raises DatasetError.
    """
    tree = Tree(root, ARCHIVE)
    tree.check("train", "val")
    found = find_classes(root / "train")
    for name in found:
        if not is_wordnet_id(name):
            raise DatasetError(
                f"dataset=imagenet: {root / 'train' / name} is not named after a WordNet id such as n01440764; "
                "dataset=images reads folders of any classes"
            )
    kept = _choose(found, classes)[::class_step]
    if any(entry.is_dir() and not is_litter(entry.name) for entry in (root / "val").iterdir()):
        find_classes(root / "val", expected=found)
        return Listing(kept, _in_folders(tree, "train", kept), _in_folders(tree, "val", kept))
    label_of = {wnid: label for label, wnid in enumerate(kept)}
    test = [(path, label_of[wnid]) for path, wnid in _by_devkit(tree) if wnid in label_of]
    return Listing(kept, _in_folders(tree, "train", kept), test)


def _choose(found: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        return found
    if unknown := sorted(set(classes) - set(found)):
        raise DatasetError(
            f"dataset.classes: {unknown[0]} is none of the {len(found)} folders in train; give WordNet ids such as "
            f"{found[0]}"
        )
    return tuple(name for name in found if name in set(classes))


def _in_folders(tree: Tree, split: str, classes: Sequence[str]) -> Iterator[tuple[str, int]]:
    for label, wnid in enumerate(classes):
        yield from ((path, label) for path in tree.images_in(f"{split}/{wnid}"))


def _by_devkit(tree: Tree) -> list[tuple[str, str]]:
    """The validation images, in the order of their names, with the WordNet ids of the development kit."""
    if not (tree.root / DEVKIT).is_dir():
        raise DatasetError(
            f"dataset=imagenet: {tree.root / 'val'} has no folders of classes; move its images into val/<wnid>, or "
            f"unpack ILSVRC2012_devkit_t12.tar.gz (from {ARCHIVE.site}) in {tree.root}"
        )
    from scipy.io import loadmat  # takes a moment to import

    images, numbers = list(tree.images_in("val")), [fields[0] for fields in tree.table(TRUTH)]
    if len(images) != len(numbers):
        raise DatasetError(
            f"dataset=imagenet: {tree.root / 'val'} holds {len(images)} images, but {tree.root / TRUTH} has "
            f"{len(numbers)} lines; unpack ILSVRC2012_img_val.tar again"
        )
    try:
        synsets = loadmat(tree.root / SYNSETS, squeeze_me=True, variable_names=["synsets"])["synsets"]
        wnid_of = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        return [(image, wnid_of[int(number)]) for image, number in zip(images, numbers, strict=True)]
    except Exception as error:  # a damaged file fails in many ways
        raise DatasetError(
            f"dataset=imagenet: {tree.root / SYNSETS} does not name the classes ({error}); unpack "
            "ILSVRC2012_devkit_t12.tar.gz again"
        ) from error
