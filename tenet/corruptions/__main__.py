"""Write a data set's own "-C" archive: `python -m tenet.corruptions --help`."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tenet.config.build import build
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
            f"error: {CONFIG_DIR} does not hold the configuration; run this in a clone of the repository, "
            "installed with pip install -e",
            file=sys.stderr,
        )
        return WRONG_COMMAND
    folder = Path(sys.argv.pop(1)) if len(sys.argv) > 1 and names_a_folder(sys.argv[1]) else None

    def write(composed: DictConfig) -> None:
        run(resolve(composed), folder)

    return run_main(write, config_dir=CONFIG_DIR, config_name=CONFIG_NAME)


def names_a_folder(argument: str) -> bool:
    """Hydra's overrides hold a "=", and none starts as a path may."""
    if argument.startswith(("-", "+", "~")):
        return False
    return "=" not in argument or argument.startswith(("/", "."))


def run(config: dict[str, Any], folder: Path | None) -> None:
    """Write what is missing of the archive of `config` into `folder`."""
    if folder is None:
        raise ConfigError(f"the first argument is the folder to write: {USAGE}")
    if config.get("dataset") is None:
        raise ConfigError(f"the data set is missing: {USAGE}")
    asked = config["corruptions"]
    names = choose_names(asked["names"])
    dataset = build(config["dataset"], key="dataset")
    from tenet.corruptions.write import CLEAN, LABELS, ArchiveWriter
    from tenet.device import pick_device
    from tenet.run.progress import ProgressReport

    device = pick_device(config["device"])
    splits = dataset.load()
    writer = ArchiveWriter(
        folder,
        *splits.test,
        num_classes=len(splits.classes),
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

        def show(before: int, name: str, rows: int) -> None:
            progress.update(before + rows, name)

        for name in missing:
            writer.write(name, on_rows=partial(show, done, name))
            done += writer.rows(name)
    written = f"wrote {len(missing)} files" if missing else "there is nothing left to write"
    logger.info("%s: %s; evaluate on it: python evaluate.py corruptions.root=%s ...", folder, written, folder)


def choose_names(asked: list[str] | None) -> list[str]:
    """The corruptions to write, all 19 if none are named. Raises ConfigError for an unknown one."""
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    for name in asked or ():
        if name not in known:
            raise ConfigError(
                f"corruptions.names={name}: not there{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
    return [name for name in known if asked is None or name in asked]


if __name__ == "__main__":
    sys.exit(main())
