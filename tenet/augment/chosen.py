"""A change of some images of a batch."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

Images = Shaped[Tensor, "batch channel h w"]


def replace_chosen(
    images: Images, chosen: Bool[Tensor, " batch"], change: Callable[..., Tensor], *inputs: Tensor
) -> Images:
    """`images`, where the chosen ones are those of `change(*inputs)`, which must treat each image by itself.

    inputs: of all images, one a row. A CPU computes the chosen ones alone; a GPU computes all of them, because the host
    would have to wait for their number.
    """
    if images.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], change(*inputs), images)
    ids = chosen.nonzero()[:, 0]
    if not len(ids):
        return images
    return images.index_copy(0, ids, change(*(each[ids] for each in inputs)))
