"""Downloads from servers that cut, stall, refuse or send something else."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tenet.corruptions import download
from tenet.corruptions.download import fetch, main
from tenet.corruptions.published import PublishedArchive
from tenet.errors import DatasetError
from tests.corruptions.archive_server import FILE, Server, assert_unpacked


def test_a_connection_that_is_cut_repeatedly_loses_no_byte(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    # More cuts than retries, but each connection brings new bytes.
    cuts = [100_000, 1, 70_000, 50_000, 3, 60_000]
    server.cuts = list(cuts)
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)
    assert server.sent == archive.size
    assert server.requests == [None, *(f"bytes={sum(cuts[:end])}-" for end in range(1, len(cuts) + 1))]


def test_a_stalled_connection_times_out_and_its_bytes_are_kept(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)
    server.cuts, server.stalls = [123_457], True
    fetch(archive, tmp_path)
    assert server.sent == archive.size
    assert_unpacked(tmp_path, server.body)


@pytest.mark.parametrize("names_length", [True, False])
def test_a_server_without_ranges_sends_the_whole_file_again(
    names_length: bool, server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.has_ranges, server.names_length, server.cuts = False, names_length, [100_000, 200_000]
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)
    assert server.sent == archive.size + 300_000


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.has_ranges, server.cuts = False, [100_000] * 99
    with pytest.raises(DatasetError, match=r"was cut; gave up after 3 retries\. 100,000 of .* are kept"):
        fetch(archive, tmp_path)
    assert len(server.requests) == 5
    assert (tmp_path / f"{FILE}.part").stat().st_size == 100_000


def test_another_range_than_requested_is_not_appended(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:100_000])
    server.headers = {"Content-Range": f"bytes 5-9/{archive.size}"}
    fetch(archive, tmp_path)
    assert server.requests == ["bytes=100000-", None]
    assert_unpacked(tmp_path, server.body)


def test_a_wrong_checksum_removes_the_download_and_reports_both(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(bytes(100_000))
    assert main(["tiny", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert archive.md5 in error
    assert hashlib.md5(bytes(100_000) + server.body[100_000:]).hexdigest() in error
    assert [path.name for path in tmp_path.iterdir()] == [f".{FILE}.lock"]


@pytest.mark.parametrize("present", [0, 100_000])
@pytest.mark.parametrize("difference", [-1000, 1000])
def test_a_file_of_another_size_is_refused_before_it_is_read(
    server: Server, archive: PublishedArchive, tmp_path: Path, difference: int, present: int
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:present])
    server.body = server.body[:difference] if difference < 0 else server.body + bytes(difference)
    with pytest.raises(DatasetError, match=f"has {len(server.body)} bytes, but {FILE} has {archive.size}"):
        fetch(archive, tmp_path)
    assert (tmp_path / f"{FILE}.part").stat().st_size == present


def test_a_file_of_unknown_length_is_read_to_little_more_than_the_published_size(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.names_length, server.body = False, server.body + bytes(10 * download.BLOCK_BYTES)
    with pytest.raises(DatasetError, match="it was removed") as refused:
        fetch(archive, tmp_path)
    read = int(str(refused.value).split("it has ")[1].split(" ")[0].replace(",", ""))
    assert archive.size < read <= archive.size + download.BLOCK_BYTES
    assert not (tmp_path / f"{FILE}.part").exists()


def test_errors_of_the_server_are_retried_only_if_they_may_pass(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: Any
) -> None:
    server.statuses = [404]
    assert main(["tiny", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("answered 404 Not Found; give another --url\n")
    assert len(server.requests) == 1
    server.statuses = [503, 500, 429]
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)


def test_a_copy_elsewhere_is_used_and_an_unreachable_one_is_given_up(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    with Server(b"") as closed:
        url = closed.url
    with pytest.raises(DatasetError, match=r"Connection refused; gave up after 3 retries\. 0 of"):
        fetch(archive, tmp_path, url=url)
    fetch(archive._replace(url=url), tmp_path, url=server.url)
    assert_unpacked(tmp_path, server.body)
