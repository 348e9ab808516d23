"""CUB-200-2011: 200 species of birds, 5,994 training and 5,794 test images."""

from pathlib import Path

from tenet.data.named.tree import Archive, Listing, Tree

ARCHIVE = Archive(
    "cub200",
    "CUB_200_2011.tgz",
    "data.caltech.edu",
    "its folder CUB_200_2011",
    md5="97eceeb196236b17998738112f37df78",
)
IMAGES, LABELS, SPLIT, CLASSES = (
    "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt",
)  # fmt: skip


def list_cub200(root: Path) -> Listing:
    """Tables of `id value`: images.txt (path below `images/`), image_class_labels.txt (1 to 200), train_test_split.txt
    (1: training) and classes.txt. Raises DatasetError."""
    tree = Tree(root, ARCHIVE)
    tree.check("images")
    paths, labels, split, names = (tree.mapping(name) for name in (IMAGES, LABELS, SPLIT, CLASSES))
    if list(names) != [str(number) for number in range(1, len(names) + 1)]:
        raise tree.error(f"{root / CLASSES} does not count its classes from 1")
    parts: dict[str, list[tuple[str, int]]] = {"1": [], "0": []}
    for table, name, allowed in ((labels, LABELS, names), (split, SPLIT, parts)):
        if differ := table.keys() ^ paths.keys():
            raise tree.error(f"{root}: image {min(differ)} is in only one of {IMAGES} and {name}")
        for image, value in table.items():
            if value not in allowed:
                raise tree.error(
                    f"{root / name}: {value} of image {image} is not one of {len(allowed)} numbers"
                )
    for image, path in paths.items():
        parts[split[image]].append((f"images/{path}", int(labels[image]) - 1))
    tree.check_images(f"images/{path}" for path in paths.values())
    return Listing(tuple(names.values()), parts["1"], parts["0"])
