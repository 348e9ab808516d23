"""See the inhibition of a trained network, image by image: `python -m tenet.xray RUN_DIR`; docs/xray.md."""

if __name__ == "__main__":
    from tenet.device import share_cores
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()
    share_cores()  # before torch is loaded

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from tenet.config.rules import did_you_mean
from tenet.config.run_config import read_config
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.data import ImageSource
from tenet.entry import run_and_report_errors
from tenet.errors import ConfigError, NonFiniteOutputError, printable
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.plots import save_figure
from tenet.experiment import Experiment
from tenet.files.json import write_json
from tenet.files.names import EVALUATION_FOLDER, WANDB_FILE
from tenet.files.weights import load_weights, read_weights
from tenet.inhibition import NonFiniteFeaturesError
from tenet.printing import open_streams
from tenet.run.signals import StopSignals
from tenet.run.weights import find_weights
from tenet.xray.figures import TABLE_COLUMNS, make_xray, print_rows, table_rows
from tenet.xray.picture import draw_xray

# How many classes are shown if no images are given.
NUM_CLASSES = 4
# A plain run has no inhibition of its own.
PLAIN_RUN = {"_target_": "tenet.methods.Inhibited", "layer": "stage_2"}
# On the CPU, which is fast enough for a few images, the initial medoids are the same on every machine.
TRAINER = {"device": "cpu", "precision": "fp32", "compile": False}


def open_experiment(config: Mapping[str, Any], *, layer: str | None, groups: int | None) -> Experiment:
    """The run's parts, with its own inhibition or the method's defaults, and with `layer` and `groups` if given.

    Raises ConfigError if the network can't be cut there into so many groups.
    """
    own = config["tenet"] if config["tenet"].get("_target_") else PLAIN_RUN
    given = {name: value for name, value in {"layer": layer, "groups": groups}.items() if value is not None}
    trainer = {**config["trainer"], **TRAINER}
    experiment = Experiment({**config, "trainer": trainer, "tenet": {**own, **given}})
    try:
        experiment.outline  # noqa: B018 (building it checks the cut)
    except ConfigError as error:
        raise ConfigError(re.sub(r"^tenet\.", "--", str(error))) from error
    return experiment


def choose_images(
    classifier: Classifier, test: ImageSource, asked: Sequence[int] | None
) -> Int64[Tensor, " chosen"]:
    """The images asked for, or the first correctly classified one of each of the first classes.

    Raises ConfigError if there is no such image.
    """
    if asked is not None:
        for image in asked:
            if not 0 <= image < len(test):
                raise ConfigError(f"--images {image}: the test images are 0 to {len(test) - 1}")
        return torch.tensor(asked)
    chosen = []
    for label in sorted({*range(NUM_CLASSES)} & {*test.labels.tolist()}):
        for ids in (test.labels == label).nonzero()[:, 0].split(50):
            if (is_right := classifier.predict(test, ids).errors == 0).any():
                chosen.append(ids[is_right][0])
                break
    if not chosen:
        raise ConfigError(f"no image of the first {NUM_CLASSES} classes is classified right: give --images")
    return torch.stack(chosen)


def run(options: argparse.Namespace) -> None:
    """Write picture and figures, print the table, and send both to the run's own W&B run."""
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    if options.corruption not in known:
        hint = did_you_mean(options.corruption, known)
        raise ConfigError(f"--corruption {options.corruption}: not there{hint}; there are {', '.join(known)}")
    output = options.output or options.run_dir / EVALUATION_FOLDER / "xray.png"
    if output.suffix != ".png":
        raise ConfigError(f"--output {output}: must be a .png file")
    config = read_config(options.run_dir)
    experiment = open_experiment(config, layer=options.layer, groups=options.groups)
    network, inhibited, test = experiment.network, experiment.inhibited, experiment.splits.test
    assert inhibited is not None
    if test.is_multi_label:
        raise ConfigError(
            f"{options.run_dir}: an X-ray is of images with one label each, not of multi-label images"
        )
    weights = find_weights(options.run_dir)
    saved = read_weights(weights)
    load_weights(network.backbone, saved)
    if saved.interface is not None and saved.interface.classes not in ((), test.classes):
        raise ConfigError(
            f"{options.run_dir}: the data set's classes or their order have changed since the training"
        )
    ids = choose_images(experiment.classifier, test, options.images)
    cell = {"corruption": options.corruption, "severity": options.severity}
    try:
        xray = make_xray(network, test, ids, inhibited, **cell, seed=config["seed"])
    except NonFiniteFeaturesError as error:
        raise NonFiniteOutputError(f"{weights}: at {inhibited.layer}, {error}") from error

    where = f"{inhibited.groups} groups of channels at {inhibited.layer}"
    corruption = f"{options.corruption.replace('_', ' ')} {options.severity}"
    title = printable(f"What inhibition does to images of {options.run_dir.resolve().name}: {where}")
    if output.exists():
        print(f"replacing the earlier {printable(str(output))}")
    save_figure(draw_xray(xray, title=title, corruption=corruption), output, dpi=120.0)
    about = {"weights": str(weights), "layer": inhibited.layer, "groups": inhibited.groups, **cell}
    write_json(output.with_suffix(".json"), {**about, "images": xray.rows})
    print_rows(xray.rows, title=where, corruption=corruption)
    print(*(printable(str(path)) for path in (output, output.with_suffix(".json"))), sep="\n")
    if (options.run_dir / WANDB_FILE).exists():
        with experiment.tracking.start(
            options.run_dir, config=config, job_type="xray", resume=True
        ) as tracker:
            tracker.log_image("xray/picture", output)
            tracker.log_table("xray/groups", TABLE_COLUMNS, table_rows(xray.rows, corruption=corruption))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    open_streams()
    parser = argparse.ArgumentParser("python -m tenet.xray", description=__doc__)
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    add("--images", type=int, nargs="+", help="indices of test images")
    add("--corruption", default="fog", help="whose groups to compare with the clean image's")
    add("--severity", type=int, choices=SEVERITIES, default=3)
    add("--layer", help="module to cut after (default: the run's own; stage_2 for a plain run)")
    add("--groups", type=int, help="number of groups (default: the run's own; 6 for a plain run)")
    add("--output", type=Path, help="PNG file, with a JSON file next to it (RUN_DIR/evaluation/xray.png)")
    options = parser.parse_args(arguments)
    with StopSignals():
        return run_and_report_errors(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
