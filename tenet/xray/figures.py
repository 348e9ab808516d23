"""What an inhibited step would do to single images, and to their corrupted versions: tensors, figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenet.data import ImageSource, to_images_01
from tenet.inhibition import group_channels, group_importance, group_maps, inhibition_mask
from tenet.methods import Inhibited, importance_pass
from tenet.networks import Network
from tenet.randomness import make_generator

MAX_WIDTH = 1000  # characters of a printed table
TABLE_COLUMNS = (
    *("image", "label", "version", "group", "channels", "importance"),
    *("overlap", "overlap_other_medoids"),
)


class Explanation(NamedTuple):
    """What inhibition would do to each image; all in eval mode, where the images do not depend on each other.

    reversed_maps: R of each group, in (0, 1); 1 if the group passes unchanged or is empty.
    evidence: the rectified sum of the channels, each times its weight: Grad-CAM at the cut, for the sigmoid of the
        true class's score.
    evidence_inhibited: the same for the masked features, with the same weights.
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
    network: Network,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int64[Tensor, " batch"],
    *,
    inhibited: Inhibited,
    generator: torch.Generator,
) -> Explanation:
    """Steps 3 to 6 of the method on images in [0, 1], and the logits with and without the mask.

    The network must have a cut; its mode, gradients and statistics stay unchanged. Generators with one seed draw the
    same initial medoids for batches of one size. Raises ValueError for labels that are no classes of the network, for
    more groups than channels, and for features that are not finite.
    """
    features, gradients = importance_pass(network, images, labels)
    groups = inhibited.groups
    assignments = group_channels(
        features,
        groups=groups,
        generator=generator,
        max_iterations=inhibited.max_iterations,
        tolerance=inhibited.tolerance,
    )
    group: dict[str, Any] = {"gradients": gradients, "assignments": assignments, "groups": groups}
    mask = inhibition_mask(features, **group)
    batch, _, h, w = features.shape
    was_training = network.training
    # Eval mode, unlike the inhibited pass of training: batch statistics would mix the images.
    network.eval()
    try:
        logits, (_, logits_inhibited) = network(images), network(images, mask)
    finally:
        network.train(was_training)
    return Explanation(
        assignments,
        sizes=assignments.new_zeros(batch, groups).scatter_add(1, assignments, torch.ones_like(assignments)),
        importance=group_importance(gradients, assignments=assignments, groups=groups),
        # All channels of a group have the same mask, so it does not matter which of them is kept.
        reversed_maps=mask.new_ones(batch, groups, h, w).scatter(
            1, assignments[:, :, None, None].expand_as(mask), mask
        ),
        evidence=group_maps(features, **group).sum(dim=1).relu(),
        evidence_inhibited=group_maps(features * mask, **group).sum(dim=1).relu(),
        logits=logits,
        logits_inhibited=logits_inhibited,
    )


def group_overlap(
    first: Int64[Tensor, "batch channel"], second: Int64[Tensor, "batch channel"]
) -> list[float]:
    """Adjusted Rand index of each image: 1 for the same groups with any ids, about 0 for unrelated groups."""
    from sklearn.metrics import adjusted_rand_score

    return [float(adjusted_rand_score(*pair)) for pair in zip(first.numpy(), second.numpy(), strict=True)]


class XRay(NamedTuple):
    """Test images with their explanation; rows: the figures of each image and of its corrupted version."""

    images: UInt8[Tensor, "image h w 3"]
    corrupted: UInt8[Tensor, "image h w 3"]
    explanation: Explanation
    rows: list[dict[str, Any]]


