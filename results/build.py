"""Writes the tables of the project from the raw records in results/records/.

    python -m results.build [--check]

A table stands in a page between the lines `<!-- results: NAME -->` and `<!-- /results -->`, where NAME is that of a record.
Without a record, the command that makes it and its cost are written there. --check writes nothing; the exit code is 1 if a
page is out of date.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu_figures import markdown
from results.experiments import EXPERIMENTS, Experiment
from tenet.compare.groups import paired_difference

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "records"
RATIOS = ROOT / "benchmarks" / "ratios.json"
MOST_RATIOS = 10  # of one benchmark; more are summarised
PAGES = [
    ROOT / "README.md",
    *(path for name in ("results", "benchmarks", "docs") for path in (ROOT / name).glob("*.md")),
]
BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)
HEADINGS = {"test error, %": "clean error, %", "test/ece_pct": "ECE, %"}
Values = Mapping[int, float]  # by seed
Record = Mapping[str, Any]


def mean_text(values: Values) -> str:
    """The mean over seeds with its 95 % Student's t interval."""
    return difference_text(values, dict.fromkeys(values, 0.0), sign="")


def difference_text(values: Values, baseline: Values, *, sign: str = "+") -> str:
    found = paired_difference(values, baseline=baseline)
    if found.mean is None:
        return ""
    numbers = [f"{number:{sign}.2f}" for number in (found.mean, *(found.interval or ()))]
    return numbers[0] if found.interval is None else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


def values_of(record: Record, method: str, *, tenet: bool, column: str) -> dict[int, float]:
    return {
        run["seed"]: run["figures"][column]
        for run in record["runs"]
        if (run["method"], run["tenet"]) == (method, tenet) and column in run["figures"]
    }


def runs_table(record: Record, experiment: Experiment) -> str:
    """Three rows a method: plain, TENET, and their difference, paired by seed."""
    columns = list(dict.fromkeys(name for run in record["runs"] for name in run["figures"]))
    header = [
        "method",
        "",
        *(HEADINGS.get(name, name) for name in columns),
        *["published mCE, %"] * bool(experiment.published),
    ]
    last = [""] * bool(experiment.published)
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for method in experiment.methods:
        plain, tenet = (
            [values_of(record, method, tenet=tenet, column=name) for name in columns]
            for tenet in (False, True)
        )
        differences = (difference_text(*pair) for pair in zip(tenet, plain, strict=True))
        lines.append([method, "plain", *map(mean_text, plain), *published(experiment, method, tenet=False)])
        lines.append(["", "TENET", *map(mean_text, tenet), *published(experiment, method, tenet=True)])
        lines.append(
            ["", "**TENET - plain**", *(f"**{text}**" if text else "" for text in differences), *last]
        )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([table, *notes(record, experiment)])


def published(experiment: Experiment, method: str, *, tenet: bool) -> list[str]:
    """The cell of the published figure, if the table has this column."""
    figure, _ = experiment.published.get((method, tenet), ("", ""))
    return [str(figure)] if experiment.published else []


def notes(record: Record, experiment: Experiment) -> Iterator[str]:
    seeds = sorted({run["seed"] for run in record["runs"]})
    yield (
        f"Means over seeds {', '.join(map(str, seeds))} with 95 % Student's t intervals; differences are paired by seed. "
        f"{record['test_images']:,} test images; corruptions from version {record['generator']} of the generator."
    )
    found = {(run["method"], run["tenet"], run["seed"]) for run in record["runs"]}
    missing = [
        f"{method}/{'inhibition' if tenet else 'none'}-{seed}"
        for seed in seeds
        for method in experiment.methods
        for tenet in (False, True)
        if (method, tenet, seed) not in found
    ]
    if missing:
        yield f"Not measured yet, and made by the same command: {', '.join(missing)}."
    if experiment.published:
        sources = (f"{method}, {source}" for (method, _), (_, source) in experiment.published.items())
        yield f"Published figures are measured on the official files: {'; '.join(sources)}."
    threads = f"{record['threads']} thread{'s' * (record['threads'] > 1)}"
    hardware = record["gpu"] or f"{record['cpu']}, {threads} a run"
    minutes = f"; {record['minutes_a_run']} minutes a run, median" if "minutes_a_run" in record else ""
    yield f"```console\n$ {record['command']}\n```"
    yield (
        f"Commit {record['commit'][:7]}{' with changes' * record['patched']}; {hardware}; Python {record['python']}, torch "
        f"{record['torch']}; {' to '.join(record['days'])}{minutes}. Raw figures: `results/records/`."
    )


def missing_text(experiment: Experiment) -> str:
    return f"Not measured yet. Cost: {experiment.cost}.\n\n```console\n$ {experiment.command}\n```"


def all_missing(records: Mapping[str, Record]) -> str:
    rows = [
        f"| {name} | `{experiment.command}` | {experiment.cost} |"
        for name, experiment in EXPERIMENTS.items()
        if name not in records
    ]
    return "\n".join(["| record | command | cost |", "|---|---|---|", *rows])


def ratios_table() -> str:
    """What benchmarks/check.py compares with."""
    lines = ["| benchmark | recorded ratios | on |", "|---|---|---|"]
    for recorded in json.loads(RATIOS.read_text()).values():
        for name, entry in recorded.items():
            ratios = {of: known["ratio"] for of, known in entry["ratios"].items()}
            texts = [f"`{of}` {ratio:.3g}" for of, ratio in ratios.items()]
            if len(texts) > MOST_RATIOS:
                texts = [f"{len(texts)} ratios from {min(ratios.values()):.3g} to {max(ratios.values()):.3g}"]
            lines.append(f"| `{name}.py {entry['arguments']}` | {', '.join(texts)} | {entry['hardware']} |")
    return "\n".join(lines)


def block(name: str, records: Mapping[str, Record]) -> str:
    if name == "missing":
        return all_missing(records)
    if name == "ratios":
        return ratios_table()
    experiment, record = EXPERIMENTS[name], records.get(name)
    if record is None:
        return missing_text(experiment)
    return markdown(record).rstrip() if "parts" in record else runs_table(record, experiment)


def build(text: str, records: Mapping[str, Record]) -> str:
    """The page with its blocks written anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{block(found[2], records)}\n{found[3]}", text)


def read_records(folder: Path = RECORDS) -> dict[str, Record]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    records, outdated = read_records(), []
    for path in PAGES:
        before = path.read_text()
        after = build(before, records)
        if after != before:
            outdated.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(after)
    for name in outdated:
        print(f"{'out of date' if args.check else 'written'}: {name}")
    return int(args.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
