"""The minimum cost of each phase of a training step on this device, and its actual cost.

    python benchmarks/phases.py [--device cpu|cuda] [--batch 256] [--precision fp32|bf16] [--count]

ResNeXt-29, 10 classes, 32x32 images, every image classified right (the worst case). Operations are those of
convolutions and linear layers (a multiply-add is two), forward and backward, and of the products in the grouping, over
--iterations rounds (on a CPU it stops when all samples have settled). Every operator that PyTorch runs (except views)
reads and writes its tensors once, so kernels that fuse several operators move fewer bytes. The minimum of a phase is the
larger of operations over the best matrix product and bytes over the best copy, both measured in the same run. --count
only counts, which takes seconds.
"""

from collections.abc import Callable
from typing import Any

import torch
from timing import (
    best_arithmetic,
    best_bandwidth,
    hardware,
    in_turn,
    make_parser,
    median_ratio,
    medians,
    report,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training import make_rehearsal

from tenet.augment import AugMix
from tenet.inhibition import group_channels, inhibition_mask, orthogonality_loss
from tenet.methods import Update, importance_pass
from tenet.networks import Network, ResNeXt


class Traffic(TorchDispatchMode):
    """Counts operators, and the bytes that they read and write, without views and allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operators = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if not operator.is_view and "empty" not in str(operator):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.operators += 1
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def count_operations(batch: int, groups: int, iterations: int) -> dict[str, int]:
    """Operations by phase. A backward costs two forwards (for inputs and for weights), or one if only the gradient of the
    features is needed."""
    counts = [0]
    cut: list[Tensor] = []

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        counts[-1] += 2 * output.numel() * layer.weight[0].numel()  # type: ignore[operator, index]

    def start_second_part(features: Tensor) -> Tensor:
        counts.append(0)
        cut.append(features)
        return features

    with torch.device("meta"), torch.no_grad():
        network = Network(ResNeXt(num_classes=10), cut="stage_2")
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(add)
        with network.at_cut(start_second_part):
            network(torch.empty(batch, 3, 32, 32))
    (before, behind), features = counts, cut[0]
    whole = before + behind
    channels, positions = features.shape[1], features[0, 0].numel()
    products = 2 * batch * channels * groups * positions
    return {
        "plain step": 3 * whole,
        "importance pass": before + 2 * behind,
        # Distances to the medoids, the groups' means, distances to the means.
        "grouping": 3 * products * iterations,
        "mask": products,
        "inhibited pass": 3 * whole,
        "orthogonality": 2 * products,
        "AugMix": 0,
    }


def make_phases(
    device: str, batch: int, groups: int, precision: str, *, rounds: int = 50
) -> dict[str, Callable[[], object]]:
    """One call of each phase. Later phases use the results of earlier ones, so the first round must run all of them."""
    torch.manual_seed(0)
    rehearsal = make_rehearsal(device, precision, "trainer.channels_last=true")
    network, samples = rehearsal.experiment.network, rehearsal.random_batch(batch)
    images, labels = samples.images, samples.labels
    pixels = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, device=device)
    kept: dict[str, Tensor] = {}

    def importance() -> None:
        kept["features"], kept["gradients"] = importance_pass(network, images, labels)

    def grouping() -> None:
        kept["assignments"] = group_channels(kept["features"], groups=groups, max_iterations=rounds)

    def mask() -> None:
        kept["mask"] = inhibition_mask(
            kept["features"], gradients=kept["gradients"], assignments=kept["assignments"], groups=groups
        )

    def inhibited() -> None:
        features, logits = network(images, kept["mask"])
        kept["before mask"] = features.detach().requires_grad_()
        loss = F.cross_entropy(logits, labels)
        rehearsal.optimizer.step(Update(loss=loss, batch=samples, samples=batch))

    def orthogonality() -> None:
        orthogonality_loss(kept["before mask"], assignments=kept["assignments"], groups=groups).backward()

    def augmix() -> None:
        AugMix().views[0](pixels, generator=torch.Generator(device).manual_seed(0))

    return {
        "plain step": lambda: next(rehearsal.steps(samples)),
        "importance pass": importance,
        "grouping": grouping,
        "mask": mask,
        "inhibited pass": inhibited,
        "orthogonality": orthogonality,
        "AugMix": augmix,
    }


def count_traffic(
    batch: int, groups: int, precision: str, iterations: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes and operators by phase, from steps of 2 and of 4 images on the CPU: every image adds the same."""

    def count_rounds(images: int, rounds: int) -> dict[str, tuple[int, int]]:
        counts = {}
        for name, phase in make_phases("cpu", images, groups, precision, rounds=rounds).items():
            with Traffic() as traffic:
                phase()
            counts[name] = traffic.bytes, traffic.operators
        return counts

    def count(images: int) -> dict[str, tuple[int, int]]:
        # Every round of the grouping adds the same too.
        one, two = count_rounds(images, 1), count_rounds(images, 2)
        return {
            name: tuple(
                first + (iterations - 1) * (second - first) for first, second in zip(*pair, strict=True)
            )
            for name, pair in {name: (one[name], two[name]) for name in one}.items()
        }

    two, four = count(2), count(4)
    moved = {name: two[name][0] + (four[name][0] - two[name][0]) // 2 * (batch - 2) for name in two}
    return moved, {name: operators for name, (_, operators) in two.items()}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=50, help="rounds of the grouping to count")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--count", action="store_true", help="only count")
    args = parser.parse_args()
    operations = count_operations(args.batch, args.groups, args.iterations)
    traffic, operators = count_traffic(args.batch, args.groups, args.precision, args.iterations)
    extra = sum(count for name, count in operations.items() if name != "plain step")
    ratios = {
        "least_inhibited_over_plain": extra / operations["plain step"],
        "least_tenet_over_plain": 1 + extra / operations["plain step"] / 3,
    }
    measured: dict[str, Any] = {}
    floors: dict[str, float] = {}
    times: dict[str, float] = {}
    if not args.count:
        dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
        arithmetic = best_arithmetic(device=args.device, dtype=dtype)
        bandwidth = best_bandwidth(device=args.device)
        floors = {name: max(operations[name] / arithmetic, traffic[name] / bandwidth) for name in operations}
        phases = make_phases(args.device, args.batch, args.groups, args.precision)
        rounds = in_turn(list(phases.values()), repeats=args.repeats, device=args.device)
        times = dict(zip(phases, medians(rounds), strict=True))
        print(f"{hardware(args.device)}, torch {torch.__version__}, {args.precision}, batch {args.batch}")
        print(f"best matrix product {arithmetic / 1e12:.3g} Tflop/s, best copy {bandwidth / 1e9:.3g} GB/s")
        ratios |= {
            f"{name.lower().replace(' ', '_')}_over_plain_step": median_ratio(rounds, i, 0)
            for i, name in enumerate(phases)
            if i > 0
        }
        measured = {
            "flop_per_s": arithmetic,
            "bytes_per_s": bandwidth,
            "floor_s": floors,
            "time_s": times,
        }
    print(f"{'phase':<20}{'Gflop':>10}{'GB':>8}{'operators':>11}{'floor ms':>11}{'ms':>10}")
    for name in operations:
        cells = [
            f"{operations[name] / 1e9:10.1f}{traffic[name] / 1e9:8.2f}{operators[name]:11,}",
            f"{floors[name] * 1e3:11.2f}" if name in floors else f"{'':>11}",
            f"{times[name] * 1e3:10.2f}" if name in times else "",
        ]
        print(f"{name:<20}" + "".join(cells))
    print(
        f"least inhibited step: {ratios['least_inhibited_over_plain']:.2f} x a plain step; "
        f"least TENET: {ratios['least_tenet_over_plain']:.2f} x plain training at interval 3"
    )
    report(
        "phases",
        device=args.device,
        ratios=ratios,
        batch=args.batch,
        precision=args.precision,
        operations=operations,
        bytes=traffic,
        operators=operators,
        **measured,
    )


if __name__ == "__main__":
    main()
