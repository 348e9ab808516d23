"""The figures of an X-ray: of test images, and of their corrupted versions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from tenet.inhibition import Inhibition
from tenet.xray.explanation import Explanation, explain, group_overlap

if TYPE_CHECKING:
    from tenet.data import Dataset, Splits


class XRay(NamedTuple):
    """Test images explained; rows: each one's figures beside those of its corrupted version."""

    images: UInt8[Tensor, "image h w 3"]
    corrupted: UInt8[Tensor, "image h w 3"]
    explanation: Explanation
    rows: list[dict[str, Any]]


def look_through(
    model: nn.Module,
    splits: "Splits",
    ids: Int64[Tensor, " chosen"],
    dataset: "Dataset",
    settings: Inhibition,
    *,
    corruption: str,
    severity: int,
    seed: int,
) -> XRay:
    """X-ray the test images `ids`."""
    from tenet.corruptions.generator import corrupt
    from tenet.data import to_images_01
    from tenet.randomness import make_generator

    images, labels = splits.test.take(ids)

    def look(pixels: Tensor, *, draw: int = 0) -> Explanation:
        medoids = make_generator("cpu", seed=seed, purpose="xray", step=draw)
        inputs = dataset.normalization(to_images_01(pixels))
        return explain(model, inputs, labels, inhibition=settings, generator=medoids)

    # The pixels that evaluate.py measures: its seed, and the images' own ids.
    changed = corrupt(images, corruption=corruption, severity=severity, image_ids=ids)
    clean, again, corrupted = look(images), look(images, draw=1), look(changed)
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
    return XRay(images, changed, clean, rows)


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


TABLE_COLUMNS = (
    "image",
    "label",
    "version",
    "group",
    "channels",
    "importance",
    "overlap",
    "overlap_other_medoids",
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
