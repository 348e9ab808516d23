"""One thread for all tests of corruptions, and the fixtures of a downloaded archive."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tenet.corruptions import download
from tenet.corruptions.published import ARCHIVES, PublishedArchive
from tests.corruptions.archive_server import FOLDER, NAMES, Server, npy, published, tar_of


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """These tests make many small calls, for which a second thread costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def body() -> bytes:
    """A tar in the official layout: 19 corruptions of two images, labels and a readme; 600 kB."""
    generator = np.random.default_rng(0)
    images = [
        (f"{FOLDER}/{name}.npy", npy(generator.integers(0, 256, (10, 32, 32, 3), np.uint8))) for name in NAMES
    ]
    labels = npy(np.tile(np.array([3, 7], np.uint8), 5))
    return tar_of(*images, (f"{FOLDER}/labels.npy", labels), (f"{FOLDER}/README.txt", b"words"))


@pytest.fixture
def server(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, value in {"TIMEOUT_S": 5.0, "RETRIES": 3, "FIRST_WAIT_S": 0.01}.items():
        monkeypatch.setattr(download, name, value)
    with Server(body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> PublishedArchive:
    archive = published(server.body, server.url)
    monkeypatch.setitem(ARCHIVES, "tiny", archive)
    return archive
