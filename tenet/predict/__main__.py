"""Classify pictures with a trained network: `python -m tenet.predict MODEL PICTURES...`; docs/publishing.md."""

if __name__ == "__main__":
    from tenet.device import share_cores
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()
    share_cores()  # before torch is loaded

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tenet.config.rules import did_you_mean
from tenet.corruptions.generator import corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.data import to_images_01
from tenet.device import pick_device
from tenet.entry import run_and_report_errors
from tenet.errors import ConfigError, DatasetError, counted, printable
from tenet.evaluation.plots import save_figure
from tenet.failures import print_error
from tenet.loading import TrainedModel, load_model
from tenet.networks import Network
from tenet.predict.explanation import draw_decisions, explain_decisions
from tenet.predict.pictures import Corruption, Pictures, find_pictures, read_in_batches
from tenet.printing import console, open_streams
from tenet.run.signals import StopSignals

BATCH_SIZE = 64
# Rows of the picture that --explain draws: with more of them, it could not be read.
MAX_EXPLAINED = 12
MAX_NAME = 24
DECIMALS = 6
# For --explain of a run without inhibition: the method's defaults.
LAYER, GROUPS = "stage_2", 6


class PicturePrediction(NamedTuple):
    """The most probable classes of a picture, the first one first."""

    picture: str
    classes: list[str]
    probabilities: list[float]


def corruption(text: str) -> Corruption:
    """Such as fog:3. Raises ArgumentTypeError, which argparse prints."""
    name, _, severity = text.partition(":")
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name} is no corruption{did_you_mean(name, known)}")
    if severity not in map(str, SEVERITIES):
        raise argparse.ArgumentTypeError(
            f"{text}: write NAME:SEVERITY, with a severity of 1 to 5, such as {name}:3"
        )
    return Corruption(name, int(severity))


def run(options: argparse.Namespace) -> None:
    """Print the predictions; then name the files that can't be read, and fail if there are any."""
    paths = find_pictures(options.pictures)
    if options.explain is not None:
        if options.explain.suffix != ".png":
            raise ConfigError(f"--explain {options.explain}: must be a .png file")
        if len(paths) > MAX_EXPLAINED:
            raise ConfigError(f"--explain: {len(paths)} pictures; name at most {MAX_EXPLAINED}")
    device = pick_device(options.device, key="--device")
    model = load_model(options.model, weights_key=options.weights_key, device=device)
    unreadable: list[DatasetError] = []
    batches = read_batches(model, paths, options.corrupt, unreadable)
    if options.explain is not None:
        batches = iter(kept := list(batches))
    WRITERS[options.format](predict(model, batches, top=options.top))
    if options.explain is not None and kept:
        save_explanation(model, kept, options)
    for error in unreadable:
        print_error(error)
    if unreadable:
        raise DatasetError(f"{counted(len(unreadable), 'picture')} of {len(paths)} could not be read")


def read_batches(
    model: TrainedModel, paths: Sequence[Path], corruption: Corruption | None, unreadable: list[DatasetError]
) -> Iterator[Pictures]:
    settings = {"image_size": model.network.interface["image_size"], "resize": model.description.resize}
    start = 0
    for batch in read_in_batches(paths, batch_size=BATCH_SIZE, unreadable=unreadable, **settings):
        ids = torch.arange(start, start + len(batch.images))
        start += len(batch.images)
        if corruption is not None:
            name, severity = corruption
            images = corrupt(batch.images, corruption=name, severity=severity, image_ids=ids)
            batch = batch._replace(images=images)
        yield batch


@torch.no_grad()
def predict(model: TrainedModel, batches: Iterator[Pictures], *, top: int) -> Iterator[PicturePrediction]:
    """The most probable classes of each picture: by a softmax or, for multi-label networks, by a sigmoid of each logit."""
    classes = model.network.interface["classes"]
    for batch in batches:
        logits = model.network(to_images_01(batch.images.to(model.network.mean.device))).cpu()
        if not torch.isfinite(logits).all():
            raise ConfigError(f"{model.weights}: the network's outputs are not finite")
        probabilities = logits.sigmoid() if model.description.multi_label else logits.softmax(dim=1)
        values, ids = probabilities.topk(min(top, len(classes)), dim=1)
        for path, row_values, row_ids in zip(batch.paths, values.tolist(), ids.tolist(), strict=True):
            yield PicturePrediction(str(path), [classes[each] for each in row_ids], row_values)


