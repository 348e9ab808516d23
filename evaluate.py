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

from tenet import __version__
from tenet.config.build import build
from tenet.config.run_config import read_config, resolve, run_id
from tenet.distributed import is_started_by_torchrun
from tenet.entry import run_main
from tenet.errors import ConfigError
from tenet.evaluation.target import choose_cells, choose_subject, load_subject, open_source, output_path
from tenet.files.paths import user_path
from tenet.files.plain import sha256_of
from tenet.run.folder import RunFolder
from tenet.run.signals import StopSignals

if TYPE_CHECKING:
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions
    from tenet.data import EvaluationSet
    from tenet.evaluation.classifier import Classifier
    from tenet.evaluation.report import RobustnessReport

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


def main(composed: DictConfig) -> float:
    if is_started_by_torchrun():
        raise ConfigError("evaluate.py is one process: start it with python, not with torchrun")
    # OmegaConf may swallow an exception that a signal raises.
    config = resolve(composed)
    with StopSignals() as stop:
        return run(config, stop=stop)


def run(config: dict[str, Any], *, stop: StopSignals | None = None) -> float:
    """Measure what `config` names, write and print the report; return the mCE, or else the clean error."""
    # And torch takes whatever interrupts its import of NumPy for a NumPy that is missing.
    with (stop or StopSignals()).postponed():
        subject = choose_subject(config)
        import torch

    from tenet.corruptions.folders import FolderArchive
    from tenet.corruptions.sources import ArchivedCorruptions
    from tenet.device import pick_device
    from tenet.evaluation.cache import PredictionCache
    from tenet.evaluation.classifier import Classifier
    from tenet.evaluation.report import Measures, RobustnessReport, print_report
    from tenet.experiment import build_network

    device = pick_device(config["device"])
    dataset = build(subject["dataset"], key="dataset")
    test: EvaluationSet = dataset.test_set()
    model = build_network(subject["backbone"], num_classes=len(test.classes))
    weights = load_subject(model, subject)
    subject["weights_sha256"] = sha256_of(weights)
    if (channels_last := config["channels_last"]) is None:
        channels_last = subject.get("trainer", {}).get("channels_last", False)
    model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format)
    classifier = Classifier(
        model, dataset.normalization, config["batch_size"], config["precision"], channels_last
    )
    source = open_source(config, test, device)
    names, severities = choose_cells(config, source)
    output = output_path(config, source.kind, names, severities, weights)
    store = PredictionCache(
        output.with_suffix("").with_name(f"{output.stem}-predictions"),
        identity={
            "version": __version__,
            "weights": subject["weights_sha256"],
            "backbone": subject["backbone"],
            "normalization": [list(dataset.mean), list(dataset.std)],
            "images": test.identity(),
            "corruptions": source.identity(),
            "arithmetic": [device.type, config["precision"], channels_last, config["batch_size"]],
        },
    )
    clean, cells = measure(classifier, test, source, names, severities, store)
    normalize = config["corruptions"]["normalize"]
    is_imagenet_c = isinstance(source, ArchivedCorruptions) and isinstance(source.archive, FolderArchive)
    report = RobustnessReport(
        source=source.kind,
        classes=test.classes,
        clean=clean,
        cells=tuple(cells),
        normalized=normalize == "alexnet"
        or (normalize == "auto" and is_imagenet_c and len(test.classes) == 1000),
        measures=Measures(**config["measures"]),
        other=measure_natural_shift(classifier, config["cifar101"], classes=len(test.classes)),
        flip_probabilities=measure_flips(classifier, config["cifar_p"]),
    )
    # Written before it is shown: what can't be printed is not lost.
    written, pictures = write_files(report, output, config, subject, weights)
    pictures |= draw_sheet(source, names, severities, output)
    print_report(report, title=weights.parent.name)
    for path in [*written, *pictures.values()]:
        print(path)
    track(subject, report, written, pictures)
    store.close(keep=config["save_predictions"])
    return clean.error_pct if report.mce_pct is None else report.mce_pct


def measure(
    classifier: "Classifier",
    test: "EvaluationSet",
    source: "ArchivedCorruptions | GeneratedCorruptions",
    names: Sequence[str],
    severities: Sequence[int],
    store: Any,
) -> tuple[Any, list[Any]]:
    """Predictions of the clean images and of every cell; those that an interrupted sweep left are taken as they are."""
    from tenet.evaluation.classifier import sweep
    from tenet.run.progress import ProgressReport

    if store.cached:
        what = (
            "taking the predictions that were kept"
            if store.is_pinned
            else "going on with an interrupted sweep"
        )
        logger.info("%s: %d sets of images are measured already", what, store.cached)
    clean = store.load("clean")
    if clean is None:
        clean = classifier.predict(test.batches(classifier.batch_size))
        store.save("clean", clean)
    cells = []
    with ProgressReport("corruptions", total=len(names) * len(severities), unit="cell") as progress:
        for cell in sweep(classifier, source, corruptions=names, severities=severities, store=store):
            cells.append(cell)
            status = f"{cell.corruption} {cell.severity}: error {cell.predictions.error_pct:.2f} %"
            progress.update(len(cells), status)
    return clean, cells