def make_xray(
    network: Network,
    test: ImageSource,
    ids: Int64[Tensor, " chosen"],
    inhibited: Inhibited,
    *,
    corruption: str,
    severity: int,
    seed: int,
) -> XRay:
    """X-ray the test images with these ids."""
    from tenet.corruptions.generator import corrupt

    chosen = test.read(ids)
    # The same pixels as in evaluate.py, which uses this seed and the images' ids.
    changed = corrupt(chosen.images, corruption=corruption, severity=severity, image_ids=ids)

    def explain_pixels(pixels: Tensor, *, draw: int = 0) -> Explanation:
        medoids = make_generator("cpu", seed=seed, purpose="xray", step=draw)
        return explain(network, to_images_01(pixels), chosen.labels, inhibited=inhibited, generator=medoids)

    clean, corrupted = explain_pixels(chosen.images), explain_pixels(changed)
    again = explain_pixels(chosen.images, draw=1)
    overlaps = group_overlap(clean.assignments, corrupted.assignments)
    restarted = group_overlap(clean.assignments, again.assignments)
    rows = [
        {
            "image": int(image),
            "label": test.classes[chosen.labels[row]],
            "group_overlap": overlaps[row],
            "group_overlap_other_medoids": restarted[row],
            "clean": figures_of(clean, row, test.classes),
            "corrupted": figures_of(corrupted, row, test.classes),
        }
        for row, image in enumerate(ids)
    ]
    return XRay(chosen.images, changed, clean, rows)


def figures_of(explanation: Explanation, row: int, classes: Sequence[str]) -> dict[str, Any]:
    """One image's figures as plain values; groups in the order of their ids."""

    def prediction(logits: Tensor) -> dict[str, Any]:
        confidence, predicted = logits[row].softmax(dim=0).max(dim=0)
        return {"predicted": classes[int(predicted)], "confidence": float(confidence)}

    return {
        "before": prediction(explanation.logits),
        "inhibited": prediction(explanation.logits_inhibited),
        "group_sizes": explanation.sizes[row].tolist(),
        "group_importance": explanation.importance[row].tolist(),
    }


def print_rows(rows: Sequence[Mapping[str, Any]], *, title: str, corruption: str) -> None:
    """Print two lines for each image: one for the clean version, one for the corrupted version."""
    from rich.measure import Measurement
    from rich.table import Table

    from tenet.printing import console

    table = Table(title=title, title_justify="left")
    table.add_column("image", no_wrap=True)
    table.add_column("version", no_wrap=True)
    for heading in (*(f"g{group}" for group in range(len(rows[0]["clean"]["group_sizes"]))), "overlap"):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        for version, name, overlap in (
            ("clean", "clean", f"({row['group_overlap_other_medoids']:.2f})"),
            ("corrupted", corruption, f"{row['group_overlap']:.2f}"),
        ):
            importance = torch.tensor(row[version]["group_importance"])
            # As shares: the sigmoid's gradients differ by orders of magnitude between images.
            shares = 100 * importance / importance.abs().sum().clamp(min=torch.finfo(torch.float32).tiny)
            groups = zip(row[version]["group_sizes"], shares.tolist(), strict=True)
            cells = [f"{size}\n{share:+.0f} %" for size, share in groups]
            image = f"{row['image']}, class {row['label']}" if version == "clean" else ""
            table.add_row(image, name, *cells, overlap, end_section=version == "corrupted")
    plain = console(soft_wrap=True, markup=False)
    whole = Measurement.get(plain, plain.options.update(max_width=MAX_WIDTH), table).maximum
    plain.width = max(plain.width, whole)  # figures are never cut
    plain.print(table)
    plain.print(
        "g0, g1...: each group's channels, and its share of the summed |importance|. Overlap: adjusted Rand "
        "index with the clean image's groups; in brackets, of the clean image grouped from other medoids."
    )


def table_rows(rows: Sequence[Mapping[str, Any]], *, corruption: str) -> list[list[Any]]:
    """A line for each image, version and group, in TABLE_COLUMNS."""
    lines: list[list[Any]] = []
    for row in rows:
        overlaps = (row["group_overlap"], row["group_overlap_other_medoids"])
        for version, name in (("clean", "clean"), ("corrupted", corruption)):
            groups = zip(row[version]["group_sizes"], row[version]["group_importance"], strict=True)
            for group, figures in enumerate(groups):
                lines.append([row["image"], row["label"], name, group, *figures, *overlaps])
    return lines
