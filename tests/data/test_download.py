"""CIFAR: downloaded from a server, read from an archive in the folder, or refused with what to do."""

import functools
import hashlib
import http.server
import io
import multiprocessing
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torchvision import datasets

from tenet.data import Cifar
from tenet.errors import DatasetError

# torchvision leaves the filter of extracted files to Python, which warns of that up to 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")

CLASSES = {"cifar10": ["cat", "dog"], "cifar100": ["apple", "bear", "crab"]}


class Archive:
    """A CIFAR archive of twelve training and four test images, in the official layout."""

    def __init__(self, name: str) -> None:
        self.source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        generator = np.random.default_rng(0)
        label_key = "labels" if name == "cifar10" else "fine_labels"
        batches = ["batch_1", "batch_2"] if name == "cifar10" else ["train"]
        self.members: dict[str, bytes] = {}
        self.rows: dict[str, np.ndarray] = {}
        self.labels: dict[str, list[int]] = {}
        for batch in [*batches, "test"]:
            count = 4 if batch == "test" else 12 // len(batches)
            self.rows[batch] = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
            self.labels[batch] = [index % len(CLASSES[name]) for index in range(count)]
            self.members[batch] = pickle.dumps({"data": self.rows[batch], label_key: self.labels[batch]})
        meta_key = "label_names" if name == "cifar10" else "fine_label_names"
        self.members["meta"] = pickle.dumps({meta_key: CLASSES[name]})
        self.batches, self.meta_key = batches, meta_key
        self.content = self._pack()

    def _pack(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for member, content in self.members.items():
                info = tarfile.TarInfo(f"{self.source.base_folder}/{member}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    def stand_in(self, monkeypatch: pytest.MonkeyPatch, *, url: str) -> None:
        """Make torchvision's class take this archive, at `url`, for the official one."""

        def md5(content: bytes) -> str:
            return hashlib.md5(content).hexdigest()

        monkeypatch.setattr(self.source, "url", url)
        monkeypatch.setattr(self.source, "tgz_md5", md5(self.content))
        monkeypatch.setattr(
            self.source, "train_list", [[name, md5(self.members[name])] for name in self.batches]
        )
        monkeypatch.setattr(self.source, "test_list", [["test", md5(self.members["test"])]])
        meta = {"filename": "meta", "key": self.meta_key, "md5": md5(self.members["meta"])}
        monkeypatch.setattr(self.source, "meta", meta)


@pytest.fixture(autouse=True)
def _without_proxy_and_with_the_timeout_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "*")
    assert socket.getdefaulttimeout() is None
    yield
    assert socket.getdefaulttimeout() is None


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def archive(name: str) -> Archive:
    return Archive(name)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class NonsenseHandler(QuietHandler):
    """Answers in no HTTP at all."""

    def do_GET(self) -> None:
        self.wfile.write(b"hello\r\n\r\n")


class SlowHandler(QuietHandler):
    """Answers after a while, and counts its answers."""

    answers: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answers.append(self.path)
        time.sleep(0.5)
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server of the folder `served`; parametrised by its handler."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(getattr(request, "param", QuietHandler), directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_an_archive_is_downloaded_at_first_use_and_read(
    name: str, archive: Archive, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "archive.tar.gz").write_bytes(archive.content)
    archive.stand_in(monkeypatch, url=f"{server}/archive.tar.gz")
    dataset = Cifar(name=name, root=str(tmp_path / "new" / "root"))
    train, _, test = dataset.load()
    classes = train.classes

    assert classes == tuple(CLASSES[name])
    assert train.images.shape == (12, 32, 32, 3)
    rows = np.concatenate([archive.rows[batch] for batch in archive.batches])
    # A row of the archive is the red, the green and the blue plane, one after the other.
    assert np.array_equal(train.images.numpy(), rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert train.labels.tolist() == [label for batch in archive.batches for label in archive.labels[batch]]
    assert test.labels.tolist() == archive.labels["test"]

    archive.stand_in(monkeypatch, url=closed_port())
    assert torch.equal(dataset.load().train.images, train.images), "the second use needs no server"


def test_an_archive_that_lies_in_root_needs_no_server(
    name: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.stand_in(monkeypatch, url=closed_port())
    (tmp_path / archive.source.filename).write_bytes(archive.content)
    assert Cifar(name=name, root=str(tmp_path)).load().test.labels.tolist() == archive.labels["test"]


def refusal(name: str, root: Path) -> str:
    with pytest.raises(DatasetError) as error:
        Cifar(name=name, root=str(root)).load()
    return str(error.value)


def test_without_a_server_it_is_told_which_file_to_put_where(
    name: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.stand_in(monkeypatch, url=closed_port())
    message = refusal(name, tmp_path)
    assert "refused" in message
    assert f"Put {archive.source.filename} (MD5 {archive.source.tgz_md5}) into {tmp_path}" in message
    assert "dataset=arrays dataset.path=FILE.npz" in message


@pytest.mark.parametrize("server", [NonsenseHandler], indirect=True)
@pytest.mark.parametrize("name", ["cifar10"], indirect=True)
def test_a_server_that_answers_nonsense_is_told_alike(
    name: str, archive: Archive, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.stand_in(monkeypatch, url=server)
    assert f"Put {archive.source.filename}" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10"], indirect=True)
def test_an_archive_damaged_on_its_way_is_refused_and_fetched_anew_the_next_time(
    name: str, archive: Archive, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served" / "archive.tar.gz"
    served.write_bytes(archive.content[:-200])
    archive.stand_in(monkeypatch, url=f"{server}/archive.tar.gz")
    assert f"Put {archive.source.filename}" in refusal(name, tmp_path)
    served.write_bytes(archive.content)
    assert len(Cifar(name=name, root=str(tmp_path)).load().train.labels) == 12


@pytest.mark.parametrize("server", [SlowHandler], indirect=True)
@pytest.mark.parametrize("name", ["cifar10"], indirect=True)
def test_of_four_processes_that_start_at_once_one_downloads(
    name: str, archive: Archive, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "archive.tar.gz").write_bytes(archive.content)
    archive.stand_in(monkeypatch, url=f"{server}/archive.tar.gz")
    Cifar(name=name, root=str(tmp_path / "alone")).load()
    one_download = list(SlowHandler.answers)  # torchvision first asks where the address leads
    SlowHandler.answers.clear()

    def load() -> None:
        assert (
            Cifar(name=name, root=str(tmp_path / "root")).load().test.labels.tolist()
            == archive.labels["test"]
        )

    # Forks, which inherit the stand-in.
    processes = [multiprocessing.get_context("fork").Process(target=load) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert SlowHandler.answers == one_download
    names = {path.name for path in (tmp_path / "root").iterdir()}
    assert names == {archive.source.base_folder, archive.source.filename}


@pytest.mark.parametrize("name", ["cifar10"], indirect=True)
def test_a_folder_that_can_not_be_written_to_is_read(
    name: str, archive: Archive, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.stand_in(monkeypatch, url=closed_port())
    (tmp_path / archive.source.filename).write_bytes(archive.content)
    dataset = Cifar(name=name, root=str(tmp_path))
    dataset.load()
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("no lock is needed"))
    dataset.load()
