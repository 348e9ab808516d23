"""Tiny-ImageNet: 200 classes of ImageNet, 500 training and 50 validation images each, 64 x 64."""

from collections.abc import Iterator
from pathlib import Path

from tenet.data.named.tree import Archive, Listing, Tree, is_wordnet_id

ARCHIVE = Archive(
    "tiny_imagenet", "tiny-imagenet-200.zip", "cs231n.stanford.edu", "its folder tiny-imagenet-200"
)
WNIDS, ANNOTATIONS = "wnids.txt", "val/val_annotations.txt"


def list_tiny_imagenet(root: Path) -> Listing:
    """`wnids.txt`, `train/<wnid>/images/*.JPEG`, and `val/images/*.JPEG` with `val/val_annotations.txt`.

    The classes are the sorted ids, as the folders of Tiny-ImageNet-C are; wnids.txt itself is not sorted. The unlabelled
    test images are not used. Raises DatasetError.
    """
    tree = Tree(root, ARCHIVE)
    tree.check(WNIDS, "train", "val/images", ANNOTATIONS)
    classes = tuple(sorted(fields[0] for fields in tree.table(WNIDS)))
    if not classes or len(set(classes)) < len(classes) or not all(map(is_wordnet_id, classes)):
        raise tree.error(f"{root / WNIDS} is not a list of different WordNet ids")
    tree.check(*(f"train/{wnid}/images" for wnid in classes))
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    test = []
    for name, wnid in tree.mapping(ANNOTATIONS).items():
        if wnid not in label_of:
            raise tree.error(f"{root / ANNOTATIONS}: {wnid} of {name} is not in {WNIDS}")
        test.append((f"val/images/{name}", label_of[wnid]))
    tree.check_images(path for path, _ in test)

    def train() -> Iterator[tuple[str, int]]:
        for label, wnid in enumerate(classes):
            yield from ((path, label) for path in tree.images_in(f"train/{wnid}/images"))

    return Listing(classes, train(), sorted(test))
