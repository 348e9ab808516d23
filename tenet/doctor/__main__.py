"""Examine a run before it starts: `python -m tenet.doctor [OVERRIDE ...]`; see docs/doctor.md."""

import argparse
import importlib
import math
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tenet.config import command_line
from tenet.config.overrides import parse
from tenet.config.run_config import resumed_config
from tenet.device import share_cores
from tenet.doctor.findings import Finding, Plan, examine
from tenet.errors import ConfigError, UserError, printable
from tenet.failures import INTERRUPTED, WRONG_COMMAND
from tenet.printing import open_streams

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf"
READY, NOT_READY = 0, 1
# Section and module of each check. Later checks use what earlier ones found.
CHECKS = {
    **{name: name for name in ("software", "configuration", "hardware", "data", "corruptions")},
    **{name: name for name in ("augmentation", "storage", "memory")},
    **{"time": "duration", "W&B": "wandb_server"},
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tenet.doctor", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="the same as train.py's")
    add = partial(parser.add_argument, type=Path, metavar="DIR")
    add("--steps", type=int, default=5, metavar="N", help="steps to time (default: 5)")
    add("--price-per-hour", type=float, metavar="P", help="of the machine, for the cost")
    add("--corruptions", help="CIFAR-10-C or the like, to examine too")
    add("--output", help="for pictures (default: doctor/ next to the run folder)")
    add("--json", metavar="FILE", help="write the findings to a file too")
    return parser


def make_plan(options: argparse.Namespace) -> Plan:
    """The run that train.py would start. Raises ConfigError as train.py does, and for a sweep."""
    if not (CONFIG_DIR / "train.yaml").is_file():
        raise ConfigError(f"{CONFIG_DIR} holds no configuration; run this in a clone of the repository")
    where: dict[str, Any] = {"config_dir": CONFIG_DIR, "config_name": "train"}
    overrides = command_line.check_command_line(["-m", *options.overrides], **where)
    for override in parse(overrides):
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line} is a sweep; the doctor examines one run: give one value"
            )
    run_dir, values = command_line.plan(overrides, **where)
    if values["resume"] is not None:
        run_dir = Path(values["resume"])
        values = {**resumed_config(run_dir, overrides), "resume": str(run_dir)}
    given = {name: getattr(options, name) for name in ("steps", "price_per_hour", "corruptions")}
    return Plan(values, overrides, run_dir, options.output or run_dir.parent / "doctor", **given)


def run_check(module: str, plan: Plan) -> Iterable[Finding]:
    # Imported here: a package that can't be imported is a finding too.
    return importlib.import_module(f"tenet.doctor.{module}").check(plan)


def run_checks(plan: Plan, *, json: Path | None) -> int:
    """Run all checks, print their findings and return the exit code."""
    from tenet.doctor.report import Report, as_json
    from tenet.files.json import write_json

    report, sections = Report(), []
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
    report.start(plan)
    for name, module in CHECKS.items():
        if name == "corruptions" and plan.corruptions is None:
            continue
        with report.console.status(f"{name} ..."):
            sections.append(examine(name, partial(run_check, module), plan))
        report.show(sections[-1])
    is_ready = report.end(sections, plan)
    if json is not None:
        write_json(json, as_json(sections, plan))
    return READY if is_ready else NOT_READY


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 if the run is ready, 1 if there are problems, 2 if the command is wrong."""
    open_streams()
    parser = make_parser()
    options = parser.parse_intermixed_args(arguments)
    if options.steps < 1 or not (options.price_per_hour is None or 0 < options.price_per_hour < math.inf):
        parser.error("--steps and --price-per-hour must be positive numbers")
    # As train.py does, so that the timed steps take the same time.
    share_cores()
    try:
        return run_checks(make_plan(options), json=options.json)
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return WRONG_COMMAND
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
