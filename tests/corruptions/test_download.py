"""Downloading archives, from a real server on this machine that misbehaves as told."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, OfficialArchive, download, transfer, unpacking
from tenet.corruptions.download import fetch, main
from tenet.corruptions.published import ARCHIVES, PublishedArchive
from tenet.corruptions.transfer import Patience
from tenet.errors import DatasetError

FOLDER, FILE = "TINY-C", "TINY-C.tar"
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS
IMPATIENT = Patience(timeout_s=5.0, retries=3, first_wait_s=0.01)


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """A tar of (name, content) files, and of bare headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                header = tarfile.TarInfo(member[0])
                header.size = len(member[1])
                tar.addfile(header, io.BytesIO(member[1]))
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def body() -> bytes:
    """The official layout: a folder, 19 corruptions of two images, labels, a readme; 600 kB."""
    generator = np.random.default_rng(0)
    top = tarfile.TarInfo(FOLDER)
    top.type = tarfile.DIRTYPE
    images = [
        (f"{FOLDER}/{name}.npy", npy(generator.integers(0, 256, (10, 32, 32, 3), np.uint8))) for name in NAMES
    ]
    labels = npy(np.tile(np.array([3, 7], np.uint8), 5))
    return tar_of(top, *images, (f"{FOLDER}/labels.npy", labels), (f"{FOLDER}/README.txt", b"words"))


