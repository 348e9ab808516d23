"""Run folders are untrusted: nothing in them is imported or called, and nothing outside is read or written by a link."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import yaml

from tests.security.commands import Done, run

# The commands that read the configuration of a run. Other tests cover valid configurations.
READERS = {
    "resume": ["train.py", "resume=run"],
    "evaluate": ["evaluate.py", "run=run", "corruptions.names=[]"],
    "xray": ["-m", "tenet.xray", "run"],
    "doctor": ["-m", "tenet.doctor", "resume=run"],
}


def rewrite(run_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run_dir / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


def read(name: str, cwd: Path, **environment: str) -> Done:
    return run(*READERS[name], cwd=cwd, environment=environment)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return path -> (size, modification time) of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


EXEC = {"_target_": "builtins.exec", "_args_": ["open('canary', 'w')"]}
CALLS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another target": lambda config: config["dataset"].update(_target_="os.system", command="touch canary"),
    "a module that does something when it is imported": lambda config: config["dataset"].update(
        _target_="this.Zen"
    ),
    "a function": lambda config: config["dataset"].update(_target_="tenet.data.datasets.stratified_split"),
    "a module's import": lambda config: config["dataset"].update(_target_="tenet.data.datasets.Path"),
    "of another group": lambda config: config["dataset"].update(_target_="tenet.data.ImageArrays"),
    "another package's": lambda config: config["optimizer"].update(_target_="torch.optimizer_of_mine.SGD"),
    "a nested target": lambda config: config["dataset"].update(mean=EXEC),
    "a new nested target": lambda config: config["dataset"].update(extra=EXEC),
    "a nested target of the optimizer": lambda config: config["optimizer"].update(lr=EXEC),
    "an open key's nested target": lambda config: config["optimizer"].update(foreach=EXEC),
    "_partial_": lambda config: config["schedule"].update(_partial_=True),
    "_recursive_": lambda config: config["dataset"].update(_recursive_=True),
    "_args_": lambda config: config["backbone"].update(_args_=["x"]),
    "_convert_": lambda config: config["optimizer"].update(_convert_="all"),
    "no target": lambda config: config["dataset"].pop("_target_"),
    "no group": lambda config: config.update(trainer={}),
    "a target that is no text": lambda config: config["backbone"].update(_target_=["os", "system"]),
}


# Parts that only training builds. For the others, the fastest command is enough.
OF_TRAINING = ("optimizer", "schedule", "_convert_", "_partial_", "open key", "another package's", "no group")


@pytest.mark.parametrize("name", CALLS)
def test_a_stored_configuration_calls_only_the_classes_of_its_groups(
    run_dir: Path, tmp_path: Path, name: str
) -> None:
    rewrite(run_dir, CALLS[name])
    done = read("resume" if any(part in name for part in OF_TRAINING) else "xray", tmp_path)
    assert done.refusal() == done.output.strip().removeprefix("error: "), "nothing else spoke"
    assert list(tmp_path.rglob("canary")) == []


def test_the_other_readers_call_nothing_either(run_dir: Path, tmp_path: Path) -> None:
    rewrite(run_dir, lambda config: config["dataset"].update(_target_="os.system"))
    for name in ("evaluate", "xray", "doctor"):
        refusal = read(name, tmp_path).refusal()
        assert refusal.startswith(
            "dataset._target_=os.system: must be a class of tenet.data, and no installed"
        )
    assert not (tmp_path / "canary").exists()


def laughs() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines)


SPOILT: dict[str, tuple[str | bytes, str]] = {
    "a tag that calls": ("seed: !!python/object/apply:os.system ['touch canary']", "is not YAML"),
    "a tag that imports": ("seed: !!python/module:antigravity", "is not YAML"),
    "a billion laughs": (laughs(), "it has an alias"),
    "an endless list": ("seed: &a [*a]", "it has an alias"),
    "deep nesting": ("[" * 100_000, "nested more than 20 levels deep"),
    "deep nesting by indentation": ("\n".join(" " * n + "a:" for n in range(1000)), "nested more than 20 levels deep"),
    "a number without end": ("seed: 0x" + "f" * 100_000, "more than 64 bits"),
    "a date": ("seed: 2020-01-01", "which no key accepts"),
    "a key that is a list": ("? [1]\n: 2", "is not YAML"),
    "a broken flag": ("seed: !!bool maybe", "is not YAML"),
    "two million bytes": ("seed: '" + "a" * 2_000_000 + "'", "larger than 1,048,576 bytes"),
    "no text": (b"\x00\xff\xfe\x80", "is not YAML"),
    "an escape sequence": ("seed: !\x1b[2J x", "is not YAML"),
    "an escape sequence in a key": ('"\\e[2J": 1', "lacks"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), SPOILT.values(), ids=SPOILT)
def test_an_invalid_configuration_is_refused_in_one_line_with_little_memory(
    run_dir: Path, tmp_path: Path, content: str | bytes, reason: str
) -> None:
    (run_dir / "config.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    done = run(*READERS["xray"], cwd=tmp_path, spare_mb=400)
    assert reason in done.refusal()
    assert done.peak_mb < 100
    assert (
        run("-m", "tenet.compare", "run", cwd=tmp_path, spare_mb=400).refusal().startswith("no finished run")
    )
    assert not (tmp_path / "canary").exists()


@pytest.mark.slow
def test_a_stored_configuration_stays_plain_text(run_dir: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        texts = dict.fromkeys(("name", "notes", "project"), "${oc.env:SECRET}")
        config["tracking"] = {"_target_": "tenet.tracking.WandbTracking", **texts}

    rewrite(run_dir, change)
    secret = token_hex(20)  # random, so that code.patch does not contain it
    for name in ("resume", "evaluate", "xray"):
        done = read(name, tmp_path, SECRET=secret)
        assert done.code == 0, done.output
        assert secret not in done.output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


LINKED = (
    "weights.safetensors", "checkpoint.pt", ".lock", "train.log", "metrics.jsonl", "summary.json", "evaluation", "wandb",
)  # fmt: skip


@pytest.mark.parametrize("place", LINKED)
def test_a_folder_with_a_link_out_of_it_is_refused_and_nothing_is_written_through(
    run_dir: Path, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    if place in ("evaluation", "wandb"):
        outside.mkdir()
        shutil.rmtree(run_dir / place, ignore_errors=True)
    else:
        outside.write_text("precious")
        (run_dir / place).unlink(missing_ok=True)
    (run_dir / place).symlink_to(outside)
    before = state_of(tmp_path)
    for name in READERS if place == ".lock" else ("xray",):
        assert f"run/{place} is a link out of the run folder" in read(name, tmp_path).output
    assert {path: state for path, state in state_of(tmp_path).items() if path in before} == before
    assert outside.is_dir() or outside.read_text() == "precious"


def test_links_within_a_folder_and_a_linked_folder_are_accepted(run_dir: Path, tmp_path: Path) -> None:
    run_dir.rename(tmp_path / "elsewhere")
    run_dir.symlink_to(tmp_path / "elsewhere")
    (run_dir / "weights.safetensors").rename(run_dir / "w.safetensors")
    (run_dir / "weights.safetensors").symlink_to("w.safetensors")
    assert read("evaluate", tmp_path).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.yaml", READERS["xray"]),
        ("weights.safetensors", READERS["evaluate"]),
        ("checkpoint.pt", READERS["resume"]),
        ("metrics.jsonl", READERS["resume"]),
        ("summary.json", ["-m", "tenet.compare", "run"]),
    ],
)
def test_a_pipe_in_place_of_a_file_does_not_block(
    run_dir: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    (run_dir / name).unlink()
    os.mkfifo(run_dir / name)
    done = run(*words, cwd=tmp_path, timeout_s=20)
    assert done.code == 0 or done.refusal()


def test_a_summary_with_values_of_wrong_types_is_not_a_result(run_dir: Path, tmp_path: Path) -> None:
    spoilt = {
        "test/error_pct": "3.5\x1b[2J",
        "validation/error_pct": [1],
        "train/loss": 10**400,
        "corruption/source": {"a": 1},
    }
    (run_dir / "summary.json").write_text(json.dumps(spoilt))
    done = run("-m", "tenet.compare", "run", cwd=tmp_path)
    assert done.code == 0 or done.refusal()
    assert "\x1b" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "model-evaluation", "model-evaluation/.corruptions-part-predictions.lock",
    "model-evaluation/corruptions-part-predictions", "model-evaluation/corruptions-part-predictions/identity.json",
    "model-evaluation/corruptions-part.json",
])  # fmt: skip
@pytest.mark.parametrize(
    "output", [[], ["output=pub/model-evaluation/corruptions-part.json"]], ids=["own", "given"]
)
def test_nothing_is_written_through_a_link_beside_weights(
    run_dir: Path, tmp_path: Path, name: str, output: list[str]
) -> None:
    victim, link = tmp_path / "victim", tmp_path / "pub" / name
    link.parent.mkdir(parents=True)
    (run_dir / "weights.safetensors").rename(tmp_path / "pub" / "model.safetensors")
    link.symlink_to(victim)  # a link without a target: opening it for writing would create the target
    words = ["weights=pub/model.safetensors", "backbone=resnet8", "backbone.width=4", "dataset=digits"]
    done = run("evaluate.py", *words, "corruptions.names=[]", *output, cwd=tmp_path)
    assert not victim.exists()
    if name.endswith("part.json") and output:
        assert done.code == 0, "a report replaces the link"
    elif not (name == "model-evaluation" and output):
        assert "is a link, and nothing is written through it; remove it" in done.refusal()
