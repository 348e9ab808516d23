"""What all runs of a comparison have in common: shown once, above its tables."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tenet.compare.evaluations import MCE
from tenet.compare.groups import Comparison
from tenet.compare.keys import as_text, value_text, varying
from tenet.compare.runs import Run
from tenet.config.identity import is_compared
from tenet.config.options import OFF, default, is_option
from tenet.errors import counted, printable

MAX_NAMED = 3  # commits, and kinds of hardware
USUAL = "trainer.processes=1"  # what a run records that was started without torchrun
ALWAYS = ("trainer.epochs", "optimizer.lr")  # shown even if they are the option's own
SOURCES = {"official files": "official files of corruptions", "generated": "generated corruptions"}


def title(comparison: Comparison) -> str:
    """The data set and where its corruptions come from, such as `digits, generated corruptions`."""
    columns = [column for column in comparison.columns if column.startswith(MCE)]
    sources = [text for name, text in SOURCES.items() if any(f"{MCE}{name}" in column for column in columns)]
    return printable(", ".join([comparison.dataset or "runs", *([" and ".join(sources)] if sources else [])]))


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Names and texts: the runs and their seeds, dates, commits, hardware, and the settings that all of them share."""
    runs = comparison.members
    seeds = sorted({run.seed for run in runs})
    dates = sorted({run.date for run in runs if run.date})
    rows = [
        (
            "runs",
            f"{len(runs)} in {counted(len(comparison.groups), 'group')}, seeds {', '.join(map(str, seeds))}",
        ),
        ("trained", " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))),
        ("commit", _different([run.commit for run in runs])),
        ("hardware", _different([run.hardware for run in runs])),
        ("settings", " ".join(_settings(runs))),
    ]
    return [(name, printable(text)) for name, text in rows if text]


def _different(values: Sequence[str]) -> str:
    """The value of all runs, or each with the number of its runs."""
    counts = Counter(value or "not recorded" for value in values)
    if len(counts) == 1:
        return values[0]
    named = [f"{value} ({counted(count, 'run')})" for value, count in counts.most_common(MAX_NAMED)]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _settings(runs: Sequence[Run]) -> Iterator[str]:
    """The options that all runs share, and the shared settings that differ from the options' own files."""
    configs = [run.config for run in runs]
    config, differing = configs[0], varying(configs)
    for key in (key for key in config if key not in differing and is_compared(key) and key != "dataset"):
        group, _, name = key.rpartition(".")
        option = str(config.get(group))
        text = value_text(config, key)
        is_chosen = is_option(key, text) and text not in (OFF, "default")
        is_changed = is_option(group, option) and text != as_text(default(group, option, name))
        if key in ALWAYS or is_chosen or (is_changed and f"{key}={text}" != USUAL):
            yield f"{key}={text}"
