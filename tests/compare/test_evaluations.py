"""Reports of unlike measurements: each is a column that says what it measured, and data sets are never ranked together."""

import json

import pytest

from tenet.compare.__main__ import main
from tenet.compare.datasets import split_by_data
from tenet.compare.groups import compare
from tenet.compare.runs import CompareError, find_runs, read_run
from tenet.files.plain import sha256_of
from tests.compare.folders import PLAIN, measured, write_evaluation, write_pair, write_run

TEST, GENERATED, OFFICIAL = "test error, %", "mCE, generated, %", "mCE, official files, %"
ARCHIVE = {"kind": "files", "archive": "CIFAR-10-C", "fingerprint": "0123456789abcdef"}
CIFAR = {"_target_": "tenet.data.Cifar", "name": "cifar10"}


def read(top):
    return [read_run(folder) for folder in find_runs([str(top)])]


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"test": "1f0c5a2b3d", "is_own": False, "dataset": "arrays x"}, "mCE, generated, on arrays x 1f0c5a2b, %"),
        ({"precision": "bf16"}, "mCE, generated, bf16, %"),
        ({"is_average": True}, "mCE, generated, averaged weights, %"),
        ({"corruptions": {"seed": 1}}, "mCE, generated (seed 1), %"),
        ({"corruptions": {"generator": 1}}, "mCE, generated (version 1), %"),
        ({"corruptions": {"archive": "C", "fingerprint": "01234567"}}, "mCE, generated (C 01234567), %"),
    ],
)  # fmt: skip
def test_another_measurement_has_a_column_of_its_own_which_says_what_it_is(tmp_path, changes, column):
    run = write_run(tmp_path, seed=0, mce=None)
    write_evaluation(run, mce=12, measured=measured())
    # Its name is shorter: the content alone decides.
    write_evaluation(run, mce=99, name="corruptions.json", measured=measured(**changes))
    write_evaluation(run, mce=12, name="corruptions-mine.json", measured=measured())
    found = read_run(run)
    assert {name: value for name, value in found.figures.items() if name.startswith("mCE")} == {
        GENERATED: 12, column: 99
    }  # fmt: skip
    assert found.cells[column]["fog"][1] == 99
    assert found.problem == ""


def test_a_report_of_averaged_weights_is_known_by_their_own_file(tmp_path):
    run = write_run(tmp_path, seed=0, mce=None)
    (run / "weights-ema.safetensors").write_bytes(b"averaged")
    averaged = sha256_of(run / "weights-ema.safetensors")
    for mce, sha256 in ((12, averaged), (13, sha256_of(run / "weights.safetensors"))):
        write_evaluation(
            run,
            mce=mce,
            name=f"corruptions-{mce}.json",
            measured=measured(is_average=True),
            weights_sha256=sha256,
        )
    found = read_run(run)
    assert found.figures["mCE, generated, averaged weights, %"] == 12
    assert "corruptions-13.json is out of date" in found.problem


def test_the_clean_error_of_other_images_is_never_the_runs_test_error(tmp_path):
    run = write_run(tmp_path, seed=0, mce=None)
    (run / "summary.json").unlink()
    other = measured(test="1f0c5a2b3d", is_own=False, dataset="cifar10")
    write_evaluation(run, mce=99, measured=other, clean={"error_pct": 77.0})
    found = read_run(run)
    assert found.figures == {
        "test error, on cifar10 1f0c5a2b, %": 77,
        "mCE, generated, on cifar10 1f0c5a2b, %": 99,
    }
    assert found.problem == "not evaluated"
    assert compare([found]).columns[-1] == "test error, on cifar10 1f0c5a2b, %"


def test_the_record_of_the_training_decides_which_images_are_the_runs_own(tmp_path):
    run = write_run(tmp_path, seed=0, mce=None)
    (run / "origin.json").write_text(json.dumps({"data": {"test": "trained"}}))
    write_evaluation(run, mce=99, measured=measured(test="changed"))
    assert GENERATED not in read_run(run).figures
    write_evaluation(run, mce=12, name="corruptions-2.json", measured=measured(test="trained", is_own=False))
    assert read_run(run).figures[GENERATED] == 12


def test_a_report_of_an_earlier_version_on_another_data_set_is_not_the_runs_own(tmp_path):
    run = write_run(tmp_path, seed=0, mce=None)
    write_evaluation(run, mce=99, dataset=CIFAR)
    assert GENERATED not in read_run(run).figures
    write_evaluation(run, mce=12, dataset={"_target_": "tenet.data.Digits", "mean": [0.1] * 3})
    assert read_run(run).figures[GENERATED] == 12


def test_one_archive_needs_no_name_and_two_are_never_averaged_or_paired(tmp_path):
    for seed in range(2):
        run = write_run(tmp_path / str(seed), seed=seed, mce=None)
        write_evaluation(run, mce=10 + seed, source="files", measured=measured(corruptions=ARCHIVE))
    comparison = compare(read(tmp_path))
    assert comparison.columns == (TEST, OFFICIAL)
    assert comparison.groups[0].spread(OFFICIAL).mean == 10.5
    other = {**ARCHIVE, "archive": "second", "fingerprint": "fedcba9876543210"}
    run = write_run(tmp_path / "2", seed=2, mce=None, tenet=PLAIN)
    write_evaluation(run, mce=90, source="files", measured=measured(corruptions=other))
    comparison = compare(read(tmp_path))
    names = ("mCE, official files (CIFAR-10-C 01234567), %", "mCE, official files (second fedcba98), %")
    assert comparison.columns == (TEST, *names)
    spreads = [[group.spread(name) for name in names] for group in comparison.groups]
    assert [[spread and spread.mean for spread in row] for row in spreads] == [[10.5, None], [None, 90]]


