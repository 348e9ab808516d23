"""A picture of images before and after augmentation, where an error is easy to see."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tenet.config.build import build
from tenet.data import Digits, ImageSource
from tenet.doctor.findings import Finding, Plan, ok, problem
from tenet.errors import printable
from tenet.files.figures import default_style
from tenet.randomness import make_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "augmentation.png"
IMAGES, DRAWS = 6, 3
NAME_LENGTH = 20


def check(plan: Plan) -> Iterator[Finding]:
    from tenet.evaluation.plots import save_figure

    names, drawn = draw_views(plan)
    for heading, draws in drawn.items():
        lowest, highest = (float(extreme) for extreme in torch.stack(draws).aminmax())
        if not (lowest >= 0 and highest <= 1):  # NaN too
            what = f"{heading} returns values from {lowest:g} to {highest:g}, outside [0, 1]"
            yield problem(what, "augment=none")
    replaced = " (it replaces an earlier one)" if (plan.output / PICTURE).exists() else ""
    path = save_figure(plot_views(names, drawn), plan.output / PICTURE, dpi=120.0)
    images = "digits in place of the data set" if plan.has_stand_ins else "images"
    views = ", ".join(list(drawn)[1:])
    yield ok(
        f"{views}, drawn {DRAWS} times on {len(names)} {images}: look at {path}{replaced}", picture=str(path)
    )


def draw_views(plan: Plan) -> tuple[list[str], dict[str, list[Tensor]]]:
    """The classes of a few images; by heading, the originals and draws of each view [image, 3, h, w] in [0, 1]."""
    # Random images would show nothing.
    train = Digits().load().train if plan.has_stand_ins else plan.experiment.splits.train
    chosen = train.for_training(plan.config["seed"]).read(first_of_classes(train))
    images = chosen.images.permute(0, 3, 1, 2).contiguous()
    drawn = {"original": [images.float() / 255]}
    # Not the experiment's own, which may be compiled for a GPU.
    for position, view in enumerate(build(plan.config["augment"], key="augment").views):
        name = plan.config["augment"]["_target_"].rpartition(".")[2] if position == 0 else "clean view"
        draws = drawn[name] = []
        for step in range(DRAWS):
            seed: int = plan.config["seed"]
            generator = make_generator("cpu", seed=seed, purpose="doctor", step=step, rank=position)
            draws.append(view(images, generator=generator))
    return [printable(name)[:NAME_LENGTH] for name in names_of(chosen.labels, train.classes)], drawn


def names_of(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """The class of each image, or all that it shows."""
    if labels.ndim == 1:
        return [classes[label] for label in labels.tolist()]
    return [", ".join(compress(classes, row)) for row in (labels == 1).tolist()]


def first_of_classes(train: ImageSource) -> Tensor:
    """Ids of the first image of each of the first classes; of more images if there are too few classes."""
    labels = train.labels.numpy()
    if train.is_multi_label:
        shown = labels == 1
        first = shown.argmax(axis=0)[shown.any(axis=0)].tolist()
    else:
        first = np.unique(labels, return_index=True)[1].tolist()
    ids = dict.fromkeys([*first, *range(min(IMAGES, len(train)))])
    return torch.tensor(list(ids)[:IMAGES])


@default_style()
def plot_views(names: list[str], drawn: dict[str, list[Tensor]]) -> "Figure":
    """A row for each image, a column for each draw."""
    from matplotlib.figure import Figure
    from torchvision.utils import make_grid

    headings = [heading for heading, draws in drawn.items() for _ in draws]
    columns = [images for draws in drawn.values() for images in draws]
    pictures = torch.stack(columns, dim=1).flatten(0, 1).clamp(0, 1)
    grid = make_grid(pictures, nrow=len(columns), padding=2, pad_value=1.0)
    height, width = pictures.shape[2] + 2, pictures.shape[3] + 2
    figure = Figure(figsize=(len(columns) + 1.5, len(names) + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_xticks([width * (index + 0.5) for index in range(len(columns))], headings)
    axes.set_yticks([height * (index + 0.5) for index in range(len(names))], names)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    return figure
