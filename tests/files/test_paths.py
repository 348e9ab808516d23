from pathlib import Path

import pytest

from tenet.data import Cifar
from tenet.errors import ConfigError
from tenet.files.paths import user_path


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs", key="run") == tmp_path / "runs"
    assert user_path("runs/~x", key="run") == Path("runs/~x")


def test_an_unknown_home_folder_is_an_error_that_names_the_key():
    with pytest.raises(ConfigError, match=r"^run=~nosuch/x: there is no such home folder; write"):
        user_path("~nosuch/x", key="run")


def test_an_unknown_home_folder_in_a_stored_configuration_is_an_error():
    with pytest.raises(ConfigError, match=r"^dataset\.root=~nosuch/x: "):
        Cifar(name="cifar10", root="~nosuch/x").read()


def test_a_file_whose_name_begins_with_a_tilde_can_be_named():
    assert user_path("./~", key="run") == Path("~")
    assert user_path("./~nosuch/x", key="run") == Path("~nosuch/x")
