"""AugMix as the official code runs it: sample by sample, through Pillow."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from tenet.augment.augmix import NO_OPERATOR, OPERATORS, AugMixDraws


def to_pillow(image: Tensor) -> Image.Image:
    channels_last = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(channels_last[..., 0] if len(image) == 1 else channels_last)


def from_pillow(picture: Image.Image) -> Tensor:
    pixels: NDArray[np.uint8] = np.array(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def affine(picture: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR
    )


def operate(name: str, picture: Image.Image, parameter: float = 0) -> Image.Image:
    """One operator with its final parameter: bits, threshold, degrees, factor or pixels."""
    match name:
        case "autocontrast":
            return ImageOps.autocontrast(picture)
        case "equalize":
            return ImageOps.equalize(picture)
        case "posterize":
            return ImageOps.posterize(picture, int(parameter))
        case "solarize":
            return ImageOps.solarize(picture, int(parameter))
        case "rotate":
            return picture.rotate(parameter, resample=Image.Resampling.BILINEAR)
        case "shear_x":
            return affine(picture, (1, parameter, 0, 0, 1, 0))
        case "shear_y":
            return affine(picture, (1, 0, 0, parameter, 1, 0))
        case "translate_x":
            return affine(picture, (1, 0, parameter, 0, 1, 0))
        case "translate_y":
            return affine(picture, (1, 0, 0, 0, 1, parameter))
    raise ValueError(name)


def parameter_at(name: str, *, level: float, sign: float, size: tuple[int, int]) -> float:
    """What a level in [0, 10] means to the operator, for a picture of `size` (width, height)."""
    width, height = size
    parameters = {
        "posterize": 4 - int(level * 4 / 10),
        "solarize": 256 - int(level * 256 / 10),
        "rotate": sign * int(level * 30 / 10),
        "shear_x": sign * level * 0.3 / 10,
        "shear_y": sign * level * 0.3 / 10,
        "translate_x": sign * int(level * (width / 3) / 10),
        "translate_y": sign * int(level * (height / 3) / 10),
    }
    return parameters.get(name, 0)


def mix(images: Tensor, mixing: AugMixDraws) -> Tensor:
    """The whole of AugMix with the choices already made; values in [0, 1]."""
    mixed = []
    for sample, image in enumerate(images):
        mixture = torch.zeros(image.shape)
        for chain, weight in enumerate(mixing.chain_weights[sample]):
            picture = to_pillow(image)
            steps = zip(*(drawn[sample, chain].tolist() for drawn in mixing[:3]), strict=True)
            for operator, level, sign in steps:
                if operator != NO_OPERATOR:
                    name = OPERATORS[operator]
                    parameter = parameter_at(name, level=level, sign=sign, size=picture.size)
                    picture = operate(name, picture, parameter)
            mixture += weight * from_pillow(picture) / 255
        share = mixing.mixture_weights[sample]
        mixed.append((1 - share) * image / 255 + share * mixture)
    return torch.stack(mixed)
