"""A run's own report, and evaluations of other data, sources and precisions under the same run."""

import json

import numpy as np
import pytest

from tenet.compare.__main__ import main
from tests.entry_points import evaluate, train

LABELS = np.arange(10) % 2


def write_images(path, *, noise):
    """Dark and bright images of 16 x 16, as an .npz file."""
    generator = np.random.default_rng(0)

    def draw(labels):
        level = np.where(labels, 180, 60)[:, None, None, None]
        return (level + generator.normal(0, noise, (len(labels), 16, 16, 3))).clip(0, 255).astype(np.uint8)

    train = np.arange(40) % 2
    np.savez(path, train_images=draw(train), train_labels=train, test_images=draw(LABELS), test_labels=LABELS)


def write_archive(folder, *, seed):
    from tenet.corruptions.names import CORRUPTIONS

    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(LABELS, 5))
    generator = np.random.default_rng(seed)
    for name in CORRUPTIONS:
        np.save(folder / f"{name}.npy", generator.integers(256, size=(50, 16, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on own.npz with its own report; another data set, and two archives with the labels of its test set."""
    place = tmp_path_factory.mktemp("place")
    write_images(place / "own.npz", noise=20)
    write_images(place / "other.npz", noise=120)
    for seed, name in enumerate(("first", "second")):
        write_archive(place / name, seed=seed)
    train(
        "dataset=arrays", "dataset.path=own.npz", "backbone=resnet8", "backbone.width=4", "augment=none",
        "tenet=none", "trainer.epochs=1", "trainer.batch_size=20", "tracking=none", "hydra.run.dir=run", cwd=place,
    )  # fmt: skip
    evaluate("run=run", cwd=place)
    return place


OTHERS = {
    "other data": ["dataset=arrays", "dataset.path=other.npz"],
    "another seed": ["corruptions.seed=1"],
    "another precision": ["precision=bf16"],
    "another normalisation": ["dataset=arrays", "dataset.path=own.npz", "dataset.mean=[0.3,0.3,0.3]"],
    "an archive": ["corruptions.root=first"],
    "another archive": ["corruptions.root=second"],
}


@pytest.mark.alone
def test_no_other_evaluation_replaces_the_report_or_the_summary_and_compare_names_each(place, capsys):
    run = place / "run"
    own = {path.name: path.read_bytes() for path in (run / "evaluation").iterdir()}
    summary = json.loads((run / "summary.json").read_text())
    names = ("corruption/mce_pct", "corruption_generated/mce_pct")
    assert [name in summary for name in names] == [False, True]
    for words in OTHERS.values():
        done = evaluate("run=run", *words, "corruptions.severities=[1,2,3,4,5]", cwd=place)
        assert "corruptions" in done.output
    assert {name: (run / "evaluation" / name).read_bytes() for name in own} == own
    reports = [json.loads(path.read_text()) for path in (run / "evaluation").glob("corruptions*.json")]
    assert len(reports) == 1 + len(OTHERS)
    # The first archive is a standard measurement of the run's own data; nothing else but the own report enters.
    first = next(report for report in reports if report["corruptions_from"] == {"root": "first"})
    stored = json.loads((run / "summary.json").read_text())
    assert [stored[name] for name in names] == [first["corruption"]["mce_pct"], summary[names[1]]]
    assert stored["test/error_pct"] == summary["test/error_pct"]

    assert main([str(run), "--format", "csv"]) == 0
    rows = {line.split('"')[1]: line for line in capsys.readouterr().out.splitlines() if '"' in line}
    columns = {name for name in rows if name.startswith("mCE")}
    assert {"mCE, generated, %", "mCE, generated (seed 1), %", "mCE, generated, bf16, %"} <= columns
    assert sum("on arrays other" in name for name in columns) == 1
    assert sum("official files (first " in name or "official files (second " in name for name in columns) == 2
    assert len(columns) == 1 + len(OTHERS)
    generated = next(
        r for r in reports if r["measured"]["is_own_data"] and r["corruptions_from"] == {"seed": 0}
    )
    assert str(generated["corruption_generated"]["mce_pct"]) in rows["mCE, generated, %"]


@pytest.mark.alone
def test_the_same_images_named_again_are_the_runs_own(place):
    before = (place / "run" / "evaluation" / "corruptions.json").stat().st_mtime_ns
    count = len(list((place / "run" / "evaluation").iterdir()))
    evaluate("run=run", "dataset=arrays", "dataset.path=own.npz", cwd=place)
    assert (place / "run" / "evaluation" / "corruptions.json").stat().st_mtime_ns > before
    assert len(list((place / "run" / "evaluation").iterdir())) == count


@pytest.mark.alone
def test_a_chosen_file_that_holds_another_report_is_refused_before_work_is_done(place):
    words = ["run=run", "dataset=arrays", "dataset.path=other.npz", "output=run/evaluation/corruptions.json"]
    done = evaluate(*words, cwd=place, code=1)
    assert "holds the report of another measurement (clean)" in done.output
