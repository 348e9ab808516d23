"""Measure a classifier's clean error and its error under corruptions: `python evaluate.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # loading Hydra takes a good part of a second

import logging
import sys
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tenet import distributed
from tenet.config.build import build
from tenet.config.overrides import typed_keys
from tenet.config.plugins import used_plugins
from tenet.config.run_config import read_config, resolve, run_id
from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.entry import run_main
from tenet.errors import ConfigError, printable
from tenet.evaluation.reports import ATTACKED_IMAGES, SECTIONS
from tenet.evaluation.target import EvaluationTarget
from tenet.files.json import read_json
from tenet.files.names import SUMMARY_FILE
from tenet.run.environment import describe_arithmetic
from tenet.run.folder import RunFolder
from tenet.run.origin import check_test_data
from tenet.run.signals import StopSignals
from tenet.tracking import Tracker

if TYPE_CHECKING:
    from tenet.evaluation.suites.suite import Summary

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
# Of W&B: by the first part of their names, columns of the records of a report.
TABLES = {
    **{section: ["corruption", "severity", "error_pct"] for section in SECTIONS.values()},
    "attack": ["attack", "error_pct", "images"],
}
logger = logging.getLogger("tenet")


def main(composed: DictConfig) -> float | None:
    """Evaluate what the command line asks for; return the mCE, or the clean error if there is no mCE."""
    # Not within `StopSignals`: OmegaConf may swallow an exception that a signal raises.
    config, typed = resolve(composed), typed_keys(HydraConfig.get().overrides.task)
    with (
        StopSignals() as stop,
        distributed.join(
            config["device"], timeout_minutes=config["timeout_minutes"], received=lambda: stop.received
        ) as process_group,
    ):
        return run(config, typed=typed, stop=stop, process_group=process_group)


def run(
    config: dict[str, Any],
    *,
    typed: Container[str] = (),
    stop: StopSignals | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> float | None:
    """Measure all cells of all suites of `config`, then write and print the report; return what `main` does.

    typed: the keys that the user set, in contrast to what an option brings with it. process_group: the processes that
    share the images of each cell; the main one writes and prints, and the others return None.
    """
    check_attacks(config["attacks"], typed=typed)
    # If a signal interrupts torch's import of NumPy, torch concludes that NumPy is not installed.
    with (stop or StopSignals()).postponed():
        target = EvaluationTarget.from_config(config, typed=typed)
        from tenet.device import pick_device
        from tenet.evaluation.cache import PredictionCache
        from tenet.evaluation.classifier import Classifier
        from tenet.evaluation.exposure import Exposure
        from tenet.evaluation.loop import predict_suites
        from tenet.evaluation.matching import (
            match_classes,
            matching_note,
            missing_classes_note,
            warn_of_other_size,
        )
        from tenet.evaluation.measurement import PART
        from tenet.evaluation.report import combine, print_report, write_figures, write_pictures
        from tenet.evaluation.suites.build import build_suites

    device, batch_size = pick_device(config["device"]), config["batch_size"]
    with process_group.rank_zero_first():
        test = target.data.test_source()
    if target.run_dir is not None and target.has_own_dataset:
        check_test_data(target.run_dir, test.content_fingerprint())
    network = target.load_network(classes=test.classes, device=device)
    where = str(target.dataset.get("path", f"dataset={target.model.dataset}"))
    order = match_classes(
        network.interface["classes"], test.classes, where=where, is_own=target.has_own_dataset
    )
    warn_of_other_size(test, network.interface["image_size"], where=where)
    build_option = partial(build, config["suite"], key="suite")
    classifier = Classifier(network, batch_size, order, process_group)
    suites = build_suites(
        config, test, model=target.model, device=device, classifier=classifier, build_option=build_option
    )
    if not process_group.is_main_process:
        predict_suites(suites, classifier, None)
        return None
    measurement = target.measurement(suites)
    is_asked = config["output"] is not None
    output = target.report_path(config["output"], marks=measurement.marks)
    output = measurement.find_path(output, asked=is_asked)
    cache = PredictionCache(
        output.with_name(f"{output.stem}-predictions"),
        identity={
            **target.identity(device=device, batch_size=batch_size),
            **{suite.name: suite.identity() for suite in suites},
        },
    )
    predictions = predict_suites(suites, classifier, cache)
    summaries = [suite.summarize(predictions) for suite in suites]
    about, notes = target.about(), [measurement.note]
    if config["corruptions"]["root"] is not None and target.data.corruptions_note:
        about["corruptions_note"] = target.data.corruptions_note
        notes.append(target.data.corruptions_note)
    if matched := matching_note(network.interface["classes"], test.classes):
        about["classes"] = matched
        notes.append(matched)
    if missing := missing_classes_note(test, part="test"):
        about["missing_classes"] = missing
        notes.append(missing)
    if target.run_dir is not None:  # how a file of weights was trained is not known
        trained = read_config(target.run_dir)
        exposure = Exposure.of(build(trained[group], key=group) for group in ("augment", "mixing"))
        about["trained_with"] = exposure.content()
        notes += exposure.lines()
    if plugins := used_plugins(
        {"dataset": target.dataset, "backbone": target.backbone, "suite": config["suite"]}
    ):
        about["plugins"] = plugins
    about |= {"arithmetic": describe_arithmetic(processes=process_group.size), **measurement.content()}
    report = combine(about, summaries, notes=notes)
    # Written before it is printed: a report that can't be printed is not lost.
    written, pictures = write_figures(report, output), write_pictures(report, output)
    print_report(report)
    for path in [*written, *pictures.values()]:
        print(path)
    differences = measurement.differences(output, asked=is_asked, is_complete=report.is_complete)
    # Those of all suites but the clean images and the corruptions need no others.
    own = combine({}, [each for each in summaries[2:] if each.is_complete])
    if not differences:
        track(target, report, written, pictures)
    elif target.run_dir is not None:
        has_own = differences == [PART] and bool(own.metrics)
        which = " of clean and corrupted images" if has_own else ""
        why = printable(" and ".join(differences))
        logger.info("the figures%s stay out of the run's summary, because they are %s", which, why)
        if has_own:
            track(target, own, written, pictures)
    cache.close(keep=config["save_predictions"])
    errors = [*(f"{section}/mce_pct" for section in SECTIONS.values()), "test/error_pct"]
    return next(float(report.metrics[name]) for name in errors if name in report.metrics)


def check_attacks(settings: Mapping[str, Any], *, typed: Container[str]) -> None:
    """Raise ConfigError if the user set how to attack, but not by which attacks: nothing would be attacked."""
    given = [key for key in settings if f"attacks.{key}" in typed]
    if given and "names" not in given and not settings["names"]:
        raise ConfigError(f"attacks.{given[0]}: no attack is chosen; add attacks.names=[pgd]")


def track(
    target: EvaluationTarget, report: "Summary", written: Sequence[Path], pictures: Mapping[str, Path]
) -> None:
    """Add figures, table and pictures to the summary of the run and to its own W&B run."""
    tracking = build(target.tracking, key="tracking")
    if tracking is None or target.run_dir is None:
        return
    run_config = read_config(target.run_dir)
    with ExitStack() as stack:
        try:
            stack.enter_context(RunFolder(target.run_dir))
        except ConfigError as error:  # a training that is still running writes its own summary and W&B run
            logger.warning("%s: the figures stay out of its summary", error)
            return
        try:
            start = tracking.start(
                target.run_dir, config=run_config, run_id=run_id(run_config), job_type="evaluate", resume=True
            )
        except ConfigError as error:  # such as no API key on this machine
            logger.warning("W&B is off (%s)", error)
            start = Tracker(target.run_dir)
        tracker = stack.enter_context(start)
        before = read_json(target.run_dir / SUMMARY_FILE)
        tracker.summarize(report.metrics, instead_of=replaced(report.metrics, before))
        for key, columns in TABLES.items():
            rows = [[row[c] for c in columns] for row in report.records if columns[0] in row]
            if rows and any(name.startswith(f"{key}/") for name in report.metrics):
                tracker.log_table(f"{key}/table", columns, rows)
        for name in report.pictures.keys() & pictures.keys():
            tracker.log_image(name, pictures[name])
        # W&B keeps a hundred figures with an artifact: the means, without those of single cells.
        means = {name: value for name, value in report.metrics.items() if name.count("/") == 1}
        tracker.log_artifact("evaluation", [*written, *pictures.values()], metadata=means)


def replaced(metrics: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, ...]:
    """The prefixes of the figures in the summary `before` that may not stand beside those of `metrics`: corruptions of an
    earlier evaluation, and attacks on another number of images."""
    prefixes = [f"{section}/" for section in SECTIONS.values()]
    corrupted = tuple(prefix for prefix in prefixes if any(name.startswith(prefix) for name in metrics))
    images = metrics.get(ATTACKED_IMAGES)
    is_other = images is not None and before.get(ATTACKED_IMAGES) != images
    return corrupted + ("attack/",) * is_other


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="evaluate"))
