"""Pictures of the corruptions."""

from os import PathLike

from jaxtyping import UInt8
from torch import Tensor

from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES


def contact_sheet(image: UInt8[Tensor, "h w 3"], *, path: str | PathLike[str], seed: int = 0) -> None:
    """Write a PNG of the image under every corruption (a row each) at every severity (a column each)."""
    from matplotlib.figure import Figure

    names = CORRUPTIONS + EXTRA_CORRUPTIONS
    figure = Figure(figsize=(len(SEVERITIES) + 1.8, len(names) + 0.3), layout="constrained")
    axes = figure.subplots(len(names), len(SEVERITIES))
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, severity in zip(row, SEVERITIES, strict=True):
            picture = corrupt(image[None], corruption=name, severity=severity, seed=seed)[0]
            axis.imshow(picture.cpu().numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    for axis, severity in zip(axes[0], SEVERITIES, strict=True):
        axis.set_title(f"severity {severity}", fontsize="medium")
    figure.savefig(path, dpi=80)
