"""The official archives as their authors publish them."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tenet.corruptions.archive import OfficialArchive
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.errors import DatasetError

BLOCK_BYTES = 1 << 20


def check_corruptions(folder: Path) -> None:
    """Raise DatasetError unless `folder` holds all 19 corruptions in the official layout."""
    present = OfficialArchive(folder).names
    if missing := [name for name in CORRUPTIONS + EXTRA_CORRUPTIONS if name not in present]:
        raise DatasetError(f"{folder} lacks {', '.join(missing)}; download it again")


class PublishedArchive(NamedTuple):
    """A published tar of `size` bytes, whose members all lie in a folder of the same name."""

    url: str
    size: int
    md5: str

    @property
    def file_name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def folder_name(self) -> str:
        return PurePosixPath(self.file_name).stem


def md5_and_size(path: Path) -> tuple[Any, int]:
    """The hashlib object with a file's MD5, and the file's length in bytes."""
    md5, size = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            md5.update(block)
            size += len(block)
    return md5, size


# URLs, sizes and checksums: Zenodo records 2535967 and 3555552.
ZENODO = "https://zenodo.org/records"
ARCHIVES = {
    "cifar10c": PublishedArchive(
        f"{ZENODO}/2535967/files/CIFAR-10-C.tar?download=1", 2_918_471_680, "56bf5dcef84df0e2308c6dcbcbbd8499"
    ),
    "cifar100c": PublishedArchive(
        f"{ZENODO}/3555552/files/CIFAR-100-C.tar?download=1",
        2_918_473_216,
        "11f0ed0f1191edbf9fa23466ae6021d3",
    ),
}
