"""See the inhibition of a trained network, image by image: `python -m tenet.xray RUN_DIR`; docs/xray.md."""

if __name__ == "__main__":
    from tenet.device import share_cores
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()
    share_cores()  # before torch is loaded

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from tenet.config.build import build
from tenet.config.rules import did_you_mean
from tenet.config.run_config import read_config
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.entry import run_and_report_errors
from tenet.errors import ConfigError, NonFiniteOutputError, printable
from tenet.inhibition import Inhibition, NonFiniteFeaturesError
from tenet.run.signals import StopSignals
from tenet.xray.figures import TABLE_COLUMNS, look_through, print_rows, table_rows
from tenet.xray.picture import draw

if TYPE_CHECKING:
    from tenet.data import Dataset, ImageArrays

# How many classes are shown where no images are named.
NUM_CLASSES = 4


def read_settings(
    config: Mapping[str, Any], model: nn.Module, *, layer: str | None, groups: int | None, size: Sequence[int]
) -> Inhibition:
    """The run's own inhibition (of a plain run: the method's defaults), with `layer` and `groups` where given.

    Raises ConfigError unless the model can be cut there into so many groups.
    """
    settings = build(config["tenet"], key="tenet") or Inhibition(layer="stage_2")
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
        hint = did_you_mean(options.corruption, known)
        raise ConfigError(f"--corruption {options.corruption}: not there{hint}; there are {', '.join(known)}")
    output = options.output or options.run_dir / "evaluation" / "xray.png"
    if output.suffix != ".png":
        raise ConfigError(f"--output {output}: must be a .png file")
    from tenet.evaluation.files import write_json
    from tenet.evaluation.plots import save_figure
    from tenet.evaluation.target import load_subject
    from tenet.experiment import build_network

    config = read_config(options.run_dir)
    dataset: Dataset = build(config["dataset"], key="dataset")
    splits = dataset.load()
    # On the CPU: a few images need no more, and the medoids drawn are the same on every machine.
    model = build_network(config["backbone"], num_classes=len(splits.classes)).eval()
    weights = load_subject(model, {"weights": None, "run_dir": options.run_dir})
    size = splits.test.images.shape[1:3]
    settings = read_settings(config, model, layer=options.layer, groups=options.groups, size=size)
    ids = choose_images(model, splits.test, dataset, options.images)
    cell = {"corruption": options.corruption, "severity": options.severity}
    try:
        seen = look_through(model, splits, ids, dataset, settings, **cell, seed=config["seed"])
    except NonFiniteFeaturesError as error:
        raise NonFiniteOutputError(f"{weights}: at {settings.layer}, {error}") from error

    where = f"{settings.groups} groups at {settings.layer}"
    corruption = f"{options.corruption.replace('_', ' ')} {options.severity}"
    title = printable(f"{'/'.join(options.run_dir.resolve().parts[-2:])}, {where}")
    save_figure(draw(seen, title=title, corruption=corruption), output, dpi=120)
    about = {"weights": str(weights), "layer": settings.layer, "groups": settings.groups, **cell}
    write_json(output.with_suffix(".json"), {**about, "images": seen.rows})
    print_rows(seen.rows, title=where, corruption=corruption)
    print(*(printable(str(path)) for path in (output, output.with_suffix(".json"))), sep="\n")
    track(options.run_dir, config, output, table_rows(seen.rows, corruption=corruption))


def track(run_dir: Path, config: Mapping[str, Any], picture: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Add picture and table to the run's own W&B run, where it has one."""
    from tenet.files.names import WANDB_FILE

    if not (run_dir / WANDB_FILE).exists():
        return
    tracking = build(config["tracking"], key="tracking")
    with tracking.start(run_dir, config=config, job_type="xray", resume=True) as tracker:
        tracker.log_image("xray/picture", picture)
        tracker.log_table("xray/groups", TABLE_COLUMNS, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
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
    options = parser.parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
