"""The predictions that an interrupted evaluation leaves, and those that one was asked to keep."""

import logging
import subprocess
import sys

import pytest
import torch

from tenet.errors import ConfigError
from tenet.evaluation.cache import PredictionCache
from tests.evaluation.predictions import make_predictions

FOG = "corruption/fog/1"


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_predictions_come_back_as_they_were_saved(tmp_path):
    saved = make_predictions(20)
    cache = PredictionCache(tmp_path / "cells", identity={"weights": "a", "pair": (1, 2)})
    cache.save(FOG, saved)
    cache.save("perturbation/tilt", saved)
    again = PredictionCache(tmp_path / "cells", identity={"weights": "a", "pair": (1, 2)})
    assert again.cached == 2
    assert same(again.load(FOG), saved)
    assert again.load("corruption/fog/2") is None
    assert {path.name for path in (tmp_path / "cells").glob("*.npz")} == {
        "fog-1.npz",
        "perturbation-tilt.npz",
    }
    again.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_cells_of_other_weights_or_data_are_deleted_saying_what_changed(tmp_path, caplog):
    identity = {"weights": "a", "images": {"sha256": "b"}}
    PredictionCache(tmp_path / "cells", identity=identity).save(FOG, make_predictions(20))
    with caplog.at_level(logging.INFO, logger="tenet"):
        cache = PredictionCache(tmp_path / "cells", identity={"weights": "a", "images": {"sha256": "c"}})
    assert cache.load(FOG) is None
    assert cache.cached == 0
    assert "starting the evaluation again: images changed" in caplog.text
    cache.close(keep=False)


def test_another_suite_leaves_the_cells_of_the_others_valid(tmp_path):
    """With `weights` alone, then with a second suite, then without it: three evaluations into one folder."""
    PredictionCache(tmp_path / "cells", identity={"weights": "a"}).save(FOG, make_predictions(20))
    more = PredictionCache(tmp_path / "cells", identity={"weights": "a", "perturbations": "p"})
    assert more.load(FOG) is not None
    assert PredictionCache(tmp_path / "cells", identity={"weights": "a"}).load(FOG) is not None
    other = PredictionCache(tmp_path / "cells", identity={"weights": "a", "perturbations": "q"})
    assert other.load(FOG) is None, "the identity of a suite is remembered while it is not measured"


def test_a_broken_identity_is_another_one(tmp_path):
    PredictionCache(tmp_path / "cells", identity={"weights": "a"}).save(FOG, make_predictions(20))
    (tmp_path / "cells" / "identity.json").write_text("{")
    assert PredictionCache(tmp_path / "cells", identity={"weights": "a"}).load(FOG) is None


def test_kept_predictions_are_neither_deleted_nor_mixed_with_others(tmp_path):
    cache = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    cache.save(FOG, make_predictions(20))
    cache.close(keep=True)
    again = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    assert again.is_pinned
    assert again.load(FOG) is not None
    again.close(keep=False)
    assert (tmp_path / "cells" / "fog-1.npz").exists()
    with pytest.raises(ConfigError, match="keeps the predictions of another evaluation"):
        PredictionCache(tmp_path / "cells", identity={"weights": "b"})


def test_a_folder_of_other_files_is_left_alone_and_a_damaged_cell_is_measured_again(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        PredictionCache(tmp_path / "own", identity={})
    assert (tmp_path / "own" / "notes.txt").read_text() == "mine"
    cache = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    (tmp_path / "cells" / "fog-1.npz").write_bytes(b"")
    assert cache.load(FOG) is None
    cache.close(keep=False)


LOCK = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    lock = tmp_path / ".cells.lock"
    cache = PredictionCache(tmp_path / "cells", identity={"weights": "a"})
    other = subprocess.run([sys.executable, "-c", LOCK, lock], capture_output=True, text=True)
    assert "BlockingIOError" in other.stderr
    cache.close(keep=False)
    waits = f"{LOCK}; print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", waits, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError, match="another process is evaluating"):
            PredictionCache(tmp_path / "cells", identity={"weights": "a"})
        holder.stdin.close()
    PredictionCache(tmp_path / "cells", identity={"weights": "a"}).close(keep=False)
