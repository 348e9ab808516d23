"""Unpacking a tar that is not trusted: plain files below one folder, of a bounded size and number."""

import io
import shutil
import tarfile
from functools import partial
from pathlib import Path, PurePosixPath

from tenet.corruptions.transfer import BLOCK_BYTES
from tenet.errors import DatasetError, UserError
from tenet.run.progress import ProgressReport

MAX_MEMBERS = 1000


def unpack(packed: Path, folder: Path, *, limit_bytes: int) -> None:
    """Write the files of a tar, all of which must lie in `folder`, each to a temporary name first. Raises
    DatasetError, before anything is written, where `safe_files` refuses a member."""
    # Brings torch, which a wrong command and a long download need not wait for.
    from tenet.files.atomic import write_atomically

    for left_by_a_crash in folder.glob(".*.tmp"):
        left_by_a_crash.unlink()
    try:
        with SparingReader(packed) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            files = safe_files(tar, folder_name=folder.name, limit_bytes=limit_bytes)
            with ProgressReport(folder.name, total=len(files), unit="file") as progress:
                for done, member in enumerate(files, start=1):
                    target = folder.parent / PurePosixPath(member.name)
                    write_atomically(target, partial(_copy_member, tar, member))
                    progress.update(done, target.name)
    except UserError:
        raise
    except (tarfile.TarError, EOFError, ValueError, ArithmeticError, RecursionError) as error:
        raise DatasetError(f"{packed} is not a whole tar ({error}); remove it and start again") from error


class SparingReader(io.FileIO):
    """A file that gives a block at a time: a header of a tar may claim any length, and would be read whole."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def safe_files(tar: tarfile.TarFile, *, folder_name: str, limit_bytes: int) -> list[tarfile.TarInfo]:
    """The regular files of `tar`. Raises DatasetError, naming the member, where one is neither a plain file
    nor a folder, lies outside of `folder_name`, is there twice, or makes them too many or larger than
    `limit_bytes` in all."""
    files, unpacked, seen = [], 0, set()
    for count, member in enumerate(tar, start=1):
        parts = PurePosixPath(member.name).parts
        unpacked += abs(member.size)
        refusal = None
        if not (member.isreg() or member.isdir()) or member.issparse():
            refusal = "is a link, a device or another thing that is neither a plain file nor a folder"
        elif not parts or parts[0] != folder_name or ".." in parts or "\0" in member.name:
            refusal = f"lies outside of {folder_name}"
        elif member.size < 0 or unpacked > limit_bytes:
            refusal = f"brings the files to more than the {limit_bytes:,} bytes of the published archive"
        elif count > MAX_MEMBERS:
            refusal = f"is more than {MAX_MEMBERS} members"
        elif parts in seen:
            refusal = "is there twice"
        seen.add(parts)
        if refusal:
            raise DatasetError(f"{member.name!r} in the archive {refusal}; nothing was unpacked")
        if member.isreg():
            files.append(member)
    return files


def _copy_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None, "a regular file has content"
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)
