"""What the documentation prints: the run folders of its commands, and the output of the commands marked as run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tenet.config.command_line import plan
from tenet.config.overrides import parse, variants
from tenet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "sweeps" / "README.md"]
FOLDER = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)+-seed\d+-[0-9a-f]{10}")
# Values that stand for the reader's own.
PLACEHOLDERS = re.compile(r"[A-Z]{2,}|\.\.\.|mine\.npz|\$\(")


class Block(NamedTuple):
    """A fenced block of a console. is_run: whether its first line is "```console run"."""

    text: str
    is_run: bool


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"^```console( run)?\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(text, bool(mark)) for mark, text in found]


def commands(text: str) -> list[str]:
    """The commands of train.py in a block, typed or printed."""
    joined = text.replace("\\\n", " ")
    return [found.partition("  #")[0] for found in re.findall(r"python train\.py.*", joined)]


def planned_folders(command: str) -> set[str]:
    words = shlex.split(command)[2:]
    if PLACEHOLDERS.search(command) or "--help" in words:
        return set()
    combinations: list[list[str]] = [[]]
    for word in (word for word in words if word != "-m"):
        values = [value for (value,) in variants(parse([word]))] if "-m" in words else [word]
        combinations = [[*before, value] for before in combinations for value in values]
    try:
        return {plan(words, config_dir=ROOT / "conf", config_name="train")[0].name for words in combinations}
    except ConfigError:  # an example of a wrong command
        return set()


@pytest.mark.slow
def test_run_folders_in_the_documentation_are_those_of_its_commands() -> None:
    """Hashes change with the configuration and the version: the documentation must follow."""
    printed = {document.name: set(FOLDER.findall(document.read_text())) - {"seed"} for document in DOCUMENTS}
    known = {
        folder
        for document in DOCUMENTS
        if printed[document.name]
        for block in blocks(document)
        for command in dict.fromkeys(commands(block.text))
        for folder in planned_folders(command)
    }
    assert len(known) > 10
    outdated = {name: sorted(folders - known) for name, folders in printed.items() if folders - known}
    assert outdated == {}, f"of the documented commands: {sorted(known)}"


def form(text: str) -> list[str]:
    """Lines without progress bars; every number is 0."""
    lines = [line.rstrip() for line in text.splitlines()]
    return [re.sub(r"\d+(?:[.,:]\d+)*", "0", line) for line in lines if line and "/s" not in line]


@pytest.mark.alone
def test_commands_marked_as_run_print_what_is_documented(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    marked = [block for document in DOCUMENTS for block in blocks(document) if block.is_run]
    assert len(marked) >= 3
    for block in marked:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            words = shlex.split(command.partition("  #")[0])
            script = str(ROOT / words[1]) if words[1].endswith(".py") else None
            arguments = [script, *words[2:]] if script else words[1:]
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env={**environment, "PYTHONPATH": str(ROOT)},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            printed = form(done.stdout)
            wanted = [line for line in form(expected) if line != "..."]
            assert [line for line in wanted if line not in printed] == [], done.stdout


def test_every_method_has_a_card_with_its_key_and_every_picture_is_there() -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    for group in ("objective", "augment", "mixing"):
        options = [path.stem for path in (ROOT / "conf" / group).glob("*.yaml")]
        assert [option for option in options if f"`{group}={option}" not in text and option != "none"] == []
    recipes = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")} - {"quickstart", "debug"}
    lists = (ROOT / "docs" / "experiments.md").read_text()
    assert {name for name in recipes if f"`{name}`" not in lists} == set()
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    drawn = {f"images/methods/{path.name}" for path in (ROOT / "docs" / "images" / "methods").glob("*.png")}
    assert set(pictures) == drawn


def test_every_card_has_its_five_lines() -> None:
    cards = (ROOT / "docs" / "methods.md").read_text().split("\n## ")[1:]
    assert len(cards) >= 17
    for card in cards:
        assert re.findall(r"^\| (keys|source|published|licence|deviations) \|", card, re.MULTILINE) == [
            "keys", "source", "published", "licence", "deviations"
        ], card.partition("\n")[0]  # fmt: skip
        assert "$$" in card
