"""How the features at a cut are laid out, and how they become maps [batch, channel, h, w] and are put back."""

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

KINDS = ("maps", "channels_last", "tokens")
# Class tokens that are assumed where a model does not say how many it has.
MAX_ASSUMED_PREFIX = 2


class Layout(NamedTuple):
    """kind: maps [B,C,H,W], channels_last [B,H,W,C] or tokens [B,N,C].

    prefix: how many of the first tokens have no place in the image (class, distillation and register tokens). They are
    in no group, and no mask changes them.
    note: what was assumed because neither the shapes nor the model tell.
    """

    kind: str = "maps"
    prefix: int = 0
    note: str = ""

    @classmethod
    def parse(cls, text: str) -> "Layout | None":
        """`auto` (None), one of KINDS, or `tokens+1` with the number of tokens to leave out. Raises ValueError."""
        if text == "auto":
            return None
        kind, plus, prefix = text.partition("+")
        if kind not in KINDS or (plus and (kind != "tokens" or not prefix.isdecimal() or len(prefix) > 4)):
            raise ValueError(
                f"layout={text} must be auto, {', '.join(KINDS)}, or tokens+1 with a class token"
            )
        return cls(kind, int(prefix or 0))

    def __str__(self) -> str:
        return f"{self.kind}+{self.prefix}" if self.prefix else self.kind

    def shape(self, features: Sequence[int]) -> tuple[int, int, int]:
        """Channel, h and w of features of this shape, without the batch. Raises ValueError if they have other axes."""
        if len(features) != (2 if self.kind == "tokens" else 3):
            raise ValueError(f"features of shape {_shown(features)} do not have the layout {self.kind}")
        if self.kind == "tokens":
            return features[1], *_grid(features[0] - self.prefix)
        first, second, third = features
        return (third, first, second) if self.kind == "channels_last" else (first, second, third)

    def to_maps(self, features: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch channel h w"]:
        """The same values as maps. Tokens after `prefix` become a square if their number allows it, otherwise a column."""
        if self.kind == "maps":
            return features
        if self.kind == "channels_last":
            return features.permute(0, 3, 1, 2)
        tokens = features[:, self.prefix :].transpose(1, 2)
        return tokens.unflatten(2, _grid(tokens.shape[2]))

    def from_maps(
        self, maps: Float[Tensor, "batch channel h w"], features: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """`features` with their maps replaced by `maps`, in the memory layout of `features`."""
        if self.kind == "maps":
            return maps
        if self.kind == "channels_last":
            restored = maps.permute(0, 2, 3, 1)
        else:
            tokens = maps.flatten(2).transpose(1, 2)
            restored = torch.cat([features[:, : self.prefix].to(tokens.dtype), tokens], dim=1)
        # With other strides, the next module may sum in another order and round differently.
        return torch.empty_like(features, dtype=restored.dtype).copy_(restored)


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(['batch', *map(str, shape)])}]"


def _grid(tokens: int) -> tuple[int, int]:
    side = isqrt(tokens)
    return (side, side) if side * side == tokens else (tokens, 1)


def find_layout(
    shape: Sequence[int],
    larger: Sequence[int] | None,
    *,
    prefix: int | None,
    is_square: bool = True,
    is_last: bool | None = None,
) -> Layout:
    """The layout of features of `shape`, without the batch.

    larger: their shape for images of twice the side, if the model can take such images: the axis that does not grow is
    that of the channels. is_square: whether h and w of the images, and so of the features, are equal.
    is_last: whether the type of the module says that channels are the last axis; None if it does not tell.
    prefix: the model's own number of class tokens; None if it does not tell.
    Raises ValueError with the reason if the features have no places in the image.
    """
    if len(shape) == 2:
        return _find_tokens(shape, larger, prefix=prefix)
    if len(shape) != 3:
        raise ValueError(f"its output {_shown(shape)} has no channels and places")
    if larger is not None and len(larger) == 3:
        constant = [axis for axis in range(3) if shape[axis] == larger[axis]]
        if constant == [0]:
            return Layout()
        if constant == [2]:
            return Layout("channels_last")
        if not constant or constant == [1]:
            raise ValueError(f"its output {_shown(shape)} has no axis of channels, first or last")
    first, second, third = shape
    if second == third != first:
        return Layout()
    if first == second != third:
        return Layout("channels_last")
    if is_last is not None and first == second == third:
        return Layout("channels_last" if is_last else "maps")
    if is_square and not first == second == third:
        raise ValueError(f"its output {_shown(shape)} has no equal axes for the places of a square image")
    return Layout(note="channels assumed first")


def _find_tokens(shape: Sequence[int], larger: Sequence[int] | None, *, prefix: int | None) -> Layout:
    tokens = shape[0]
    if larger is not None and tuple(larger) != tuple(shape) and len(larger) == 2:
        if larger[1] != shape[1]:
            raise ValueError(f"its output {_shown(shape)} has its channels before the tokens")
        # The larger image has four times as many tokens of places, and the same number of other tokens.
        others, rest = divmod(4 * tokens - larger[0], 3)
        return Layout("tokens", others if rest == 0 and 0 <= others < tokens else 0)
    if prefix is not None:
        own = prefix if tokens > prefix and isqrt(tokens - prefix) ** 2 == tokens - prefix else 0
        return Layout("tokens", own, note="" if own or _grid(tokens)[1] > 1 else "channels assumed last")
    others = tokens - isqrt(tokens) ** 2
    if others > MAX_ASSUMED_PREFIX:
        return Layout("tokens", note="channels assumed last")
    return Layout(
        "tokens", others, note=f"{others} class tokens assumed" if others else "channels assumed last"
    )
