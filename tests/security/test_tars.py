"""Unpacking a tar writes plain files into its own folder, or nothing."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tenet.corruptions.download import MAX_MEMBERS, unpack
from tenet.errors import DatasetError

LIMIT = 100_000
MEGABYTE = 2**20


def write(path: Path, *members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(max(0, member.size))) if member.isreg() else None)
    return path


def plain(name: str, size: int = 10) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def of_type(kind: bytes, name: str = "C/x", target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def set_size(path: Path, size: bytes) -> None:
    """Change the size in the first header, with a correct checksum."""
    content = bytearray(path.read_bytes())
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)


GOOD = plain("C/labels.npy")
REFUSED: dict[str, list[tarfile.TarInfo]] = {
    "a name with dots": [GOOD, plain("C/../../evil")],
    "a name with dots alone": [GOOD, plain("../evil")],
    "an absolute name": [GOOD, plain("/tmp/evil")],
    "another folder": [GOOD, plain("D/evil")],
    "no folder": [GOOD, plain("evil")],
    "a file with the folder's name": [plain("C")],
    "a symbolic link": [GOOD, of_type(tarfile.SYMTYPE, target="/etc/passwd")],
    "a link and a file through it": [of_type(tarfile.SYMTYPE, "C", "/tmp"), plain("C/evil")],
    "a hard link": [GOOD, of_type(tarfile.LNKTYPE, target="/etc/passwd")],
    "a device": [GOOD, of_type(tarfile.CHRTYPE)],
    "a block device": [GOOD, of_type(tarfile.BLKTYPE)],
    "a pipe": [GOOD, of_type(tarfile.FIFOTYPE)],
    "a file twice": [GOOD, GOOD],
    "a file twice under two names": [GOOD, plain("C/./labels.npy")],
    "too many bytes": [plain("C/a", 60_000), plain("C/b", 60_000)],
    "too many members": [plain(f"C/{number}", 0) for number in range(MAX_MEMBERS + 1)],
}


@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED)
def test_nothing_is_unpacked_from_a_tar_with_a_bad_member(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    path = write(tmp_path / "C.tar", *members)
    with pytest.raises(DatasetError, match=r"nothing was unpacked$"):
        unpack(path, tmp_path / "C", limit_bytes=LIMIT)
    assert [found.name for found in tmp_path.iterdir()] == ["C.tar"]


def a_negative_size(path: Path) -> None:
    write(path, plain("C/labels.npy"))
    set_size(path, b"\xff" * 11 + b"\x00")


def a_header_of_a_gigabyte(path: Path) -> None:
    """A sparse file, which takes almost no space on the disk."""
    write(path, of_type(b"x"), plain("C/labels.npy"))
    set_size(path, b"%011o\0" % 2**30)
    with path.open("ab") as file:
        file.truncate(2**30 + 10_000)


def a_name_of_a_gigabyte(path: Path) -> None:
    write(path, of_type(b"L"), plain("C/labels.npy"), format=tarfile.GNU_FORMAT)
    set_size(path, b"%011o\0" % 2**30)
    with path.open("ab") as file:
        file.truncate(2**30 + 10_000)


def headers_of_headers(path: Path) -> None:
    """Each long name describes the next one, so that tarfile reads them recursively."""
    write(path, *(of_type(b"L") for _ in range(5000)), plain("C/labels.npy"))


def a_cut_tar(path: Path) -> None:
    write(path, plain("C/labels.npy", 50_000))
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize(
    "make", [a_negative_size, a_header_of_a_gigabyte, a_name_of_a_gigabyte, headers_of_headers, a_cut_tar]
)
def test_a_tar_that_claims_too_much_is_refused_before_memory_is_allocated(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "C.tar"
    make(path)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError):
            unpack(path, tmp_path / "C", limit_bytes=LIMIT)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 20 * MEGABYTE
    assert not any((tmp_path / "C").glob("*"))


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "C.tar", "w:gz") as tar:
        tar.addfile(plain("C/labels.npy", 10 * MEGABYTE), io.BytesIO(bytes(10 * MEGABYTE)))
    with pytest.raises(DatasetError, match="is not a complete tar"):
        unpack(tmp_path / "C.tar", tmp_path / "C", limit_bytes=LIMIT)
