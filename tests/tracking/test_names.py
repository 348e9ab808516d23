"""What runs are called in W&B, and which figures become columns there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenet.tracking import Tracker
from tenet.tracking.names import MAX_CHARACTERS, chosen_by_agent, cut, short_name
from tenet.tracking.wandb_run import WandbRun


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["tenet.groups=4", "seed=1"], "groups=4 seed=1"),
        (["tenet=none", "+optimizer.betas=[0.8,0.9]"], "tenet=none betas=[0.8,0.9]"),
        (["backbone.width=4", "augment.width=3"], "backbone.width=4 augment.width=3"),
        (["defaults"], "defaults"),
    ],
)
def test_a_run_is_called_after_what_was_swept(overrides: list[str], name: str) -> None:
    assert short_name(overrides) == name


def test_names_that_are_too_long_end_after_a_whole_word_or_value() -> None:
    assert cut("a" * MAX_CHARACTERS) == "a" * MAX_CHARACTERS
    words = " ".join(f"key_{number}=value" for number in range(20))
    assert cut(words) == " ".join(f"key_{number}=value" for number in range(10)) + "…"
    numbers = "seed=" + ",".join(map(str, range(100, 200)))
    assert cut(numbers) == "seed=" + "".join(f"{number}," for number in range(100, 130)) + "…"
    assert len(cut("x" * 500)) == MAX_CHARACTERS


def test_a_sweeps_agent_names_its_runs_after_what_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.lib.config_util import save_config_file_from_dict

    chosen = tmp_path / "config.yaml"
    save_config_file_from_dict(str(chosen), {"tenet.groups": {"value": 4}, "seed": {"value": 1}})
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(chosen))
    assert chosen_by_agent() == "groups=4 seed=1"
    monkeypatch.delenv("WANDB_SWEEP_PARAM_PATH")
    assert chosen_by_agent() == ""


class Sent(WandbRun):
    """Applies what is sent to the summary that it has."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}

    def send(self, action: Callable[[Any], object]) -> None:
        action(self)


@pytest.mark.parametrize("cells", [False, True])
def test_single_cells_are_columns_if_asked_for(cells: bool, tmp_path: Path) -> None:
    run = Sent()
    figures = {
        "corruption/mce_pct": 9.0,
        "corruption/fog/error_pct": 8.0,
        "attack/pgd-linf-8/error_pct": 50.0,
    }
    cell = {"corruption/fog/3/error_pct": 7.0}
    Tracker(tmp_path, wandb_run=run, cells=cells).summarize({**figures, **cell})
    assert run.summary == {**figures, **(cell if cells else {})}
