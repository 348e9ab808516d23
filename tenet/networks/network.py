"""A classifier of images in [0, 1], which can be cut at any of its modules."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenet.networks.cuts import Cut, find_cuts, resolve_cut, take_cut
from tenet.networks.layouts import Layout

# A function of the features at the cut, as maps [batch, channel, h, w]; what it returns takes their place.
AtCut = Callable[[Tensor], Tensor]


class Network(nn.Module):
    """Maps images in [0, 1] to logits in float32; owns normalisation, precision, memory format and the cut.

    Nothing else in the project normalises: attacks, mixing and exported models all work on images in [0, 1].

    backbone: any module that maps normalised images [batch, 3, h, w] to logits [batch, class]. Its `state_dict`
        is what is saved and loaded, under the names that its authors gave.
    mean, std: by channel, of images in [0, 1].
    cut: the name of the module whose output can be intercepted and masked (see `tenet.networks.cuts`), or None.
    layout: that of the features at the cut, which the method gets as maps; None: determined at first use.
    precision: fp32, or bf16 (autocast).
    channels_last: memory format of the weights and the images.
    classes, image_size: names in the order of the logits, and height and width of the training images, as far as they
        are known: part of `interface`.
    min_batch_size: how many samples a forward in train mode needs (see `find_min_batch_size`); None: determined at
        first use.

    Raises ValueError if the backbone has no module `cut`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        cut: str | None = None,
        layout: Layout | None = None,
        precision: str = "fp32",
        channels_last: bool = False,
        classes: Sequence[str] = (),
        image_size: Sequence[int] | None = None,
        min_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.interface: dict[str, Any] = {
            "mean": list(mean),
            "std": list(std),
            "classes": list(classes),
            "image_size": None if image_size is None else list(image_size),
        }
        """Plain values that are saved with the weights: without them, the weights alone give wrong predictions."""
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone
        if channels_last:
            backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(list(std))[:, None, None], persistent=False)
        self.precision = precision
        self._min_batch_size = min_batch_size
        self._at_cut: AtCut | None = None
        self.layout = layout
        self.cut = None if cut is None else resolve_cut(backbone, cut)
        if self.cut is not None:
            backbone.get_submodule(self.cut).register_forward_hook(self._intercept)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        mask: Float[Tensor, "batch channel h w"] | None = None,
        *,
        parts: int = 1,
    ) -> (
        Float[Tensor, "batch class"] | tuple[Float[Tensor, "batch channel h w"], Float[Tensor, "batch class"]]
    ):
        """The logits; with a `mask`, the features at the cut before the mask, and the logits of features * mask.

        One forward returns both, because DistributedDataParallel averages gradients only for losses from its own forward.
        For the same reason, one forward takes several `parts` of the images, of equal size; BatchNorm normalises each
        part separately.
        """
        if mask is None:
            if parts == 1:  # through `chunk`, torch.export could not keep the number of images dynamic
                return self._logits(images)
            return torch.cat([self._logits(part) for part in images.chunk(parts)])
        kept: list[Tensor] = []

        def apply_mask(features: Tensor) -> Tensor:
            kept.append(features)
            return features * mask.to(features.dtype)

        with self.at_cut(apply_mask):
            logits = self._logits(images)
        return kept[0], logits

    def min_batch_size(self, image_shape: tuple[int, int, int]) -> int:
        """How many samples a forward in train mode needs, for images of `image_shape`, [3, h, w]."""
        if self._min_batch_size is None:
            self._min_batch_size = find_min_batch_size(copy.deepcopy(self).to("meta"), image_shape)
        return self._min_batch_size

    def find_cut(self, image_shape: tuple[int, int, int]) -> Cut:
        """What the module at the cut returns for images of `image_shape`, [3, h, w]; sets `layout` if it is None.

        Runs the backbone; on the meta device this computes nothing. If the network can't be cut at this module, raises
        ValueError with the reason and the nearest names of modules where it can.
        """
        assert self.cut is not None
        outer, self._at_cut = self._at_cut, None
        try:
            cuts = find_cuts(self.backbone, image_shape)
        finally:
            self._at_cut = outer
        cut = take_cut(cuts, self.cut, layout=self.layout)
        self.layout = cut.layout
        return cut

    def fix_shapes(self) -> None:
        """Assume the layout `maps` and a smallest batch of 1, unless they are known: a compiled network can't be probed."""
        self._min_batch_size = self._min_batch_size or 1
        self.layout = self.layout or Layout()

    @contextmanager
    def at_cut(self, function: AtCut) -> Iterator[None]:
        """Let `function` replace the features at the cut in every forward within the context."""
        if self.cut is None:
            raise ValueError("the network was built without a cut")
        outer, self._at_cut = self._at_cut, function
        try:
            yield
        finally:
            self._at_cut = outer

    def _intercept(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if self._at_cut is None:
            return None
        assert self.layout is not None
        return self.layout.from_maps(self._at_cut(self.layout.to_maps(output)), output)

    def _logits(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        if not images.is_floating_point():  # pixels from 0 to 255 would be classified without an error
            raise ValueError(
                f"images are {images.dtype}; the network takes floats in [0, 1]: divide pixels by 255"
            )
        if self._at_cut is not None and self.layout is None:
            with torch.no_grad():
                outline = copy.deepcopy(self).to("meta")
            _, channels, height, width = images.shape
            try:
                outline.find_cut((channels, height, width))
            except ValueError as error:
                raise ValueError(f"cut={self.cut} {error}") from error
            self.layout = outline.layout
        with self._autocast(images.device):
            normalized = (images - self.mean) / self.std
            logits = self.backbone(normalized.contiguous(memory_format=self.memory_format))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            mode = "training" if self.training else "evaluation"
            raise ValueError(
                f"{type(self.backbone).__name__} returns {found} in {mode}, not one tensor of logits [batch, class]"
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if device.type == "meta":  # has no autocast
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


def unwrap(network: nn.Module) -> Network:
    """The network itself, without the wrapper of DistributedDataParallel."""
    inner = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    assert isinstance(inner, Network)
    return inner


def find_min_batch_size(network: Network, image_shape: tuple[int, int, int]) -> int:
    """How many samples a forward in train mode needs, for a network on the meta device: 2 if a BatchNorm layer gets maps
    of 1x1, because a single value has no deviation; otherwise 1. Raises what the network raises for two samples."""
    was_training = network.training
    network.train()
    try:
        network(torch.zeros(1, *image_shape, device="meta"))
    except ValueError:
        network(torch.zeros(2, *image_shape, device="meta"))
        return 2
    finally:
        network.train(was_training)
    return 1
