"""A sweep file sets keys of this project, and does nothing else: it runs no code, reads no environment, and ends at once."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.security.commands import run

SPACE = """\
method: random
run_cap: 1
metric: {{name: validation/error_pct}}
command: ["${{env}}", "${{interpreter}}", "${{program}}", {command} "${{args_no_hyphens}}"]
parameters: {{seed: {{values: [0, 1]}}, dataset.validation_fraction: {{value: 0.1}}, {parameters}}}
"""
COPY = "{_target_:shutil.copyfile,src:/etc/hostname,dst:copied}"
UNPRINTABLE = re.compile(r"[^\n -~]")
HOSTILE = {
    "a callback": (f'"+hydra.callbacks.x={COPY}"', ""),
    "a sweeper": ('"hydra.sweeper._target_=shutil.copyfile"', ""),
    "a launcher": ('"hydra/launcher=basic"', ""),
    "a handler of the log": ('"+hydra.job_logging.handlers.x={class:logging.FileHandler,filename:copied}"', ""),
    "a line of shell": ('"launcher.setup=[touch copied]"', ""),
    "a run folder": ('"hydra.run.dir=elsewhere"', ""),
    "a package": ('"+launcher@hydra.sweeper=serial"', ""),
    "a variable": ('"tracking.notes=${oc.env:SECRET}"', ""),
    "a variable of W&B": ('"tracking.notes=${envvar:SECRET}"', ""),
    "a variable alone": ('"${envvar:SECRET}"', ""),
    "a flag": ('"--config-dir=evil"', ""),
    "a callback as a parameter": ("", '"+hydra.callbacks.x._target_": {value: shutil.copyfile}'),
    "a variable as a parameter": ("", "tracking.notes: {values: ['${oc.env:SECRET}', b]}"),
    "a variable in a list": ("", "tracking.tags: {value: ['${oc.env:SECRET}']}"),
    "a class": ("", "optimizer._target_: {value: os.system}"),
    "escapes in a key": ("", r'"a\e[2J\e]0;x\a": {value: 1}'),
    "escapes in a word": (r'"tracking.notes=\e[2J\x9b\u202e"', ""),
    "escapes in a value": ("", r'tenet.layer: {value: "\e]0;x\a"}'),
}  # fmt: skip


def search(space: Path | str, folder: Path, **limits: int) -> tuple[str, float]:
    """Return the refusal and the peak memory in MB."""
    done = run("sweeps/search.py", space, cwd=folder, environment={"SECRET": "hunter2"}, **limits)
    assert UNPRINTABLE.search(done.output) is None
    assert "hunter2" not in done.output
    return done.refusal(), done.peak_mb


@pytest.mark.slow
@pytest.mark.parametrize(("command", "parameters"), HOSTILE.values(), ids=HOSTILE)
def test_a_word_that_is_no_key_of_ours_is_refused_and_nothing_is_run_or_resolved(
    tmp_path: Path, command: str, parameters: str
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.format(command=f"{command}," if command else "", parameters=parameters))
    refusal, _ = search(space, tmp_path)
    assert refusal.startswith(str(space))
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def laughs() -> str:
    return "\n".join(
        ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))]
    )


LARGE = {
    "an alias bomb": laughs(),
    "5,000 levels": "parameters: " + "[" * 5000,
    "5,000 levels by indentation": "\n".join(" " * n + "a:" for n in range(5000)),
    "10 million values": "parameters: {seed: {values: [" + "1," * 10_000_000 + "]}}",
    "100,000 values": SPACE.format(
        command="", parameters=f"tenet.groups: {{values: [{','.join(map(str, range(100_000)))}]}}"
    ),
    "400 digits": SPACE.format(command="", parameters=f"tenet.groups: {{values: [1, {'9' * 400}]}}"),
    "400 digits of a range": SPACE.format(command="", parameters=f"tenet.groups: {{min: 1, max: 1{'0' * 400}}}"),
    "a grid without end": SPACE.format(command="", parameters="tenet.groups: {min: 1, max: 999999999999}").replace(
        "random", "grid"
    ),
    "a long key": f"? {'k' * 1_000_000}\n: 1",
    "a date": SPACE.format(command="", parameters="tenet.groups: {values: [2020-01-01, 1]}"),
    "no text": b"\xff\xfe\x00",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
def test_a_file_that_is_too_much_is_refused_at_once_with_little_memory(
    tmp_path: Path, content: str | bytes
) -> None:
    (tmp_path / "space.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    assert_is_refused_at_once("space.yaml", tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "pipe")
    assert_is_refused_at_once("." if kind == "folder" else kind, tmp_path)


def assert_is_refused_at_once(space: str, folder: Path) -> None:
    start = time.monotonic()
    _, peak_mb = search(space, folder, spare_mb=400)
    assert peak_mb < 200
    assert time.monotonic() - start < 10, "a second, on a busy machine"


def test_keys_and_values_of_this_project_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(
        SPACE.format(command='"tracking=none",', parameters="+optimizer.maximize: {value: yes}")
    )
    done = run("sweeps/search.py", "space.yaml", "tenet.groups=0", cwd=tmp_path)
    assert done.refusal() == "tenet.groups=0: must be an integer of at least 1 and at most 1,000,000,000"
