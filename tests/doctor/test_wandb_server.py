"""The check of W&B, against real servers on this machine."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tenet.doctor import wandb_server
from tenet.doctor.findings import Finding, examine
from tests.doctor.plans import plan_in

KEY = "0123456789" * 4


STALLS, TRICKLES = b"stalls", b"trickles"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every connection with the parameter; or never, or byte by byte forever."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        if request.param == STALLS:
            over.wait()
            return
        connection.recv(65536)
        while request.param == TRICKLES and not over.wait(0.05):
            connection.sendall(b"H")
        connection.sendall(request.param)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    over.set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("no_proxy", "*")


def reply(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def examined(tmp_path: Path) -> Finding:
    import wandb

    wandb.teardown()  # it reads the environment once for a process
    plan = plan_in(tmp_path, "tracking=wandb", with_data=False)
    (found,) = examine("W&B", wandb_server.check, plan).findings
    assert KEY not in str(found)
    return found


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("server", [reply("404 Not Found")], indirect=True)
def test_a_server_that_answers_is_fine(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    found = examined(tmp_path)
    assert found.status == "ok"
    assert found.what == f"W&B would be online: credentials are set up, {server} answers"


@pytest.mark.parametrize(
    ("server", "trouble"),
    [
        (reply("200 OK"), None),
        (reply("503 Service Unavailable"), "answers 503 Service Unavailable"),
        (b"no HTTP at all\r\n\r\n", "can't be reached (BadStatusLine)"),
        (b"", "can't be reached (RemoteDisconnected)"),
    ],
    indirect=["server"],
)
def test_what_a_server_answers_is_reported(
    server: str, trouble: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert wandb_server.find_trouble(server, timeout_s=5.0) == trouble


@pytest.mark.parametrize("server", [STALLS, TRICKLES], indirect=True)
def test_a_server_that_does_not_come_to_an_end_is_given_up_in_time(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    begin = time.monotonic()
    assert wandb_server.find_trouble(server, timeout_s=0.3) in (
        "does not answer within 0.3 s",
        "can't be reached (timed out)",
        "can't be reached (TimeoutError)",
    )
    assert time.monotonic() - begin < 2


@pytest.mark.usefixtures("online")
def test_a_port_where_nobody_listens_is_a_problem_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
    found = examined(tmp_path)
    assert found.status == "problem"
    assert "Connection refused" in found.what
    assert found.remedy is not None
    assert "tracking.mode=offline" in found.remedy


def test_without_credentials_the_run_would_be_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    found = examined(tmp_path)
    assert (found.status, found.figures["mode"]) == ("warning", "offline")
    assert "because no API key is set up" in found.what
    monkeypatch.setenv("WANDB_MODE", "online")
    assert examined(tmp_path).status == "problem"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert examined(tmp_path).status == "ok"
