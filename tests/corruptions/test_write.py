"""Writing an archive: atomically, once, with the pixels of the generator."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tenet import __version__
from tenet.config.command_line import check_command_line
from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, OfficialArchive, corrupt, write
from tenet.corruptions import __main__ as entry
from tenet.corruptions.__main__ import choose_names, names_a_folder, run
from tenet.corruptions.parameters import settings
from tenet.corruptions.write import ArchiveWriter
from tenet.errors import ConfigError, DatasetError, StorageError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
FILES = ("labels", "clean", "gaussian_noise", "contrast")


def writer(folder: Path, **changes) -> ArchiveWriter:
    """Seven images of 9 x 8."""
    generator = torch.Generator().manual_seed(0)
    values = {
        "images": torch.randint(256, (7, 9, 8, 3), generator=generator, dtype=torch.uint8),
        "labels": torch.tensor([2, 0, 1, 1, 0, 2, 3]),
        "num_classes": 4,
        "seed": 5,
        "dataset": {"_target_": "tenet.data.Arrays", "path": "own.npz"},
        **changes,
    }
    return ArchiveWriter(folder, values.pop("images"), values.pop("labels"), **values)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Three images per chunk: the seven images take three chunks."""
    monkeypatch.setattr(write, "CHUNK_BYTES", 3 * 9 * 8 * 3 + 1)


@pytest.fixture
def archive(tmp_path: Path, small_chunks: None) -> Path:
    made = writer(tmp_path / "own-c")
    for name in FILES:
        made.write(name)
    return tmp_path / "own-c"


def test_the_archive_reads_back_as_the_pixels_of_the_generator(archive):
    images, labels = writer(archive).images, writer(archive).labels
    reader = OfficialArchive(archive)
    assert reader.names == ("gaussian_noise", "contrast")
    for name in reader.names:
        for severity in (1, 2, 3, 4, 5):
            cell = reader.cell(name, severity)
            expected = corrupt(images, corruption=name, severity=severity, seed=5)
            assert np.array_equal(cell.images, expected.numpy())
            assert cell.labels.tolist() == labels.tolist()
    assert np.array_equal(np.load(archive / "clean.npy"), images.numpy())
    assert np.load(archive / "labels.npy").dtype == np.uint8


def test_images_of_one_column_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DatasetError, match="images of 1 x 9 pixels can't be corrupted"):
        writer(tmp_path / "c", images=torch.zeros(7, 9, 1, 3, dtype=torch.uint8))
    assert not (tmp_path / "c").exists()


def test_labels_beyond_256_classes_are_int64(tmp_path):
    made = writer(tmp_path, labels=torch.tensor([0, 1, 2, 3, 4, 5, 256]), num_classes=257)
    made.write("labels")
    labels = np.load(tmp_path / "labels.npy")
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 256] * 5


def test_the_manifest_describes_source_and_settings(archive):
    manifest = json.loads((archive / "manifest.json").read_text())
    assert manifest["tenet_version"] == __version__
    assert manifest["dataset"] == {"_target_": "tenet.data.Arrays", "path": "own.npz"}
    assert [manifest[key] for key in ("seed", "images", "height", "width", "classes")] == [5, 7, 9, 8, 4]
    assert manifest["images_sha256"] == hashlib.sha256(writer(archive).images.numpy().tobytes()).hexdigest()
    assert manifest["sha256"] == {
        f"{name}.npy": hashlib.sha256((archive / f"{name}.npy").read_bytes()).hexdigest() for name in FILES
    }
    assert list(manifest["corruptions"]) == ["gaussian_noise", "contrast"]
    assert manifest["corruptions"]["contrast"]["3"] == settings("contrast", severity=3, size=8)


def test_no_temporary_file_is_left(archive):
    assert set(contents(archive)) == {f"{name}.npy" for name in FILES} | {"manifest.json"}


def test_a_second_call_finds_all_arrays_and_writes_nothing(archive):
    before = {path: path.stat().st_mtime_ns for path in archive.iterdir()}
    assert writer(archive).verified() == list(FILES)
    assert {path: path.stat().st_mtime_ns for path in archive.iterdir()} == before


def test_an_interrupted_archive_is_completed_with_the_same_files(archive, tmp_path, small_chunks):
    interrupted = writer(tmp_path / "interrupted")
    interrupted.write("labels")

    def interrupt(rows: int) -> None:
        if rows > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.write("gaussian_noise", on_rows=interrupt)
    assert set(contents(tmp_path / "interrupted")) == {"labels.npy", "manifest.json"}
    resumed = writer(tmp_path / "interrupted")
    assert resumed.verified() == ["labels"]
    for name in FILES[1:]:
        resumed.write(name)
    assert contents(tmp_path / "interrupted") == contents(archive)


def test_a_file_that_the_manifest_lacks_is_written_again(archive):
    manifest = json.loads((archive / "manifest.json").read_text())
    del manifest["sha256"]["contrast.npy"]
    (archive / "manifest.json").write_text(json.dumps(manifest))
    (archive / "clean.npy").unlink()
    assert writer(archive).verified() == ["labels", "gaussian_noise"]


def test_two_writers_of_one_folder_keep_each_others_entries(tmp_path):
    first, second = writer(tmp_path), writer(tmp_path)
    first.write("contrast")
    second.write("brightness")
    assert writer(tmp_path).verified() == ["brightness", "contrast"]


def test_a_changed_file_is_named(archive):
    content = bytearray((archive / "contrast.npy").read_bytes())
    content[-1] ^= 1
    (archive / "contrast.npy").write_bytes(content)
    with pytest.raises(DatasetError, match=r"contrast\.npy is not the file that manifest\.json describes"):
        writer(archive).verified()


