from pathlib import Path

import pytest

from tenet.data import Cifar
from tenet.errors import ConfigError
from tenet.files.paths import user_path


def test_a_home_folder_is_filled_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs", key="run") == tmp_path / "runs"
    assert user_path("runs/~x", key="run") == Path("runs/~x")


def test_a_home_folder_that_is_not_there_is_a_wrong_setting_of_its_key():
    with pytest.raises(ConfigError, match=r"^run=~nosuch/x: there is no such home folder; write"):
        user_path("~nosuch/x", key="run")


def test_so_it_is_in_a_configuration_that_was_stored():
    with pytest.raises(ConfigError, match=r"^dataset\.root=~nosuch/x: "):
        Cifar(name="cifar10", root="~nosuch/x").read()
