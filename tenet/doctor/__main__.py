"""Examine a run before it starts: `python -m tenet.doctor [OVERRIDE ...]`; docs/doctor.md."""

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser

from tenet.config import command_line
from tenet.config.run_config import resumed_config
from tenet.device import share_cores
from tenet.errors import ConfigError, UserError, printable
from tenet.failures import INTERRUPTED, WRONG_COMMAND

if TYPE_CHECKING:
    from tenet.doctor.findings import Finding
    from tenet.doctor.plan import Plan

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf"
READY, NOT_READY = 0, 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tenet.doctor",
        description="Examine a run before it starts: versions, device, memory, data, augmentation, time, W&B.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="the same as train.py's")
    parser.add_argument(
        "--steps", type=positive(int), default=5, metavar="N", help="steps to time (default: 5)"
    )
    parser.add_argument(
        "--price-per-hour", type=positive(float), metavar="P", help="of the machine, for the cost"
    )
    parser.add_argument(
        "--corruptions", type=Path, metavar="DIR", help="CIFAR-10-C or the like, to examine too"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="for pictures (default: doctor/ beside the run)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    return parser


def positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def number(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    number.__name__ = "positive number"  # argparse names it where a value is wrong
    return number


def plan_of(asked: argparse.Namespace) -> "Plan":
    """The run that train.py would make of the overrides. Raises ConfigError as train.py does, and for sweeps."""
    from tenet.doctor.plan import Plan

    if not (CONFIG_DIR / "train.yaml").is_file():
        raise ConfigError(
            f"{CONFIG_DIR} does not hold the configuration; run this in a clone of the repository"
        )
    overrides = command_line.check_command_line(
        ["-m", *asked.overrides], config_dir=CONFIG_DIR, config_name="train"
    )
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line} is a sweep, and the doctor examines one run: give one value"
            )
    run_dir, values = command_line.plan(overrides, config_dir=CONFIG_DIR, config_name="train")
    if values["resume"] is not None:
        run_dir = Path(values["resume"])
        values = {**resumed_config(run_dir, overrides), "resume": str(run_dir)}
    return Plan(
        config=values,
        overrides=overrides,
        run_dir=run_dir,
        output=asked.output or run_dir.parent / "doctor",
        steps=asked.steps,
        price_per_hour=asked.price_per_hour,
        corruptions=asked.corruptions,
    )


# In an order in which each knows what those before it found: the module of each.
CHECKS = {
    "software": "software",
    "configuration": "configuration",
    "hardware": "hardware",
    "data": "data",
    "corruptions": "corruptions",
    "augmentation": "augmentation",
    "storage": "storage",
    "memory": "memory",
    "time": "duration",
    "W&B": "wandb_server",
}


def run_check(module: str, plan: "Plan") -> "Iterable[Finding]":
    # Imported here, because a package that can't be imported is a finding as well.
    return importlib.import_module(f"tenet.doctor.{module}").check(plan)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 ready, 1 problems, 2 a wrong command."""
    asked = parser().parse_intermixed_args(arguments)
    # As the entry points do, so that the steps take the time that they will take.
    share_cores()
    try:
        plan = plan_of(asked)
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return WRONG_COMMAND
    from tenet.doctor.findings import examine
    from tenet.doctor.report import Report, as_json, count
    from tenet.files.json import write_json

    report, sections = Report(), []
    try:
        if asked.json is not None:
            asked.json.parent.mkdir(parents=True, exist_ok=True)
        report.start(plan)
        for name, module in CHECKS.items():
            if name == "corruptions" and plan.corruptions is None:
                continue
            with report.working(name):
                sections.append(examine(name, partial(run_check, module, plan)))
            report.show(sections[-1])
        report.end(sections, plan)
        if asked.json is not None:
            write_json(asked.json, as_json(sections, plan))
    except OSError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return WRONG_COMMAND
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return NOT_READY if count(sections)["problem"] else READY


if __name__ == "__main__":
    sys.exit(main())