def save_explanation(model: TrainedModel, batches: Sequence[Pictures], options: argparse.Namespace) -> None:
    """Draw on which groups the decisions rest. The network is cut at `--layer`, by default where it was inhibited."""
    description, interface = model.description, model.network.interface
    if description.multi_label:
        raise ConfigError(
            "--explain: needs a network that gives each image one label, not a multi-label network"
        )
    if len(batches) > 1:
        raise ConfigError("--explain: the pictures have several sizes; name those of one size")
    layer = options.layer or description.layer or LAYER
    groups = options.groups or description.groups or GROUPS
    try:
        network = Network(model.network.backbone.cpu(), **interface, cut=layer).eval()
        decision = explain_decisions(network, batches[0].images, layer=layer, groups=groups)
    except ValueError as error:  # the cut, the number of groups, or features that are not finite
        raise ConfigError(f"--explain, --layer {layer}, --groups {groups}: {error}") from error
    path = Path(options.model).resolve()
    name = printable(path.name if path.is_dir() else path.parent.name)
    names = [
        path.name if len(path.name) <= MAX_NAME else f"{path.name[:MAX_NAME]}..." for path in batches[0].paths
    ]
    figure = draw_decisions(
        decision,
        [printable(name) for name in names],
        interface["classes"],
        title=f"What the decisions of {name} rest on: {groups} groups of channels at {layer}",
        heading="picture" if options.corrupt is None else "{}, severity {}".format(*options.corrupt),
    )
    print(printable(str(save_figure(figure, options.explain, dpi=150.0))), file=sys.stderr)


def write_table(predictions: Iterable[PicturePrediction]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("picture", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for each in predictions:
        rows = zip(each.classes, each.probabilities, strict=True)
        for rank, (name, probability) in enumerate(rows):
            picture = each.picture if rank == 0 else ""
            last = rank == len(each.classes) - 1
            table.add_row(Text(picture), Text(name), f"{100 * probability:.2f} %", end_section=last)
    if table.row_count:
        console(soft_wrap=True).print(table)


def write_jsonl(predictions: Iterable[PicturePrediction]) -> None:
    for each in predictions:
        found = [
            {"class": name, "probability": round(probability, DECIMALS)}
            for name, probability in zip(each.classes, each.probabilities, strict=True)
        ]
        print(json.dumps({"picture": each.picture, "predictions": found}))


def write_csv(predictions: Iterable[PicturePrediction]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["picture", "rank", "class", "probability"])
    for each in predictions:
        for rank, (name, probability) in enumerate(
            zip(each.classes, each.probabilities, strict=True), start=1
        ):
            writer.writerow([each.picture, rank, name, f"{probability:.{DECIMALS}f}"])


WRITERS = {"table": write_table, "jsonl": write_jsonl, "csv": write_csv}


def positive(text: str) -> int:
    """A number of at least 1. Raises ValueError, which argparse reports."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    open_streams()
    parser = argparse.ArgumentParser("python -m tenet.predict", description=__doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="run folder, published folder, or .safetensors file of train.py")
    add("pictures", nargs="+", type=Path, metavar="PICTURES", help="picture files, and folders of them")
    add("--top", type=positive, default=5, help="how many classes of each picture (5)")
    add("--format", choices=[*WRITERS], default="table")
    add(
        "--corrupt",
        type=corruption,
        metavar="NAME:SEVERITY",
        help="corrupt the pictures first, such as fog:3",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is any")
    add("--explain", type=Path, metavar="OUT.png", help="draw on which groups of channels the decisions rest")
    add("--layer", help="with --explain: module to cut after (default: the run's own, or stage_2)")
    add("--groups", type=positive, help="with --explain: number of groups (default: the run's own, or 6)")
    add("--weights-key", metavar="KEY", help="model_ema: the averaged weights of a run folder")
    options = parser.parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
