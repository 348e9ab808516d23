"""Reading a sweep definition as a search space, and refusing a wrong one in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from tenet.errors import ConfigError
from tenet.search.space import Parameter, ends, points, read_space, word

METRIC = {"name": "validation/error_pct", "goal": "minimize"}


def write(folder: Path, parameters: Any, **content: Any) -> Path:
    path = folder / "space.yaml"
    definition = {"method": "random", "metric": METRIC, "parameters": parameters, **content}
    path.write_text(yaml.safe_dump({k: v for k, v in definition.items() if v is not None}, sort_keys=False))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_space(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("described", "parameter"),
    [
        ({"values": [2, 4]}, Choice((2, 4))),
        ({"values": ["a", None, True, 0.5]}, Choice(("a", None, True, 0.5))),
        ({"values": [[0.9, 0.99], [0.9, 0.999]]}, Choice(("[0.9, 0.99]", "[0.9, 0.999]"))),
        ({"distribution": "categorical", "values": [1, 2]}, Choice((1, 2))),
        ({"min": 1, "max": 5}, Int(1, 5)),
        ({"min": 1, "max": 5.0}, Float(1.0, 5.0)),
        ({"distribution": "uniform", "min": 0, "max": 1}, Float(0.0, 1.0)),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, Float(1e-5, 0.1, log=True)),
        ({"distribution": "q_uniform", "min": 2, "max": 8, "q": 2}, Int(2, 8, step=2)),
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, Float(0.1, 0.5, step=0.1)),
    ],
)
def test_the_distributions_of_wandb_become_those_of_optuna(
    tmp_path: Path, described: dict[str, Any], parameter: Parameter
) -> None:
    assert read_space(write(tmp_path, {"k": described})).parameters == {"k": parameter}


def test_constants_are_fixed_and_an_override_replaces_a_parameter(tmp_path: Path) -> None:
    parameters = {
        "a": {"value": None},
        "b": {"values": [7]},
        "c": {"values": [1, 2]},
        "d": {"min": 0, "max": 9},
    }
    command = ["${env}", "python", "${program}", "x=5", "${args_no_hyphens}"]
    path = write(tmp_path, parameters, command=command)
    assert read_space(path).words({"c": 1, "d": 3}) == ["x=5", "a=null", "b=7", "c=1", "d=3"]
    space = read_space(path, ["d=4", "a=2"])
    assert list(space.parameters) == ["c"]
    assert space.words({"c": 1}) == ["x=5", "b=7", "d=4", "a=2", "c=1"]


def test_the_study_is_named_after_file_space_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": {"values": [1, 2]}})
    name = read_space(path).name
    assert name.startswith("space-")
    assert read_space(path).name == name
    assert read_space(path, ["b=1"]).name != name
    # Keys for W&B only do not matter.
    assert read_space(write(tmp_path, {"a": {"values": [1, 2]}}, name="other")).name == name
    assert read_space(write(tmp_path, {"a": {"values": [1, 3]}})).name != name


def test_variants_show_each_value_and_both_ends_once(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": {"values": [1, 2, 3]}, "b": {"min": 0.5, "max": 0.75}})
    assert [" ".join(words) for words in read_space(path).variants()] == [
        "a=1 b=0.5", "a=2 b=0.5", "a=3 b=0.5", "a=1 b=0.75",
    ]  # fmt: skip


def test_a_grid_visits_all_points_of_choices_and_steps(tmp_path: Path) -> None:
    parameters = {"a": {"values": ["x", "y"]}, "b": {"min": 3, "max": 5},
                  "c": {"distribution": "q_uniform", "min": 0.1, "max": 0.3, "q": 0.1}}  # fmt: skip
    space = read_space(write(tmp_path, parameters, method="grid"))
    assert space.grid_points == 2 * 3 * 3
    assert [points(parameter) for parameter in space.parameters.values()] == [
        ("x", "y"), (3, 4, 5), (0.1, 0.2, 0.3),
    ]  # fmt: skip
    assert ends(space.parameters["b"]) == (3, 5)


@pytest.mark.parametrize(
    ("value", "written"), [(None, "k=null"), (False, "k=false"), (1e-05, "k=1e-05"), ("a", "k=a"), (3, "k=3")]
)
def test_words_are_in_the_syntax_of_hydra(value: Any, written: str) -> None:
    assert word("k", value) == written


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"distribution": "normal", "mu": 0, "sigma": 1},
         "parameters.k.distribution=normal: not supported; did you mean uniform?; supported are constant, categorical"),
        ({"distribution": "log_uniform_valus", "min": 1, "max": 2},
         "parameters.k.distribution=log_uniform_valus: not supported; did you mean log_uniform_values"),
        ({"values": 3}, "parameters.k.values=3: must be a list"),
        ({"values": []}, "parameters.k.values=[]: must be a list"),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]},
         "parameters.k has values, probabilities: categorical needs values"),
        ({}, "parameters.k has nothing: uniform needs min and max"),
        (7, "parameters.k=7: must be a mapping"),
        ({"min": 1}, "parameters.k has min: uniform needs min and max"),
        ({"min": "1e-4", "max": 0.1},
         "parameters.k.min=1e-4: must be a number; YAML reads 1e-4 as text, write 1.0e-4"),
        ({"min": float("nan"), "max": 0.1}, "parameters.k.min=nan: must be a number"),
        ({"min": 3, "max": 3}, "parameters.k.min=3: must be below max=3"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "parameters.k.min=0: must be more than 0"),
        ({"distribution": "q_uniform", "min": 1, "max": 8, "q": 2},
         "parameters.k.q=2: min=1 and max=8 must be multiples of it"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "parameters.k: int_uniform needs integers"),
        ({"value": 3}, "nothing varies"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_with_file_key_and_rule(
    tmp_path: Path, described: Any, message: str
) -> None:
    assert refusal(write(tmp_path, {"k": described})).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"parameters": None}, "parameters is missing"),
        ({"parameters": {}}, "parameters is missing"),
        ({"method": "baysian"}, "method=baysian: must be grid or random or bayes; did you mean bayes"),
        ({"metric": None}, "metric is missing"),
        ({"metric": {"name": "test/error_pct"}}, "metric.name=test/error_pct: must be validation/error_pct"),
        ({"metric": {**METRIC, "goal": "min"}}, "metric.goal=min: must be minimize or maximize"),
        ({"program": "evaluate.py"}, "program=evaluate.py: must be train.py"),
        ({"run_cap": 0}, "run_cap=0: must be an integer of at least 1"),
        ({"parametres": {}}, "parametres is not a key of a sweep; did you mean parameters"),
        ({"method": "grid", "parameters": {"k": {"min": 0.1, "max": 1.0}}}, "parameters.k: a grid needs values"),
    ],
)  # fmt: skip
def test_a_definition_that_is_wrong_is_refused_by_its_key(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    assert refusal(write(tmp_path, **{"parameters": {"a": {"values": [1, 2]}}, **content})).startswith(
        message
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "can't be read (No such file"), ("a: [", "is not YAML"), ("- 1", "is not a sweep definition"),
     ("", "is not a sweep definition"), ("!!python/object/apply:os.system ['true']", "is not YAML")],
)  # fmt: skip
def test_a_file_that_is_no_definition_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "space.yaml"
    if text is not None:
        path.write_text(text)
    assert refusal(path).startswith(message)
