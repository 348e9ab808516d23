"""Publish a trained run as a folder, and on the Hugging Face hub: `python -m tenet.publish RUN OUT`; docs/publishing.md."""

if __name__ == "__main__":
    from tenet.device import share_cores
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()
    share_cores()  # before torch is loaded

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenet.config.run_config import read_config, write_config
from tenet.entry import run_and_report_errors
from tenet.errors import ConfigError, printable
from tenet.files.atomic import as_storage_error
from tenet.files.names import (
    AVERAGED_KEY,
    CONFIG_FILE,
    EVALUATION_FOLDER,
    PUBLISHED_WEIGHTS_FILE,
    WEIGHTS_FILE,
)
from tenet.files.plain import sha256_of
from tenet.files.weights import save_weights
from tenet.loading import TrainedModel, load_model
from tenet.printing import open_streams
from tenet.publish.card import EvaluationReport, read_reports, without_folders, write_card
from tenet.publish.export import check_onnx_is_installed, export
from tenet.publish.push import check_hub_is_installed, push
from tenet.run.signals import StopSignals

CARD_FILE, PICTURES_FOLDER = "README.md", "pictures"
NO_TRACKING = {"_target_": "tenet.tracking.NoTracking"}


def run(options: argparse.Namespace) -> None:
    """Write the whole folder, then upload it if `--push` asks for it."""
    onnx = options.export and options.onnx
    if onnx:
        check_onnx_is_installed()
    if options.push:
        check_hub_is_installed()
    if not (options.run / WEIGHTS_FILE).is_file():
        read_config(options.run)  # says if it is no run folder
        raise ConfigError(f"{options.run} has not finished: it has no {WEIGHTS_FILE}")
    model = load_model(options.run, weights_key=options.weights_key)
    if model.network.interface["image_size"] is None:
        raise ConfigError(f"{model.weights} does not say the size of its images; train it with this version")
    with new_folder(options.out, force=options.force) as folder:
        write_folder(folder, model, options, onnx=onnx)
    print(printable(str(options.out)))
    if options.push:
        print(printable(push(options.out, options.push, public=options.public)))


def write_folder(folder: Path, model: TrainedModel, options: argparse.Namespace, *, onnx: bool) -> None:
    config = read_config(options.run)
    shared = {**without_folders(config), "tracking": NO_TRACKING}
    write_config(shared, folder / CONFIG_FILE)
    save_weights(
        model.network.backbone,
        folder / PUBLISHED_WEIGHTS_FILE,
        interface=model.network.interface,
        description=without_folders(model.description._asdict()),
    )
    exports = export(model.network, folder, onnx=onnx) if options.export else {}
    for file, checked in exports.items():
        print(f"{file}: {checked}")
    reports = read_reports(options.run, weights_sha256=sha256_of(model.weights))
    name = options.push or options.out.resolve().name
    card = write_card(
        model,
        run_dir=options.run,
        config=config,
        name=name.rpartition("/")[2],
        folder=options.out.resolve().name,
        hub=options.push,
        reports=reports,
        exports=exports,
        pictures=copy_pictures(options.run / EVALUATION_FOLDER, reports, folder / PICTURES_FOLDER),
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    for document in dict.fromkeys(name for report in reports for name in report.documents):
        shutil.copyfile(options.run / EVALUATION_FOLDER / document, folder / document)
    if not reports:
        print(f"no report of these weights: python evaluate.py run={options.run}, then publish again")


def copy_pictures(source: Path, reports: Sequence[EvaluationReport], target: Path) -> list[str]:
    """Copy the pictures of the reports and return their names. Those of another report, whose name is longer, are not
    among them: `corruptions-ema-heatmap.png` is not of `corruptions`."""
    named = (re.compile(rf"{re.escape(report.name)}-\w+\.png") for report in reports)
    names = sorted(
        {path.name for pattern in named for path in source.iterdir() if pattern.fullmatch(path.name)}
    )
    if names:
        target.mkdir()
    for name in names:
        shutil.copyfile(source / name, target / name)
    return names


@contextmanager
def new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder next to `out` that takes its place at the end; if the work fails, `out` is unchanged.

    Raises ConfigError if `out` exists, unless `force` is given and it is a published folder.
    """
    if out.exists() and not force:
        raise ConfigError(f"{out} exists; add --force to replace it, or choose another name")
    if out.exists() and not (out / PUBLISHED_WEIGHTS_FILE).is_file():
        raise ConfigError(
            f"{out} is not a published folder, so --force does not replace it; choose another name"
        )
    temporary, previous = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    try:
        with as_storage_error(out):
            temporary.mkdir(parents=True)
            yield temporary
            if out.exists():
                out.replace(previous)
            temporary.replace(out)
    finally:
        if previous.exists() and not out.exists():
            previous.replace(out)
        for leftover in (temporary, previous):
            shutil.rmtree(leftover, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    open_streams()
    parser = argparse.ArgumentParser("python -m tenet.publish", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a finished run")
    add("out", type=Path, metavar="OUT", help="folder to write")
    text = "the averaged weights instead of the plain ones"
    add("--weights-key", choices=[AVERAGED_KEY], help=text)
    add("--no-onnx", dest="onnx", action="store_false", help="leave out model.onnx")
    add("--no-export", dest="export", action="store_false", help="leave out model.onnx and model.pt2")
    add("--push", metavar="NAME", help="upload the folder to the Hugging Face hub, such as user/model")
    add("--public", action="store_true", help="with --push: everybody may see a new model (default: private)")
    add("--force", action="store_true", help="replace the published folder OUT")
    options = parser.parse_args(arguments)
    if options.public and not options.push:
        parser.error("--public needs --push")
    with StopSignals():
        return run_and_report_errors(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
