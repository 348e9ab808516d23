"""Speed of the corruption generator, corruption by corruption.

    python benchmarks/corruptions.py [--images 1000] [--size 32] [--device cuda]

Prints a table and, last, one line of JSON. A figure is the median over severities and repeats.
"""

import argparse
import json
import time
from statistics import median

import torch

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    images = smooth_images(arguments.images, arguments.size).to(arguments.device)
    ms_per_image = {
        name: measure(images, name, repeats=arguments.repeats) for name in CORRUPTIONS + EXTRA_CORRUPTIONS
    }
    print(f"{'corruption':<20}{'images/s':>10}{'ms/image':>10}")
    for name, ms in ms_per_image.items():
        print(f"{name:<20}{1000 / ms:>10,.0f}{ms:>10.3f}")
    figures = {
        "images": arguments.images,
        "size": arguments.size,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "ms_per_image": {name: round(ms, 4) for name, ms in ms_per_image.items()},
        "sum_of_the_15_ms": round(sum(ms_per_image[name] for name in CORRUPTIONS), 4),
    }
    print(json.dumps(figures))


def smooth_images(count: int, size: int) -> torch.Tensor:
    """Random images with the correlated neighbours of photographs: JPEG's cost depends on them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (fine * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def measure(images: torch.Tensor, name: str, *, repeats: int) -> float:
    """Median milliseconds an image."""
    times = []
    for severity in SEVERITIES:
        corrupt(images[:8], corruption=name, severity=severity)  # tables and operators are built once
        for _ in range(repeats):
            synchronize(images.device)
            start = time.perf_counter()
            corrupt(images, corruption=name, severity=severity)
            synchronize(images.device)
            times.append(time.perf_counter() - start)
    return median(times) * 1000 / len(images)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
