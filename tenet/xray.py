"""See the inhibition of a trained network, image by image: `python -m tenet.xray RUN_DIR`; docs/xray.md."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tenet import config as configuration
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.entry import FAILED, INTERRUPTED
from tenet.errors import ConfigError, UserError
from tenet.inhibition import (
    Inhibition,
    NonFiniteFeaturesError,
    group_channels,
    group_importance,
    group_maps,
    inhibition_mask,
    split,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenet.data import Dataset, ImageArrays, Splits

# How many classes are shown where no images are named.
NUM_CLASSES = 4
# A colour for each of the groups whose maps are shown, one for the other damped groups, one for those that pass.
MAP_COLORS, DAMPED, PASSING = ("#d1495b", "#2e86ab", "#e8a33d"), "#9a8fb5", "#c8c8c8"


class Explanation(NamedTuple):
    """What inhibition would do to each image; all in eval mode, where one image does not depend on another.

    reversed_maps: R of each group, in (0, 1); 1 where the group passes or is empty. evidence: the
    channels' sum, each times its weight, rectified: Grad-CAM at the cut, for the true class's sigmoid.
    evidence_inhibited: the same of the masked features, with the same weights.
    """

    assignments: Int64[Tensor, "batch channel"]
    sizes: Int64[Tensor, "batch group"]
    importance: Float[Tensor, "batch group"]
    reversed_maps: Float[Tensor, "batch group h w"]
    evidence: Float[Tensor, "batch h w"]
    evidence_inhibited: Float[Tensor, "batch h w"]
    logits: Float[Tensor, "batch class"]
    logits_inhibited: Float[Tensor, "batch class"]


@torch.no_grad()
def explain(
    model: nn.Module,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int64[Tensor, " batch"],
    *,
    inhibition: Inhibition,
    generator: torch.Generator,
) -> Explanation:
    """Steps 3 to 6 of the method on normalised images, and the model's answer with and without the mask.

    Generators of one seed give batches of one size the same initial medoids. Leaves the model as it was.
    Raises ValueError as `Inhibition.step` does.
    """
    features, gradients = inhibition.importance_pass(model, images, labels)
    groups = inhibition.groups
    assignments = group_channels(
        features,
        groups=groups,
        generator=generator,
        max_iterations=inhibition.max_iterations,
        tolerance=inhibition.tolerance,
    )
    group: dict[str, Any] = {"gradients": gradients, "assignments": assignments, "groups": groups}
    mask = inhibition_mask(features, **group)
    batch, _, h, w = features.shape
    channel_groups = assignments[:, :, None, None].expand_as(mask)
    was_training = model.training
    # Eval mode, unlike the inhibited pass of training: its batch statistics would mix the images.
    model.eval()
    try:
        back = split(model, inhibition.layer).back
        # A copy, because the first module behind the cut may work in place.
        logits, logits_inhibited = back(features.clone()).float(), back(features * mask).float()
    finally:
        model.train(was_training)
    return Explanation(
        assignments,
        sizes=assignments.new_zeros(batch, groups).scatter_add(1, assignments, torch.ones_like(assignments)),
        importance=group_importance(gradients, assignments=assignments, groups=groups),
        # All channels of a group carry the same map, so it does not matter whose stays.
        reversed_maps=mask.new_ones(batch, groups, h, w).scatter(1, channel_groups, mask),
        evidence=group_maps(features, **group).sum(dim=1).relu(),
        evidence_inhibited=group_maps(features * mask, **group).sum(dim=1).relu(),
        logits=logits,
        logits_inhibited=logits_inhibited,
    )


def group_overlap(
    first: Int64[Tensor, "batch channel"], second: Int64[Tensor, "batch channel"]
) -> list[float]:
    """Adjusted Rand index by image: 1 for the same groups, whatever their ids; about 0 for unrelated ones."""
    from sklearn.metrics import adjusted_rand_score

    return [float(adjusted_rand_score(*pair)) for pair in zip(first.numpy(), second.numpy(), strict=True)]


def read_settings(
    config: Mapping[str, Any], model: nn.Module, *, layer: str | None, groups: int | None, size: Sequence[int]
) -> Inhibition:
    """The run's own inhibition (of a plain run: the method's defaults), with `layer` and `groups` where given.

    Raises ConfigError unless the model can be cut there into so many groups.
    """
    settings = configuration.build(config["tenet"], key="tenet") or Inhibition(layer="stage_2")
    given = {name: value for name, value in {"layer": layer, "groups": groups}.items() if value is not None}
    try:
        settings = replace(settings, **given)
        settings.check(model, (3, size[0], size[1]))
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    return settings


def choose_images(
    model: nn.Module, test: "ImageArrays", dataset: "Dataset", asked: Sequence[int] | None
) -> Int64[Tensor, " chosen"]:
    """The images asked for, or the first right one of each of the first classes (none where none is right)."""
    if asked is not None:
        for image in asked:
            if not 0 <= image < len(test.labels):
                raise ConfigError(f"--images {image}: the test images are 0 to {len(test.labels) - 1}")
        return torch.tensor(asked)
    from tenet.data import to_images_01

    chosen = []
    for label in range(NUM_CLASSES):
        for ids in (test.labels == label).nonzero()[:, 0].split(50):
            with torch.no_grad():
                predicted = model(dataset.normalization(to_images_01(test.images[ids]))).argmax(dim=1)
            if (predicted == label).any():
                chosen.append(ids[predicted == label][0])
                break
    if not chosen:
        raise ConfigError(f"no image of the first {NUM_CLASSES} classes is classified right: give --images")
    return torch.stack(chosen)


def run(options: argparse.Namespace) -> None:
    """Draw and tabulate what `options` name, in the run's `evaluation` folder unless told otherwise."""
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    if options.corruption not in known:
        hint = configuration.nearest(options.corruption, known)
        raise ConfigError(f"--corruption {options.corruption}: not there{hint}; there are {', '.join(known)}")
    output = options.output or options.run_dir / "evaluation" / "xray.png"
    if output.suffix != ".png":
        raise ConfigError(f"--output {output}: must be a .png file")
    from tenet.pictures import save_figure
    from tenet.report_files import write_json
    from tenet.subject import load_subject

    config = configuration.read_config(options.run_dir)
    dataset: Dataset = configuration.build(config["dataset"], key="dataset")
    splits = dataset.load()
    # On the CPU: a few images need no more, and the medoids drawn are the same on every machine.
    model = configuration.build(config["backbone"], num_classes=len(splits.classes), key="backbone").eval()
    weights = load_subject(model, {"weights": None, "run_dir": options.run_dir})
    size = splits.test.images.shape[1:3]
    settings = read_settings(config, model, layer=options.layer, groups=options.groups, size=size)
    ids = choose_images(model, splits.test, dataset, options.images)
    seen, rows = look_through(
        model, splits, ids, dataset, settings, (options.corruption, options.severity), seed=config["seed"]
    )

    where = f"{settings.groups} groups at {settings.layer}"
    title = f"{'/'.join(options.run_dir.resolve().parts[-2:])}, {where}"
    save_figure(draw(seen, splits.test.images[ids], rows, title=title), output, dpi=120)
    cell = {"corruption": options.corruption, "severity": options.severity}
    about = {"weights": str(weights), "layer": settings.layer, "groups": settings.groups, **cell}
    write_json({**about, "images": rows}, output.with_suffix(".json"))
    print_rows(rows, title=where, corruption=f"{options.corruption.replace('_', ' ')} {options.severity}")
    print(output, output.with_suffix(".json"), sep="\n")


