"""The command that downloads, verifies and unpacks an archive."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenet.corruptions import OfficialArchive, download
from tenet.corruptions.download import fetch, main
from tenet.corruptions.published import ARCHIVES, PublishedArchive
from tenet.errors import DatasetError
from tests.corruptions.archive_server import (
    FILE,
    FOLDER,
    NAMES,
    Server,
    assert_unpacked,
    npy,
    published,
    tar_of,
)


def test_the_table_contains_archives_of_nineteen_corruptions_of_ten_thousand_images() -> None:
    folders = {name: archive.folder_name for name, archive in ARCHIVES.items()}
    assert folders == {"cifar10c": "CIFAR-10-C", "cifar100c": "CIFAR-100-C"}
    for archive in ARCHIVES.values():
        assert archive.url.startswith("https://zenodo.org/")
        assert archive.file_name == f"{archive.folder_name}.tar"
        assert 0 < archive.size - len(NAMES) * 50_000 * 32 * 32 * 3 < 200_000
        assert len(bytes.fromhex(archive.md5)) == 16


def test_the_command_downloads_unpacks_and_says_how_to_use_the_files(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: Any
) -> None:
    root = tmp_path / "new" / "data sets"
    assert main(["tiny", str(root)]) == 0
    assert_unpacked(root, server.body)
    assert OfficialArchive(root / FOLDER).names == NAMES
    assert sorted(path.name for path in root.iterdir()) == [f".{FILE}.lock", FOLDER]
    assert f"evaluate.py run=RUN_DIR 'corruptions.root=\"{root / FOLDER}\"'" in capsys.readouterr().out
    assert server.sent == archive.size
    # The second time there is nothing to do.
    assert main(["tiny", str(root)]) == 0
    assert "is complete: nothing to do" in capsys.readouterr().out
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 1000)])
def test_an_incomplete_folder_is_completed_from_a_kept_archive(
    server: Server, archive: PublishedArchive, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    fetch(archive, tmp_path, keep_archive=True)
    assert (tmp_path / FILE).read_bytes() == server.body
    damage(tmp_path / FOLDER / "fog.npy")
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)
    assert not (tmp_path / FILE).exists()
    assert len(server.requests) == 1


def test_a_folder_on_another_disk_is_filled_through_its_link(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / FOLDER).symlink_to(tmp_path / "scratch")
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)
    assert (tmp_path / "scratch" / "fog.npy").exists()


CHILD = """
import sys
from tenet.corruptions import download
url, size, md5, root = sys.argv[1:]
download.ARCHIVES["tiny"] = download.PublishedArchive(url, int(size), md5)
sys.exit(download.main(["tiny", root]))
"""


@pytest.mark.slow
def test_one_process_downloads_at_a_time_and_a_killed_one_is_resumed(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: Any
) -> None:
    half = archive.size // 2
    server.cuts, server.stalls = [half], True
    arguments = [archive.url, str(archive.size), archive.md5, str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.DEVNULL)
    part = tmp_path / f"{FILE}.part"
    try:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size == half):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.01)
        assert main(["tiny", str(tmp_path)]) == 1
        assert "another process is downloading" in capsys.readouterr().err
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.released.set()
    assert main(["tiny", str(tmp_path)]) == 0
    assert server.requests == [None, f"bytes={half}-"]
    assert server.sent == archive.size
    assert_unpacked(tmp_path, server.body)


def test_interrupted_unpacking_leaves_no_half_file_and_resumes_without_a_request(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, calls = tarfile.TarFile.extract, []

    def interrupted(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, **options: Any) -> None:
        calls.append(member)
        if len(calls) > 5:
            (path / member.name).write_bytes(b"half")
            raise KeyboardInterrupt
        extract(tar, member, path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "extract", interrupted)
        assert main(["tiny", str(tmp_path)]) == 130
    assert len(list((tmp_path / FOLDER).glob("*.npy"))) == 5
    assert main(["tiny", str(tmp_path)]) == 0
    assert len(server.requests) == 1
    assert_unpacked(tmp_path, server.body)


def test_too_little_disk_space_is_reported_before_any_request(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:100_000])
    needed = 2 * archive.size - 100_000
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(DatasetError, match=r"0\.0 GB free.* need 0\.0 GB more; free some space"):
        fetch(archive, tmp_path)
    assert server.requests == []
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    fetch(archive, tmp_path)


def test_a_file_that_is_not_the_published_archive_is_refused_and_kept(tmp_path: Path, body: bytes) -> None:
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"not the published file: it has 4 bytes and MD5 .* or remove it"):
        fetch(published(body), tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def test_an_archive_without_all_corruptions_is_not_complete(tmp_path: Path) -> None:
    labels, fog = npy(np.tile(np.array([3, 7]), 5)), npy(np.zeros((10, 4, 4, 3), np.uint8))
    content = tar_of((f"./{FOLDER}/labels.npy", labels), (f"./{FOLDER}/fog.npy", fog))
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DatasetError, match="lacks gaussian_noise"):
        fetch(published(content), tmp_path)


URLS = ["", "ftp://host/f", "file:///etc/passwd", "http://", "http://host:x/", "http://a b/"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["cifar10c"], ["cifar11c", "ROOT"], *(["cifar10c", "ROOT", f"--url={url}"] for url in URLS)],
)
def test_wrong_arguments_exit_with_two(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_reported_in_one_line(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert main(["cifar10c", str(tmp_path / "file")]) == 1
    assert f"{tmp_path / 'file'}: File exists; move the file away" in capsys.readouterr().err
