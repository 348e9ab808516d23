"""A saved view of a W&B project for comparing robustness: `python -m tenet.tracking.workspace PROJECT`; docs/tracking.md."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from tenet.corruptions.names import CORRUPTIONS
from tenet.entry import run_and_report_errors
from tenet.errors import ConfigError
from tenet.evaluation.reports import SECTIONS
from tenet.tracking.wandb_run import has_credentials, one_line, quiet_settings

# Axes of the plot of parameters, before the mCE.
PARAMETERS = ("tenet.groups", "tenet.interval", "tenet.weight", "tenet.orthogonality")
SPLITS = ("train", "validation", "test")


def make_workspace(project: str, *, entity: str, section: str) -> Any:
    """The view, not yet saved. section: the first part of the names of the figures under corruption."""
    import wandb_workspaces.reports.v2 as panels
    from wandb_workspaces.workspaces import (
        Config,
        Ordering,
        RunsetSettings,
        Section,
        Summary,
        Workspace,
        WorkspaceSettings,
    )

    clean, mce = "test/error_pct", f"{section}/mce_pct"
    by_seed = {"groupby": panels.Config("setting"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    axes = [*map(panels.Config, PARAMETERS), panels.SummaryMetric(clean), panels.SummaryMetric(mce)]
    contents = {
        "Robustness": [
            panels.ScatterPlot(
                title="mCE against clean error", x=panels.SummaryMetric(clean), y=panels.SummaryMetric(mce)
            ),
            panels.BarPlot(title="mCE, mean over seeds", metrics=[mce], **by_seed),
            panels.BarPlot(title="Clean error, mean over seeds", metrics=[clean], **by_seed),
        ],
        "Corruptions": [
            panels.WeavePanelSummaryTable(table_name=f"{section}/heatmap"),
            panels.WeavePanelSummaryTable(table_name=f"{section}/table"),
            panels.BarPlot(
                title="Error by corruption", metrics=[f"{section}/{name}/error_pct" for name in CORRUPTIONS]
            ),
        ],
        "Parameters": [
            panels.ParameterImportancePlot(with_respect_to=mce),
            panels.ParallelCoordinatesPlot(
                title="Parameters of TENET",
                columns=[panels.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes],
            ),
        ],
        "Training": [
            panels.LinePlot(title=title, x="step", y=[f"{split}/{name}" for split in SPLITS])
            for title, name in (("Loss", "loss"), ("Error, %", "error_pct"))
        ],
    }
    generated = ", generated corruptions" * (section == SECTIONS["generated"])
    return Workspace(
        entity=entity,
        project=project,
        name=f"Robustness{generated}",
        sections=[Section(name=name, panels=each, is_open=True) for name, each in contents.items()],
        settings=WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=RunsetSettings(
            groupby=[Config("choices.dataset"), Config("setting")],
            order=[Ordering(Summary(mce))],
            pinned_columns=[f"summary:{mce}", f"summary:{clean}"],
        ),
    )


def run(options: argparse.Namespace) -> None:
    """Save the view as a new one and print its address. Raises ConfigError if W&B refuses it or does not answer."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ConfigError("this needs wandb-workspaces: pip install 'tenet-training[dashboards]'")
    settings = quiet_settings()
    if not has_credentials(settings):
        raise ConfigError(
            f"no API key is set up for {settings.base_url}; run `wandb login`, or set WANDB_API_KEY"
        )
    import wandb

    entity, _, project = options.project.rpartition("/")
    try:
        entity = entity or settings.entity or wandb.Api().default_entity
        view = make_workspace(project, entity=entity, section=SECTIONS[options.source]).save_as_new_view()
    except Exception as error:  # of wandb, of its HTTP client, and of pydantic
        raise ConfigError(f"{options.project}: the view could not be saved: {one_line(error)}") from error
    print(view.url)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tenet.tracking.workspace", description=__doc__)
    parser.add_argument("project", metavar="[ENTITY/]PROJECT", help="whose runs the view shows")
    parser.add_argument(
        "--source",
        choices=SECTIONS,
        default="files",
        help="the figures under corruption: of the official files (the default), or of the generator",
    )
    options = parser.parse_args(arguments)
    return run_and_report_errors(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