def look_through(
    model: nn.Module,
    splits: "Splits",
    ids: Int64[Tensor, " chosen"],
    dataset: "Dataset",
    settings: Inhibition,
    cell: tuple[str, int],
    *,
    seed: int,
) -> tuple[Explanation, list[dict[str, Any]]]:
    """The test images `ids` explained, and each one's figures beside those of its corrupted version."""
    from tenet.corruptions.generator import corrupt
    from tenet.data import to_images_01
    from tenet.randomness import make_generator

    images, labels = splits.test.take(ids)

    def look(pixels: Tensor, *, draw: int = 0) -> Explanation:
        medoids = make_generator("cpu", seed=seed, purpose="xray", step=draw)
        inputs = dataset.normalization(to_images_01(pixels))
        return explain(model, inputs, labels, inhibition=settings, generator=medoids)

    # The pixels that evaluate.py measures: its seed, and the images' own ids.
    corrupted = look(corrupt(images, corruption=cell[0], severity=cell[1], image_ids=ids))
    clean, again = look(images), look(images, draw=1)
    overlaps = group_overlap(clean.assignments, corrupted.assignments)
    restarted = group_overlap(clean.assignments, again.assignments)
    rows = [
        {
            "image": image,
            "label": splits.classes[label],
            "group_overlap": overlaps[row],
            "group_overlap_other_medoids": restarted[row],
            "clean": tabulate(clean, row, splits.classes),
            "corrupted": tabulate(corrupted, row, splits.classes),
        }
        for row, (image, label) in enumerate(zip(ids.tolist(), labels.tolist(), strict=True))
    ]
    return clean, rows


