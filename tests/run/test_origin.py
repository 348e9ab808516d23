"""A finished run answers only for the configuration and the data that it was trained on."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenet.config.build import build
from tenet.config.run_config import write_config
from tenet.data import Arrays
from tenet.errors import ConfigError
from tenet.run.folder import RunFolder
from tenet.run.origin import check_test_data, fingerprints, stamp, write_origin
from tests.config.options import composed
from tests.faults.commands import write_data


class Finished:
    """A run folder, as a run leaves it that has finished with a test error of 4.5 %."""

    def __init__(self, folder: Path) -> None:
        write_data(folder)
        self.data, self.path = folder / "data.npz", folder / "run"
        self.config = composed("experiment=quickstart", "dataset=arrays", f"dataset.path={self.data}")
        write_config(self.config, self.path / "config.yaml")
        dataset = build(self.config["dataset"], key="dataset")
        self.files, self.fingerprints = stamp(dataset.files()), fingerprints(dataset.load())
        write_origin(self.path, self.config, data=self.fingerprints, files=self.files)
        (self.path / "weights.safetensors").touch()
        (self.path / "summary.json").write_text('{"test/error_pct": 4.5}')

    def answer(self, **changes: Any) -> float | None:
        with RunFolder(self.path) as folder:
            return folder.take({**self.config, **changes})

    def relabel(self, split: str) -> None:
        arrays = dict(np.load(self.data))
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"][::-1].copy()
        np.savez(self.data, **arrays)


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return Finished(tmp_path)


def test_the_data_are_not_read_again_while_their_file_is_the_same(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Arrays, "load", lambda self: pytest.fail("read"))
    assert finished.answer() == 4.5


@pytest.mark.parametrize("split", ["train", "test"])
def test_other_labels_are_noticed_in_a_file_of_the_same_size_and_time(finished: Finished, split: str) -> None:
    before = finished.data.stat()
    finished.relabel(split)
    os.utime(finished.data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert finished.data.stat().st_size == before.st_size
    part = {"train": "training", "test": "test"}[split]
    with pytest.raises(
        ConfigError, match=rf"data set has changed since .*run was trained \({part} images .*rerun=true"
    ):
        finished.answer()
    assert (finished.path / "weights.safetensors").exists()


def test_a_file_that_leads_to_other_data_now_is_noticed(finished: Finished) -> None:
    other = finished.data.with_name("other.npz")
    write_data(finished.data.parent, seed=1)
    finished.data.rename(other)
    finished.data.symlink_to(other)
    with pytest.raises(ConfigError, match="training and test images or labels"):
        finished.answer()


def test_the_same_data_in_a_new_file_are_read_once(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = finished.data.read_bytes()
    finished.data.unlink()
    finished.data.write_bytes(content)
    assert finished.answer() == 4.5
    monkeypatch.setattr(Arrays, "load", lambda self: pytest.fail("read"))
    assert finished.answer() == 4.5


def test_a_result_without_its_data_is_given_with_a_warning(
    finished: Finished, caplog: pytest.LogCaptureFixture
) -> None:
    finished.data.unlink()
    assert finished.answer() == 4.5
    assert f"the data set is gone ({finished.data}), so it is not compared" in caplog.text


def test_figures_under_the_configuration_of_another_run_are_not_given(finished: Finished) -> None:
    other = {**finished.config, "seed": 1}
    write_config(other, finished.path / "config.yaml")
    with pytest.raises(ConfigError, match="no record that its results are of this configuration"):
        finished.answer(seed=1)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"files": {"\\u0000": [1]}}', '{"run": 1, "data": [], "files": 3}']
)
def test_figures_without_a_record_of_their_data_are_not_given(finished: Finished, content: str) -> None:
    (finished.path / "origin.json").write_text(content)
    with pytest.raises(ConfigError, match=r"origin\.json"):
        finished.answer()


def test_a_record_that_names_no_files_is_compared_with_the_data(finished: Finished) -> None:
    write_origin(finished.path, finished.config, data=finished.fingerprints, files={})
    assert finished.answer() == 4.5
    finished.relabel("test")
    for files in ({}, {"\0": [1]}, {"nowhere.npz": [1]}):
        write_origin(finished.path, finished.config, data=finished.fingerprints, files=files)
        with pytest.raises(ConfigError, match="test images or labels"):
            finished.answer()


def test_a_test_set_is_compared_by_its_fingerprint(finished: Finished) -> None:
    check_test_data(finished.path, finished.fingerprints["test"])
    with pytest.raises(ConfigError, match=r"test images or labels have changed since .*name the data set"):
        check_test_data(finished.path, "0123")
    (finished.path / "origin.json").write_text(json.dumps({}))
    check_test_data(finished.path, "0123")
