"""Augmentations as one would write them for the workers of a DataLoader: one Pillow image at a time.

For the comparison in originals.py only. Each is written from the method's definition (docs/methods.md), with NumPy,
Pillow, torch and torchvision, and takes and returns what its original does: a Pillow image before the conversion to a
tensor, or a tensor after it. Draws come from NumPy's global generator.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from sys import path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional

path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the Pillow operators in tests/

from tenet.augment.augmix import OPERATORS
from tenet.augment.pictures import load_pictures
from tests.augment.pillow_reference import operate, parameter_at

SEVERITY, SIZE = 3.0, 32
ENHANCERS = {
    "colour": ImageEnhance.Color, "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness, "sharpness": ImageEnhance.Sharpness,
}  # fmt: skip
random = np.random  # a worker seeds it
to_tensor = transforms.ToTensor()


def coin(probability: float = 0.5) -> bool:
    return bool(random.rand() < probability)


def random_operator(picture: Image.Image, names: Sequence[str] = OPERATORS) -> Image.Image:
    name, level = names[random.randint(len(names))], random.uniform(0.1, SEVERITY)
    if name == "mirror":
        return ImageOps.mirror(picture)
    if name == "invert":
        return ImageOps.invert(picture)
    if name in ENHANCERS:
        return ENHANCERS[name](picture).enhance(level * 1.8 / 10 + 0.1)
    sign = -1.0 if coin() else 1.0
    return operate(name, picture, parameter_at(name, level=level, sign=sign, size=picture.size))


def augmix(picture: Image.Image) -> Tensor:
    weights, share = np.float32(random.dirichlet([1, 1, 1])), np.float32(random.beta(1, 1))
    image = to_tensor(picture)
    mixture = torch.zeros_like(image)
    for weight in weights:
        changed = picture
        for _ in range(random.randint(1, 4)):
            changed = random_operator(changed)
        mixture += float(weight) * to_tensor(changed)
    return (1 - float(share)) * image + float(share) * mixture


# --- APR-S and HybridAugment-S


def swap_phase(amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    spectrum = np.abs(np.fft.fftn(amplitude)) * np.exp(1j * np.angle(np.fft.fftn(phase)))
    return np.fft.ifftn(spectrum).real.astype(np.int32).astype(np.uint8)


def apr(picture: Image.Image) -> Image.Image:
    first = random_operator(picture)
    if coin():
        return first
    pair = [np.asarray(first), np.asarray(random_operator(first))]
    return Image.fromarray(swap_phase(*(pair if coin() else pair[::-1])))


def low_pass(picture: Image.Image) -> np.ndarray:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    return functional.gaussian_blur(pixels, [3, 3], [0.5, 0.5]).permute(1, 2, 0).numpy()


def hybrid(picture: Image.Image) -> Image.Image:
    """HybridAugment++: the low frequencies go through APR-S."""
    first = random_operator(picture)
    if coin():
        return first
    one, other = (first, random_operator(first)) if coin() else (random_operator(first), first)
    low = np.asarray(apr(Image.fromarray(low_pass(one).astype(np.uint8))))
    mixed = low + (np.asarray(other) - low_pass(other))
    return Image.fromarray(mixed.astype(np.int32).astype(np.uint8))


# --- PixMix and IPMix


def pictures() -> list[Image.Image]:
    """The same pictures as those of the package."""
    return [
        Image.fromarray(one.permute(1, 2, 0).numpy())
        for one in load_pictures(None, size=SIZE, group="mixing")
    ]


def coefficients() -> tuple[float, float]:
    if coin():
        return random.beta(3, 1), random.beta(1, 3)
    return 1 + random.beta(1, 3), -random.beta(1, 3)


def mix(image: Tensor, other: Tensor) -> Tensor:
    a, b = coefficients()
    if coin():
        return (a * (2 * image - 1) + b * (2 * other - 1) + 1) / 2
    return (2 * image) ** a * (2 * other).clamp(min=1e-37) ** b / 2


class PixMix:
    def __init__(self) -> None:
        self.pictures, self.crop = pictures(), transforms.RandomCrop(SIZE)

    def __call__(self, picture: Image.Image) -> Tensor:
        names = (*OPERATORS, *ENHANCERS)
        other = to_tensor(self.crop(self.pictures[random.randint(len(self.pictures))]))
        mixed = to_tensor(random_operator(picture, names) if coin() else picture)
        for _ in range(random.randint(5)):
            mixed = mix(mixed, to_tensor(random_operator(picture, names)) if coin() else other).clamp(0, 1)
        return mixed


class IPMix:
    def __init__(self) -> None:
        self.pictures, self.crop = pictures(), transforms.RandomCrop(SIZE)

    def __call__(self, picture: Image.Image) -> Tensor:
        other = np.array(self.crop(self.pictures[random.randint(len(self.pictures))]))
        weights, share = random.dirichlet([1, 1, 1]), random.beta(1, 1)
        image = to_tensor(picture)
        mixture = torch.zeros_like(image)
        for weight in weights:
            changed, by_patches = picture, coin()
            for _ in range(random.randint(4)):
                if by_patches:
                    changed = self.mix_patch(changed, other)
                else:
                    changed = random_operator(changed, (*OPERATORS[1:], "mirror", "invert"))
            mixture += weight * to_tensor(changed)
        return (1 - share) * image + share * mixture

    def mix_patch(self, picture: Image.Image, other: np.ndarray) -> Image.Image:
        side = (4, 8, 16, 32)[random.randint(4)]
        left, top = random.randint(SIZE - side + 1, size=2)
        width, height = (side, side) if coin() else random.randint(2, side + 1, size=2)
        box = np.s_[top : top + height, left : left + width]
        pixels = np.array(picture)
        own, drawn = (
            torch.from_numpy(one[box].copy()).permute(2, 0, 1).float() / 255 for one in (pixels, other)
        )
        if coin():
            mixed = mix(own, drawn)
        else:
            uniform = torch.from_numpy(random.rand(1 if coin() else 3, height, width))
            mixed = torch.where(uniform < random.rand(), own, drawn)
        whole = (255 * mixed).clamp(-(2**30), 2**30).permute(1, 2, 0).int()
        pixels[box] = (whole & 255).byte().numpy()
        return Image.fromarray(pixels)


# --- PRIME


def prime(image: Tensor) -> Tensor:
    weights, share = random.dirichlet([1, 1, 1]), random.beta(1, 1)
    primitives = (filter_spectrum, change_colours, deform)
    mixture = torch.zeros_like(image)
    for weight in weights:
        changed = image
        for _ in range(random.randint(1, 4)):
            changed = primitives[random.randint(3)](changed)
        mixture += weight * changed
    return (1 - share) * image + share * mixture


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape).astype(np.float32))


def filter_spectrum(image: Tensor) -> Tensor:
    kernel = random.uniform(0, 4) * normal(3, 3)
    kernel[2, 2] += 1
    return F.conv2d(image[:, None], kernel[None, None], padding=1)[:, 0].clamp(0, 1)


def change_colours(image: Tensor) -> Tensor:
    frequencies = torch.arange(1, random.randint(1, 101) + 1)
    sines = torch.sin(math.pi * frequencies[:, None, None, None] * image)
    coefficients = math.sqrt(random.uniform(0, 0.01)) * normal(len(image), len(frequencies))
    return (image + torch.einsum("kchw,ck->chw", sines, coefficients)).clamp(0, 1)


def deform(image: Tensor) -> Tensor:
    cut = int(2 + random.beta(0.5, 0.5) * (random.randint(3, 101) - 1))
    frequencies, size = torch.arange(1, cut + 1), image.shape[-1]
    radius = (frequencies[:, None] ** 2 + frequencies**2).float().sqrt()
    edge = math.log(cut + 1e-6)
    low = 1 / (math.pi * size**2 * edge)
    temperature = low + random.beta(0.5, 0.5) * (max(low, 4 / (math.pi**3 * cut**2 * edge)) - low)
    sines = torch.sin(math.pi * frequencies[:, None] * torch.linspace(0, 1, size))
    noise = normal(2, cut, cut) * torch.where(radius < cut + 0.5, 1 / radius, 0)
    move = math.sqrt(temperature) * size * torch.einsum("dij,ix,jy->dyx", noise, sines, sines)
    steps = torch.arange(size)
    grid = (
        torch.stack([steps - move[0], steps[:, None] - move[1]], -1).clamp(0, size - 1) * 2 / (size - 1) - 1
    )
    return F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=True)[0]


def cutout(image: Tensor, *, length: int = 16) -> Tensor:
    row, column = random.randint(SIZE, size=2)
    mask = np.ones((SIZE, SIZE), np.float32)
    half = length // 2
    mask[max(0, row - half) : row + half, max(0, column - half) : column + half] = 0
    return image * torch.from_numpy(mask)


def pipelines() -> dict[str, Callable[[Image.Image], Tensor]]:
    """The whole of what a worker does with an image: flip and crop too, in the original's order."""
    place = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(SIZE, padding=4)]
    policies = {
        "autoaugment": transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
        "randaugment": transforms.RandAugment(),
        "trivialaugment": transforms.TrivialAugmentWide(),
    }
    steps = {
        "standard": [*place, to_tensor],
        "cutout": [*place, to_tensor, cutout],
        **{name: [*place, policy, to_tensor] for name, policy in policies.items()},
        "augmix": [*place, augmix],
        "apr": [apr, *place, to_tensor],
        "hybrid": [hybrid, *place, to_tensor],
        "prime": [*place, to_tensor, prime],
        "pixmix": [*place, PixMix()],
        "ipmix": [*place, IPMix()],
    }
    return {name: transforms.Compose(each) for name, each in steps.items()}
