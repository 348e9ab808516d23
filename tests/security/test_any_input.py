"""Whatever a file or a command line holds, the end is a result or an error that is told in one line.

The files are mutations of good ones; `python -m tests.fuzz.readers` looks for more of them, for minutes.
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
from tenet.config.rules import RULES, ListOf, Number, OrNull, Rule, check_rules
from tenet.errors import CheckpointError, ConfigError, UserError, printable
from tenet.files.tensors import read_tensors
from tenet.files.weights import CHECKSUM, checksum
from tenet.training.checkpoint import Checkpoints, read_checkpoint
from tenet.training.state import COUNTERS, TrainingState
from tests.config.test_build import CONF
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


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_a_good_file_is_read_and_a_mutation_is_read_or_refused(index: int, tmp_path: Path) -> None:
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
            assert number > 0, "the good one is refused"
    assert not (tmp_path / "canary").exists()


def numbers() -> list[tuple[str, Number]]:
    found: list[tuple[str, Number]] = []
    for key, rule in RULES.items():
        inner: Rule = rule
        while isinstance(inner, OrNull | ListOf):
            inner = inner.rule
        if isinstance(inner, Number):
            found.append((key, inner))
    return found


def is_taken(key: str, value: int | float) -> bool:
    """Whether a configuration may hold the value; in each place of a list, where the key is of a list."""
    config: Any = [value] * (RULES[key].length or 1) if isinstance(RULES[key], ListOf) else value
    for name in reversed(key.split(".")):
        config = {name: config}
    try:
        check_rules(config)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("key", "rule"), numbers(), ids=[key for key, _ in numbers()])
def test_every_number_is_taken_between_two_ends_and_refused_beyond(key: str, rule: Number) -> None:
    low = rule.above if rule.low is None else rule.low
    high = rule.below if rule.high is None else rule.high
    assert low is not None
    assert high is not None
    step = 1 if rule.integer else 1e-6
    assert is_taken(key, low) == (low == rule.low)
    assert is_taken(key, high) == (high == rule.high)
    assert is_taken(key, low + step)
    assert is_taken(key, high - step)
    assert not any(is_taken(key, value) for value in (low - step, high + step, math.nan, math.inf, -math.inf))


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


@bounded(25)
@given(
    key=st.one_of(st.sampled_from([*RULES, "dataset", "tenet", "hydra.run.dir"]), st.text(max_size=15)),
    value=ODD,
)
def test_any_key_and_value_of_a_command_line_pass_or_are_refused_in_one_line(key: str, value: str) -> None:
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
    key=st.sampled_from([*RULES, "dataset", "tenet._target_", "optimizer.anything", "trainer.x.y"]),
    value=PLAIN,
)
def test_any_value_in_a_stored_configuration_passes_or_is_refused(key: str, value: Any) -> None:
    config: dict[str, Any] = {}
    group = config
    *groups, name = key.split(".")
    for part in groups:
        group = group.setdefault(part, {})
    group[name] = value
    try:
        check_rules(config)
    except ConfigError as error:
        is_bounded = len(str(error)) < 2000
    else:
        is_bounded = len(yaml.safe_dump(config)) < 2000
    assert is_bounded


@bounded(40)
@given(data=st.data())
def test_a_changed_byte_of_a_checkpoint_is_noticed_and_the_file_is_left_alone(
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
    else:  # the change was in what a reader skips: a time, the padding
        assert checksum(found) == checksum(WHOLE)
    assert path.read_bytes() == content


SCALARS = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5), st.none(), st.just([]), st.just({})
)
PLACES = [
    *((name,) for name in COUNTERS), ("data",), ("metrics",), ("metrics", "train/loss"), ("window",), ("model",),
    ("optimizer",),
    ("optimizer", "state"), ("optimizer", "state", 0), ("optimizer", "state", 0, "momentum_buffer"),
    ("optimizer", "param_groups"), ("optimizer", "param_groups", 0, "lr"), ("optimizer", "param_groups", 0, "params"),
]  # fmt: skip


@bounded(60)
@given(place=st.sampled_from(PLACES), value=SCALARS)
def test_a_checkpoint_with_a_changed_value_and_the_right_checksum_fits_or_is_refused(
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
        state = TrainingState.restore(model, optimizer, Checkpoints(tmp_path, data={"training": "0123"}))
    except CheckpointError:
        return
    assert state.step >= 0
    # The learning rate, and what else an optimizer is set to, are the configuration's.
    assert optimizer.param_groups[0]["lr"] == 0.1
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()


def test_a_checkpoint_without_weights_is_refused_by_what_shows_them(run_dir: Path) -> None:
    content = {name: value for name, value in WHOLE.items() if name != "model"}
    torch.save({**content, CHECKSUM: checksum(content)}, run_dir / "checkpoint.pt")
    (run_dir / "weights.safetensors").unlink()
    assert "checkpoint.pt holds no state dict" in look_at(run_dir).refusal()


def test_nothing_that_is_read_is_written_to(run_dir: Path, tmp_path: Path) -> None:
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
