"""A storage from others: what it holds besides the trials of the search is refused in one line, and nothing hangs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tests.search.test_study import MIXED, study

OTHER = '{"name": "CategoricalDistribution", "attributes": {"choices": ["x", "evil", true]}}'
BROKEN: dict[str, tuple[str, str]] = {
    # Trial 2 is running, trial 1 is complete.
    "a value out of range": ("UPDATE trial_params SET param_value=9 WHERE param_name='lr'", "lr=9.0 is outside"),
    "NaN": ("UPDATE trial_params SET param_value=NULL WHERE param_name='lr'", "lr=None is outside"),
    "text as a parameter": ("UPDATE trial_params SET param_value='x' WHERE param_name='lr'", "lr=x is outside"),
    "a choice too many": ("UPDATE trial_params SET param_value=7 WHERE param_name='c'", "out of range"),
    "a replaced choice": (
        f"UPDATE trial_params SET distribution_json='{OTHER}' WHERE param_name='c'",
        "c has another range or other choices",
    ),
    "a broken distribution": ("UPDATE trial_params SET distribution_json='{'", "Expecting property name"),
    "an unknown distribution": (
        """UPDATE trial_params SET distribution_json='{"name": "os.system", "attributes": {}}'""",
        "Unknown distribution",
    ),
    "an unknown parameter": ("UPDATE trial_params SET param_name='hydra.x' WHERE param_name='c'", "other parameters"),
    "an infinite value": ("UPDATE trial_values SET value=NULL, value_type='INF_POS'", "has no finite value"),
    "text as a value": ("UPDATE trial_values SET value='best'", "has no finite value"),
    "text as a step": ("UPDATE trial_intermediate_values SET step='x'", "no value of an evaluation x"),
    "an unknown state": ("UPDATE trials SET state='LOST' WHERE trial_id=2", "'LOST' is not among"),
    "a waiting trial": ("UPDATE trials SET state='WAITING' WHERE trial_id=2", "leaves a trial WAITING"),
    "a number that leads elsewhere": ("UPDATE trials SET number='../../x' WHERE trial_id=2", ""),
    "a missing number": ("UPDATE trials SET number=number+5", "numbered"),
    "a broken date": ("UPDATE trials SET datetime_start='yesterday'", ""),
    "another goal": ("UPDATE study_directions SET direction='MAXIMIZE'", "another goal"),
    "an unknown goal": ("UPDATE study_directions SET direction='BEST'", "'BEST' is not among"),
    "a value for the sampler": (
        """INSERT INTO trial_system_attributes VALUES (1, 2, 'fixed_params', '{"lr": 1e9}')""",
        "fixed_params is not an attribute",
    ),
    "an endless view": (
        "ALTER TABLE trial_heartbeats RENAME TO old; CREATE VIEW trial_heartbeats AS "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "is not as Optuna",
    ),
    "a generated column": (
        "ALTER TABLE trials ADD COLUMN x AS (zeroblob(1000000000))",
        "trials is not as Optuna",
    ),
    "a trigger": (
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
        "t is not as Optuna",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A storage with a complete and a running trial."""
    folder = tmp_path_factory.mktemp("stored")
    one = mixed(folder)
    for is_complete in (True, False):
        held = one.next_trial()
        assert held is not None
        held.trial.report(3.0, 1)
        if is_complete:
            one.tell(held.trial, state="COMPLETE", value=1.0)
        held.log.close()
    return (folder / "study.db").read_bytes()


def mixed(folder: Path) -> Any:
    return study(folder, 2, parameters=MIXED, method="random")


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_storage_that_no_search_wrote_is_refused_in_one_line(
    tmp_path: Path, stored: bytes, change: str, reason: str
) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(stored)
    with closing(sqlite3.connect(path)) as file:
        file.executescript(change)
    with pytest.raises(ConfigError) as error:
        mixed(tmp_path)
    assert str(error.value).startswith(f"{path} can't be used as the study's storage: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_storage_that_a_search_wrote_is_continued(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "study.db").write_bytes(stored)
    held = mixed(tmp_path).next_trial()
    assert held.is_continued
    held.log.close()


@pytest.mark.parametrize("name", ["study.db", "study.db.lock", "FOLDER", "FOLDER/trial-0.log"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    folder = mixed(tmp_path / "other").folder.name
    victim, place = tmp_path / "victim", tmp_path / "pub"
    victim.mkdir() if name == "FOLDER" else victim.write_text("kept")
    link = place / name.replace("FOLDER", folder)
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(ConfigError, match="is a link, and nothing is written through it"):
        mixed(place)
    assert list(victim.iterdir()) == [] if victim.is_dir() else victim.read_text() == "kept"
