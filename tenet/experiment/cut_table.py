"""The table that `tenet.layer=?` prints: where a network can be cut."""

from collections.abc import Mapping

from torch import nn

from tenet.networks import Cut, find_cuts


def print_cuts(backbone: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Print every module at which the backbone, on the meta device, can be cut, and how many can't be, and why."""
    from rich.table import Table

    from tenet.printing import console

    cuts = find_cuts(backbone, image_shape)
    aliases: dict[str, str] = {}
    for alias, name in getattr(backbone, "cut_aliases", {}).items():
        aliases[name] = f"{name} ({alias})"
    _, height, width = image_shape
    name = getattr(backbone, "architecture", type(backbone).__name__)
    table = Table(
        title=f"{name}: values of tenet.layer, for images of {height}x{width}", title_justify="left"
    )
    table.add_column("layer", no_wrap=True)
    for heading in ("channels", "h x w"):
        table.add_column(heading, no_wrap=True, justify="right")
    for heading in ("output of one image", "layout"):
        table.add_column(heading, no_wrap=True)
    for layer, cut in cuts.items():
        if cut.layout is not None:
            channels, h, w = cut.maps
            layout = f"{cut.layout} ({cut.layout.note})" if cut.layout.note else str(cut.layout)
            shape = " x ".join(map(str, cut.shape))
            table.add_row(aliases.get(layer, layer), str(channels), f"{h} x {w}", shape, layout)
    plain = console(soft_wrap=True, markup=False)
    plain.print(table)
    plain.print(_describe_refused(cuts))


def _describe_refused(cuts: Mapping[str, Cut]) -> str:
    refused = {name: cut.reason for name, cut in cuts.items() if cut.layout is None}
    examples = [f"{name} ({reason})" for name, reason in refused.items()]
    more = f": {'; '.join(examples[:3])}{' ...' if len(examples) > 3 else ''}" if examples else ""
    return (
        "maps: [channel, h, w]; channels_last: [h, w, channel]; tokens+1: [token, channel], the first token left out. "
        f"tenet.layout=... says otherwise.\n{len(refused)} other modules can't be cut{more}"
    )
