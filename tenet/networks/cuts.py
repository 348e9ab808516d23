"""Where a model can be cut: at modules that run once and return one tensor of features that have places in the image."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tenet.networks.layouts import Layout, find_layout

# How many names an error message lists if none is similar.
MAX_LISTED = 12
# The number of images of a probe: a first axis of this length is the batch.
BATCH = 2


class Cut(NamedTuple):
    """What a module returns. shape: of its output for one image. layout: None if it can't be cut; `reason` says why."""

    shape: tuple[int, ...] = ()
    layout: Layout | None = None
    reason: str = ""

    @property
    def maps(self) -> tuple[int, int, int]:
        """Channel, h and w of the features as maps."""
        assert self.layout is not None
        return self.layout.shape(self.shape)


def resolve_cut(
    backbone: nn.Module, name: str, *, argument: str = "cut", cuts: Mapping[str, Cut] | None = None
) -> str:
    """The name of the module that `name` means: a module's own name, or an alias.

    A backbone may define `cut_aliases`, a dict from names that all our backbones share (stem, stage_1, stage_2, ...)
    to its own modules. Raises ValueError with the nearest names if there is no such module.

    argument: the name's key in the message. cuts: the result of `find_cuts`; the message then shows the shapes.
    """
    aliases = getattr(backbone, "cut_aliases", {})
    module_name = aliases.get(name, name)
    names = [known for known, _ in backbone.named_modules() if known]
    if module_name in names:
        return module_name
    candidates = [*aliases, *names] if cuts is None else [*aliases, *legal(cuts)]
    raise ValueError(
        f"{argument}={name} is no module of {type(backbone).__name__}; some of its {len(names)} modules: "
        f"{_near(name, candidates, cuts=cuts or {}, aliases=aliases)}"
    )


def legal(cuts: Mapping[str, Cut]) -> list[str]:
    """The names of the modules at which the network can be cut."""
    return [name for name, cut in cuts.items() if cut.layout is not None]


def take_cut(cuts: Mapping[str, Cut], name: str, *, layout: Layout | None) -> Cut:
    """The cut of this name, with `layout` if it is given.

    Raises ValueError, with the reason and the nearest names, if its module can't be cut or has another layout.
    """
    cut = cuts[name]
    if cut.layout is None and not (layout and cut.shape):
        raise ValueError(f"can't be cut: {cut.reason}; choose among {_near(name, legal(cuts), cuts=cuts)}")
    taken = cut._replace(layout=layout or cut.layout)
    try:
        _ = taken.maps
    except ValueError as error:
        raise ValueError(f"can't be cut: {error}; choose another layout") from error
    return taken


def _near(
    name: str, candidates: Sequence[str], *, cuts: Mapping[str, Cut], aliases: Mapping[str, str] | None = None
) -> str:
    """The candidates that are similar to `name`, or the first ones, each with its channels, h and w if they are known."""
    ordered = sorted(candidates, key=lambda known: known.count("."))
    near = difflib.get_close_matches(name, ordered, n=5, cutoff=0.6) or ordered[:MAX_LISTED]
    found = {candidate: cuts.get((aliases or {}).get(candidate, candidate)) for candidate in near}
    return ", ".join(
        f"{candidate} {[*cut.maps]}" if cut and cut.layout else candidate for candidate, cut in found.items()
    )


def list_cuts(backbone: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, int, int]]:
    """The modules at which the backbone can be cut, with the shape of their features as maps, [channel, h, w]."""
    found = find_cuts(backbone, image_shape)
    return {name: found[name].maps for name in legal(found)}


def find_cuts(backbone: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Cut]:
    """What every module of the backbone returns for images of `image_shape`, [3, h, w], in the order of the modules.

    Runs the backbone on two images of this size and, if it takes them, of twice the side; on the meta device this
    computes nothing. Raises ValueError if the backbone can't take images of this size.
    """
    calls, outputs = _probe(backbone, image_shape)
    channels, height, width = image_shape
    try:
        _, larger = _probe(backbone, (channels, 2 * height, 2 * width))
    except ValueError:
        larger = {}
    prefix = getattr(backbone, "num_prefix_tokens", None)
    if prefix is None and any(hasattr(backbone, name) for name in ("class_token", "cls_token")):
        prefix = 1
    return {
        name: _judge(
            calls[name],
            outputs.get(name),
            larger.get(name),
            prefix=prefix,
            is_square=height == width,
            is_last=_ends_with_channels(module, backbone),
        )
        for name, module in backbone.named_modules()
        if name
    }


def _ends_with_channels(module: nn.Module, backbone: nn.Module) -> bool | None:
    """Whether channels are the last axis of the module's output; None if neither its type nor the model tells."""
    if isinstance(module, nn.Linear):
        return True
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d):
        return False
    return True if getattr(backbone, "output_fmt", None) == "NHWC" else None  # an attribute of timm's models


def _judge(calls: int, output: Any, larger: Any, **about_model: Any) -> Cut:
    if calls != 1:
        return Cut(reason=f"it runs {calls} times in a forward" if calls else "it does not run in a forward")
    if not isinstance(output, torch.Size):
        return Cut(reason=f"it returns {output} and not one tensor")
    if len(output) == 0 or output[0] != BATCH:
        return Cut(
            reason=f"the first axis of its output {list(output)}, for {BATCH} images, is not the batch"
        )
    shape, grown = tuple(output[1:]), tuple(larger[1:]) if isinstance(larger, torch.Size) else None
    try:
        return Cut(shape, find_layout(shape, grown, **about_model))
    except ValueError as error:
        return Cut(shape, reason=str(error))


def _probe(
    backbone: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[Counter[str], dict[str, torch.Size | str]]:
    """How often each module runs in a forward in eval mode, and the shape of its last output, or its type."""
    calls: Counter[str] = Counter()
    outputs: dict[str, torch.Size | str] = {}
    names = {module: name for name, module in backbone.named_modules()}

    def record(module: nn.Module, inputs: object, output: object) -> None:
        calls[names[module]] += 1
        outputs[names[module]] = output.shape if isinstance(output, Tensor) else f"a {type(output).__name__}"

    handles = [module.register_forward_hook(record) for module in names]
    was_training = backbone.training
    backbone.eval()
    try:
        parameter = next(backbone.parameters())
        with torch.no_grad():
            backbone(torch.zeros(BATCH, *image_shape, device=parameter.device, dtype=parameter.dtype))
    except Exception as error:  # models refuse sizes with AssertionError, RuntimeError, ValueError, ...
        _, height, width = image_shape
        raise ValueError(
            f"{type(backbone).__name__} can't take images of {height}x{width} ({str(error).splitlines()[0]})"
        ) from error
    finally:
        backbone.train(was_training)
        for handle in handles:
            handle.remove()
    return calls, outputs
