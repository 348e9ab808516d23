"""Extracts from the run folders of an experiment the raw figures that its table needs, as a few kilobytes of JSON.

    python -m results.record RUNS --command "bash results/methods.sh ..." [--on NAME] > results/records/NAME.json

The runs lie in RUNS/METHOD/. --on takes the figures on other test images than the runs' own, by the name with which
`python -m tenet.compare` lists them, such as cifar10.1-v6. results/methods.sh and results/attacks.sh end with this command
and write RUNS/record.json; copy it to results/records/ under the name of its experiment (results/experiments.py), then run
`python -m results.build`.
"""

import argparse
import json
import re
import statistics
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tenet.compare.evaluations import MCE, OTHER_DATA, ROBUST, TEST
from tenet.compare.runs import Run, find_runs, read_run
from tenet.config.options import OFF
from tenet.evaluation.reports import as_mapping
from tenet.files.json import read_json
from tenet.files.names import CONFIG_FILE, ENVIRONMENT_FILE, EVALUATION_FOLDER, PATCH_FILE

ECE = "test/ece_pct"
ENVIRONMENT = ("cpu", "gpu", "threads", "python", "torch")


def wanted(run: Run, on: str) -> dict[str, float]:
    """Test error, mCE, robust accuracies and calibration error, in this order; on the test images `on`, or the run's own."""
    other = re.compile(rf"{OTHER_DATA}{re.escape(on)}( [^ ,]+)?(?=,)")
    found = {}
    for name, value in run.figures.items():
        is_on = bool(other.search(name)) if on else OTHER_DATA not in name
        if is_on and (name == ECE or name.startswith((TEST, MCE, ROBUST))):
            found[other.sub("", name) if on else name] = round(value, 4)
    kinds = (TEST, MCE, ROBUST, ECE)
    return dict(
        sorted(found.items(), key=lambda item: [item[0].startswith(kind) for kind in kinds], reverse=True)
    )


def record_run(run: Run, on: str) -> dict[str, Any]:
    method, tenet = run.folder.parent.name, run.config["tenet"] != OFF
    return {"method": method, "tenet": tenet, "seed": run.seed, "figures": wanted(run, on)}


def one_of(values: list[Any]) -> Any:
    """The value that all have, or the list of the different ones."""
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else different


def report_of(run: Run, on: str) -> Path:
    """The report of the figures that are taken."""
    paths = sorted(
        (run.folder / EVALUATION_FOLDER).glob("corruptions*.json"), key=lambda path: len(path.name)
    )
    datasets = {path: as_mapping(read_json(path).get("measured")).get("dataset") for path in paths}
    return next(path for path in paths if not on or datasets[path] == on)


def describe(runs: list[Run], on: str) -> dict[str, Any]:
    """Code, hardware and test images of the runs, the days on which they were evaluated, and the minutes that one took."""
    environments = [read_json(run.folder / ENVIRONMENT_FILE) for run in runs]
    reports = [report_of(run, on) for run in runs]
    measured = [as_mapping(read_json(path).get("measured")) for path in reports]
    corruptions = [as_mapping(each.get("corruptions")) for each in measured]
    ends = [path.stat().st_mtime for path in reports]
    minutes = [
        (end - (run.folder / CONFIG_FILE).stat().st_mtime) / 60 for run, end in zip(runs, ends, strict=True)
    ]
    days = sorted(date_of(end) for end in ends)
    return {
        "commit": one_of([as_mapping(each.get("git")).get("commit") for each in environments]),
        "patched": any((run.folder / PATCH_FILE).exists() for run in runs),
        **{key: one_of([each.get(key) for each in environments]) for key in ENVIRONMENT},
        "test_images": one_of([as_mapping(each.get("clean")).get("images") for each in measured]),
        "generator": one_of([each.get("generator") for each in corruptions]),
        "days": sorted({days[0], days[-1]}),
        "minutes_a_run": round(statistics.median(minutes), 1),
    }


def date_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).date().isoformat()


def record(places: list[str], *, command: str, on: str = "") -> dict[str, Any]:
    """Raises CompareError if there is no run. A run that is not finished or not evaluated is named on standard error."""
    runs = [read_run(folder) for folder in find_runs(places)]
    done = [run for run in runs if run.is_finished and any(name.startswith(MCE) for name in wanted(run, on))]
    for run in runs:
        if run not in done:
            print(f"left out: {run.folder}: {run.problem}", file=sys.stderr)
    if not done:
        sys.exit("no run is evaluated yet")
    places_of: dict[tuple[Any, ...], Path] = {}
    for run in done:
        key = (run.folder.parent.name, run.config["tenet"] != OFF, run.seed)
        if (other := places_of.setdefault(key, run.folder)) != run.folder:
            sys.exit(
                f"{other} and {run.folder} are of one method and seed; the runs must lie in RUNS/METHOD/"
            )
    return {"command": command, **describe(done, on), "runs": [record_run(run, on) for run in done]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS")
    parser.add_argument("--command", required=True, help="with which they were made")
    parser.add_argument("--on", default="", metavar="NAME", help="other test images than the runs' own")
    args = parser.parse_args()
    found = record(args.runs, command=args.command, on=args.on)
    rows = ",\n  ".join(json.dumps(run) for run in found.pop("runs"))
    print(json.dumps(found, indent=1).removesuffix("\n}") + f',\n "runs": [\n  {rows}\n ]\n}}')


if __name__ == "__main__":
    main()
