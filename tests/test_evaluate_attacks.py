"""evaluate.py under attack: what it measures, writes and prints."""

import csv
import json
import shutil

import pytest

from tenet.compare.__main__ import main
from tests.entry_points import TINY, evaluate, train
from tests.faults.places import Fault


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(*TINY, "trainer.epochs=1", "tracking=none", "hydra.run.dir=run", cwd=folder)
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy for each test, because the names of reports depend on those that are there."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.slow
def test_a_sweep_over_radii_reports_each_and_enters_the_summary_without_the_corruptions(run, capsys):
    words = ["corruptions.names=[]", "attacks.names=[pgd]", "attacks.steps=3", "attacks.images=30"]
    done = evaluate(f"run={run}", *words, "attacks.radius=[2/255,8/255]", "precision=bf16", cwd=run.parent)
    assert "attacks on 30 of the 360 test images, evenly spaced" in done.output
    evaluate(f"run={run}", *words, "attacks.radius=[2/255,8/255]", cwd=run.parent)
    evaluation = run / "evaluation"
    report = json.loads((evaluation / "corruptions-part.json").read_text())
    cells = report["attacks"]["cells"]
    accuracy = {name: cell["robust_accuracy_pct"] for name, cell in cells.items()}
    assert list(cells) == [
        "none", "random-linf-2", "fgsm-linf-2", "pgd-linf-2", "random-linf-8", "fgsm-linf-8", "pgd-linf-8",
    ]  # fmt: skip
    assert accuracy["pgd-linf-8"] <= accuracy["pgd-linf-2"] <= accuracy["none"]
    assert accuracy["pgd-linf-8"] < accuracy["none"]
    in_bf16 = json.loads((evaluation / "corruptions-bf16-part.json").read_text())["attacks"]["cells"]
    assert in_bf16 == cells, "attacks are in float32"
    rows = list(csv.DictReader((evaluation / "corruptions-part.csv").read_text().splitlines()))
    assert [row["attack"] for row in rows] == list(cells)
    for name in ("attacks", "radii"):
        assert (evaluation / f"corruptions-part-{name}.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["attack/pgd-linf-8/robust_accuracy_pct"] == accuracy["pgd-linf-8"]
    assert not any(name.startswith("corruption") for name in summary)
    assert main([str(run), "--format", "csv"]) == 0
    table = capsys.readouterr().out
    assert f'"robust accuracy, PGD-3, linf 8/255 (30 images), %",{accuracy["pgd-linf-8"]}' in table
    assert "FGSM" not in table, "a baseline that nobody asked for"


@pytest.mark.slow
def test_another_norm_has_a_report_of_its_own_and_resumes_when_killed_in_an_attack(run):
    words = [f"run={run}", "corruptions.names=[]", "attacks.names=[fgsm]", "attacks.images=30"]
    evaluate(*words, cwd=run.parent)
    words += ["attacks.norm=l2", "attacks.radius=128/255", "batch_size=8"]
    evaluate(*words, cwd=run.parent, fault=Fault("kill", "attack", 6), code=-9)
    (parts,) = run.rglob("*.parts")
    assert [path.name for path in parts.iterdir()] == ["0.npz"]
    done = evaluate(*words, cwd=run.parent)
    assert "continuing an interrupted evaluation: 2 sets of images" in done.output  # clean and none
    report = json.loads((run / "evaluation" / "corruptions-fgsm-l2-128-part.json").read_text())
    assert list(report["attacks"]["cells"]) == ["none", "random-l2-128", "fgsm-l2-128"]


@pytest.mark.slow
def test_the_summary_has_attacks_on_one_set_of_images_alone(run):
    def measure(*words):
        evaluate(f"run={run}", "corruptions.names=[]", *words, "attacks.steps=1", cwd=run.parent)
        summary = json.loads((run / "summary.json").read_text())
        found = {name.split("/")[1] for name in summary if name.startswith("attack/")}
        return summary["attack/images"], {name for name in found if name.startswith("pgd")}

    assert measure("attacks.names=[pgd]", "attacks.radius=1/255", "attacks.images=20") == (20, {"pgd-linf-1"})
    words = ["attacks.names=[pgd]", "attacks.radius=3/255"]
    assert measure(*words, "attacks.images=20", "attacks.restarts=2") == (20, {"pgd-linf-1", "pgd-linf-3"})
    assert measure(*words, "attacks.images=21") == (21, {"pgd-linf-3"})
    names = [path.stem for path in (run / "evaluation").glob("corruptions-attacks-*-part.json")]
    assert len(names) > 1
    assert not any("-2-" in name for name in names), "the settings are in the name"


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        ("attacks.steps=2", 1, "attacks.steps: no attack is chosen; add attacks.names=[pgd]"),
        ("attacks.radius=300/255", 1, "attacks.radius=1.17"),
        (
            "attacks.radius=-1",
            2,
            "attacks.radius=-1: must be a number of at least 0, or a fraction such as 8/255",
        ),
        ("attacks.norm=l1", 2, "attacks.norm=l1: must be one of linf, l2"),
        ("attacks.images=361", 1, "attacks.images=361 exceeds the 360 test images"),
        (
            "attacks.names=[cw]",
            2,
            "attacks.names=['cw']: must be a list of one of fgsm, pgd, apgd, autoattack",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(run, word, code, message):
    names = [] if "names" in word or "chosen" in message else ["attacks.names=[pgd]"]
    done = evaluate(f"run={run}", "corruptions.names=[]", *names, word, cwd=run.parent, code=code)
    assert message in done.output.strip().splitlines()[-1]
