"""Measure a classifier's clean error and its error under corruptions: `python evaluate.py --help`."""

import hashlib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from tenet import __version__
from tenet import config as configuration
from tenet.corruptions.names import CORRUPTIONS, SEVERITIES
from tenet.entry import run_main
from tenet.errors import ConfigError

if TYPE_CHECKING:
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions
    from tenet.data import EvaluationSet
    from tenet.evaluation import Classifier
    from tenet.report import RobustnessReport

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="evaluate")
def main(composed: DictConfig) -> float:
    return run(configuration.resolve(composed))


def run(config: dict[str, Any]) -> float:
    """Measure what `config` names, write and print the report; return the mCE, or else the clean error."""
    subject = choose_subject(config)
    from tenet.cells import CellStore
    from tenet.corruptions.folders import FolderArchive
    from tenet.corruptions.sources import ArchivedCorruptions
    from tenet.evaluation import Classifier
    from tenet.report import Measures, RobustnessReport, print_report
    from tenet.training import pick_device

    device = pick_device(config["device"])
    dataset = configuration.build(subject["dataset"], key="dataset")
    test: EvaluationSet = dataset.test_set()
    model = configuration.build(subject["backbone"], num_classes=len(test.classes), key="backbone")
    weights = load_subject(model, subject)
    model.to(device)
    classifier = Classifier(
        model, dataset.normalization, config["batch_size"], config["precision"], config["channels_last"]
    )
    source = open_source(config, test, device)
    names, severities = choose_cells(config, source)
    output = output_path(config, source.kind, names, severities, weights)
    store = CellStore(
        output.with_suffix("").with_name(f"{output.stem}-predictions"),
        identity={
            "version": __version__,
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "backbone": subject["backbone"],
            "normalization": [list(dataset.mean), list(dataset.std)],
            "images": test.identity(),
            "corruptions": source.identity(),
            "arithmetic": [device.type, config["precision"], config["channels_last"], config["batch_size"]],
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
    print_report(report, title=weights.parent.name)
    written, pictures = write_files(report, output, config, subject, weights)
    pictures |= draw_sheet(source, names, severities, output)
    for path in [*written, *pictures.values()]:
        print(path)
    track(subject, report, pictures)
    if not config["save_predictions"]:
        store.discard()
    return clean.error_pct if report.mce_pct is None else report.mce_pct


def choose_subject(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to evaluate: dataset, backbone, tracking and run_dir or weights, of a run folder or as given.

    Raises ConfigError unless it is one of the two, and whole.
    """
    if (config["run"] is None) == (config["weights"] is None):
        raise ConfigError("give run=RUN_DIR, or weights=FILE with backbone= and dataset= (see --help)")
    if config["weights"] is not None and not Path(config["weights"]).expanduser().is_file():
        raise ConfigError(f"weights={config['weights']} is not a file")
    own: dict[str, Any] = {"tracking": None}
    if config["run"] is not None:
        run_dir = Path(config["run"]).expanduser()
        own = {**configuration.read_config(run_dir), "run_dir": run_dir}
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


def open_source(
    config: Mapping[str, Any], test: "EvaluationSet", device: Any
) -> "ArchivedCorruptions | GeneratedCorruptions":
    from tenet.corruptions.sources import ArchivedCorruptions, GeneratedCorruptions

    asked = config["corruptions"]
    if asked["root"] is not None:
        return ArchivedCorruptions(asked["root"], classes=test.classes, clean=test.arrays)
    if test.arrays is None:
        raise ConfigError("dataset=folder streams its images: give corruptions.root=DIR (ImageNet-C) with it")
    return GeneratedCorruptions(*test.arrays.to(device), seed=asked["seed"])


def choose_cells(
    config: Mapping[str, Any], source: "ArchivedCorruptions | GeneratedCorruptions"
) -> tuple[list[str], list[int]]:
    """Corruptions, in the benchmark's order, and severities to measure. Raises ConfigError for an unknown name."""
    asked = config["corruptions"]["names"]
    for name in asked or ():
        if name not in source.names:
            nearest = configuration.nearest(name, source.names)
            raise ConfigError(
                f"corruptions.names={name}: not there{nearest}; there are {', '.join(source.names)}"
            )
    return [name for name in source.names if asked is None or name in asked], sorted(
        set(config["corruptions"]["severities"])
    )


def output_path(
    config: Mapping[str, Any], kind: str, names: Sequence[str], severities: Sequence[int], weights: Path
) -> Path:
    """Where the report goes: generated and official figures, whole sweeps and parts, never under one name."""
    if config["output"] is not None:
        path = Path(config["output"]).expanduser()
        if path.suffix != ".json":
            raise ConfigError(f"output={path}: must be a .json file")
        return path
    is_whole = set(CORRUPTIONS) <= set(names) and set(severities) == set(SEVERITIES)
    name = f"corruptions{'-files' if kind == 'files' else ''}{'' if is_whole else '-part'}.json"
    folder = "evaluation" if config["run"] is not None else f"{weights.stem}-evaluation"
    return weights.parent / folder / name


def measure(
    classifier: "Classifier",
    test: "EvaluationSet",
    source: "ArchivedCorruptions | GeneratedCorruptions",
    names: Sequence[str],
    severities: Sequence[int],
    store: Any,
) -> tuple[Any, list[Any]]:
    """Predictions of the clean images and of every cell; those that an interrupted sweep left are taken as they are."""
    from tenet.evaluation import sweep
    from tenet.progress import ProgressReport

    if store.found:
        logger.info("going on with an interrupted sweep: %d sets of images are measured already", store.found)
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
    """Predictions of the versions of CIFAR-10.1 that the folder holds."""
    from tenet.corruptions.natural_shift import CLASSES, SIZES, natural_shift

    if root is None:
        return {}
    if classes != CLASSES:
        raise ConfigError(
            f"cifar101={root}: needs a classifier of CIFAR-10's {CLASSES} classes, not of {classes}"
        )
    folder = Path(root).expanduser()
    versions = [name for name in SIZES if (folder / f"cifar10.1_{name}_data.npy").exists()] or ["v6"]
    return {
        f"cifar10.1-{version}": classifier.predict(
            natural_shift(folder, version).batches(classifier.batch_size)
        )
        for version in versions
    }


def measure_flips(classifier: "Classifier", root: str | None) -> dict[str, float]:
    """Flip probability of every perturbation that the folder holds."""
    import torch

    from tenet.corruptions.perturbations import PerturbationArchive, flip_probability, is_noise
    from tenet.progress import ProgressReport

    if root is None:
        return {}
    archive = PerturbationArchive(Path(root).expanduser())
    probabilities = {}
    with ProgressReport("perturbations", total=len(archive.names), unit="file") as progress:
        for name in archive.names:
            sequences = archive.sequences(name)
            frames = sequences.shape[1]
            chunk = max(1, classifier.batch_size // frames)
            parts = (
                torch.from_numpy(sequences[start : start + chunk].copy()).flatten(0, 1)
                for start in range(0, len(sequences), chunk)
            )
            # Flips need no labels.
            said = classifier.predict(
                (images, torch.zeros(len(images), dtype=torch.int64)) for images in parts
            )
            probabilities[name] = flip_probability(
                said.predicted.unflatten(0, (-1, frames)), noise=is_noise(name)
            )
            progress.update(len(probabilities), f"{name}: {100 * probabilities[name]:.2f} %")
    return probabilities


def write_files(
    report: "RobustnessReport",
    output: Path,
    config: Mapping[str, Any],
    subject: Mapping[str, Any],
    weights: Path,
) -> tuple[list[Path], dict[str, Path]]:
    """The report as JSON and CSV, for RobustBench if it has an mCE, and its pictures."""
    from tenet.pictures import write_pictures
    from tenet.report import robustbench_info, write_csv, write_json

    asked = config["corruptions"]
    about = {
        "tenet_version": __version__,
        "weights": str(weights),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "dataset": subject["dataset"],
        "backbone": subject["backbone"],
        "corruptions_from": {"root": asked["root"]} if asked["root"] else {"seed": asked["seed"]},
    }
    write_json(report.as_json(about), output)
    written = [output, output.with_suffix(".csv")]
    write_csv(report, written[1])
    if report.mce_pct is not None:
        kind = "-generated" if report.source != "files" else ""
        written.append(output.with_name(f"robustbench{kind}.json"))
        dataset = subject["dataset"]
        name = dataset.get("name") or dataset["_target_"].rpartition(".")[2].lower()
        architecture = subject["backbone"]["_target_"].rpartition(".")[2]
        info = robustbench_info(report, name=weights.parent.name, dataset=name, architecture=architecture)
        write_json(info, written[-1])
    return written, write_pictures(report, output.with_suffix(""))


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
    from tenet.pictures import save_figure

    def first(name: str, severity: int) -> Any:
        return next(iter(source.batches(name, severity, batch_size=1))).images[0]

    figure = sheet_of({name: {severity: first(name, severity) for severity in severities} for name in names})
    return {"corruption/sheet": save_figure(figure, output.with_name(f"{output.stem}-sheet.png"), dpi=80)}


def track(subject: Mapping[str, Any], report: "RobustnessReport", pictures: Mapping[str, Path]) -> None:
    """Add the figures, the table and the pictures to the run's summary and to its own W&B run."""
    tracking = configuration.build(subject["tracking"], key="tracking")
    if tracking is None or "run_dir" not in subject:
        return
    if report.mce_pct is None:
        logger.info("not all 75 cells: the figures stay out of the run's summary")
        return
    run_config = configuration.read_config(subject["run_dir"])
    with tracking.start(subject["run_dir"], config=run_config, job_type="evaluate", resume=True) as tracker:
        tracker.summarize({**report.metrics(), "corruption/source": report.source}, instead_of="corruption/")
        rows = [[cell.corruption, cell.severity, cell.predictions.error_pct] for cell in report.cells]
        tracker.log_table("corruption/table", ["corruption", "severity", "error_pct"], rows)
        for name, path in pictures.items():
            tracker.log_image(name, path)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="evaluate"))
