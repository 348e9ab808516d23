"""Measure a classifier's clean error and its error under corruptions: `python evaluate.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # loading Hydra takes a good part of a second

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from tenet.config.build import build
from tenet.config.run_config import read_config, resolve, run_id
from tenet.distributed import is_started_by_torchrun
from tenet.entry import run_main
from tenet.errors import ConfigError
from tenet.evaluation.target import EvaluationTarget
from tenet.run.folder import RunFolder
from tenet.run.signals import StopSignals

if TYPE_CHECKING:
    from tenet.evaluation.suites.suite import Summary

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


def main(composed: DictConfig) -> float:
    """Evaluate what the command line asks for; return the mCE, or the clean error if there is no mCE."""
    if is_started_by_torchrun():
        raise ConfigError("evaluate.py is one process: start it with python, not with torchrun")
    # Not within `StopSignals`: OmegaConf may swallow an exception that a signal raises.
    config = resolve(composed)
    with StopSignals() as stop:
        return run(config, stop=stop)


def run(config: dict[str, Any], *, stop: StopSignals | None = None) -> float:
    """Measure all cells of all suites of `config`, then write and print the report."""
    # If a signal interrupts torch's import of NumPy, torch concludes that NumPy is not installed.
    with (stop or StopSignals()).postponed():
        target = EvaluationTarget.from_config(config)
        from tenet.device import pick_device
        from tenet.evaluation.cache import PredictionCache
        from tenet.evaluation.classifier import Classifier
        from tenet.evaluation.loop import predict_suites
        from tenet.evaluation.report import combine, print_report, write_figures, write_pictures
        from tenet.evaluation.suites.build import build_suites

    device, batch_size = pick_device(config["device"]), config["batch_size"]
    test = target.data.test_source()
    network = target.load_network(num_classes=len(test.classes), device=device)
    suites = build_suites(config, test, model=target.model, device=device)
    output = target.report_path(config["output"], marks=[mark for suite in suites for mark in suite.marks])
    cache = PredictionCache(
        output.with_name(f"{output.stem}-predictions"),
        identity={
            **target.identity(device=device, batch_size=batch_size),
            **{suite.name: suite.identity() for suite in suites},
        },
    )
    predictions = predict_suites(suites, Classifier(network, batch_size), cache)
    report = combine(target.about(), [suite.summarize(predictions) for suite in suites])
    # Written before it is printed: a report that can't be printed is not lost.
    written, pictures = write_figures(report, output), write_pictures(report, output)
    print_report(report)
    for path in [*written, *pictures.values()]:
        print(path)
    track(target, report, written, pictures)
    cache.close(keep=config["save_predictions"])
    return float(report.metrics.get("corruption/mce_pct", report.metrics["test/error_pct"]))


def track(
    target: EvaluationTarget, report: "Summary", written: Sequence[Path], pictures: Mapping[str, Path]
) -> None:
    """Add figures, table and pictures to the summary of the run and to its own W&B run."""
    tracking = build(target.tracking, key="tracking")
    if tracking is None or target.run_dir is None:
        return
    if not (report.is_complete and target.has_own_dataset):
        logger.info("not the whole sweep of the run's own data set: the figures stay out of its summary")
        return
    run_config = read_config(target.run_dir)
    with ExitStack() as stack:
        try:
            stack.enter_context(RunFolder(target.run_dir))
        except ConfigError as error:  # a training that is still running writes its own summary and W&B run
            logger.warning("%s: the figures stay out of its summary", error)
            return
        start = tracking.start(
            target.run_dir, config=run_config, run_id=run_id(run_config), job_type="evaluate", resume=True
        )
        tracker = stack.enter_context(start)
        tracker.summarize(report.metrics, instead_of="corruption/")
        columns = ["corruption", "severity", "error_pct"]
        tracker.log_table("corruption/table", columns, [[row[c] for c in columns] for row in report.records])
        for name, path in pictures.items():
            tracker.log_image(name, path)
        # W&B keeps a hundred figures with an artifact: the means, without those of single cells.
        means = {name: value for name, value in report.metrics.items() if name.count("/") == 1}
        tracker.log_artifact("evaluation", [*written, *pictures.values()], metadata=means)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="evaluate"))
