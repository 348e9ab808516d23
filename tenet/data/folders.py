"""Images in folders, one a class: read by id and decoded in threads, a few batches ahead."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.data.source import ImageBatch, ImageSource
from tenet.errors import DatasetError
from tenet.files.plain import check_plain
from tenet.files.weights import checksum

SUFFIXES = (".jpeg", ".jpg", ".png")
# Checked in the file's header before the image is decoded: a few bytes may claim any number of pixels.
MAX_PIXELS = 2**26
MAX_BATCH_BYTES = 2**33
# Pillow releases Python's lock while it decodes; with a GPU at work, more threads gain little.
DECODERS = 8
BATCHES_AHEAD = 1


class ClassFolder(ImageSource):
    """Images in a folder for each class, `<class>/*.JPEG` (or .jpg, .png), ordered by class and file name.

    classes: the exact names of the folders, in the order of the labels; by default all folders, sorted.
    resize, crop: the shorter side is scaled to `resize` pixels and the central `crop` x `crop` pixels are kept, as
    torchvision's Resize and CenterCrop do; None: unchanged.
    Raises DatasetError, which names a folder that is missing, unexpected or without images.
    """

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        resize: int | None = None,
        crop: int | None = None,
    ) -> None:
        self.root, self.resize, self.crop = Path(root), resize, crop
        self.classes = find_classes(self.root, expected=classes)
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in sorted(enumerate(self.classes), key=lambda pair: pair[1]):
            files = sorted(path for path in (self.root / name).iterdir() if path.name[0] != ".")
            images = [path for path in files if path.suffix.lower() in SUFFIXES]
            if not images:
                raise DatasetError(
                    f"{self.root / name} holds no .JPEG, .jpg or .png; unpack the images again"
                )
            self.paths += images
            labels += [label] * len(images)
        self.labels = torch.tensor(labels)

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        """Yield the images of each tensor of ids; the next batch is decoded while the caller works on one.

        Raises DatasetError for an image that can't be read or that differs in size from the first of the folder.
        """
        # The size of the first image, which all others must have, determines the memory of a batch.
        height, width, _ = read_image(self.paths[0], resize=self.resize, crop=self.crop).shape
        read = partial(read_image, resize=self.resize, crop=self.crop, size=(width, height))
        pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        ahead: deque[tuple[Tensor, list[Future[np.ndarray]]]] = deque()

        def next_batch() -> ImageBatch:
            chosen, images = ahead.popleft()
            return ImageBatch(
                torch.from_numpy(np.stack([image.result() for image in images])), self.labels[chosen]
            )

        try:
            for chosen in ids:
                check_batch_memory(len(chosen), width=width, height=height)
                ahead.append((chosen, [pool.submit(read, self.paths[index]) for index in chosen.tolist()]))
                if len(ahead) > BATCHES_AHEAD:
                    yield next_batch()
            while ahead:
                yield next_batch()
        finally:
            # Also when the caller stops early.
            pool.shutdown(cancel_futures=True)

    def fingerprint(self) -> str:
        """Over names, sizes and times of the files, which change when their content does."""
        files = {
            str(path.relative_to(self.root)): [(stat := path.stat()).st_size, stat.st_mtime_ns]
            for path in self.paths
        }
        settings = [str(self.root.resolve()), self.classes, self.resize, self.crop]
        return checksum([settings, files])[:16]


def find_classes(root: Path, *, expected: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the class folders in `root`: sorted, or in the order of `expected`.

    Raises DatasetError if there are none, or if they differ from the expected ones.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; unpack the images there")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    if not found:
        raise DatasetError(f"{root} holds no folders of classes; give the folder above them")
    classes = tuple(found if expected is None else expected)
    if unknown := sorted(set(found) - set(classes)):
        raise DatasetError(f"{root / unknown[0]} is none of the {len(classes)} expected classes")
    if missing := sorted(set(classes) - set(found)):
        raise DatasetError(f"{root / missing[0]} is missing; unpack the images of all classes")
    return classes


def check_batch_memory(images: int, *, width: int, height: int) -> None:
    held = 2 * images * height * width * 3
    if held > MAX_BATCH_BYTES:
        raise DatasetError(
            f"batch_size={images} images of {width} x {height} pixels, and as many read ahead, take "
            f"{held / 1e9:.1f} GB of memory; lower it"
        )


def read_image(
    path: Path, *, resize: int | None = None, crop: int | None = None, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of a JPEG or PNG file.

    size: the expected width and height after `resize` and `crop`. Raises DatasetError, which names the file, if it
    is broken, too large or of another size; sizes are checked before it is decoded.
    """
    from PIL import Image

    try:
        check_plain(path)
        with Image.open(path, formats=("JPEG", "PNG")) as file:
            width, height = (
                side if resize is None else resize * side // min(file.size) for side in file.size
            )
            scaled = (width, height)
            _check_size(path, file.size, scaled=scaled, crop=crop, expected=size)
            picture = file.convert("RGB")
    except DatasetError:
        raise
    except Exception as error:  # the decoders fail on damaged files with OSError, SyntaxError and others
        raise DatasetError(f"{path} can't be read as a JPEG or PNG image: {error}") from error
    if resize is not None:
        picture = picture.resize(scaled, Image.Resampling.BILINEAR)
    if crop is not None:
        left, top = (round((side - crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + crop, top + crop))
    return np.array(picture)


def _check_size(
    path: Path,
    size: tuple[int, int],
    *,
    scaled: tuple[int, int],
    crop: int | None,
    expected: tuple[int, int] | None,
) -> None:
    for verb, (width, height) in (("has", size), ("is to become", scaled)):
        if width * height > MAX_PIXELS:
            raise DatasetError(f"{path} {verb} {width} x {height} pixels, more than {MAX_PIXELS}")
    if crop is not None and crop > min(scaled):
        raise DatasetError(f"{path}: {crop} pixels can't be cut out of {scaled[0]} x {scaled[1]}")
    final = scaled if crop is None else (crop, crop)
    if expected is not None and final != expected:
        raise DatasetError(
            f"{path} has {final[0]} x {final[1]} pixels, the images before it {expected[0]} x {expected[1]}; "
            "bring them to one size"
        )
