"""Write a data set's own "-C" archive: `python -m tenet.corruptions --help`."""

import logging
import sys
from pathlib import Path
from typing import Any

from tenet.config.build import build
from tenet.config.overrides import as_argument
from tenet.config.rules import did_you_mean
from tenet.config.run_config import resolve
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.entry import run_main
from tenet.errors import ConfigError
from tenet.failures import WRONG_COMMAND

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf"
CONFIG_NAME = "corruptions_archive"
USAGE = "python -m tenet.corruptions FOLDER dataset=OPTION [KEY=VALUE ...]"
logger = logging.getLogger("tenet")


def main() -> int:
    if not (CONFIG_DIR / f"{CONFIG_NAME}.yaml").is_file():
        print(
            f"error: {CONFIG_DIR} does not contain the configuration; run this in a clone of the repository, "
            "installed with pip install -e",
            file=sys.stderr,
        )
        return WRONG_COMMAND
    folder = Path(sys.argv.pop(1)) if len(sys.argv) > 1 and names_a_folder(sys.argv[1]) else None
    return run_main(
        lambda composed: run(resolve(composed), folder), config_dir=CONFIG_DIR, config_name=CONFIG_NAME
    )


def names_a_folder(argument: str) -> bool:
    """Whether an argument is a path: Hydra's overrides contain "=" and do not start with "/" or "."."""
    if argument.startswith(("-", "+", "~")):
        return False
    return "=" not in argument or argument.startswith(("/", "."))


def run(config: dict[str, Any], folder: Path | None) -> None:
    """Write the missing arrays of the archive that `config` describes into `folder`."""
    if folder is None:
        raise ConfigError(f"the first argument is the folder to write: {USAGE}")
    if config.get("dataset") is None:
        raise ConfigError(f"the data set is missing: {USAGE}")
    asked = config["corruptions"]
    names = choose_names(asked["names"])
    dataset = build(config["dataset"], key="dataset")
    from tenet.corruptions.write import CLEAN, LABELS, ArchiveWriter
    from tenet.data import ImageArrays
    from tenet.device import pick_device
    from tenet.run.progress import ProgressReport

    device = pick_device(config["device"])
    if dataset.multi_label:
        raise ConfigError(
            "dataset: labels.npy of an archive holds one class an image, but images of this data set may show several; "
            "evaluate.py corrupts them itself"
        )
    test = dataset.test_source()
    if not isinstance(test, ImageArrays):
        raise ConfigError(
            "the images of this data set stay on disk, and an archive is made of images in memory; evaluate.py makes "
            "the same corruptions itself (leave corruptions.root out)"
        )
    writer = ArchiveWriter(
        folder,
        test.images,
        test.labels,
        num_classes=len(test.classes),
        seed=asked["seed"],
        dataset=config["dataset"],
        device=device,
    )
    whole = writer.verified()
    missing = [name for name in (LABELS, CLEAN, *names) if name not in whole]
    if whole:
        logger.info("%s: verified %s", folder, ", ".join(whole))
    done = 0
    with ProgressReport("archive", total=sum(map(writer.rows, missing)), unit="image") as progress:
        for name in missing:

            def show(rows: int, before: int = done, name: str = name) -> None:
                progress.update(before + rows, name)

            writer.write(name, on_rows=show)
            done += writer.rows(name)
    written = f"wrote {len(missing)} files" if missing else "there is nothing left to write"
    root = as_argument("corruptions.root", folder)
    logger.info("%s: %s; evaluate on it: python evaluate.py %s ...", folder, written, root)


def choose_names(asked: list[str] | None) -> list[str]:
    """The corruptions to write, all 19 if none are named. Raises ConfigError for an unknown one."""
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    for name in asked or ():
        if name not in known:
            raise ConfigError(
                f"corruptions.names={name}: unknown{did_you_mean(name, known)}; choose from {', '.join(known)}"
            )
    return [name for name in known if asked is None or name in asked]


if __name__ == "__main__":
    sys.exit(main())
