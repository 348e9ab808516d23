"""Measure a classifier's clean error and its error under corruptions: `python evaluate.py --help`."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from tenet import __version__
from tenet import config as configuration
from tenet.entry import run_main
from tenet.errors import ConfigError

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="evaluate")
def main(composed: DictConfig) -> float:
    return run(configuration.resolve(composed))


def run(config: dict[str, Any]) -> float:
    """Measure what `config` names, write and print the report; return the mCE, or else the clean error."""
    subject = choose_subject(config)
    from tenet.corruptions import CORRUPTIONS
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions
    from tenet.evaluation import Classifier, RobustnessReport, sweep
    from tenet.progress import ProgressReport
    from tenet.report import print_table, write_report
    from tenet.training import pick_device

    build = configuration.build
    device = pick_device(config["device"])
    dataset = build(subject["dataset"], key="dataset")
    splits = dataset.load()
    model = build(subject["backbone"], num_classes=len(splits.classes), key="backbone")
    weights = load_subject(model, subject)
    model.to(device)
    test = splits.test.to(device)

    asked = config["corruptions"]
    source = (
        GeneratedCorruptions(*test, seed=asked["seed"])
        if asked["root"] is None
        else ArchivedCorruptions(asked["root"])
    )
    names = asked["names"] or list(source.names)
    if unknown := [name for name in names if name not in source.names]:
        raise ConfigError(
            f"corruptions.names={unknown[0]}: not there{configuration.nearest(unknown[0], source.names)}; "
            f"there are {', '.join(source.names)}"
        )
    severities = sorted(set(asked["severities"]))

    classifier = Classifier(
        model, dataset.normalization, config["batch_size"], config["precision"], config["channels_last"]
    )
    clean_error_pct = classifier.error_pct(*test)
    cells = []
    with ProgressReport("corruptions", total=len(names) * len(severities), unit="cell") as progress:
        for cell in sweep(classifier, source, corruptions=names, severities=severities):
            cells.append(cell)
            progress.update(len(cells), f"{cell.corruption} {cell.severity}: error {cell.error_pct:.2f} %")
    report = RobustnessReport(source.kind, clean_error_pct, len(test.labels), tuple(cells), CORRUPTIONS)

    output = output_path(config, report, weights)
    about = {
        "tenet_version": __version__,
        "weights": str(weights),
        "dataset": subject["dataset"],
        "backbone": subject["backbone"],
        "corruptions": {"root": asked["root"]} if asked["root"] else {"seed": asked["seed"]},
    }
    written = write_report(report, output, about=about)
    print_table(report, title=weights.parent.name)
    for path in written:
        print(path)
    track(config, subject, report, written)
    return clean_error_pct if report.mce_pct is None else report.mce_pct


def choose_subject(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to evaluate: dataset, backbone, tracking and run_dir or weights, of a run folder or as given.

    Raises ConfigError unless it is one of the two, and whole.
    """
    if (config["run"] is None) == (config["weights"] is None):
        raise ConfigError("give run=RUN_DIR, or weights=FILE with backbone= and dataset= (see --help)")
    own: dict[str, Any] = {"tracking": None}
    if config["run"] is not None:
        own = {**configuration.read_config(Path(config["run"])), "run_dir": Path(config["run"])}
    chosen = {name: config.get(name) or own.get(name) for name in ("dataset", "backbone", "tracking")}
    for name in ("dataset", "backbone"):
        if chosen[name] is None:
            raise ConfigError(f"weights={config['weights']} needs {name}=OPTION beside it (see --help)")
    return {**own, **chosen, "weights": config["weights"]}


def load_subject(model: Any, subject: Mapping[str, Any]) -> Path:
    """Load the weights of the file, or of the run folder (of its last checkpoint if it has not finished)."""
    from tenet.checkpoint import Checkpoints, load_weights

    if subject["weights"] is not None:
        path = Path(subject["weights"]).expanduser()
    else:
        path = subject["run_dir"] / "weights.safetensors"
        if not path.exists():
            newest = Checkpoints(subject["run_dir"]).newest()
            if newest is None:
                raise ConfigError(
                    f"run={subject['run_dir']}: there are no weights and no checkpoint to evaluate"
                )
            logger.warning("%s has not finished: evaluating its last checkpoint", subject["run_dir"])
            path = newest
    load_weights(model, path)
    return path


def output_path(config: Mapping[str, Any], report: Any, weights: Path) -> Path:
    """Where the report goes: generated and official figures, whole sweeps and parts, never under one name."""
    if config["output"] is not None:
        path = Path(config["output"]).expanduser()
        if path.suffix != ".json":
            raise ConfigError(f"output={path}: must be a .json file")
        return path
    suffix = "-files" if report.source == "files" else ""
    part = "" if report.mce_pct is not None else "-part"
    folder = (
        weights.parent / "evaluation"
        if config["run"] is not None
        else weights.parent / f"{weights.stem}-evaluation"
    )
    return folder / f"corruptions{suffix}{part}.json"


def track(config: Mapping[str, Any], subject: Mapping[str, Any], report: Any, written: list[Path]) -> None:
    """Add the figures, the table and the heatmap to the run's summary and to its own W&B run."""
    tracking = configuration.build(subject["tracking"], key="tracking")
    if tracking is None or "run_dir" not in subject:
        return
    run_config = configuration.read_config(subject["run_dir"])
    with tracking.start(subject["run_dir"], config=run_config, job_type="evaluate", resume=True) as tracker:
        tracker.summarize({**report.metrics(), "corruption/source": report.source})
        rows = [[cell.corruption, cell.severity, cell.error_pct] for cell in report.cells]
        tracker.log_table("corruption/table", ["corruption", "severity", "error_pct"], rows)
        for path in written:
            if path.suffix == ".png":
                tracker.log_image("corruption/heatmap", path)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="evaluate"))
