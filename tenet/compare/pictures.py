"""The X-rays of runs, inside the comparison page."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tenet.compare.runs import Run
from tenet.errors import printable

MAX_BYTES, MAX_BYTES_IN_ALL = 2**20, 8 * 2**20


def xrays(runs: Sequence[Run]) -> str:
    """The pictures that `python -m tenet.xray` left in the run folders, as far as they fit, and how many do not."""
    shown: list[str] = []
    left_out = size = 0
    for run in runs:
        for path in sorted((run.folder / "evaluation").glob("xray*.png"), key=lambda path: path.stem):
            picture = _png(path)
            if picture is None or size + len(picture) > MAX_BYTES_IN_ALL:
                left_out += 1
                continue
            size += len(picture)
            name = escape(printable(f"{run.folder.name}/evaluation/{path.name}"))
            source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            state = "" if shown else " open"
            shown.append(
                f'<details{state}><summary>{name}</summary><img alt="{name}" src="{source}"></details>'
            )
    more = f" {left_out} more are left out: too large, or no PNG." * (left_out > 0)
    about = f"What inhibition would do to single images, from python -m tenet.xray.{more}"
    return f"<h2>X-rays</h2><p>{about}</p>{''.join(shown)}" if shown or left_out else ""


def _png(path: Path) -> bytes | None:
    """None for what is too large, or something else under this name."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return content if content.startswith(b"\x89PNG\r\n\x1a\n") else None
