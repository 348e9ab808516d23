"""Speed of the corruption generator, corruption by corruption.

    python benchmarks/corruptions.py [--device cpu|cuda] [--images 1000] [--size 32] [--repeats 3]

Each corruption, at all five severities, alternates with the minimum that every corruption does: converting the images
to numbers in [0, 1] and back to 8 bits. Ratios are to that minimum. Figures are medians of the repeats.
"""

from statistics import median

import torch
from timing import hardware, in_turn, make_parser, median_ratio, report

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt
from tenet.corruptions.generator import to_levels


def smooth_images(count: int, size: int) -> torch.Tensor:
    """Random images with the correlated neighbours of photographs: JPEG's cost depends on them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (fine * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def measure(images: torch.Tensor, name: str, *, repeats: int) -> tuple[float, float]:
    """Median milliseconds per image at one severity, and the ratio to the conversion."""

    def convert() -> None:
        for _ in SEVERITIES:
            to_levels(images.double() / 255)

    def corrupt_all() -> None:
        for severity in SEVERITIES:
            corrupt(images, corruption=name, severity=severity)

    rounds = in_turn([convert, corrupt_all], repeats=repeats, device=images.device.type)
    ms = median(times[1] for times in rounds) * 1000 / (len(SEVERITIES) * len(images))
    return ms, median_ratio(rounds, 1, 0)


def main() -> None:
    parser = make_parser(__doc__, precision=False)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    images = smooth_images(args.images, args.size).to(args.device)
    measured = {name: measure(images, name, repeats=args.repeats) for name in CORRUPTIONS + EXTRA_CORRUPTIONS}
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, {args.images} images {args.size}x{args.size}, "
        f"medians of {args.repeats}"
    )
    print(f"{'corruption':<20}{'images/s':>10}{'ms/image':>10}{'x conversion':>14}")
    for name, (ms, ratio) in measured.items():
        print(f"{name:<20}{1000 / ms:>10,.0f}{ms:>10.3f}{ratio:>14.1f}")
    report(
        "corruptions",
        device=args.device,
        ratios={f"{name}_over_conversion": ratio for name, (_, ratio) in measured.items()},
        images=args.images,
        size=args.size,
        ms_per_image={name: round(ms, 4) for name, (ms, _) in measured.items()},
        sum_of_the_15_ms=round(sum(measured[name][0] for name in CORRUPTIONS), 4),
    )


if __name__ == "__main__":
    main()
