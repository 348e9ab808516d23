"""AugMix on the device, in batches, compared with Pillow in DataLoader workers and with a training step.

    python benchmarks/augment.py [--device cpu|cuda] [--batch 256] [--workers N] [--precision fp32|bf16] [--compile]
        [--repeats 5]

All alternate within one run. The Pillow pipeline is the test suite's oracle (tests/augment), image by image, in worker
processes that are started once and may be a quarter ahead. The step is a plain one of ResNeXt-29. --compile adds AugMix
as `trainer.compile=true` compiles it on a GPU.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the Pillow oracle in tests/

from corruptions import smooth_images
from timing import hardware, in_turn, make_parser, median_ratio, medians, report
from training import make_rehearsal

from tenet.augment import AugMix
from tenet.augment.augmix import draw_mixing
from tenet.doctor.hardware import usable_cores
from tests.augment.pillow_reference import mix


class PillowAugMix(IterableDataset):
    """The images of each batch, one by one, without end."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __iter__(self):
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**32)
        while True:
            for image in self.images.split(1):
                drawn = draw_mixing(1, severity=3.0, width=3, depth=0, alpha=1.0, generator=generator)
                yield mix(image, drawn)[0]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=usable_cores(), help="0: in this process")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    images = smooth_images(args.batch, 32).permute(0, 3, 1, 2).contiguous()
    on_device = images.to(args.device)
    generator = torch.Generator(args.device).manual_seed(0)
    augmix, compiled = AugMix(), AugMix()
    loader = DataLoader(
        PillowAugMix(images),
        batch_size=args.batch,
        num_workers=args.workers,
        prefetch_factor=1 if args.workers else None,
    )
    batches = iter(loader)
    rehearsal = make_rehearsal(args.device, args.precision)
    batch = rehearsal.random_batch(args.batch)

    # While the others are timed, each worker prepares one batch: a quarter of what is requested here.
    rows = 4 * max(1, args.workers)
    actions = [
        lambda: augmix.views[0](on_device, generator=generator),
        lambda: [next(batches).to(args.device) for _ in range(rows)],
        lambda: next(rehearsal.steps(batch)),
    ]
    if args.compile:
        compiled.compile()
        actions.append(lambda: compiled.views[0](on_device, generator=generator))
    rounds = in_turn(
        actions,
        repeats=args.repeats,
        device=args.device,
        wall=args.workers > 0,  # other processes do that work
    )
    ours, pillow, plain, *more = medians(rounds)
    ratios = {
        "augmix_over_pillow": median_ratio(rounds, 0, 1) * rows,
        "augmix_over_step": median_ratio(rounds, 0, 2),
    }
    pillow_where = f"Pillow in {args.workers} workers" if args.workers else "Pillow in this process"
    print(
        f"{hardware(args.device)}, torch {torch.__version__}, batch {args.batch}, medians of {args.repeats}\n"
        f"  AugMix in a batch             {ours * 1e3:9.2f} ms  {args.batch / ours:12,.0f} images/s\n"
        f"  {pillow_where:<30}{pillow / rows * 1e3:9.2f} ms  "
        f"{args.batch * rows / pillow:12,.0f} images/s  {1 / ratios['augmix_over_pillow']:.1f} x ours\n"
        f"  plain step                    {plain * 1e3:9.2f} ms; AugMix is {ratios['augmix_over_step']:.3f} of it"
    )
    if args.compile:
        ratios["compiled_over_augmix"] = median_ratio(rounds, 3, 0)
        ratios["compiled_over_step"] = median_ratio(rounds, 3, 2)
        print(
            f"  AugMix, compiled              {more[0] * 1e3:9.2f} ms  {args.batch / more[0]:12,.0f} images/s  "
            f"{ratios['compiled_over_augmix']:.2f} x the time of ours, {ratios['compiled_over_step']:.3f} of the step"
        )
    report(
        "augment",
        device=args.device,
        ratios=ratios,
        batch=args.batch,
        precision=args.precision,
        workers=args.workers,
        augmix_s=ours,
        pillow_s=pillow / rows,
        plain_step_s=plain,
    )


if __name__ == "__main__":
    main()
