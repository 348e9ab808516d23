"""Print the mean and deviation over seeds of evaluated runs, as Markdown, and the paired difference.

    python results/summarize.py RUN_DIR ...

Runs are told apart by whether they train with inhibition; each needs an evaluation/corruptions.json.
"""

import json
import statistics
import sys
from pathlib import Path

import yaml


def read(run_dir: Path) -> dict:
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    report = json.loads((run_dir / "evaluation" / "corruptions.json").read_text())
    return {
        "method": "TENET" if config["tenet"]["_target_"] else "plain",
        "seed": config["seed"],
        "source": report["source"],
        "clean error": report["clean"]["error_pct"],
        "mCE": report["mce_pct"],
    }


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def main() -> None:
    runs = sorted((read(Path(path)) for path in sys.argv[1:]), key=lambda run: run["seed"])
    figures = ("clean error", "mCE")
    by_method = {name: [run for run in runs if run["method"] == name] for name in ("TENET", "plain")}
    assert len({run["source"] for run in runs}) == 1, "generated and official corruptions don't mix"
    print("| | " + " | ".join(f"{name}, %" for name in figures) + " | seeds |")
    print("|---|---|---|---|")
    for method, members in by_method.items():
        cells = [spread([run[name] for run in members]) for name in figures]
        print(f"| {method} | {' | '.join(cells)} | {', '.join(str(run['seed']) for run in members)} |")
    pairs = list(zip(*by_method.values(), strict=True))
    assert all(one["seed"] == other["seed"] for one, other in pairs)
    cells = [spread([one[name] - other[name] for one, other in pairs]) for name in figures]
    print(f"| TENET - plain, by seed | {' | '.join(cells)} | |")


if __name__ == "__main__":
    main()
