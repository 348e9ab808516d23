"""An option replaces what an experiment or another option expected, and leaves no key behind that it does not take."""

import inspect

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tenet.config.build import build
from tenet.config.command_line import check_command_line
from tenet.config.rules import flatten, without_foreign_keys
from tenet.errors import ConfigError
from tenet.experiment import try_optimizer
from tests.config.options import CONF, OPTIONS, build_group, composed, composed_with

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIMIZERS = sorted(
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and name != "Optimizer"
)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_every_option_of_the_groups_whose_keys_it_sets(experiment: str) -> None:
    sets = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    for group, option in OPTIONS:
        if group in sets:
            # As Hydra merges them; test_what_is_left_out_is_no_part_of_the_run composes.
            merged = {group: {**composed_with(group, option)[group], **sets[group]}}
            build_group(group, without_foreign_keys(merged))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_sets_no_key_that_its_own_options_lack(experiment: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", [f"experiment={experiment}"]))
    assert without_foreign_keys(plain) == plain


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_trains_or_is_refused_in_one_line(name: str) -> None:
    over_sgd = {**composed()["optimizer"], "_target_": f"torch.optim.{name}"}
    config = without_foreign_keys({"optimizer": over_sgd})
    reason = {
        "LBFGS": "closure",  # needs one
        "SparseAdam": "does not support dense gradients|sparse",
    }.get(name)
    if reason is None:
        try_optimizer(lambda parameters: build_optimizer(config, parameters), torch.device("cpu"))
        return
    with pytest.raises(ValueError, match=rf"^it can't take a step \(.*({reason}).*\)$"):
        try_optimizer(lambda parameters: build_optimizer(config, parameters), torch.device("cpu"))


def build_optimizer(config: dict, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    return build(config["optimizer"], parameters, key="optimizer")


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as error:
        check_command_line(arguments, config_dir=CONF, config_name="train")
    return str(error.value)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["experiment=quickstart", "augment=none", "augment.flip=true"], "the chosen augment has no key augment.flip"),
        (["experiment=quickstart", "tenet=none", "tenet.start_step=2"], "the chosen tenet has no key tenet.start_step"),
        (
            ["optimizer._target_=torch.optim.RMSprop", "optimizer.nesterov=true"],
            "the chosen optimizer has no key optimizer.nesterov",
        ),
        (["optimizer=adamw", "+optimizer.nesterov=true"], "the chosen optimizer has no key optimizer.nesterov"),
        (["+optimizer.nestrov=true"], "there is no key optimizer.nestrov; did you mean optimizer.nesterov"),
        (["mixing=mixup", "mixing.aplha=1"], "there is no key mixing.aplha; did you mean mixing.alpha"),
        (["~optimizer"], "~optimizer: keys can't be removed"),
        (["~optimizer._target_"], "~optimizer._target_: keys can't be removed"),
        (["~optimizer.nestrov"], "there is no key optimizer.nestrov"),
    ],
)  # fmt: skip
def test_a_typed_key_that_nothing_would_read_is_refused(arguments: list[str], start: str) -> None:
    assert refusal(*arguments).startswith(start)


def test_an_argument_that_the_option_does_not_list_is_told_how_to_add() -> None:
    assert refusal("optimizer.dampening=0.1").endswith("is added by +optimizer.dampening=VALUE")
    arguments = ["+optimizer.dampening=0.1", "optimizer.nesterov=false"]
    assert check_command_line(arguments, config_dir=CONF, config_name="train") == arguments


def test_an_argument_of_the_optimizer_can_be_left_to_torch() -> None:
    # Of another type in this class.
    config = composed("optimizer=adamw", "optimizer._target_=torch.optim.Adafactor", "~optimizer.eps")
    assert build_optimizer(config, [torch.zeros(2)]).defaults["eps"] != 1e-8
    assert check_command_line(["~optimizer.nesterov"], config_dir=CONF, config_name="train")
    assert "nesterov" not in composed("~optimizer.nesterov")["optimizer"]


def test_what_is_left_out_is_no_part_of_the_run() -> None:
    config = composed("experiment=quickstart", "augment=none", "tenet=none")
    assert config["augment"] == {"_target_": "tenet.augment.NoAugmentation"}
    assert config["tenet"] == {"_target_": None}
    assert dict(flatten(config))["trainer.epochs"] == 6
