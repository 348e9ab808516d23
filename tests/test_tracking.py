"""Real W&B runs, offline, read back from the file that `wandb sync` would upload."""

import json
import logging
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tenet.errors import ConfigError
from tenet.metrics_file import MetricsFile, read_metrics
from tenet.tracking import NoTracking, Tracker, WandbTracking

CONFIG = {"seed": 3, "tenet": {"groups": 6, "weight": 0.1}, "augment": {"operators": ["rotate", "shear_x"]}}
METRICS = {"epoch": 0, "train/loss": 1.9, "corruption/fog/3/error_pct": 41.5}


class RunRecords(NamedTuple):
    """What an offline W&B file says of its run."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    step_metrics: dict[str, str]
    exit_code: int


def leveldb_log(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: 7 bytes, then blocks of 32 KiB of chunks (crc32, length, type, data)."""
    position, record = 7, b""
    while position + 7 <= len(data):
        left_in_block = 32768 - position % 32768
        if left_in_block < 7:
            position += left_in_block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last chunk of one
            yield record
            record = b""


def values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read_wandb_file(path: Path) -> RunRecords:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # wandb's own process may still be writing the last records of a finished run
    records = [Record.FromString(raw) for raw in leveldb_log(path.read_bytes())]
    (run,) = (record.run for record in records if record.HasField("run"))
    history = [values(record.history.item) for record in records if record.HasField("history")]
    summaries = [values(record.summary.update) for record in records if record.HasField("summary")]
    defined = [record.metric for record in records if record.HasField("metric")]
    (exit_code,) = (record.exit.exit_code for record in records if record.HasField("exit"))
    return RunRecords(
        run=run,
        config=values(run.config.update),
        history=history,
        summary={name: value for summary in summaries for name, value in summary.items()},
        step_metrics={metric.glob_name: metric.step_metric for metric in defined if metric.glob_name},
        exit_code=exit_code,
    )