def test_metrics_of_the_summary_are_told_apart_as_their_reports_are(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        run = write_run(tmp_path / name, seed=0, mce=None, lr=seed + 1)
        write_evaluation(run, mce=5 + seed, measured=measured(corruptions={"seed": seed}))
        summary = {"corruption_generated/mce_pct": 5 + seed, "corruption_generated/nll": 0.1}
        (run / "summary.json").write_text(json.dumps(summary))
    columns = compare(read(tmp_path), metrics=["corruption_generated/nll"]).columns
    name = "corruption_generated/nll, generated"
    assert columns[-2:] == (name, f"{name} (seed 1)")


def test_classes_of_one_name_from_different_packages_are_told_apart(tmp_path):
    for name in ("tenet.methods.Inhibited", "mine.Inhibited"):
        write_run(tmp_path / name, seed=0, tenet={"_target_": name})
    groups = compare(read(tmp_path)).groups
    assert sorted(group.label for group in groups) == ["tenet=inhibition", "tenet=mine.Inhibited"]


# --- data sets


def test_runs_on_two_data_sets_are_never_in_one_ranking(tmp_path, capsys):
    write_pair(tmp_path)
    for seed in range(3):
        write_run(tmp_path / "cifar" / str(seed), seed=seed, mce=1, dataset=CIFAR)
    parts = split_by_data(read(tmp_path))
    assert [(name, len(runs)) for name, runs in parts] == [("cifar10", 3), ("digits", 6)]
    assert main([str(tmp_path), "--format", "markdown"]) == 0
    cifar, digits = capsys.readouterr().out.split("## digits, generated corruptions\n")
    assert cifar.startswith("## cifar10, generated corruptions\n")
    assert "| all runs | 4.00 ± 0.00 | 1.00 ± 0.00 | 3 |" in cifar
    assert "1.00 ± 0.00" not in digits
    assert "Difference from tenet=inhibition" in digits
    assert "Difference" not in cifar


def test_files_with_one_path_and_other_content_are_two_data_sets(tmp_path):
    arrays = {"_target_": "tenet.data.Arrays", "path": "/data/mine.npz"}
    for name, test in (("a", "11111111aa"), ("b", "22222222bb"), ("c", "11111111aa")):
        run = write_run(tmp_path / name, seed=ord(name), dataset=arrays)
        (run / "origin.json").write_text(json.dumps({"data": {"test": test}}))
    parts = split_by_data(read(tmp_path))
    assert [(name, [run.folder.name for run in runs]) for name, runs in parts] == [
        ("arrays mine 11111111", ["a", "c"]),
        ("arrays mine 22222222", ["b"]),
    ]


def test_a_part_of_the_training_set_and_another_place_are_the_same_data_set(tmp_path):
    for index, change in enumerate(({}, {"fraction": 0.1}, {"root": "/elsewhere"}, {"mean": [0.2] * 3})):
        write_run(tmp_path / str(index), seed=index, dataset={**CIFAR, **change})
    # Evaluated: its test set has a fingerprint, which the others, of the same settings, share.
    write_evaluation(tmp_path / "0", mce=3, measured=measured(test="abc"))
    write_run(tmp_path / "cut", seed=9, epoch=1, dataset=CIFAR)
    ((name, runs),) = split_by_data(read(tmp_path))
    assert (name, len(runs)) == ("cifar10", 5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "html"])
def test_forms_of_one_table_have_a_file_for_each_data_set(tmp_path, capsys, form):
    write_run(tmp_path / "0", seed=0)
    write_run(tmp_path / "1", seed=0, dataset={**CIFAR, "name": "a/b"})
    assert main([str(tmp_path), "--format", form]) == 1
    assert "the runs are of several data sets (digits, a/b); add --output FILE" in capsys.readouterr().err
    output = tmp_path / f"table.{form}"
    assert main([str(tmp_path), "--output", str(output)]) == 0
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / f"table-{name}.{form}") for name in ("digits", "a-b")]
    assert not output.exists()


def test_an_error_about_one_of_several_data_sets_names_it(tmp_path, capsys):
    write_run(write_pair(tmp_path) / "cifar", seed=0, dataset=CIFAR)
    assert main([str(tmp_path), "--baseline", "tenet=none"]) == 1
    assert "data set cifar10: --baseline tenet=none: the groups differ by nothing" in capsys.readouterr().err


# --- runs that rerun=true moved aside


def test_a_run_that_was_set_aside_is_left_out_also_if_the_newer_one_has_another_configuration(tmp_path):
    write_run(tmp_path / "run", seed=0, mce=10, lr=0.2)
    write_run(tmp_path / "run-before-20260102-030405-123456", seed=0, mce=99, lr=0.1)
    comparison = compare(read(tmp_path))
    assert [group.spread(GENERATED).mean for group in comparison.groups] == [10]
    assert [run.folder.name for run in comparison.problems] == ["run-before-20260102-030405-123456"]


def test_a_run_that_was_set_aside_and_is_compared_is_named(tmp_path, capsys):
    aside = write_run(tmp_path / "run-before-20260102-030405-123456", seed=0, mce=99)
    assert main([str(aside)]) == 0
    assert f"{aside}: set aside by rerun=true; no finished run has replaced it" in capsys.readouterr().out


def test_unfinished_runs_of_several_data_sets_are_refused_in_one_message(tmp_path):
    write_run(tmp_path / "0", seed=0, is_saved=False)
    write_run(tmp_path / "1", seed=0, is_saved=False, dataset=CIFAR)
    ((_, runs),) = split_by_data(read(tmp_path))
    with pytest.raises(CompareError, match="no finished run to compare"):
        compare(runs)
