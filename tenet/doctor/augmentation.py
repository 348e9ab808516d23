"""A grid of images as training would see them, beside the originals: an error there is seen at a glance."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from tenet.data import Digits, Splits
from tenet.doctor.findings import Finding, ok, problem
from tenet.doctor.plan import Plan
from tenet.errors import printable
from tenet.randomness import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "augmentation.png"
IMAGES, DRAWS = 6, 3
# In the picture, of an image's width.
GAP = 0.15
NAME_LENGTH = 20


class Look(NamedTuple):
    """Pictures [image, h, w, 3] in [0, 1] by heading, a few draws of each, and the images' class names."""

    names: list[str]
    draws: dict[str, list[Tensor]]


def check(plan: Plan) -> Iterator[Finding]:
    from tenet.evaluation.plots import save_figure

    seen = look(plan)
    for heading, draws in seen.draws.items():
        lowest, highest = (float(extreme) for extreme in torch.stack(draws).aminmax())
        if not (lowest >= 0 and highest <= 1):  # NaN too
            yield problem(
                f"{heading} gives values from {lowest:g} to {highest:g}, outside of [0, 1]", "augment=none"
            )
    path = save_figure(draw(seen), plan.output / PICTURE, dpi=120)
    images = "digits, which stand in" if plan.stands_in else "images"
    views = ", ".join(list(seen.draws)[1:])
    yield ok(f"{views}, drawn {DRAWS} times on {len(seen.names)} {images}: look at {path}", picture=str(path))


def look(plan: Plan) -> Look:
    """Images of different classes, as they are and through each view."""
    # Of random images nothing could be told.
    splits = Digits().load() if plan.stands_in else plan.splits
    images, labels = splits.train.take(first_of_classes(splits))
    names = [printable(splits.classes[label])[:NAME_LENGTH] for label in labels.tolist()]
    draws = {"original": [images.float() / 255]}
    for position, view in enumerate(plan.build("augment").views):
        # A view is a method of what names it.
        heading = type(getattr(view, "__self__", view)).__name__
        draws[heading] = []
        for step in range(DRAWS):
            generator = make_generator(
                "cpu", seed=plan.config["seed"], purpose="doctor", step=step, rank=position
            )
            seen = view(images.permute(0, 3, 1, 2).contiguous(), generator=generator)
            draws[heading].append(seen.permute(0, 2, 3, 1))
    return Look(names, draws)


def first_of_classes(splits: Splits) -> Tensor:
    """The first image of each of the first classes; more of them where there are too few classes."""
    labels = splits.train.labels
    found = [ids[:1] for label in range(IMAGES) if len(ids := (labels == label).nonzero()[:, 0])]
    others = [torch.tensor([index]) for index in range(min(IMAGES, len(labels)))]
    return torch.cat([*found, *others]).unique_consecutive()[:IMAGES]


def draw(seen: Look) -> "Figure":
    """A row for each image, a column for each draw; gaps between the originals and the views."""
    from matplotlib.figure import Figure

    columns: dict[str, Tensor | None] = {}
    for heading, draws in seen.draws.items():
        for step, drawn in enumerate(draws):
            # The heading stands over the middle one.
            columns[heading if step == len(draws) // 2 else f"{heading} {step}"] = drawn
        columns[f"gap after {heading}"] = None
    columns.popitem()
    widths = [GAP if pictures is None else 1.0 for pictures in columns.values()]
    figure = Figure(
        figsize=(sum(widths) + 0.1 * max(map(len, seen.names)), len(seen.names) + 0.3), layout="constrained"
    )
    grid = figure.subplots(len(seen.names), len(columns), squeeze=False, width_ratios=widths)
    for (heading, pictures), column in zip(columns.items(), grid.T, strict=True):
        if heading in seen.draws:
            column[0].set_title(heading, fontsize="medium")
        for row, axes in enumerate(column):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if pictures is not None:
                axes.imshow(pictures[row].clamp(0, 1).numpy(), interpolation="nearest")
    for axes, name in zip(grid[:, 0], seen.names, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center", parse_math=False)
    return figure