def wandb_files(run_dir: Path) -> list[Path]:
    return sorted(
        (run_dir / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime
    )


class Session(NamedTuple):
    """Three offline runs of one process: one that ends well, its continuation, and one that fails."""

    first_dir: Path
    first: RunRecords
    continued: RunRecords
    failed: RunRecords


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    from PIL import Image

    root = tmp_path_factory.mktemp("session")
    first_dir, failed_dir = root / "not" / "there yet", root / "failed"
    Image.new("RGB", (4, 4)).save(root / "grid.png")
    tracking = WandbTracking(
        project="robust",
        name="six groups",
        group="ablation",
        job_type="train",
        tags=("cifar",),
        mode="offline",
    )
    with tracking.start(first_dir, config=CONFIG) as tracker:
        tracker.log(METRICS, step=12)
        tracker.log({"train/loss": math.nan}, step=24)
        tracker.log_image("evaluation/grid", root / "grid.png")
        tracker.log_table("evaluation/errors", ("corruption", "error_pct"), [("fog", 41.5), ("mean", None)])
        tracker.summarize({"test/error_pct": 3.5})
    time.sleep(1)  # older wandb names a run's folder by its id and the second
    with tracking.start(first_dir, config={"severity": 5}, job_type="evaluate", resume=True) as tracker:
        tracker.summarize({"corruption/mce_pct": 12.3})
    with pytest.raises(KeyboardInterrupt), tracking.start(failed_dir, config={}, job_type="sweep"):
        raise KeyboardInterrupt
    first, continued = wandb_files(first_dir)
    (failed,) = wandb_files(failed_dir)
    return Session(first_dir, *map(read_wandb_file, (first, continued, failed)))


def test_wandb_receives_the_whole_config(session: Session) -> None:
    assert {name: value for name, value in session.first.config.items() if name != "_wandb"} == CONFIG


def test_wandb_receives_metrics_under_their_own_names_over_our_step(session: Session) -> None:
    first, second = (row for row in session.first.history if "train/loss" in row)
    assert METRICS.items() | {("step", 12)} <= first.items()
    assert second["step"] == 24
    assert math.isnan(float(second["train/loss"]))
    assert session.first.step_metrics == {"*": "step"}


def test_wandb_receives_image_table_and_summary(session: Session) -> None:
    summary = session.first.summary
    assert summary["test/error_pct"] == 3.5
    assert summary["evaluation/grid/_type"] == "image-file"
    assert (summary["evaluation/errors/_type"], summary["evaluation/errors/nrows"]) == ("table-file", 2)


def test_wandb_run_carries_project_name_group_job_type_and_tags(session: Session) -> None:
    run = session.first.run
    assert (run.project, run.display_name, run.run_group) == ("robust", "six groups", "ablation")
    assert (run.job_type, list(run.tags)) == ("train", ["cifar"])
    assert session.failed.run.job_type == "sweep"


def test_wandb_run_that_meets_an_exception_has_exit_code_1_and_else_0(session: Session) -> None:
    assert [session.first.exit_code, session.continued.exit_code, session.failed.exit_code] == [0, 0, 1]


def test_each_start_in_a_process_is_a_run_of_its_own(session: Session, tmp_path: Path) -> None:
    assert session.first.run.run_id != session.failed.run.run_id
    tracking = WandbTracking(mode="offline")
    with (
        tracking.start(tmp_path / "outer", config={}),
        tracking.start(tmp_path / "inner", config={}) as inner,
    ):
        inner.log({"train/loss": 1.0}, step=1)
    (outer_file,), (inner_file,) = wandb_files(tmp_path / "outer"), wandb_files(tmp_path / "inner")
    assert len(read_wandb_file(inner_file).history) == 1
    assert read_wandb_file(outer_file).history == []


def test_a_continued_run_folder_keeps_its_wandb_run(session: Session) -> None:
    remembered = json.loads((session.first_dir / "wandb.json").read_text())
    assert session.continued.run.run_id == session.first.run.run_id == remembered["id"]
    assert (remembered["project"], remembered["url"]) == ("robust", None)
    assert session.continued.summary["corruption/mce_pct"] == 12.3
    assert session.continued.run.job_type == "", "the run stays a training run when it is evaluated"


def test_summaries_of_training_and_evaluation_stand_in_one_file(session: Session) -> None:
    summary = json.loads((session.first_dir / "summary.json").read_text())
    assert summary == {"test/error_pct": 3.5, "corruption/mce_pct": 12.3}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_no_file_of_the_run_is_open_after_finish(session: Session) -> None:
    opened = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
    assert [path for path in opened if path.startswith(str(session.first_dir))] == []


START = """
import sys, time
from pathlib import Path
from tenet.tracking import WandbTracking
begin = time.monotonic()
tracker = WandbTracking(init_timeout_s=1).start(Path(sys.argv[1]), config={}, resume=True)
print(time.monotonic() - begin)
with tracker:
    tracker.log({"train/loss": 1.0}, step=1)
"""


def start_in_a_bare_environment(run_dir: Path, home: Path, **variables: str) -> tuple[float, list[str]]:
    """Seconds that `start` took, and the lines on stderr; nobody is logged in and stdin is closed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
    process = subprocess.run(
        [sys.executable, "-c", START, str(run_dir)],
        env=kept | {"HOME": str(home), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return float(process.stdout), process.stderr.splitlines()


def test_without_an_api_key_the_run_is_offline_and_says_so_in_one_line(tmp_path: Path) -> None:
    seconds, (line,) = start_in_a_bare_environment(tmp_path / "run", tmp_path)
    (file,) = wandb_files(tmp_path / "run")
    assert line.startswith("W&B is offline (no API key is set up)")
    assert line.endswith(f"wandb sync {file.parent}")
    assert seconds < 15


@pytest.fixture(params=[b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"])
def refusing_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """host:port of a server that hangs up on every request, or answers it with status 500."""
    server = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if request.param and connection.recv(65536):
                    connection.sendall(request.param)

    thread = threading.Thread(target=refuse)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_where_the_server_refuses_the_remembered_run_goes_on_offline(
    tmp_path: Path, refusing_server: str
) -> None:
    run_dir, netrc = tmp_path / "run", tmp_path / "netrc"
    run_dir.mkdir()
    (run_dir / "wandb.json").write_text('{"id": "remembered", "project": "robust", "entity": null}')
    hosts = refusing_server, refusing_server.split(":")[0]  # older wandb looks the host up without its port
    netrc.write_text("\n".join(f"machine {host} login user password {'a' * 40}" for host in hosts))
    netrc.chmod(0o600)
    seconds, (line,) = start_in_a_bare_environment(
        run_dir, tmp_path, WANDB_BASE_URL=f"http://{refusing_server}", NETRC=str(netrc)
    )
    (file,) = wandb_files(run_dir)
    assert line.startswith("W&B is offline (no run could be opened online: CommError")
    assert line.endswith(f"wandb sync {file.parent}")
    assert read_wandb_file(file).run.run_id == "remembered"
    assert seconds < 15


@pytest.mark.parametrize(
    ("mode", "wandb_mode", "key"), [("online", "offline", "tracking.mode"), ("auto", "online", "WANDB_MODE")]
)
def test_online_without_an_api_key_is_an_error_that_names_the_remedies(
    mode: str, wandb_mode: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", wandb_mode)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    with pytest.raises(
        ConfigError, match=rf"^{key}=online .*wandb login.*WANDB_API_KEY.*mode=offline.*=none"
    ):
        WandbTracking(mode=mode).start(tmp_path, config={})


@pytest.mark.parametrize("settings", [{"mode": "sometimes"}, {"init_timeout_s": 0.0}, {"tags": "cifar"}])
def test_settings_that_cannot_work_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"tracking.{next(iter(settings))}="):
        WandbTracking(**settings)


def test_wandb_mode_disabled_leaves_the_local_files_alone_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with WandbTracking().start(tmp_path, config={}) as tracker:
        tracker.log({"train/loss": 1.0}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_no_tracking_writes_the_local_files_alone(tmp_path: Path) -> None:
    with NoTracking().start(tmp_path / "new", config=CONFIG) as tracker:
        tracker.log(METRICS, step=12)
        tracker.log_table("table", ("a",), [(1,)])
        tracker.log_image("image", tmp_path / "absent.png")
        tracker.summarize({"test/error_pct": math.inf})
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == [{"step": 12, **METRICS}]
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == {"test/error_pct": None}
    assert len(list((tmp_path / "new").iterdir())) == 2


class BrokenRun:
    """A W&B run of which every call fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.summary = self

    def log(self, data: dict[str, Any]) -> None:
        self.calls.append("log")
        raise ConnectionError("the process behind wandb is gone\nand more")

    def finish(self, *, exit_code: int) -> None:
        self.calls.append(f"finish {exit_code}")
        raise TimeoutError("not uploaded in time")


def test_trouble_with_wandb_is_one_warning_and_the_metrics_file_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = BrokenRun()
    with Tracker(tmp_path, wandb_run=run) as tracker:
        for step in range(3):
            tracker.log({"train/loss": 1.0}, step=step)
        tracker.summarize({"test/error_pct": 3.5})
        tracker.finish()
    assert run.calls == ["log", "finish 0"]
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("tenet", logging.WARNING)
    assert "(ConnectionError: the process behind wandb is gone)" in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]


