"""Compiling a network around its cut."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tenet.networks.network import Network

# torch counts all regions that run the same code, with different shapes and modes, as recompilations of one function.
RECOMPILATIONS = 64


def compile_network(network: Network, *, batch_size: int, backend: str = "inductor") -> None:
    """Compile the network in place, in regions that do not contain the cut; names of weights stay as they are.

    Gradients with respect to features inside a compiled region are not available, so no region may contain the cut.
    Batches of `batch_size`, those of plain steps, are compiled with fixed shapes; the batches of inhibited steps, whose
    sizes vary, with dynamic ones.
    """
    import torch._dynamo

    network.fix_shapes()
    # torch 2.6 has this name of the limit and not the newer one, recompile_limit; later versions have both.
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, RECOMPILATIONS)
    for module in find_regions(network.backbone, network.cut):
        # The forward and not the call: hooks, and with them the cut, stay outside.
        module.forward = _compile_in_two_forms(module.forward, batch_size=batch_size, backend=backend)


def find_regions(module: nn.Module, cut: str | None) -> Iterator[nn.Module]:
    """The largest modules that do not contain the cut. The module at the cut is one of them: the cut is at its end."""
    if not cut:
        yield module
        return
    first, _, rest = cut.partition(".")
    for name, child in module.named_children():
        yield from find_regions(child, rest) if name == first else (child,)


def _compile_in_two_forms(
    forward: Callable[..., Tensor], *, batch_size: int, backend: str
) -> Callable[[Tensor], Tensor]:
    # Two functions: dynamo would use the newest form of one function for all sizes.
    def call(features: Tensor) -> Tensor:
        return forward(features)

    def call_any_size(features: Tensor) -> Tensor:
        return forward(features)

    fixed = torch.compile(call, dynamic=False, backend=backend)
    dynamic = torch.compile(call_any_size, backend=backend)

    def choose(features: Tensor) -> Tensor:
        if len(features) == batch_size:
            return fixed(features)
        torch._dynamo.maybe_mark_dynamic(features, 0)
        return dynamic(features)

    return choose
