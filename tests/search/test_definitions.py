"""The W&B sweep definitions: the commands that W&B's agent makes of them, and what train.py reads from these."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.config.command_line import check_command_line, plan
from tenet.config.overrides import parse
from tenet.errors import ConfigError
from tenet.experiment import Experiment
from tenet.files.json import read_json
from tenet.search.space import ends, read_space, word

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
DEFINITIONS = sorted((ROOT / "sweeps").glob("*.yaml"))


def agents_command(definition: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Return the command of W&B's agent for a run with these values, by W&B's own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    # The server sends JSON.
    arguments = json.loads(json.dumps({key: {"value": value} for key, value in values.items()}))
    macros = create_sweep_command_args({"args": arguments})
    # The agent adds these three (wandb_agent.Agent._command_run).
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [definition["program"]]}
    command = []
    for part in create_sweep_command(definition["command"]):
        is_macro = part.startswith("${") and part.endswith("}")
        command += macros[part[2:-1]] if is_macro else [part]
    return command


def agents_words(values: dict[str, Any]) -> list[str]:
    return agents_command({"program": "train.py", "command": ["${args_no_hyphens}"]}, values)


def all_values(path: Path) -> list[dict[str, Any]]:
    """Return settings of runs that cover each value of a choice and both ends of a range."""
    described = yaml.safe_load(path.read_text())["parameters"]
    fixed = {key: parameter["value"] for key, parameter in described.items() if "value" in parameter}
    varying = {key: ends(parameter) for key, parameter in read_space(path).parameters.items()}
    first = {**fixed, **{key: values[0] for key, values in varying.items()}}
    return [first, *({**first, key: value} for key, values in varying.items() for value in values[1:])]


def test_the_definitions_are_found() -> None:
    assert {path.stem for path in DEFINITIONS} >= {"groups", "strength", "seeds"}


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_definition_names_its_command_cost_and_purpose_and_chooses_by_validation(path: Path) -> None:
    text = path.read_text()
    definition = yaml.safe_load(text)
    assert f"wandb sweep sweeps/{path.name}" in text
    assert f"python sweeps/search.py sweeps/{path.name}" in text
    assert "# Cost: " in text
    assert "# For: " in text
    assert definition["metric"] == {"name": "validation/error_pct", "goal": "minimize"}
    assert definition["parameters"]["dataset.validation_fraction"]["value"] > 0
    assert (ROOT / definition["program"]).is_file()


@pytest.mark.alone
@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_the_arguments_of_the_agent_are_read_with_the_values_of_the_file_and_fit_the_backbone(
    path: Path,
) -> None:
    for values in all_values(path):
        words = agents_words(values)
        assert words == [f"{key}={value}" for key, value in values.items()]
        checked = check_command_line(words, config_dir=CONF, config_name="train")
        assert {override.key_or_group: override.value() for override in parse(checked)} == values
    # Compose once, with all first values; then replace one value at a time.
    _, config = plan(agents_words(all_values(path)[0]), config_dir=CONF, config_name="train")
    for values in all_values(path):
        settings = {key.removeprefix("tenet."): value for key, value in values.items() if "tenet." in key}
        outline = Experiment(
            {**config, "tenet": config["tenet"] | settings}
        ).outline  # checks layer and groups
        assert outline.cut is not None


def lookup(config: dict[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    return config[group][name] if name else config[group]


@pytest.mark.parametrize(
    "values",
    [
        {
            "trainer.max_steps": None,
            "augment.flip": True,
            "tenet.orthogonality": 1e-05,
            "tenet.layer": "stage_1",
            "tracking.notes": "two words",
            "dataset.mean": [0.5, 0.25, 0.125],
        },
        {
            "trainer.max_steps": 7,
            "augment.flip": False,
            "tenet.orthogonality": 3.1622776601683795e-05,
            "optimizer.lr": 2.5,
            "tracking.name": None,
            "tracking.tags": ["a", "b"],
        },
    ],
)
def test_nulls_booleans_floats_texts_and_lists_keep_value_and_type(values: dict[str, Any]) -> None:
    for words in (agents_words(values), [word(key, value) for key, value in values.items()]):
        _, config = plan(words, config_dir=CONF, config_name="train")
        for key, value in values.items():
            assert lookup(config, key) == value
            assert type(lookup(config, key)) is type(value)


def test_only_a_bare_none_means_null() -> None:
    def notes(text: str) -> Any:
        _, config = plan([f"tracking.notes={text}"], config_dir=CONF, config_name="train")
        return config["tracking"]["notes"]

    assert notes("None") is None
    assert notes("'None'") == "None"
    assert notes("None yet") == "None yet"
    with pytest.raises(ConfigError, match=r"tenet\.groups=null: must be an integer"):
        check_command_line(["tenet.groups=None"], config_dir=CONF, config_name="train")


@pytest.mark.slow
def test_a_definition_trains_with_the_agents_command(tmp_path: Path) -> None:
    """One stands for all: their commands are the same, and the values of each are checked above."""
    definitions = [yaml.safe_load(path.read_text()) for path in DEFINITIONS]
    assert len({json.dumps(definition["command"]) for definition in definitions}) == 1
    quick = [
        "dataset=digits", "dataset.fraction=0.1", "backbone=resnet8", "tracking=none", "tenet.start_step=0",
        "tenet.interval=1", "trainer.batch_size=128", "trainer.max_steps=2", "trainer.log_every_steps=1",
        "resume=None",  # the agent's null
    ]  # fmt: skip
    # The agent's `python` is this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*agents_command(definitions[0], all_values(DEFINITIONS[0])[0]), *quick, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = read_json(tmp_path / "run" / "summary.json")
    assert math.isfinite(summary["validation/error_pct"])
    assert summary["train/inhibited_steps"] + summary["train/skipped_steps"] == 2