def test_an_upload_that_does_not_end_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Tracker(tmp_path, wandb_run=BrokenRun()).finish()
    (warning,) = caplog.records
    assert "not uploaded in time" in warning.getMessage()
    assert "wandb sync" in warning.getMessage()


def test_metrics_file_is_strict_json_and_nulls_read_as_nan(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({"epoch": 0, "train/loss": math.nan, "speed/images_per_s": -math.inf}, step=7)
    text = file.path.read_text()
    assert text == '{"step": 7, "epoch": 0, "train/loss": null, "speed/images_per_s": null}\n'
    (row,) = read_metrics(file.path)
    assert row["step"] == 7
    assert math.isnan(row["train/loss"])


def test_metrics_file_forgets_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        file.write({"train/loss": step / 10}, step=step)
    file.drop_after(20)
    file.write({"train/loss": 2.5}, step=25)
    assert [row["step"] for row in read_metrics(file.path)] == [10, 20, 25]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("torn", ['{"step": 20, "trai', '{"step": 20}', "\0\0\0"])
def test_a_torn_last_line_is_dropped(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n' + torn)
    assert read_metrics(path) == [{"step": 10}]
    file = MetricsFile(path)
    file.write({}, step=20)
    assert path.read_text() == '{"step": 10}\n{"step": 20}\n'
    with path.open("a") as handle:
        handle.write(torn)
    file.drop_after(15)
    assert path.read_text() == '{"step": 10}\n'


def test_a_crash_while_dropping_leaves_the_metrics_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({}, step=10)
    file.write({}, step=20)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        file.drop_after(10)
    assert [row["step"] for row in read_metrics(file.path)] == [10, 20]


def test_importing_tracking_does_not_import_wandb() -> None:
    code = "import sys, tenet.tracking; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
