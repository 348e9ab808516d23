"""The pictures that PixMix and IPMix mix into images: a folder of the user's, or fractals rendered here."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet.errors import DatasetError

# Pictures are stored larger than the images, and cropped at random: 36 pixels for images of 32.
MARGIN = 8
FRACTALS, FRACTAL_SEED, FRACTAL_ROUNDS = 300, 0, 48
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_PICTURES = 20_000


def load_pictures(path: str | None, *, size: int, group: str) -> UInt8[Tensor, "picture 3 side side"]:
    """Square pictures to crop `size` pixels from. None: fractals.

    group: of the configuration, for messages. Raises DatasetError if the folder holds no pictures.
    """
    side = size + size // MARGIN
    return render_fractals(side) if path is None else read_pictures(Path(path), side=side, group=group)


def check_pictures(path: str | None, *, group: str) -> None:
    """Raise DatasetError unless the folder of pictures exists. group: the configuration group of the key."""
    if path is not None and not Path(path).is_dir():
        raise DatasetError(
            f"{group}.pictures={path}: is not a folder; give one with pictures, or null for fractals"
        )


def describe_pictures(path: str | None) -> str:
    """For reports."""
    if path is None:
        return (
            f"{FRACTALS} Julia sets rendered by this package (seed {FRACTAL_SEED}), not the authors' pictures"
        )
    return f"the pictures in {Path(path).name}"


def crop_pictures(
    pictures: UInt8[Tensor, "picture 3 side side"],
    chosen: Int64[Tensor, " batch"],
    *,
    size: int,
    generator: torch.Generator,
) -> UInt8[Tensor, "batch 3 size size"]:
    """A random crop of each chosen picture."""
    room = pictures.shape[-1] - size + 1
    top, left = torch.randint(room, (2, len(chosen), 1), generator=generator, device=generator.device)
    inside = torch.arange(size, device=pictures.device)
    pixels = (top + inside)[:, :, None] * pictures.shape[-1] + (left + inside)[:, None, :]
    flat = pictures[chosen].flatten(2)
    return flat.gather(2, pixels.flatten(1)[:, None].expand(-1, 3, -1)).unflatten(2, (size, size))


def read_pictures(folder: Path, *, side: int, group: str) -> UInt8[Tensor, "picture 3 side side"]:
    """The pictures of a folder and its subfolders, with the short side resized to `side` and the middle cut out."""
    from PIL import Image, ImageOps

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{group}.pictures={folder}: there are no pictures ({', '.join(SUFFIXES)})")
    if len(paths) > MAX_PICTURES:
        raise DatasetError(
            f"{group}.pictures={folder}: {len(paths):,} pictures; use at most {MAX_PICTURES:,}"
        )
    arrays = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                fitted = ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{path}: can't be read as a picture ({error})") from error
        arrays.append(np.asarray(fitted))
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


@cache
def render_fractals(side: int) -> UInt8[Tensor, "picture 3 side side"]:
    """Coloured Julia sets of z^2 + c, for random c near the border of the Mandelbrot set; always the same ones."""
    random = np.random.default_rng(FRACTAL_SEED)
    shape = (FRACTALS, 1, 1)
    # c on a slightly blown-up main cardioid of the Mandelbrot set, where the Julia sets are the richest.
    angle = random.uniform(0, 2 * np.pi, shape)
    on_border = np.exp(1j * angle) / 2 - np.exp(2j * angle) / 4
    c = on_border * random.uniform(1.0, 1.08, shape)
    zoom, turn = random.uniform(0.5, 1.4, shape), np.exp(1j * random.uniform(0, 2 * np.pi, shape))
    axis = np.linspace(-1, 1, side)
    z = zoom * turn * (axis[None, :, None] * 1j + axis[None, None, :])
    z = np.broadcast_to(z, (FRACTALS, side, side)).astype(np.complex64)
    escape = np.zeros(z.shape, np.float32)
    for _ in range(FRACTAL_ROUNDS):
        inside = np.abs(z) < 4
        z = np.where(inside, z * z + c.astype(np.complex64), z)
        escape += inside
    # Fractional numbers of rounds give smooth colours.
    smooth = escape - np.log2(np.log2(np.maximum(np.abs(z), 4)))
    frequencies = random.uniform(0.15, 0.6, (FRACTALS, 3, 1, 1))
    phases = random.uniform(0, 2 * np.pi, (FRACTALS, 3, 1, 1))
    colours = 127.5 + 127.5 * np.cos(frequencies * smooth[:, None] + phases)
    return torch.from_numpy(colours.astype(np.uint8))
