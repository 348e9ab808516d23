"""For every file and command line, a command ends with a result or with a one-line error.

The files are mutations of valid ones. `python -m tests.fuzz.readers` searches for more such files for some minutes.
"""

import copy
import hashlib
import io
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.config.command_line import check_command_line
from tenet.config.rules import check_rules
from tenet.errors import CheckpointError, ConfigError, UserError, printable
from tenet.files.tensors import read_tensors
from tenet.files.weights import CHECKSUM, checksum
from tenet.methods import CrossEntropy
from tenet.networks import Network
from tenet.rules import ListOf, Number, OrNull, Rule
from tenet.training.checkpoint import Checkpoints, read_checkpoint
from tenet.training.state import TrainingState
from tests.config.options import CONF, configuration, every_rule
from tests.fuzz.engine import mutate
from tests.fuzz.files import checkpoint, network
from tests.fuzz.targets import Target, targets
from tests.security.commands import look_at, run


def bounded(examples: int) -> settings:
    """The same few examples in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=slow)


WHOLE = {
    name: value
    for name, value in torch.load(io.BytesIO(checkpoint()), weights_only=True).items()
    if name != CHECKSUM
}
NAMES = [f"{number}-{target.name}" for number, target in enumerate(targets(Path()))]


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_a_valid_file_is_read_and_a_mutation_is_read_or_refused(index: int, tmp_path: Path) -> None:
    target: Target = targets(tmp_path)[index]
    rng = random.Random(index)
    path = tmp_path / "files" / target.name
    inputs = [
        target.seeds[0],
        b"",
        *(mutate(rng.choice(target.seeds), target, target.seeds, rng) for _ in range(12)),
    ]
    for number, content in enumerate(inputs):
        shutil.rmtree(tmp_path / "files", ignore_errors=True)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        try:
            target.read(path)
        except (UserError, OSError):
            assert number > 0, "the valid file is refused"
    assert not (tmp_path / "canary").exists()


def inner(rule: Rule) -> Rule:
    while isinstance(rule, OrNull | ListOf):
        rule = rule.rule
    return rule


def is_taken(key: str, target: str | None, rule: Rule, value: int | float) -> bool:
    """Whether a configuration may hold the value; in each place of a list, where the key is of a list."""
    rule = rule.rule if isinstance(rule, OrNull) else rule
    whole = [value] * (rule.length or 1) if isinstance(rule, ListOf) else value
    try:
        check_rules(configuration(key, target, whole))
    except ConfigError:
        return False
    return True


RULES = every_rule()
KEYS = sorted({key for key, _, _ in RULES})
NUMBERS = [found for found in RULES if isinstance(inner(found[2]), Number)]


@pytest.mark.parametrize(
    ("key", "target", "rule"), NUMBERS, ids=[f"{key}-{target}" for key, target, _ in NUMBERS]
)
def test_every_number_is_accepted_between_two_limits_and_refused_beyond_them(
    key: str, target: str | None, rule: Rule
) -> None:
    number = inner(rule)
    assert isinstance(number, Number)
    low = max(number.low, number.above)
    high = min(number.high, number.below)
    assert math.isfinite(low)
    assert math.isfinite(high)
    step = 1 if number.integer else 1e-6
    for value, expected in {
        low: low == number.low, high: high == number.high, low + step: True, high - step: True,
        low - step: False, high + step: False, math.nan: False, math.inf: False, -math.inf: False,
    }.items():  # fmt: skip
        assert is_taken(key, target, rule, value) == expected, value


WORDS = (
    "null", "true", "???", "${seed}", "${oc.env:HOME}", "${run_name:}", "1e999", "0x7f", "[[]]", "{a: {b: 1}}",
    "glob(*)", "é", "\u202e", "\ud800", "-0", "1_0", "None",
)  # fmt: skip
ODD = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.integers(min_value=10**30).map(str),
    st.floats().map(str),
    st.text("[]{}()'\"\\$:,=@~+#\n\t\x00\x1b ", max_size=12),
    st.sampled_from(WORDS),
)


@pytest.mark.slow
@bounded(25)
@given(
    key=st.one_of(st.sampled_from([*KEYS, "dataset", "tenet", "hydra.run.dir"]), st.text(max_size=15)),
    value=ODD,
)
def test_any_key_and_value_of_a_command_line_is_accepted_or_refused_in_one_line(key: str, value: str) -> None:
    told = "passed"
    try:
        check_command_line([f"{key}={value}"], config_dir=CONF, config_name="train")
    except ConfigError as error:
        told = printable(str(error))
    assert 0 < len(told) < 2000
    assert told.isprintable()


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@bounded(200)
@given(
    found=st.sampled_from(
        [*((key, target) for key, target, _ in RULES), ("dataset", None), ("tenet._target_", None),
         ("optimizer.anything", None), ("trainer.x.y", None)]
    ),
    value=PLAIN,
)  # fmt: skip
def test_any_value_in_a_stored_configuration_is_accepted_or_refused(
    found: tuple[str, str | None], value: Any
) -> None:
    config = configuration(*found, value)
    try:
        check_rules(config)
    except ConfigError as error:
        is_bounded = len(str(error)) < 2000
    else:
        is_bounded = len(yaml.safe_dump(config)) < 2000
    assert is_bounded


@bounded(40)
@given(data=st.data())
def test_a_changed_byte_of_a_checkpoint_is_detected_and_the_file_is_not_changed(
    data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(checkpoint())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    try:
        found = read_checkpoint(path)
    except CheckpointError:
        pass
    else:  # the change was in bytes that a reader skips: a time, or padding
        assert checksum(found) == checksum(WHOLE)
    assert path.read_bytes() == content


SCALARS = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5), st.none(), st.just([]), st.just({})
)
PLACES = [
    ("step",), ("closed_step",), ("nonfinite_steps",), ("counters",), ("means",), ("means", "loss"),
    ("data",), ("layout",), ("metrics",), ("metrics", "train/loss"), ("model",),
    ("optimizer",),
    ("optimizer", "state"), ("optimizer", "state", 0), ("optimizer", "state", 0, "momentum_buffer"),
    ("optimizer", "param_groups"), ("optimizer", "param_groups", 0, "lr"), ("optimizer", "param_groups", 0, "params"),
]  # fmt: skip


@pytest.mark.slow
@bounded(60)
@given(place=st.sampled_from(PLACES), value=SCALARS)
def test_a_checkpoint_with_a_changed_value_and_a_correct_checksum_fits_or_is_refused(
    place: tuple[Any, ...], value: Any, tmp_path: Path
) -> None:
    content = inner = copy.deepcopy(WHOLE)
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    torch.save({**content, CHECKSUM: checksum(content)}, tmp_path / "checkpoint.pt")
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    try:
        checkpoints = Checkpoints(tmp_path, data={"training": "0123"})
        state = TrainingState.restore(Network(model), optimizer, CrossEntropy(), checkpoints=checkpoints)
    except CheckpointError:
        return
    assert state.step >= 0
    # The learning rate and the other settings of the optimizer come from the configuration.
    assert optimizer.param_groups[0]["lr"] == 0.1
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()


@pytest.mark.slow
def test_a_checkpoint_without_weights_is_refused_by_the_xray(run_dir: Path) -> None:
    content = {name: value for name, value in WHOLE.items() if name != "model"}
    torch.save({**content, CHECKSUM: checksum(content)}, run_dir / "checkpoint.pt")
    (run_dir / "weights.safetensors").unlink()
    assert "checkpoint.pt holds no state dict" in look_at(run_dir).refusal()


@pytest.mark.slow
def test_reading_does_not_change_files(run_dir: Path, tmp_path: Path) -> None:
    def sums() -> dict[str, str]:
        paths = [
            run_dir / name
            for name in (
                "config.yaml",
                "checkpoint.pt",
                "weights.safetensors",
                "metrics.jsonl",
                "summary.json",
            )
        ]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    (run_dir / "weights.safetensors").write_bytes((run_dir / "weights.safetensors").read_bytes()[:-7])
    before = sums()
    run("evaluate.py", f"run={run_dir}", cwd=tmp_path).refusal()
    run("-m", "tenet.xray", run_dir, cwd=tmp_path).refusal()
    read_tensors(run_dir / "checkpoint.pt")
    assert sums() == before
