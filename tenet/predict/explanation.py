"""On which groups of channels each prediction rests, as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenet.data import to_images_01
from tenet.files.figures import default_style
from tenet.methods import CrossEntropy, Inhibited
from tenet.networks import Network
from tenet.randomness import make_generator
from tenet.xray import explain
from tenet.xray.figures import Explanation
from tenet.xray.picture import CHANGED, DAMPED, MAP_COLORS, PASSING, draw_faint, draw_shares, upsample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Decision(NamedTuple):
    """Pictures with their predictions, the groups of channels, and the predictions without each group.

    shares: the importance of each group, in percent of the summed absolute importance. without: the logits if the group's
    channels are set to 0.
    """

    images: UInt8[Tensor, "image h w 3"]
    explanation: Explanation
    shares: Float[Tensor, "image group"]
    without: Float[Tensor, "image group class"]


@torch.no_grad()
def explain_decisions(
    network: Network, images: UInt8[Tensor, "image h w 3"], *, layer: str, groups: int
) -> Decision:
    """Group the channels for the predicted class, by steps 3 to 5 of the method. The network must be cut at `layer`.

    Raises ValueError for more groups than channels.
    """
    images_01 = to_images_01(images)
    inhibited = Inhibited(method=CrossEntropy(), layer=layer, groups=groups)
    parts = []
    for image in images_01.split(1):  # alone: its initial medoids do not depend on the other pictures
        generator = make_generator("cpu", seed=0, purpose="explain")
        predicted = network(image).argmax(dim=1)
        parts.append(explain(network, image, predicted, inhibited=inhibited, generator=generator))
    explanation = Explanation(*map(torch.cat, zip(*parts, strict=True)))
    importance = explanation.importance
    total = importance.abs().sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    maps = explanation.reversed_maps.shape[2:]
    without = []
    for group in range(groups):
        others = (explanation.assignments != group).float()[:, :, None, None].expand(-1, -1, *maps)
        without.append(network(images_01, others)[1])
    return Decision(images, explanation, 100 * importance / total, torch.stack(without, dim=1))


@default_style()
def draw_decisions(
    decision: Decision, names: Sequence[str], classes: Sequence[str], *, title: str, heading: str = "picture"
) -> "Figure":
    """A row for each picture: the picture with its prediction, the share of each group, and the evidence of the three most
    important groups, each with the prediction without this group. heading: that of the column of pictures."""
    from matplotlib.figure import Figure

    headings = (heading, "share of the decision", "most important", "second", "third", "all evidence")
    rows = len(names)
    figure = Figure(figsize=(11, 1.95 * rows + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=12, parse_math=False)
    figure.supxlabel(
        "Coloured groups of channels argue for the predicted class, grey ones against it (share of the summed "
        "|importance|). Colour over the picture: where the group's\nevidence is above its mean. Below it: the prediction "
        "if all channels of the group are set to 0; red where it changes.",
        fontsize=8,
        color="#555555",
    )
    grid = figure.subplots(rows, len(headings), squeeze=False, width_ratios=[1, 1.35, 1, 1, 1, 1])
    for axes, text in zip(grid[0], headings, strict=True):
        axes.set_title(text, fontsize=10)
    for row, (cells, name) in enumerate(zip(grid, names, strict=True)):
        height, width, _ = decision.images[row].shape
        for axes in (cells[0], *cells[2:]):
            axes.set_box_aspect(height / width)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        cells[0].imshow(decision.images[row].numpy())
        label = _prediction(decision.explanation.logits[row], classes)
        cells[0].set_xlabel(f"{name}\n{label}", fontsize=8, parse_math=False)
        order = decision.shares[row].argsort(descending=True, stable=True).tolist()
        argue = [group for group in order if decision.shares[row, group] > 0]
        colors = {
            group: MAP_COLORS[rank] if rank < len(MAP_COLORS) else DAMPED for rank, group in enumerate(argue)
        }
        painted = [colors.get(group, PASSING) for group in order]
        sizes = decision.explanation.sizes[row]
        draw_shares(cells[1], decision.shares[row], sizes=sizes, order=order, colors=painted)
        for axes in cells[2 + len(argue) : -1]:
            axes.text(
                0.5,
                0.5,
                "no other group\nargues for it",
                ha="center",
                va="center",
                fontsize=8,
                color="#999999",
            )
        for axes, group in zip(cells[2:-1], argue, strict=False):
            _draw_evidence(axes, decision, row, group, colors[group])
            logits, without = decision.explanation.logits[row], decision.without[row, group]
            color = "black" if without.argmax() == logits.argmax() else CHANGED
            text = f"group {group}\nwithout it: {_prediction(without, classes)}"
            axes.set_xlabel(text, fontsize=8, parse_math=False, color=color)
        _draw_all_evidence(cells[-1], decision, row)
    return figure


def _prediction(logits: Float[Tensor, " class"], classes: Sequence[str]) -> str:
    probability, predicted = logits.softmax(dim=0).max(dim=0)
    return f"{classes[int(predicted)]:.24s} ({100 * float(probability):.1f} %)"


def _draw_evidence(axes: "Axes", decision: Decision, row: int, group: int, color: str) -> None:
    """The rectified map is a sigmoid of the standardised evidence: 0.5 is its mean."""
    from matplotlib.colors import to_rgb

    above_mean = upsample(
        (1 - 2 * decision.explanation.reversed_maps[row, group]).clamp(min=0), decision.images[row]
    )
    painted = torch.tensor(to_rgb(color)).expand(*above_mean.shape, 3)
    draw_faint(axes, decision.images[row])
    axes.imshow(torch.cat([painted, above_mean[..., None]], dim=2).numpy())


def _draw_all_evidence(axes: "Axes", decision: Decision, row: int) -> None:
    evidence = decision.explanation.evidence[row]
    share = upsample(
        evidence / evidence.max().clamp(min=torch.finfo(torch.float32).tiny), decision.images[row]
    )
    draw_faint(axes, decision.images[row])
    axes.imshow(share.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=share.numpy() ** 0.5)
