"""Which W&B run a folder belongs to: the one that it remembers, or the ids that a new one may take."""

import os
import secrets
from pathlib import Path
from typing import Any

from tenet.files.json import read_json
from tenet.files.names import WANDB_FILE

WANDB_HEADER_BYTES = 7  # of the file that `wandb sync` uploads


def remembered_run(run_dir: Path) -> dict[str, Any] | None:
    """Arguments of `wandb.init` that continue the folder's W&B run.

    None if the folder has none, or if a sweep's agent asks for another.
    """
    known = read_json(run_dir / WANDB_FILE)
    if not (known.get("id") and known.get("project")):
        return None
    if os.environ.get("WANDB_RUN_ID", known["id"]) != known["id"]:
        return None
    return {**{name: known.get(name) for name in ("id", "project", "entity")}, "resume": "allow"}


def new_ids(run_id: str | None) -> list[dict[str, str]]:
    """Arguments of `wandb.init` that set a new run's id, to try in this order.

    Two runs with one id would be mixed. Only a server knows whether an id is taken, and `wandb sync` does
    not ask, so an offline run takes the last one, which is unique.
    """
    if "WANDB_RUN_ID" in os.environ:  # a sweep's agent may ask for the same run twice
        return [{"resume": "allow"}]
    if run_id is None:
        return [{}]
    return [{"id": run_id, "resume": "never"}, {"id": f"{run_id}-{secrets.token_hex(4)}"}]


def has_parts_to_upload(run_dir: Path) -> bool:
    """Whether offline parts wait for `wandb sync`, which marks what it has uploaded."""
    waiting = False
    for part in (run_dir / "wandb").glob("offline-run-*/run-*.wandb"):
        if part.stat().st_size <= WANDB_HEADER_BYTES:
            # The process was killed at once; `wandb sync` would stop at this file and skip the others.
            part.rename(part.with_suffix(".empty"))
        else:
            waiting = waiting or not part.with_name(f"{part.name}.synced").exists()
    return waiting


def is_taken(error: Exception) -> bool:
    """Whether `wandb.init` failed because another run has or had this id."""
    from wandb.errors import UsageError

    return isinstance(error, UsageError) or "previously created and deleted" in str(error)
