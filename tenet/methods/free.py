"""Free adversarial training: one backward pass gives the gradient of the weights and that of the images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenet.methods.attacks import make_ball
from tenet.methods.method import Batch, Composed, Update
from tenet.rules import Fraction, at_least, check_arguments, to_number


@dataclass(kw_only=True)
class Free(Composed):
    """Replays each batch: every replay takes the updates of `method` on the images plus a noise, and then moves the noise
    by one step along the sign of its gradient, which the same backward pass gives.

    The noise is kept for the next replay and for the next batch, although its images are others; a batch of fewer samples
    uses the first rows. The noise is part of a checkpoint. It is within the radius; the images plus the noise are clipped
    to [0, 1]. All replays of an iteration have the same learning rate. With bf16, the gradient of the noise is in bf16,
    too.

    radius, step_size: of images in [0, 1]; numbers, or text such as 4/255. replays: how often each batch is replayed.
    Source: Shafahi et al., NeurIPS 2019 (arXiv 1904.12843).
    """

    radius: Fraction = "4/255"
    step_size: Fraction = "4/255"
    replays: Annotated[int, at_least(1)] = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_arguments(type(self), vars(self))
        self.forwards *= self.replays
        self.ball = make_ball("linf", self.radius, step_size=self.step_size)
        self.noise: Float[Tensor, "batch view 3 height width"] | None = None

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Update]:
        for _ in range(self.replays):
            noise = self._rows(batch).transpose(0, 1).flatten(0, 1).clone().requires_grad_()
            images = (batch.images + noise).clamp(0, 1)
            for update in self.method.updates(network, replace(batch, images=images)):
                # An update that follows this one, such as an inhibited one, must not add to the noise's gradient.
                update.batch = replace(update.batch, images=images.detach())
                yield update
                if update.is_refused:
                    return
            assert noise.grad is not None
            moved = self.ball.shorten(
                noise.detach() + to_number(self.step_size) * self.ball.direction(noise.grad)
            )
            self._rows(batch).copy_(moved.unflatten(0, (batch.views, -1)).transpose(0, 1))

    def _rows(self, batch: Batch) -> Float[Tensor, "batch view 3 height width"]:
        """The noise of the batch's samples, at first 0."""
        noise, end = self.noise, batch.start + len(batch.labels)
        if noise is None:
            noise = batch.images.new_zeros(0, 0, *batch.images.shape[1:])
        rows, views = noise.shape[:2]
        if rows < end or views < batch.views:
            more = (0, max(0, batch.views - views), 0, max(0, end - rows))
            noise = F.pad(noise, (*[0] * 6, *more))
        self.noise = noise
        return noise[batch.start : end, : batch.views]

    def state(self) -> dict[str, Tensor]:
        return super().state() | ({} if self.noise is None else {"noise": self.noise})

    def restore_state(self, state: dict[str, Tensor]) -> None:
        super().restore_state(state)
        self.noise = state.get("noise")
