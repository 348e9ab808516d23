"""Where a model can be cut: the modules whose output is one tensor of maps, by name."""

import difflib
from collections import Counter

import torch
from torch import Tensor, nn

# How many names an error message lists if none is similar.
MAX_LISTED = 12


def resolve_cut(backbone: nn.Module, name: str, *, argument: str = "cut") -> str:
    """The name of the module that `name` means: a module's own name, or an alias.

    A backbone may define `cut_aliases`, a dict from names that all our backbones share (stem, stage_1, stage_2, ...)
    to its own modules. Raises ValueError with the nearest names if there is no such module; `argument` is what the message
    calls the name.
    """
    aliases = getattr(backbone, "cut_aliases", {})
    module_name = aliases.get(name, name)
    names = [known for known, _ in backbone.named_modules() if known]
    if module_name in names:
        return module_name
    candidates = sorted([*aliases, *names], key=lambda known: known.count("."))
    near = difflib.get_close_matches(name, candidates, n=5, cutoff=0.6) or candidates[:MAX_LISTED]
    raise ValueError(
        f"{argument}={name} is no module of {type(backbone).__name__}; some of its {len(names)} modules: "
        f"{', '.join(dict.fromkeys(near))}"
    )


def list_cuts(backbone: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """The modules at which the backbone can be cut, with the shape of their features, [channel, h, w].

    These are the modules that run exactly once in a forward and return one tensor [batch, channel, h, w]. Runs the
    backbone on one image of shape [3, h, w]; on the meta device this computes nothing.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    calls: Counter[str] = Counter()

    def record(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            calls[name] += 1
            if isinstance(output, Tensor) and output.ndim == 4:
                shapes[name] = tuple(output.shape[1:])

        return hook

    modules = [(name, module) for name, module in backbone.named_modules() if name]
    handles = [module.register_forward_hook(record(name)) for name, module in modules]
    was_training = backbone.training
    backbone.eval()
    try:
        device = next(backbone.parameters()).device
        with torch.no_grad():
            backbone(torch.zeros(1, *image_shape, device=device))
    finally:
        backbone.train(was_training)
        for handle in handles:
            handle.remove()
    return {name: shape for name, shape in shapes.items() if calls[name] == 1}
