"""Texts as arguments: what is printed can be pasted, and gives the same text again."""

import random
import shlex
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tenet.config.overrides import as_argument, as_override, null_for_none, parse
from tenet.files.paths import user_path
from tests.entry_points import TINY, evaluate, train

NAMES = [
    *("né", "日本", "a b", " ", "a,b", "[a]", "{a:1}", "a=b", "a#b", "a(b)", "a'b", 'a"b', "a;b", "*", "$x", "`x`", "!x"),
    *("7", "1e5", "-1", ".5", "1_000", "nan", "inf", "null", "None", "none", "true", "False", "~", "~x", "~/x", "-x"),
    *("a\\b", "a\\", "\\\\", '\\"', "${x}", "\\${x}", "a\\\\${x}\\", "$", "${", "choice(1,2)", "runs/a", "../a", "http://a"),
]  # fmt: skip


def read_back(word: str) -> str:
    """The text that Hydra and OmegaConf make of the value."""
    config = OmegaConf.create({"run": None})
    OmegaConf.update(config, "run", parse([null_for_none(word)])[0].value())
    return str(config.run)


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_argument_gives_the_same_text_when_pasted(name: str) -> None:
    (word,) = shlex.split(as_argument("run", name))
    assert read_back(word) == name
    assert user_path(read_back(as_override("run", Path(name))), key="run") == Path(name)


def test_any_text_survives() -> None:
    draw = random.Random(0)
    for _ in range(1000):
        name = "".join(draw.choices("aé7\\\"'${}~ ./,", k=draw.randint(1, 8)))
        assert read_back(as_override("run", name)) == name


def test_a_shell_leaves_the_argument_as_it_is() -> None:
    command = "printf '%s\\n' " + " ".join(as_argument("run", name) for name in NAMES)
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [as_override("run", name) for name in NAMES]


@pytest.mark.parametrize("name", ["runs/cifar10-resnet8-seed0-1f0c5a2b3d", "/data/runs/a.b", "a+b"])
def test_a_plain_name_needs_no_quotes(name: str) -> None:
    assert as_argument("run", name) == f"run={name}"


@pytest.mark.slow
def test_commands_printed_by_a_run_with_an_odd_name_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "né 1e5 'a\\b\""
    monkeypatch.setenv("HOME", str(tmp_path))
    started = train(*TINY, as_override("hydra.run.dir", tmp_path / name), "trainer.max_steps=2", cwd=tmp_path)
    (resume,) = printed_command(started.output, "trainer.max_steps: python train.py ")
    assert read_back(resume) == name
    resumed = train(as_override("resume", f"~/{name}"), "trainer.max_steps=4", cwd=tmp_path).output
    assert "step 4" in resumed
    run = printed_command(resumed, "evaluate: python evaluate.py ")
    evaluate(*run, "corruptions.names=[fog]", "corruptions.severities=[1]", cwd=tmp_path)
    assert (tmp_path / name / "evaluation" / "corruptions-part.json").exists()
    assert not (tmp_path / "~").exists()


def printed_command(output: str, start: str) -> list[str]:
    line = next(line for line in output.splitlines() if start in line)
    return [word for word in shlex.split(line.partition(start)[2]) if not word.startswith("trainer.")]