def test_other_parameters_are_refused(archive):
    path = archive / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["corruptions"]["contrast"]["3"]["factor"] = 0.5
    path.write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=r"contrast\.npy was made with other parameters"):
        writer(archive).verified()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 6}, "its seed is 5, here it would be 6; give another folder"),
        ({"num_classes": 5}, "its classes is 4"),
        ({"images": torch.zeros(7, 9, 8, 3, dtype=torch.uint8)}, "its images_sha256 is"),
        ({"images": torch.zeros(7, 8, 8, 3, dtype=torch.uint8)}, "its height is 9, here it would be 8"),
        ({"labels": torch.tensor([2, 0, 1, 1, 0, 3, 2])}, "its labels_sha256 is"),
    ],
)
def test_another_seed_or_data_set_is_refused_and_nothing_is_touched(archive, changes, message):
    before = contents(archive)
    with pytest.raises(DatasetError, match=f"own-c holds another archive: {message}"):
        writer(archive, **changes)
    assert contents(archive) == before


def test_the_same_images_from_another_place_are_the_same_archive(archive):
    assert writer(archive, dataset={"path": "moved.npz"}).verified() == list(FILES)


def test_a_folder_of_arrays_without_a_manifest_is_not_touched(tmp_path):
    np.save(tmp_path / "fog.npy", np.zeros(3))
    with pytest.raises(DatasetError, match=r"holds \.npy files but no manifest\.json; give another folder"):
        writer(tmp_path)
    assert set(contents(tmp_path)) == {"fog.npy"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1, "corruptions": {}}'])
def test_a_broken_manifest_is_refused(archive, text):
    (archive / "manifest.json").write_text(text)
    with pytest.raises(DatasetError, match=r"manifest\.json (can't be read|is not the manifest)"):
        writer(archive)


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(tmp_path, archive, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"file/manifest\.json: .*File exists"):
        writer(tmp_path / "file")

    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    made = writer(archive)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"snow\.npy: No space left on device; make room on that disk"):
        made.write("snow")
    assert "snow.npy" not in contents(archive)


def test_memory_holds_one_chunk_at_a_time(tmp_path, small_chunks, monkeypatch):
    sizes = []

    def counted(images, **keywords):
        sizes.append(len(images))
        return corrupt(images, **keywords)

    monkeypatch.setattr(write, "corrupt", counted)
    rows = []
    writer(tmp_path).write("contrast", on_rows=rows.append)
    assert sizes == [3, 3, 1] * 5
    assert rows == [7 * severity + ready for severity in range(5) for ready in (3, 6, 7)]


@pytest.mark.parametrize("argument", ["own-c", "a/b", "./seed=1", "/data/a=b", "../x", ".", "with space"])
def test_an_argument_that_names_a_folder(argument):
    assert names_a_folder(argument)


@pytest.mark.parametrize("argument", ["dataset=digits", "+a=1", "~dataset", "--help", "-m", "hydra/help=a"])
def test_an_argument_that_is_an_override(argument):
    assert not names_a_folder(argument)


def test_all_corruptions_are_written_unless_some_are_named():
    assert choose_names(None) == [*CORRUPTIONS, *EXTRA_CORRUPTIONS]
    assert choose_names(["snow", "fog", "fog"]) == ["snow", "fog"]
    with pytest.raises(ConfigError, match=r"corruptions\.names=fogg: unknown; did you mean fog"):
        choose_names(["fogg"])


def test_missing_arguments_are_reported(tmp_path):
    config = {"dataset": None, "corruptions": {"names": None, "seed": 0}, "device": "cpu"}
    with pytest.raises(ConfigError, match=r"the first argument is the folder.*FOLDER dataset=OPTION"):
        run(config, None)
    with pytest.raises(ConfigError, match="the data set is missing"):
        run(config, tmp_path)


def test_the_command_line_is_checked_like_that_of_the_other_entry_points():
    def refusal(*arguments: str) -> str:
        with pytest.raises(ConfigError) as error:
            check_command_line(arguments, config_dir=CONF, config_name="corruptions_archive")
        return str(error.value)

    assert refusal("dataset=digit").startswith("dataset=digit: no such option; did you mean digits")
    assert refusal("dataset=arrays") == "dataset.path is missing: give dataset.path=VALUE"
    assert refusal("corruptions.name=[fog]").startswith("there is no key corruptions.name; did you mean")
    assert refusal("corruptions.seed=-1").startswith("corruptions.seed=-1: must be an integer")


def test_a_package_without_its_configuration_is_reported(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(entry, "CONFIG_DIR", tmp_path / "conf")
    assert entry.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'conf'} does not contain the configuration")
    assert error.count("\n") == 1


def test_the_command_writes_and_a_second_call_has_nothing_to_do(tmp_path, caplog):
    images = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    labels = np.array([1, 0])
    np.savez(tmp_path / "own.npz", test_images=images, test_labels=labels)
    command = [sys.executable, "-m", "tenet.corruptions", "own-c", "dataset=arrays", "dataset.path=own.npz"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "corruptions.names=[contrast,fog]", "device=cpu"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "own-c: wrote 4 files" in done.stdout
    files = {f"{name}.npy" for name in ("labels", "clean", "fog", "contrast")}
    assert set(contents(tmp_path / "own-c")) == files | {"manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"own-c", "own.npz"}

    config = {
        "dataset": {"_target_": "tenet.data.Arrays", "path": str(tmp_path / "own.npz")},
        "corruptions": {"names": ["fog"], "seed": 0},
        "device": "cpu",
    }
    caplog.set_level("INFO", logger="tenet")
    run(config, tmp_path / "own-c")
    assert "own-c: verified labels, clean, fog, contrast" in caplog.text
    assert "there is nothing left to write" in caplog.text
