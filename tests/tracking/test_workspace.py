"""The saved view of a W&B project, as a local fake of W&B's server receives it."""

import json
from typing import Any

import pytest

from tenet.tracking import workspace
from tests.tracking.wandb_online import wandb_with
from tests.tracking.wandb_server import ENTITY, serving

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of wandb_workspaces' own classes


@pytest.mark.parametrize("source", ["files", "generated"])
def test_one_command_saves_a_view_and_prints_its_address(source: str, capsys: Any) -> None:
    mce = f"corruption{'_generated' * (source == 'generated')}/mce_pct"
    with serving() as server, wandb_with(server.environment):
        assert workspace.main(["robust", "--source", source]) == 0
        (view,) = server.views
    assert (view["entityName"], view["projectName"]) == (ENTITY, "robust")
    address = capsys.readouterr().out
    assert address.startswith(f"{server.environment['WANDB_BASE_URL']}/{ENTITY}/robust?nw=")
    section = json.loads(view["spec"])["section"]
    panels = [panel for each in section["panelBankConfig"]["sections"] for panel in each["panels"]]
    configs = {panel["viewType"]: panel["config"] for panel in panels}
    scatter = configs["Scatter Plot"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:test/error_pct", f"summary:{mce}")
    assert configs["Parameter Importance"]["targetKey"] == mce
    axes = [column["accessor"] for column in configs["Parallel Coordinates Plot"]["columns"]]
    assert {"config:tenet.value.groups", f"summary:{mce}"} <= {*axes}
    assert f'"{mce.removesuffix("mce_pct")}heatmap"' in json.dumps(panels)
    (runs,) = section["runSets"]
    assert [each["name"] for each in runs["grouping"]] == ["choices.value.dataset", "setting.value"]


def test_without_an_account_a_line_says_what_to_do(capsys: Any) -> None:
    with serving() as server, wandb_with({**server.environment, "WANDB_API_KEY": ""}):
        assert workspace.main(["robust"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "run `wandb login`" in line
