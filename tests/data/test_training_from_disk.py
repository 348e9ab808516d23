"""train.py on images that stay on disk: killed, stopped and continued with other numbers of workers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.commands import TINY, Command, Ended, assert_same_run, assert_told, step_of, wait_for
from tests.faults.places import Fault

RUN = [
    *(word for word in TINY if not word.startswith("dataset")),
    *("dataset=images", "dataset.path=tree", "dataset.resize=18", "dataset.crop=16", "augment.padding=0"),
    "trainer.checkpoint_every_steps=2",
]


def write_tree(root: Path, *, train: int = 20, val: int = 6) -> None:
    """Noisy images of three classes and many sizes."""
    generator = np.random.default_rng(0)
    for part, images in {"train": train, "val": val}.items():
        for image in range(images):
            folder = root / part / f"class_{image % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            height, width = generator.integers(18, 40, size=2)
            pixels = generator.integers(60, size=(height, width, 3)) + 80 * (image % 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.png")


def train(*arguments: str, cwd: Path, fault: Fault | None = None) -> Ended:
    return Command("train", *RUN, *arguments, cwd=cwd, fault=fault).wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its data, uninterrupted and without workers."""
    folder = tmp_path_factory.mktemp("whole")
    write_tree(folder / "tree")
    ended = train("dataset.workers=0", cwd=folder)
    assert ended.code == 0, ended.output
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "tree", tmp_path / "tree")
    return tmp_path


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


@pytest.mark.slow
def test_a_run_stopped_in_an_epoch_goes_on_exactly_with_any_number_of_workers(whole, here):
    ended = train("dataset.workers=1", cwd=here, fault=Fault("kill", "descent", 9))
    assert ended.code == -signal.SIGKILL
    assert step_of(here / "run") % 4 == 2
    ended = train("dataset.workers=3", cwd=here, fault=Fault("term", "descent", 4))
    assert (ended.code, "Traceback" in ended.output) == (75, False), ended.output
    assert step_of(here / "run") % 4
    ended = Command("train", "resume=run", "dataset.workers=0", cwd=here).wait()
    assert ended.code == 0, ended.output
    assert_same_run(here / "run", whole / "run")


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_leaves_a_checkpoint_and_no_process(here):
    command = Command("train", *RUN, "dataset.workers=2", "trainer.epochs=2000", cwd=here)
    wait_for(lambda: step_of(here / "run") if (here / "run" / "checkpoint.pt").exists() else 0)
    wait_for(lambda: len(workers := children_of(command.pid)) == 2 and workers)
    workers = children_of(command.pid)
    command.send(signal.SIGTERM, to_group=True)
    start = time.monotonic()
    ended = command.wait()
    assert (ended.code, "Traceback" in ended.output) == (75, False), ended.output
    assert time.monotonic() - start < 10
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_killed_worker_is_one_line_and_the_same_command_continues(whole, here):
    command = Command("train", *RUN, "dataset.workers=2", cwd=here, fault=Fault("sleep", "descent", 8))
    wait_for(lambda: (here / "asleep").exists())
    victim, other = children_of(command.pid)
    os.kill(victim, signal.SIGKILL)
    ended = command.wait()
    assert_told(ended, "a process that reads images ended: is killed by signal: Killed", "dataset.workers")
    assert not Path(f"/proc/{other}").exists()
    assert train("dataset.workers=2", cwd=here).code == 0
    assert_same_run(here / "run", whole / "run")


def test_a_worker_whose_parent_died_before_the_worker_looked_ends():
    code = """if True:
        import multiprocessing, os, signal, time
        from tenet.data.images import obey_parent_alone
        def work(start):
            start.wait()
            obey_parent_alone(0)
            time.sleep(200)
        context = multiprocessing.get_context("fork")
        start = context.Event()
        worker = context.Process(target=work, args=(start,))
        worker.start()
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        start.set()
    """
    # Its output ends when the last process that holds it does.
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60)


def test_a_broken_image_is_named(here):
    victim = here / "tree" / "train" / "class_1" / "4.png"
    victim.write_bytes(victim.read_bytes()[:60])
    assert_told(train("dataset.workers=1", cwd=here), str(victim), "can't be read as an image")


def test_a_finished_run_answers_for_the_images_that_it_was_trained_on_alone(whole):
    victim = whole / "tree" / "train" / "class_1" / "4.png"
    content = victim.read_bytes()
    victim.write_bytes(content)  # a copy of the data set has other times
    assert "already" in train("dataset.workers=0", cwd=whole).output
    victim.write_bytes(content[:-1] + b"x")
    assert_told(train("dataset.workers=0", cwd=whole), "the data set has changed", "training images")
    victim.write_bytes(content)
