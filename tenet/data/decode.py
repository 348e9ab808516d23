"""One image file to RGB pixels: the formats that are read, the conversion to 8 bits, and bounds on time and memory."""

import importlib.util
import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import UInt8

from tenet.data.crops import Planned, Size
from tenet.errors import DatasetError
from tenet.files.plain import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Recognised by content: a file named .JPEG may hold a PNG, as one of ImageNet's does.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF", "JPEG2000")
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
    ".gif", ".jp2", ".j2k", ".jpx", ".avif",
)  # fmt: skip
# Pixels of the file, read from its header before it is decoded: a few bytes may claim any number of pixels.
MAX_PIXELS = 2**25
# libwebp holds four copies of an image.
MAX_WEBP_PIXELS = 2**24
# Pixels of the result, after resizing and cropping.
MAX_RESULT_PIXELS = 2**24
# A progressive JPEG has about ten scans, and each may take as long as decoding a whole image.
MAX_SCANS = 100
MAX_FILE_BYTES = 2**28
# Modes that Pillow converts to RGB without losing levels.
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# Tags of TIFF files, and a value of the second.
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
EXIF_ORIENTATION = 274
# EXIF orientation -> value of PIL.Image.Transpose: mirrored, half a turn, upside down, over the main diagonal, a quarter
# turn to the right, over the other diagonal, a quarter turn to the left. The last four swap width and height.
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
SIDEWAYS = (5, 4, 6, 2)
Cutting: TypeAlias = Callable[[Size], Planned]


def read_file(path: Path) -> bytes:
    """The content of an image file. Raises DatasetError, which names the file."""
    try:
        return read_bytes(path, limit_bytes=MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} can't be read as an image: {getattr(error, 'strerror', None) or error}"
        ) from error


def decode(
    content: bytes, *, name: str, cut: Cutting | None = None, upright: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of an image.

    Grey is repeated to three channels, transparency is dropped, and of 16 bits the 8 higher ones are kept, as Pillow
    does for 16-bit colours. If a file holds several images, the first is read.

    name: the file, for messages. cut: a function from width and height to the part that is kept; None: the whole image.
    upright: turn the image as its EXIF orientation says, as viewers do. torchvision does not; Pillow itself turns TIFF
        files.

    Raises DatasetError, which names the file, if it is broken, too large, or of a kind that has no 8-bit form. All of
    this except damage is found before the image is decoded.
    """
    from PIL import Image, UnidentifiedImageError
    from PIL.Image import Transpose

    # Pillow prints a warning about large images; MAX_PIXELS is stricter.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as file:
            _check_kind(name, file, content)
            _check_pixels(
                f"{name} has", file.size, most=MAX_WEBP_PIXELS if file.format == "WEBP" else MAX_PIXELS
            )
            turn = _orientation(file) if upright else None
            width, height = file.size
            size = (height, width) if turn in SIDEWAYS else (width, height)
            chosen = Planned(None, size, None) if cut is None else cut(size)
            _check_pixels(f"{name} is to become", chosen.scaled, most=MAX_PIXELS)
            _check_pixels(f"{name} is to become", chosen.size, most=MAX_RESULT_PIXELS)
            picture = _to_rgb(file)
            if turn is not None:
                picture = picture.transpose(Transpose(turn))
            return np.array(_apply(chosen, picture))
    except (DatasetError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DatasetError(
            f"{name} can't be read as an image: its format is unknown or not supported"
        ) from error
    except Exception as error:  # the decoders fail on damaged files with OSError, SyntaxError and others
        reason = str(error).partition(" <_io.")[0]  # Pillow names its stream
        raise DatasetError(f"{name} can't be read as an image: {reason}") from error


@cache
def _formats() -> tuple[str, ...]:
    """FORMATS, and AVIF where Pillow has it (from 11.3 on)."""
    return (*FORMATS, "AVIF") if importlib.util.find_spec("PIL.AvifImagePlugin") else FORMATS


def _orientation(file: "ImageFile") -> int | None:
    """How the image must be transposed to be upright; None if it is upright, or if its EXIF data is damaged."""
    if file.format == "TIFF":
        return None  # Pillow has turned it already
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged data
        return TURNS.get(file.getexif().get(EXIF_ORIENTATION, 1))
    return None


def _apply(cut: Planned, picture: "Image") -> "Image":
    from PIL.Image import Resampling

    if cut.before is not None:
        picture = picture.crop(cut.before)
    if cut.scaled != picture.size:
        picture = picture.resize(cut.scaled, Resampling.BILINEAR)
    return picture if cut.after is None else picture.crop(cut.after)


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


def _check_pixels(what: str, size: Size, *, most: int) -> None:
    width, height = size
    if width * height > most:
        raise DatasetError(f"{what} {width} x {height} pixels, more than {most}; scale it down")


def _check_kind(name: str, file: "ImageFile", content: bytes) -> None:
    """Raise DatasetError for kinds of images that would lose their levels, or take seconds to decode."""
    # 16-bit .pgm files have the mode of 32 bits, scaled to 65535.
    is_16_bit = file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM"))
    if file.mode not in EIGHT_BIT_MODES and not is_16_bit:
        raise DatasetError(
            f"{name} holds values of Pillow's mode {file.mode}, whose range is not known; save it with 8 or 16 bits"
        )
    if file.format == "TIFF" and "jpeg" in str(file.info.get("compression")):
        raise DatasetError(f"{name} is a TIFF file of JPEG images; save it as .jpg or .png")
    # In compressed data the byte FF is never followed by DA, which begins a scan.
    if file.format in ("JPEG", "MPO"):
        scans = content.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise DatasetError(f"{name} has {scans} scans, more than {MAX_SCANS}; save it again")
