"""Speed of the corruption generator, corruption by corruption.

    python benchmarks/corruptions.py [--device cpu|cuda] [--images 1000] [--size 32] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/corruptions.py --plain [--repeats 15]

Each corruption, at all five severities, alternates with the minimum that every corruption does: converting the images
to numbers in [0, 1] and back to 8 bits. Ratios are to that minimum. Figures are medians of the repeats.

--plain compares with the plain code of plain_corruptions.py, which takes one image at a time, in turn on the same
batches of 32 and 224 pixels. The ratio is the time of the plain code by the generator's: above 1, the generator is faster.
"""

import tempfile
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from plain_corruptions import PLAIN
from timing import hardware, in_turn, make_parser, median_ratio, medians, report, takes_processor_time

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt
from tenet.corruptions.generator import to_levels
from tenet.corruptions.parameters import settings
from tenet.device import keep_freed_memory

PLAIN_IMAGES = {32: 64, 224: 4}  # by size
PHOTOGRAPH_SIZE = (1000, 750)


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


def save_photographs(folder: Path) -> list[Path]:
    """Three PNG files and two JPEG files, like those that the official code draws from."""
    coarse = Image.fromarray(smooth_images(1, 64)[0].numpy())
    photograph = coarse.resize(PHOTOGRAPH_SIZE, Image.Resampling.BICUBIC)
    paths = [folder / f"frost{number}.{'png' if number <= 3 else 'jpg'}" for number in range(1, 6)]
    for path in paths:
        photograph.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))
    return paths


def measure_plain(
    name: str, *, size: int, repeats: int, photographs: list[Path]
) -> tuple[float, float, float]:
    """Median milliseconds per image at one severity, of the plain code and of the generator; and their ratio."""
    images = smooth_images(PLAIN_IMAGES[size], size)
    cells = [settings(name, severity=severity, size=size) for severity in SEVERITIES]
    extra = {"photographs": photographs} if name == "frost" else {}

    def plain() -> None:
        for cell in cells:
            for image in images.numpy():
                PLAIN[name](image, **cell, **extra)

    def generate() -> None:
        for severity in SEVERITIES:
            corrupt(images, corruption=name, severity=severity)

    rounds = in_turn([plain, generate], repeats=repeats, device="cpu")
    plain_ms, ms = (1000 * total / (len(SEVERITIES) * len(images)) for total in medians(rounds))
    return plain_ms, ms, median_ratio(rounds, 0, 1)


def compare_with_plain(*, repeats: int) -> None:
    """Print a Markdown table and the line of JSON."""
    clock = "processor time" if takes_processor_time("cpu") else "elapsed time"
    print(f"{hardware('cpu')}, torch {torch.__version__}, {clock} per image, medians of {repeats}")
    print("| corruption | plain, 32 px | generator | ratio | plain, 224 px | generator | ratio |")
    print("|---|---|---|---|---|---|---|")
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = save_photographs(Path(folder))
        for name in PLAIN:
            cells = []
            for size in PLAIN_IMAGES:
                plain_ms, ms, ratio = measure_plain(name, size=size, repeats=repeats, photographs=photographs)
                cells.append(f"{plain_ms:.3f} ms | {ms:.3f} ms | {ratio:.2f}")
                ratios[f"{name}_{size}_plain_over_generator"] = round(ratio, 3)
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    report("corruptions", device="cpu", ratios={}, speedups=ratios)


def main() -> None:
    parser = make_parser(__doc__, precision=False)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    if args.plain:
        keep_freed_memory()  # as every command does
        compare_with_plain(repeats=args.repeats)
        return
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