class Server(ThreadingHTTPServer):
    """Serves `body`. `cuts`: after how many bytes each of the next answers ends; `stalls`: whether it then
    stays silent; `statuses`: errors to answer first. Counts the requests and the bytes of bodies."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.has_ranges, self.names_length = body, '"one"', True, True
        self.cuts: list[int] = []
        self.stalls, self.released = False, threading.Event()
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.requests: list[dict[str, str]] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{FILE}?download=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        if server.statuses:
            return self.answer(server.statuses.pop(0), b"", **server.headers)
        asked = self.headers.get("Range")
        if not (asked and server.has_ranges and self.headers.get("If-Range") in (None, server.etag)):
            return self.answer(200, server.body)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        total = len(server.body)
        if start >= total:
            return self.answer(416, b"")
        content_range = {"Content-Range": f"bytes {start}-{total - 1}/{total}", **server.headers}
        return self.answer(206, server.body[start:], **content_range)

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        server = self.server
        self.send_response(status)
        if server.names_length:
            self.send_header("Content-Length", str(len(content)))
        for name, value in {"ETag": server.etag, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        is_cut = bool(server.cuts)
        content = content[: server.cuts.pop(0)] if is_cut else content
        # Counted first: the client may be through before this thread goes on.
        server.sent += len(content)
        if is_cut and server.stalls:
            # The last bytes come alone, fewer than any buffer holds.
            self.wfile.write(content[:-10])
            time.sleep(0.05)
            self.wfile.write(content[-10:])
            server.released.wait(20)
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def published(body: bytes, url: str) -> PublishedArchive:
    return PublishedArchive(url, len(body), hashlib.md5(body).hexdigest())


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> PublishedArchive:
    archive = published(server.body, server.url)
    monkeypatch.setitem(ARCHIVES, "tiny", archive)
    return archive


def assert_unpacked(root: Path, body: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        expected = {
            Path(member.name).name: tar.extractfile(member).read() for member in tar if member.isfile()
        }
    assert {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()} == expected


def test_the_table_names_archives_of_nineteen_corruptions_of_ten_thousand_images() -> None:
    folders = {name: archive.folder_name for name, archive in ARCHIVES.items()}
    assert folders == {"cifar10c": "CIFAR-10-C", "cifar100c": "CIFAR-100-C"}
    for archive in ARCHIVES.values():
        assert archive.url.startswith("https://zenodo.org/")
        assert archive.file_name == f"{archive.folder_name}.tar"
        assert 0 < archive.size - len(NAMES) * 50_000 * 32 * 32 * 3 < 200_000
        assert len(bytes.fromhex(archive.md5)) == 16


def test_the_command_downloads_unpacks_and_says_how_to_use_the_files(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "new" / "data sets"
    assert main(["tiny", str(root)]) == 0
    assert_unpacked(root, server.body)
    assert OfficialArchive(root / FOLDER).names == NAMES
    assert sorted(path.name for path in root.iterdir()) == [f".{FILE}.lock", FOLDER]
    assert f"evaluate.py run=RUN_DIR 'corruptions.root={root / FOLDER}'" in capsys.readouterr().out
    assert server.sent == archive.size


def test_a_complete_folder_is_left_alone_and_nothing_is_requested(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(archive, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()}
    assert main(["tiny", str(tmp_path)]) == 0
    assert len(server.requests) == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()} == written
    assert "is complete: nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 1000)])
def test_an_incomplete_folder_is_filled_from_a_kept_archive(
    server: Server, archive: PublishedArchive, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    fetch(archive, tmp_path, keep_archive=True)
    assert (tmp_path / FILE).read_bytes() == server.body
    damage(tmp_path / FOLDER / "fog.npy")
    fetch(archive, tmp_path, keep_archive=True)
    assert_unpacked(tmp_path, server.body)
    assert len(server.requests) == 1


def test_a_connection_cut_again_and_again_loses_no_byte(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    # More cuts than retries: each brought something new.
    server.cuts = [100_000, 1, 70_000, 50_000, 3, 60_000]
    cuts = list(server.cuts)
    fetch(archive, tmp_path, patience=IMPATIENT)
    assert_unpacked(tmp_path, server.body)
    assert server.sent == archive.size
    starts = [f"bytes={sum(cuts[:end])}-" for end in range(1, len(cuts) + 1)]
    assert [headers.get("Range") for headers in server.requests] == [None, *starts]
    assert {headers.get("If-Range") for headers in server.requests[1:]} == {'"one"'}


def test_a_stalled_connection_times_out_and_what_it_brought_is_kept(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.cuts, server.stalls = [123_457], True
    started = time.monotonic()
    fetch(archive, tmp_path, patience=IMPATIENT._replace(timeout_s=0.3))
    assert time.monotonic() - started < 10
    assert server.sent == archive.size
    assert_unpacked(tmp_path, server.body)


def test_a_server_without_ranges_starts_over(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.has_ranges, server.cuts = False, [100_000, 200_000]
    fetch(archive, tmp_path, patience=IMPATIENT)
    assert_unpacked(tmp_path, server.body)
    assert server.sent == archive.size + 300_000


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.has_ranges, server.cuts = False, [100_000] * 99
    with pytest.raises(DatasetError, match=r"was cut; gave up after 3 retries\. 100,000 of .* are kept"):
        fetch(archive, tmp_path, patience=IMPATIENT)
    assert len(server.requests) == 4
    assert (tmp_path / f"{FILE}.part").stat().st_size == 100_000


def test_a_file_that_changed_on_its_server_is_taken_whole(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.cuts, old = [100_000, 0], server.body
    server.body = bytes(len(old))
    with pytest.raises(DatasetError, match="gave up"):
        fetch(archive, tmp_path, patience=IMPATIENT._replace(retries=0))
    server.body, server.etag, server.cuts = old, '"two"', []
    fetch(archive, tmp_path, patience=IMPATIENT)
    assert server.requests[-1]["If-Range"] == '"one"'
    assert_unpacked(tmp_path, server.body)


def test_a_part_from_another_url_is_gone_on_with_whatever_the_etag(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.cuts = [100_000]
    with pytest.raises(DatasetError, match="gave up"):
        fetch(archive, tmp_path, patience=IMPATIENT._replace(retries=0))
    server.etag = '"two"'
    fetch(archive, tmp_path, url=server.url.replace("files", "mirror"), patience=IMPATIENT)
    assert "If-Range" not in server.requests[-1]
    assert server.sent == archive.size


@pytest.mark.parametrize("etag", ['W/"one"', "bare", '"folded\r\n line"'])
def test_an_etag_that_vouches_for_no_bytes_is_not_sent_back(
    server: Server, archive: PublishedArchive, tmp_path: Path, etag: str
) -> None:
    server.etag, server.cuts = etag, [100_000]
    fetch(archive, tmp_path, patience=IMPATIENT)
    assert "If-Range" not in server.requests[-1]
    assert server.sent == archive.size


@pytest.mark.parametrize("content_range", ["bytes 5-9/{size}", "", "lines 1-2/*"])
def test_another_range_than_asked_for_is_not_appended(
    server: Server, archive: PublishedArchive, tmp_path: Path, content_range: str
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:100_000])
    server.headers = {"Content-Range": content_range.format(size=archive.size)}
    fetch(archive, tmp_path, patience=IMPATIENT)
    assert [headers.get("Range") for headers in server.requests] == ["bytes=100000-", None]
    assert_unpacked(tmp_path, server.body)


def test_a_wrong_checksum_removes_the_download_and_tells_both(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = bytes(archive.size)
    assert main(["tiny", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert archive.md5 in told
    assert hashlib.md5(server.body).hexdigest() in told
    assert [path.name for path in tmp_path.iterdir()] == [f".{FILE}.lock"]


def test_what_was_there_before_counts_in_the_checksum(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(bytes(100_000))
    with pytest.raises(DatasetError, match="removed"):
        fetch(archive, tmp_path)
    assert server.sent == archive.size - 100_000
    assert not (tmp_path / f"{FILE}.part").exists()


@pytest.mark.parametrize("there", [0, 100_000])
@pytest.mark.parametrize("difference", [-1000, 1000])
def test_a_file_of_another_size_is_refused_before_it_is_read(
    server: Server, archive: PublishedArchive, tmp_path: Path, difference: int, there: int
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:there])
    server.body = server.body[:difference] if difference < 0 else server.body + bytes(difference)
    with pytest.raises(DatasetError, match=f"has {len(server.body)} bytes, but {FILE} has {archive.size}"):
        fetch(archive, tmp_path)
    assert len(server.requests) == 1
    assert (tmp_path / f"{FILE}.part").stat().st_size == there


def test_a_file_of_unknown_length_is_not_read_without_end(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.names_length, server.body = False, server.body + bytes(10 * transfer.BLOCK_BYTES)
    blocks: list[bytes] = []
    append = transfer.PartFile.append
    monkeypatch.setattr(
        transfer.PartFile, "append", lambda part, block: (blocks.append(block), append(part, block))
    )
    with pytest.raises(DatasetError, match="removed"):
        fetch(archive, tmp_path)
    assert sum(map(len, blocks)) <= archive.size + transfer.BLOCK_BYTES
    assert not (tmp_path / f"{FILE}.part").exists()


def test_a_file_of_unknown_length_that_is_right_is_taken(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    server.names_length = False
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)


def test_a_part_longer_than_the_archive_is_begun_again(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(bytes(archive.size + 1))
    fetch(archive, tmp_path)
    assert_unpacked(tmp_path, server.body)


def test_a_complete_part_needs_no_request(server: Server, archive: PublishedArchive, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body)
    fetch(archive, tmp_path)
    assert server.requests == []


def test_a_range_beyond_the_end_leads_to_the_servers_true_size(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(server.body[:-1])
    server.body = server.body[:1000]
    with pytest.raises(DatasetError, match="has 1000 bytes"):
        fetch(archive, tmp_path, patience=IMPATIENT)


def test_a_missing_file_is_told_at_once(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.statuses = [404]
    assert main(["tiny", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {server.url} answered 404 Not Found; give another --url\n"
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again_ever_later(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=waits.append, monotonic=time.monotonic))
    server.statuses, server.headers = [503, 500, 429], {"Retry-After": "3"}
    fetch(archive, tmp_path)
    assert waits == [3, 3, 4]
    assert_unpacked(tmp_path, server.body)


def test_nobody_listening_is_told_after_the_retries(
    archive: PublishedArchive, tmp_path: Path, server: Server
) -> None:
    with Server(b"") as closed:
        url = closed.url
    with pytest.raises(DatasetError, match=r"Connection refused; gave up after 3 retries\. 0 of"):
        fetch(archive, tmp_path, url=url, patience=IMPATIENT)


CHILD = """
import sys
from tenet.corruptions import download
url, size, md5, root = sys.argv[1:]
download.ARCHIVES["tiny"] = download.PublishedArchive(url, int(size), md5)
sys.exit(download.main(["tiny", root]))
"""


def test_a_killed_process_holds_no_lock_and_the_next_goes_on_where_it_was(
    server: Server, archive: PublishedArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = archive.size // 2
    server.cuts, server.stalls = [half], True
    arguments = [archive.url, str(archive.size), archive.md5, str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.DEVNULL)
    part = tmp_path / f"{FILE}.part"
    try:
        deadline = time.monotonic() + 15
        while not (part.exists() and part.stat().st_size == half):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.01)
        assert main(["tiny", str(tmp_path)]) == 1
        assert "another process is at work" in capsys.readouterr().err
        assert len(server.requests) == 1
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.released.set()
    assert main(["tiny", str(tmp_path)]) == 0
    assert server.requests[1]["Range"] == f"bytes={half}-"
    assert server.sent == archive.size
    assert_unpacked(tmp_path, server.body)


def test_an_interrupted_unpacking_is_done_again_without_a_request(
    server: Server, archive: PublishedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copied = unpacking._copy_member, []

    def interrupted(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        if len(copied) == 5:
            target.write_bytes(b"half")
            raise KeyboardInterrupt
        copied.append(member)
        copy(tar, member, target)

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "_copy_member", interrupted)
        assert main(["tiny", str(tmp_path)]) == 130
    assert len(list((tmp_path / FOLDER).iterdir())) == 5
    (tmp_path / FOLDER / ".fog.npy.123.tmp").write_bytes(b"left by a kill")
    assert main(["tiny", str(tmp_path)]) == 0
    assert len(server.requests) == 1
    assert_unpacked(tmp_path, server.body)


def test_too_little_disk_space_is_told_before_any_request(
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


def test_an_archive_of_unknown_origin_is_refused_and_kept(
    server: Server, archive: PublishedArchive, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(
        DatasetError, match=f"not the published file: it has 4 bytes and MD5 .* {archive.md5}"
    ):
        fetch(archive, tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def header(name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


MALICIOUS = {
    "parent": ("../evil.npy", b"x"),
    "parent inside": (f"{FOLDER}/../../evil.npy", b"x"),
    "absolute": ("{outside}/evil.npy", b"x"),
    "sibling": ("OTHER/evil.npy", b"x"),
    "folder outside": header("../evil", tarfile.DIRTYPE),
    "symlink": header(f"{FOLDER}/fog.npy", tarfile.SYMTYPE, target="/etc/passwd"),
    "symlinked folder": header(f"{FOLDER}/deep", tarfile.SYMTYPE, target=".."),
    "hardlink": header(f"{FOLDER}/fog.npy", tarfile.LNKTYPE, target="../outside.txt"),
    "character device": header(f"{FOLDER}/null", tarfile.CHRTYPE),
    "block device": header(f"{FOLDER}/disk", tarfile.BLKTYPE),
    "fifo": header(f"{FOLDER}/pipe", tarfile.FIFOTYPE),
    "sparse": header(f"{FOLDER}/holes.npy", tarfile.GNUTYPE_SPARSE),
    "huge": header(f"{FOLDER}/fog.npy", size=10**12),
    "negative": header(f"{FOLDER}/fog.npy", size=-100),
}


@pytest.mark.parametrize("kind", MALICIOUS)
def test_a_malicious_member_is_refused_by_name_and_nothing_is_unpacked(tmp_path: Path, kind: str) -> None:
    evil = MALICIOUS[kind]
    if isinstance(evil, tuple):
        evil = (evil[0].format(outside=tmp_path), evil[1])
    name = evil.name if isinstance(evil, tarfile.TarInfo) else evil[0]
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.txt").write_text("untouched")
    content = tar_of((f"{FOLDER}/labels.npy", b"good"), evil)
    (root / FILE).write_bytes(content)
    reason = {"huge": "more than the", "negative": "more than the"}.get(kind, "lies outside|is a link")
    with pytest.raises(DatasetError, match=f"'{name}' in the archive .*({reason})"):
        fetch(published(content, f"http://localhost/{FILE}"), root)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [f".{FILE}.lock", FILE, "outside.txt", "root"]
    assert (tmp_path / "outside.txt").read_text() == "untouched"


def test_the_number_of_members_is_bounded(tmp_path: Path) -> None:
    content = tar_of(*[(f"{FOLDER}/{index}", b"") for index in range(unpacking.MAX_MEMBERS + 1)])
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DatasetError, match=f"'{FOLDER}/1000' in the archive is more than 1000 members"):
        fetch(published(content, f"http://localhost/{FILE}"), tmp_path)


def test_a_tar_that_ends_early_leaves_no_half_file(body: bytes, tmp_path: Path) -> None:
    content = body[:600_000]
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DatasetError, match="not a whole tar"):
        fetch(published(content, f"http://localhost/{FILE}"), tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_an_archive_without_all_corruptions_is_not_complete(body: bytes, tmp_path: Path) -> None:
    labels = npy(np.tile(np.array([3, 7]), 5))
    content = tar_of(
        (f"./{FOLDER}/labels.npy", labels), (f"./{FOLDER}/fog.npy", npy(np.zeros((10, 4, 4, 3), np.uint8)))
    )
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DatasetError, match="lacks gaussian_noise"):
        fetch(published(content, f"http://localhost/{FILE}"), tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cifar10c"],
        ["cifar11c", "ROOT"],
        *(
            ["cifar10c", "ROOT", f"--url={url}"]
            for url in ["", "ftp://host/f", "file:///etc/passwd", "http://", "http://host:x/", "http://a b/"]
        ),
    ],
)
def test_wrong_arguments_exit_with_two(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["cifar10c", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("error: [Errno 17] File exists")
