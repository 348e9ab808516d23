"""Draw what augmentations and mixings do to a batch: docs/images/methods/NAME.png.

    python docs/draw_methods.py [OVERRIDE ...]

Overrides choose the data, such as dataset=digits (the default is CIFAR-10). Each picture has the images before, flipped
and cropped, in its first row, and two draws of the method below.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from tenet.augment import Standard
from tenet.config.build import build
from tenet.config.command_line import plan
from tenet.methods import Batch, Draw
from tenet.mixing import DataFacts

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {
    "augment": ("augmix", "prime", "ipmix", "apr", "hybrid", "autoaugment", "randaugment", "trivialaugment"),
    "mixing": ("cutout", "mixup", "cutmix", "pixmix", "apr", "hybrid"),
}
IMAGES, DRAWS, SCALE = 10, 2, 3


def draw_augmentation(augmentation, images: Tensor) -> Iterator[Tensor]:
    for seed in range(DRAWS):
        yield augmentation.change(images, generator=torch.Generator().manual_seed(seed))


def draw_mixing(mixing, images: Tensor, facts: DataFacts) -> Iterator[Tensor]:
    step = drawn = 0
    while drawn < DRAWS:
        step += 1
        labels = torch.arange(len(images)) % facts.num_classes
        batch = Batch(
            images=images.float() / 255, labels=labels, step=step, draw=Draw("cpu", seed=0, step=step)
        )
        mixed = mixing.mix(batch, facts).images[-len(images) :]
        if not torch.equal(mixed, batch.images):  # some mix only a part of the batches
            drawn += 1
            yield mixed


def main() -> None:
    folder = ROOT / "docs" / "images" / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    _, config = plan(sys.argv[1:], config_dir=ROOT / "conf", config_name="train")
    dataset = build(config["dataset"], key="dataset")
    train = dataset.load().train
    # One of each class, if they come in the order of their labels.
    ids = torch.linspace(0, len(train) - 1, IMAGES).long()
    images = train.images[ids].permute(0, 3, 1, 2).contiguous()
    images = Standard().place(images, generator=torch.Generator().manual_seed(0))
    facts = DataFacts(len(train.classes), tuple(dataset.mean))
    for group, options in OPTIONS.items():
        for option in options:
            words = [*sys.argv[1:], f"{group}={option}"]
            part = build(plan(words, config_dir=ROOT / "conf", config_name="train")[1][group], key=group)
            rows = draw_augmentation(part, images) if group == "augment" else draw_mixing(part, images, facts)
            grid = make_grid(torch.cat([images.float() / 255, *rows]).clamp(0, 1), nrow=IMAGES, pad_value=1)
            path = folder / f"{group}-{option}.png"
            save_image(grid.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2), path)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