def measure_natural_shift(classifier: "Classifier", root: str | None, *, classes: int) -> dict[str, Any]:
    from tenet.evaluation.classifier import predict_natural_shift

    return (
        {}
        if root is None
        else predict_natural_shift(classifier, user_path(root, key="cifar101"), classes=classes)
    )


def measure_flips(classifier: "Classifier", root: str | None) -> dict[str, float]:
    from tenet.corruptions.perturbations import PerturbationArchive
    from tenet.evaluation.classifier import sweep_perturbations
    from tenet.run.progress import ProgressReport

    if root is None:
        return {}
    archive = PerturbationArchive(user_path(root, key="cifar_p"))
    probabilities = {}
    with ProgressReport("perturbations", total=len(archive.names), unit="file") as progress:
        for name, probability in sweep_perturbations(classifier, archive):
            probabilities[name] = probability
            progress.update(len(probabilities), f"{name}: {100 * probability:.2f} %")
    return probabilities


def write_files(
    report: "RobustnessReport",
    output: Path,
    config: Mapping[str, Any],
    subject: Mapping[str, Any],
    weights: Path,
) -> tuple[list[Path], dict[str, Path]]:
    """The figures, and the pictures by the names they have in W&B."""
    from tenet.evaluation.files import write_figures
    from tenet.evaluation.plots import write_pictures

    asked, dataset, backbone = config["corruptions"], subject["dataset"], subject["backbone"]
    about = {
        "tenet_version": __version__,
        "weights": str(weights),
        "weights_sha256": subject["weights_sha256"],
        "dataset": dataset,
        "backbone": backbone,
        "corruptions_from": {"root": asked["root"]} if asked["root"] else {"seed": asked["seed"]},
    }
    figures = write_figures(
        report,
        output,
        about=about,
        name=weights.parent.name,
        dataset=dataset.get("name") or dataset["_target_"].rpartition(".")[2].lower(),
        architecture=backbone["_target_"].rpartition(".")[2],
    )
    return figures, write_pictures(report, output.with_suffix(""))


def draw_sheet(
    source: "ArchivedCorruptions | GeneratedCorruptions",
    names: Sequence[str],
    severities: Sequence[int],
    output: Path,
) -> dict[str, Path]:
    """The first image under every cell that was measured: how a person checks the corruptions."""
    if not names:
        return {}
    from tenet.corruptions.pictures import sheet_of
    from tenet.evaluation.plots import save_figure

    def first(name: str, severity: int) -> Any:
        return next(iter(source.batches(name, severity, batch_size=1))).images[0]

    figure = sheet_of({name: {severity: first(name, severity) for severity in severities} for name in names})
    return {"corruption/sheet": save_figure(figure, output.with_name(f"{output.stem}-sheet.png"), dpi=80)}


def track(
    subject: Mapping[str, Any],
    report: "RobustnessReport",
    written: Sequence[Path],
    pictures: Mapping[str, Path],
) -> None:
    """Add the figures, the table and the pictures to the run's summary and to its own W&B run."""
    tracking = build(subject["tracking"], key="tracking")
    if tracking is None or "run_dir" not in subject:
        return
    if report.mce_pct is None or not subject["is_own_dataset"]:
        logger.info("not the whole sweep of the run's own data set: the figures stay out of its summary")
        return
    run_dir = subject["run_dir"]
    run_config = read_config(run_dir)
    identifier = run_id(run_config)
    with ExitStack() as stack:
        try:
            stack.enter_context(RunFolder(run_dir))
        except ConfigError as error:  # a training that goes on has its own summary and W&B run to write
            logger.warning("%s: the figures stay out of its summary", error)
            return
        start = tracking.start(
            run_dir, config=run_config, run_id=identifier, job_type="evaluate", resume=True
        )
        tracker = stack.enter_context(start)
        figures = {**report.metrics(), "corruption/source": report.source}
        tracker.summarize(figures, instead_of="corruption/")
        rows = [[cell.corruption, cell.severity, cell.predictions.error_pct] for cell in report.cells]
        tracker.log_table("corruption/table", ["corruption", "severity", "error_pct"], rows)
        for name, path in pictures.items():
            tracker.log_image(name, path)
        # W&B takes a hundred figures with an artifact: these are the means, without those of single cells.
        means = {name: figure for name, figure in figures.items() if name.count("/") == 1}
        tracker.log_artifact("evaluation", [*written, *pictures.values()], metadata=means)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="evaluate"))
