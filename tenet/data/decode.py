"""One image file to RGB pixels: the formats that are read, the conversion to 8 bits, and bounds on time and memory."""

import warnings
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from tenet.errors import DatasetError
from tenet.files.plain import check_plain, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Recognised by content: a file named .JPEG may hold a PNG, as one of ImageNet's does.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# Of the file. Checked in its header before it is decoded: a few bytes may claim any number of pixels.
MAX_PIXELS = 2**25
# libwebp holds such an image four times.
MAX_WEBP_PIXELS = 2**24
# Larger images are decoded one at a time.
LARGE_PIXELS = 2**22
# Of the result, after resizing and cropping.
MAX_RESULT_PIXELS = 2**24
# A progressive JPEG has about ten scans, and each may take as long as decoding a whole image.
MAX_SCANS = 100
MAX_JPEG_BYTES = 2**28
# Modes that Pillow converts to RGB without losing levels.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# Tags of TIFF files, and values of them.
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0


def read_image(
    path: Path,
    *,
    resize: int | None = None,
    crop: int | None = None,
    size: tuple[int, int] | None = None,
    large: Executor | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of an image file, as they are stored: as in torchvision, the EXIF orientation is not applied.

    Grey is repeated to three channels, transparency is dropped, and of 16 bits the 8 higher ones are kept, as Pillow
    does for 16-bit colours. Of a file that holds several images the first is read.
    resize, crop: the shorter side is scaled to `resize` pixels and the central `crop` x `crop` pixels are kept.
    size: the expected width and height of the result. large: where images of more than LARGE_PIXELS are decoded; by
    default in this thread. Raises DatasetError, which names the file, if it is broken, too
    large, of another size, or of a kind that has no 8-bit form. All but damage is found before it is decoded.
    """
    from PIL import Image

    # Pillow prints a warning about large images; MAX_PIXELS is stricter.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        check_plain(path)
        with Image.open(path, formats=FORMATS) as file:
            width, height = (
                side if resize is None else resize * side // min(file.size) for side in file.size
            )
            most = MAX_WEBP_PIXELS if file.format == "WEBP" else MAX_PIXELS
            _check_size(path, file.size, most=most, scaled=(width, height), crop=crop, expected=size)
            _check_kind(path, file)
            decode = partial(_decode, file, scaled=(width, height), crop=crop)
            if large is None or max(file.width * file.height, width * height) <= LARGE_PIXELS:
                return decode()
            return large.submit(decode).result()
    except DatasetError:
        raise
    except Exception as error:  # the decoders fail on damaged files with OSError, SyntaxError and others
        raise DatasetError(f"{path} can't be read as an image: {error}") from error


def _decode(file: "ImageFile", *, scaled: tuple[int, int], crop: int | None) -> UInt8[np.ndarray, "h w 3"]:
    from PIL.Image import Resampling

    picture = _to_rgb(file)
    if scaled != picture.size:
        picture = picture.resize(scaled, Resampling.BILINEAR)
    if crop is not None:
        left, top = (round((side - crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + crop, top + crop))
    return np.array(picture)


def _to_rgb(file: "ImageFile") -> "Image":
    if file.mode == "RGB":
        return file  # converting it would copy it
    if file.mode == "P" and "transparency" in file.info:
        return file.convert("RGBA").convert("RGB")  # otherwise Pillow prints a warning
    if file.mode in EIGHT_BIT_MODES:
        return file.convert("RGB")
    from PIL import Image

    # Pillow's own conversion of 16-bit grey clips it at 255.
    tags = getattr(file, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    grey = (np.asarray(file) >> (bits - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB")


def _check_size(
    path: Path,
    size: tuple[int, int],
    *,
    most: int,
    scaled: tuple[int, int],
    crop: int | None,
    expected: tuple[int, int] | None,
) -> None:
    if crop is not None and crop > min(scaled):
        raise DatasetError(f"{path}: {crop} pixels can't be cut out of {scaled[0]} x {scaled[1]}")
    final = scaled if crop is None else (crop, crop)
    if expected is not None and final != expected:
        raise DatasetError(
            f"{path} has {final[0]} x {final[1]} pixels, the images before it {expected[0]} x {expected[1]}; "
            "bring them to one size"
        )
    for verb, (width, height), limit in (
        ("has", size, most),
        ("is to become", scaled, MAX_PIXELS),
        ("is to become", final, MAX_RESULT_PIXELS),
    ):
        if width * height > limit:
            raise DatasetError(f"{path} {verb} {width} x {height} pixels, more than {limit}; scale it down")


def _check_kind(path: Path, file: "ImageFile") -> None:
    """Raise DatasetError for kinds of images that would lose their levels, or take seconds to decode."""
    # 16-bit .pgm files have the mode of 32 bits, scaled to 65535.
    is_16_bit = file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM"))
    if file.mode not in EIGHT_BIT_MODES and not is_16_bit:
        raise DatasetError(
            f"{path} holds values of Pillow's mode {file.mode}, whose range is not known; save it with 8 or 16 bits"
        )
    if file.format == "TIFF" and "jpeg" in str(file.info.get("compression")):
        raise DatasetError(f"{path} is a TIFF file of JPEG images; save it as .jpg or .png")
    # In compressed data the byte FF is never followed by DA, which begins a scan.
    if file.format in ("JPEG", "MPO"):
        scans = read_bytes(path, limit_bytes=MAX_JPEG_BYTES).count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise DatasetError(f"{path} has {scans} scans, more than {MAX_SCANS}; save it again")