def tabulate(explanation: Explanation, row: int, classes: Sequence[str]) -> dict[str, Any]:
    """One image's figures as plain values; groups in the order of their ids."""

    def answer(logits: Tensor) -> dict[str, Any]:
        confidence, predicted = logits[row].softmax(dim=0).max(dim=0)
        return {"predicted": classes[int(predicted)], "confidence": float(confidence)}

    return {
        "before": answer(explanation.logits),
        "inhibited": answer(explanation.logits_inhibited),
        "group_sizes": explanation.sizes[row].tolist(),
        "group_importance": explanation.importance[row].tolist(),
    }


def print_rows(rows: Sequence[Mapping[str, Any]], *, title: str, corruption: str) -> None:
    """Two lines for each image: the clean one, and the corrupted one."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    groups = range(len(rows[0]["clean"]["group_sizes"]))
    for heading in ("image", "version", *(f"g{group}" for group in groups), "overlap"):
        table.add_column(
            heading, no_wrap=True, justify="left" if heading in ("image", "version") else "right"
        )
    for row in rows:
        for version, told, overlap in (
            ("clean", "clean", f"({row['group_overlap_other_medoids']:.2f})"),
            ("corrupted", corruption, f"{row['group_overlap']:.2f}"),
        ):
            importance = torch.tensor(row[version]["group_importance"])
            # As shares: the sigmoid's gradients differ by orders of magnitude between images.
            shares = 100 * importance / importance.abs().sum().clamp(min=torch.finfo(torch.float32).tiny)
            cells = zip(row[version]["group_sizes"], shares.tolist(), strict=True)
            name = f"{row['image']}: {row['label']}" if version == "clean" else ""
            lines = [f"{size}\n{share:+.0f} %" for size, share in cells]
            table.add_row(name, told, *lines, overlap, end_section=version == "corrupted")
    console = Console(soft_wrap=True, markup=False)
    console.print(table)
    console.print(
        "g0, g1...: each group's channels, and its share of the summed |importance|. Overlap: adjusted Rand "
        "index with the clean image's groups; in brackets, of the clean image grouped from other medoids."
    )


def draw(
    explanation: Explanation,
    images: UInt8[Tensor, "image h w 3"],
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
) -> "Figure":
    """A row for each image: itself, its groups' importance, where the most important ones are damped, and
    the evidence before and after. `rows` are those of `run`."""
    from matplotlib.figure import Figure

    ranks = ("most important", "second", "third")
    headings = ("image", "importance of its groups", *ranks, "evidence before", "evidence after")
    figure = Figure(figsize=(11.2, 1.62 * len(rows) + 0.95), layout="constrained")
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(
        "Coloured groups argue for the class and are damped where their colour lies over the image (1 - R); grey "
        "ones pass.\nEvidence: the features' sum by importance, before and after on one scale.",
        fontsize=8,
        color="#555555",
    )
    widths = [1, 1.5, *[1] * (len(headings) - 2)]
    grid = figure.subplots(len(rows), len(headings), squeeze=False, width_ratios=widths)
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=9)
    for index, (cells, row) in enumerate(zip(grid, rows, strict=True)):
        image = images[index]
        for axes in [cells[0], *cells[2:]]:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        cells[0].imshow(image.numpy())
        cells[0].set_xlabel(f"{row['image']}: {row['label']}", fontsize=8)
        _draw_groups(cells[1], cells[2:-2], explanation, image, index)
        pair = torch.stack([explanation.evidence[index], explanation.evidence_inhibited[index]])
        # One scale for both, so that what was damped looks damped.
        pair /= pair.max().clamp(min=torch.finfo(torch.float32).tiny)
        for axes, heat, name in zip(cells[-2:], pair, ("before", "inhibited"), strict=True):
            share = _upsample(heat, image).numpy()
            _draw_faint(axes, image)
            axes.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=share**0.5)
            answer = row["clean"][name]
            axes.set_xlabel(f"{answer['predicted']}: {100 * answer['confidence']:.1f} %", fontsize=8)
    return figure


def _draw_groups(
    bars: "Axes", maps: Sequence["Axes"], explanation: Explanation, image: UInt8[Tensor, "h w 3"], index: int
) -> None:
    """Bars from the most important group down, and 1 - R of the first ones as colour over the image."""
    from matplotlib.colors import to_rgb

    importance, order = explanation.importance[index].sort(descending=True, stable=True)
    damped = int((importance > 0).sum())
    colors = [*MAP_COLORS[:damped], *[DAMPED] * (damped - len(MAP_COLORS))]
    colors += [PASSING] * (len(order) - damped)
    names = [f"g{group}, {int(explanation.sizes[index, group])} ch." for group in order.tolist()]
    bars.barh(range(len(names)), importance.numpy(), color=colors, height=0.75)
    bars.set_yticks(range(len(names)), names, fontsize=min(7, 60 / len(names)))
    bars.invert_yaxis()
    bars.axvline(0, color="#555555", linewidth=0.6)
    bars.ticklabel_format(axis="x", scilimits=(-2, 2))
    bars.locator_params(axis="x", nbins=4)
    bars.tick_params(axis="x", labelsize=6)
    bars.tick_params(axis="y", length=0)
    bars.xaxis.offsetText.set_fontsize(6)
    bars.spines[["top", "right", "left"]].set_visible(False)
    for axes, group, name, color in zip(maps, order[:damped], names, MAP_COLORS, strict=False):
        damping = _upsample(1 - explanation.reversed_maps[index, group], image)
        painted = torch.tensor(to_rgb(color)).expand(*damping.shape, 3)
        _draw_faint(axes, image)
        axes.imshow(torch.cat([painted, damping[..., None]], dim=2).numpy())
        axes.set_xlabel(name, fontsize=8)


def _draw_faint(axes: "Axes", image: UInt8[Tensor, "h w 3"]) -> None:
    """The image in dark grey, for colour to stand out on."""
    axes.imshow(image.float().mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=2 * 255)


def _upsample(
    values: Float[Tensor, "h w"], image: UInt8[Tensor, "height width 3"]
) -> Float[Tensor, "height width"]:
    size = (image.shape[0], image.shape[1])
    return nn.functional.interpolate(values[None, None], size=size, mode="bilinear")[0, 0].clamp(0, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code. What the user can mend is told in one line."""
    parser = argparse.ArgumentParser("python -m tenet.xray", description=__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--images", type=int, nargs="+", help="indices of test images")
    parser.add_argument("--corruption", default="fog", help="whose groups to compare with the clean image's")
    parser.add_argument("--severity", type=int, choices=SEVERITIES, default=3)
    parser.add_argument("--layer", help="stage to cut after (the run's own; stage_2 for a plain run)")
    parser.add_argument("--groups", type=int, help="number of groups (the run's own; 6 for a plain run)")
    parser.add_argument(
        "--output", type=Path, help="PNG file, with a JSON beside it (RUN_DIR/evaluation/xray.png)"
    )
    try:
        run(parser.parse_args(arguments))
    except (UserError, NonFiniteFeaturesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
