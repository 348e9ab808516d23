"""Reads W&B's own file of a run, which `wandb sync` uploads."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class RunRecords(NamedTuple):
    """The records of one part of a run; a resumed or evaluated run has several parts."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    step_metrics: dict[str, str]
    system_metrics: set[str]
    saved_files: set[str]
    artifacts: list[Any]
    exit_code: int
    is_preempting: bool


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

    wandb.teardown()  # wandb's process may still be writing the last records of a finished run
    records = [Record.FromString(raw) for raw in leveldb_log(path.read_bytes())]

    def of(kind: str) -> list[Any]:
        return [getattr(record, kind) for record in records if record.HasField(kind)]  # type: ignore[arg-type]

    (run,) = of("run")
    (end,) = of("exit")
    return RunRecords(
        run=run,
        config=values(run.config.update),
        history=[values(row.item) for row in of("history")],
        summary={name: value for part in of("summary") for name, value in values(part.update).items()},
        step_metrics={metric.glob_name: metric.step_metric for metric in of("metric") if metric.glob_name},
        system_metrics={item.key for part in of("stats") for item in part.item},
        saved_files={file.path for part in of("files") for file in part.files},
        artifacts=of("artifact"),
        exit_code=end.exit_code,
        is_preempting=bool(of("preempting")),
    )


def wandb_files(run_dir: Path) -> list[Path]:
    return sorted(
        (run_dir / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime
    )
