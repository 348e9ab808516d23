"""evaluate.py in two processes reports what one process reports, to the bit; a failure of one ends both."""

import json
from pathlib import Path

import pytest

import tenet
from tenet.config.run_config import read_config
from tenet.evaluation.classifier import Classifier
from tenet.experiment import Experiment
from tests.distributed.launch import ROOT, TINY, torchrun
from tests.entry_points import call

SWEEP = ["run=run", "tracking=none", "corruptions.names=[fog,glass_blur]", "corruptions.severities=[1,5]"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A folder with a run that two processes trained, and with its evaluation by one process."""
    folder = tmp_path_factory.mktemp("evaluation")
    arguments = [*TINY, "trainer.epochs=1", "dataset.validation_fraction=0.2", "hydra.run.dir=run"]
    arguments += ["validation.corruptions=[extra]", "validation.severities=[3]", "validation.images=25"]
    trained = torchrun(ROOT / "train.py", *arguments, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    call("evaluate.py", *SWEEP, "output=one.json", cwd=folder)
    return folder


def report(path: Path) -> dict:
    content = json.loads(path.read_text())
    del content["arithmetic"]["processes"]
    return content


@pytest.mark.alone
def test_two_processes_measure_what_one_process_measures(measured):
    done = torchrun(ROOT / "evaluate.py", *SWEEP, "output=two.json", cwd=measured)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("two.csv") == 1, "the main process alone writes and prints"
    assert report(measured / "two.json") == report(measured / "one.json")
    assert (measured / "two.csv").read_bytes() == (measured / "one.csv").read_bytes()
    # Within training, where BatchNorm's statistics of the processes differ, too.
    summary = json.loads((measured / "run" / "summary.json").read_text())
    clean = report(measured / "one.json")["clean"]["error_pct"]
    assert summary["test/error_pct"] == clean
    experiment = Experiment(read_config(measured / "run"))
    classifier = Classifier(tenet.load(measured / "run"))
    cells = [cells[0] for cells in experiment.corrupted_validation.values()]
    errors = [classifier.predict(cell).error_pct for cell in cells]
    assert len(cells) == 4
    assert len(cells[0]) == 25
    assert summary["validation/corrupted_error_pct"] == sum(errors) / 4


@pytest.mark.alone
def test_a_failure_of_one_process_ends_both_and_the_cells_are_kept(measured):
    (measured / "fails.py").write_text(f"""
import os, runpy, sys
from tenet.errors import DatasetError
from tenet.evaluation.classifier import Classifier
predict, cells = Classifier.predict, []
def fail(self, *args, **more):
    cells.append(1)
    if os.environ["RANK"] == "1" and len(cells) == 3:
        raise DatasetError("seven.png can't be read")
    return predict(self, *args, **more)
Classifier.predict = fail
sys.argv = ["evaluate.py", *sys.argv[1:]]
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path({str(ROOT / "evaluate.py")!r}, run_name="__main__")
""")
    done = torchrun(measured / "fails.py", *SWEEP, "output=three.json", cwd=measured)
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "error: seven.png can't be read" in done.stderr
    again = call("evaluate.py", *SWEEP, "output=three.json", cwd=measured)
    assert "continuing an interrupted evaluation: 2 sets of images" in again.stdout
    assert report(measured / "three.json") == report(measured / "one.json")
