"""torchvision's policies: AutoAugment, RandAugment and TrivialAugment, with a draw of its own for every image.

torchvision draws once a batch. Here, every image draws, on the host; images that drew the same operator at the same
strength go through torchvision's own function together, so that no step loops over images.
"""

from abc import abstractmethod
from collections import defaultdict
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenet.augment.views import Augmentation
from tenet.rules import at_least, at_most, check_arguments

Images = UInt8[Tensor, "batch channel h w"]
# The number of strengths of the operators in AutoAugment's table.
AUTOAUGMENT_LEVELS = 10


class Operation(NamedTuple):
    """The name and the magnitude of a torchvision operator."""

    name: str
    magnitude: float


class Policy(Augmentation):
    """An augmentation by torchvision's operators, on the flipped and cropped image."""

    overlaps = ("brightness", "contrast", "saturate")

    def __init__(self, *, flip: bool, padding: int, clean_view: bool) -> None:
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)

    @abstractmethod
    def draw(self, size: tuple[int, int], *, generator: torch.Generator) -> list[Operation | None]:
        """The operations of one image of `size` (h, w), in their order; as many for every image, None changes nothing."""

    def change(self, images: Images, *, generator: torch.Generator) -> Float[Tensor, "batch channel h w"]:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        host = torch.Generator().manual_seed(seed)
        height, width = images.shape[2:]
        drawn = [self.draw((height, width), generator=host) for _ in range(len(images))]
        for operations in zip(*drawn, strict=True):
            images = apply_operations(images, list(operations))
        return images.float() / 255


def apply_operations(images: Images, operations: list[Operation | None]) -> Images:
    """Apply one operation to each image."""
    from torchvision.transforms.autoaugment import _apply_op  # takes a second to import
    from torchvision.transforms.functional import InterpolationMode

    by_operation: dict[Operation, list[int]] = defaultdict(list)
    for position, operation in enumerate(operations):
        if operation is not None:
            by_operation[operation].append(position)
    changed = images.clone()
    for operation, positions in by_operation.items():
        ids = torch.tensor(positions).to(images.device, non_blocking=True)
        changed[ids] = _apply_op(
            images[ids], operation.name, operation.magnitude, InterpolationMode.NEAREST, None
        )
    return changed


def draw_integer(highest: int, generator: torch.Generator) -> int:
    """Uniform over 0 to `highest` - 1."""
    return int(torch.randint(highest, (), generator=generator))


def draw_operation(name: str, magnitude: float, *, is_signed: bool, generator: torch.Generator) -> Operation:
    sign = -1.0 if is_signed and draw_integer(2, generator) else 1.0
    return Operation(name, sign * magnitude)


class AutoAugment(Policy):
    """One of the 25 pairs of operators that AutoAugment found on CIFAR-10, or those found on ImageNet or SVHN.

    policy: cifar10, imagenet or svhn. Source: Cubuk et al., CVPR 2019 (arXiv 1805.09501); torchvision.
    """

    def __init__(
        self,
        policy: str = "cifar10",
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(AutoAugment.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        from torchvision.transforms import autoaugment

        known = {chosen.value: chosen for chosen in autoaugment.AutoAugmentPolicy}
        if policy not in known:
            raise ValueError(f"policy={policy} must be one of {', '.join(known)}")
        self.policy = policy
        self._original = autoaugment.AutoAugment(known[policy])

    def draw(self, size: tuple[int, int], *, generator: torch.Generator) -> list[Operation | None]:
        space = self._original._augmentation_space(AUTOAUGMENT_LEVELS, size)
        pairs = self._original.policies
        operations: list[Operation | None] = []
        for name, probability, level in pairs[draw_integer(len(pairs), generator)]:
            magnitudes, is_signed = space[name]
            magnitude = 0.0 if level is None else float(magnitudes[level])
            operation = draw_operation(name, magnitude, is_signed=is_signed, generator=generator)
            is_due = float(torch.rand((), generator=generator)) <= probability
            operations.append(operation if is_due else None)
        return operations


class RandAugment(Policy):
    """`operators` random operators one after another, all at the strength `magnitude` of 31.

    Source: Cubuk et al., CVPR workshops 2020 (arXiv 1909.13719); torchvision.
    """

    def __init__(
        self,
        operators: Annotated[int, at_least(1), at_most(20)] = 2,
        magnitude: Annotated[int, at_least(0), at_most(30)] = 9,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(RandAugment.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        from torchvision.transforms import autoaugment

        self.operators, self.magnitude = operators, magnitude
        self._original = autoaugment.RandAugment(operators, magnitude)

    def draw(self, size: tuple[int, int], *, generator: torch.Generator) -> list[Operation | None]:
        space = self._original._augmentation_space(self._original.num_magnitude_bins, size)
        operations: list[Operation | None] = []
        for _ in range(self.operators):
            name = list(space)[draw_integer(len(space), generator)]
            magnitudes, is_signed = space[name]
            magnitude = float(magnitudes[self.magnitude]) if magnitudes.ndim else 0.0
            operations.append(draw_operation(name, magnitude, is_signed=is_signed, generator=generator))
        return operations


class TrivialAugment(Policy):
    """One random operator at a random strength of 31, of a wide range.

    Source: Müller and Hutter, ICCV 2021 (arXiv 2103.10158); torchvision's TrivialAugmentWide.
    """

    def __init__(
        self,
        flip: bool = True,
        padding: Annotated[int, at_least(0), at_most(256)] = 4,
        clean_view: bool = False,
    ) -> None:
        check_arguments(TrivialAugment.__init__, locals())
        super().__init__(flip=flip, padding=padding, clean_view=clean_view)
        from torchvision.transforms import autoaugment

        self._space = autoaugment.TrivialAugmentWide()._augmentation_space(31)

    def draw(self, size: tuple[int, int], *, generator: torch.Generator) -> list[Operation | None]:
        name = list(self._space)[draw_integer(len(self._space), generator)]
        magnitudes, is_signed = self._space[name]
        magnitude = float(magnitudes[draw_integer(len(magnitudes), generator)]) if magnitudes.ndim else 0.0
        return [draw_operation(name, magnitude, is_signed=is_signed, generator=generator)]
