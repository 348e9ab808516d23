"""The benchmarks' common form, and the check of their ratios. The speeds themselves are not tested."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import check
from benchmarks.check import ARGUMENTS, Recorded, main, summarize, too_high
from benchmarks.timing import in_turn, median_ratio, report, seconds

FOLDER = Path(check.__file__).parent
BENCHMARKS = tuple(ARGUMENTS["cpu"])
FORM = ["benchmark", "device", "hardware", "torch", "ratios"]
# A phase that takes `slow` times the reference; slow.txt holds one factor for each run.
FAKE = """
import json, pathlib, time

def seconds(rounds):
    start = time.process_time()
    sum(range(rounds * 200_000))
    return time.process_time() - start

slow = pathlib.Path(__file__).with_name("slow.txt")
first, _, others = slow.read_text().partition(" ")
slow.write_text(others or first)
pairs = [(seconds(1), seconds(int(first))) for _ in range(15)]
ratio = sorted(b / a for a, b in pairs)[7]
line = {"hardware": "AMD EPYC", "torch": "2.11.0", "ratios": {"phase_over_reference": ratio}}
print("a table", json.dumps(line), sep="\\n")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A benchmark of one phase, recorded on a CPU at five times its reference."""
    monkeypatch.setattr(check, "ARGUMENTS", {"cpu": {"fake": ""}, "cuda": {"fake": ""}})
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "slow.txt").write_text("5")
    assert main(["--device", "cpu", "--record"], folder=tmp_path) == 0
    return tmp_path


def test_a_benchmark_as_fast_as_recorded_passes(folder, capsys):
    assert main(["--device", "cpu"], folder=folder) == 0
    assert "no ratio is too high" in capsys.readouterr().out


@pytest.mark.slow
def test_a_slowed_phase_ends_the_check_with_1_and_is_named(folder, capsys):
    (folder / "slow.txt").write_text("15")
    assert main(["--device", "cpu"], folder=folder) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("too high: fake phase_over_reference: 1")
    assert "recorded on AMD EPYC, torch 2.11.0" in out


@pytest.mark.slow
def test_noise_in_one_run_passes_because_the_benchmark_runs_again(folder, capsys):
    (folder / "slow.txt").write_text("15 5")
    assert main(["--device", "cpu"], folder=folder) == 0
    assert capsys.readouterr().out.count("fake: ") == 2


def test_a_record_says_where_and_how_it_was_measured_and_keeps_other_devices(folder):
    path = folder / "ratios.json"
    written = json.loads(path.read_text())
    fake = written["cpu"]["fake"]
    assert (fake["hardware"], fake["torch"], fake["arguments"]) == ("AMD EPYC", "2.11.0", "")
    assert 3 < fake["ratios"]["phase_over_reference"]["ratio"] < 7
    path.write_text(json.dumps({**written, "cuda": {"fake": fake}}))
    assert main(["--device", "cpu", "--record"], folder=folder) == 0
    assert set(json.loads(path.read_text())) == {"cpu", "cuda"}


def test_a_device_without_records_is_an_error_with_its_remedy(folder, capsys):
    assert main(["--device", "cuda"], folder=folder) == 2
    assert "no ratios of fake are recorded for cuda: run this with --record" in capsys.readouterr().out


def test_a_benchmark_that_fails_fails_the_check(folder):
    (folder / "fake.py").write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match=r"fake\.py failed"):
        main(["--device", "cpu"], folder=folder)


def test_a_ratio_may_rise_by_its_tolerance_and_a_hundredth_of_the_reference():
    recorded = {"a_over_b": Recorded(ratio=2.0, spread=0.1, tolerance=0.25)}
    assert recorded["a_over_b"].limit == pytest.approx(2.51)
    assert too_high(recorded, {"a_over_b": 2.5}) == []
    assert too_high(recorded, {"a_over_b": 2.52}) == ["a_over_b"]
    assert too_high(recorded, {"a_over_b": 0.1}) == []


def test_a_ratio_that_is_missing_or_nan_counts_as_too_high():
    recorded = {"a_over_b": Recorded(ratio=2.0, spread=0.1, tolerance=0.25)}
    assert too_high(recorded, {"c_over_b": 1.0}) == ["a_over_b"]
    assert too_high(recorded, {"a_over_b": float("nan")}) == ["a_over_b"]


def test_the_tolerance_is_the_least_one_or_twice_the_spread_of_the_recorded_runs():
    steady = summarize([{"a_over_b": ratio} for ratio in (2.0, 2.02, 1.98)])["a_over_b"]
    assert steady == Recorded(ratio=2.0, spread=0.02, tolerance=0.25)
    shaky = summarize([{"a_over_b": ratio} for ratio in (2.0, 2.4, 1.8)])["a_over_b"]
    assert shaky == Recorded(ratio=2.0, spread=0.3, tolerance=0.6)
    assert summarize([{"a_over_b": 2.0}], tolerance=0.03)["a_over_b"].tolerance == 0.03


def test_ratios_are_recorded_for_every_benchmark_at_the_sizes_of_the_check():
    records = json.loads((FOLDER / "ratios.json").read_text())
    for device, recorded in records.items():
        assert {name: entry["arguments"] for name, entry in recorded.items()} == ARGUMENTS[device]
        for entry in recorded.values():
            assert all(Recorded(**values).limit > values["ratio"] > 0 for values in entry["ratios"].values())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_ends_with_a_report_under_its_own_name(name):
    *_, main_function, _ = ast.parse((FOLDER / f"{name}.py").read_text()).body
    last = main_function.body[-1].value
    assert (last.func.id, last.args[0].value) == ("report", name)


def test_a_report_is_one_line_of_the_common_form(capsys):
    report("step", device="cpu", ratios={"a_over_b": 1.5}, batch=4)
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert list(said) == [*FORM, "batch"]
    assert (said["benchmark"], said["device"], said["torch"]) == ("step", "cpu", torch.__version__)


def test_a_ratio_is_the_median_over_rounds_so_that_a_drift_of_the_machine_cancels():
    assert median_ratio([(1.0, 2.0), (10.0, 20.0), (1.0, 50.0)], 1, 0) == 2.0


def test_actions_alternate_and_the_first_round_does_not_count():
    calls: list[str] = []
    rounds = in_turn([lambda: calls.append("a"), lambda: calls.append("b")], repeats=2, device="cpu")
    assert calls == ["a", "b"] * 3
    assert len(rounds) == 2


def test_one_thread_is_timed_by_the_processor_and_several_by_the_clock(monkeypatch):
    for threads, wall, sleeps_count in ((1, False, False), (1, True, True), (2, False, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        time_s = seconds(lambda: time.sleep(0.1), device="cpu", wall=wall)
        assert (time_s >= 0.1) is sleeps_count


@pytest.mark.alone
def test_the_sweep_is_compared_with_the_network_alone_and_projected_by_images():
    command = ["--device", "cpu", "--backbone", "resnet8", "--images", "2", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, FOLDER / "evaluate.py", *command], stdout=subprocess.PIPE, text=True, check=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert list(said)[: len(FORM)] == FORM
    recorded = json.loads((FOLDER / "ratios.json").read_text())["cpu"]["evaluate"]["ratios"]
    assert set(said["ratios"]) == set(recorded)
    times = said["time_s"]
    assert list(times) == ["forward", "generating", "reading", "sweep_generated", "sweep_from_files"]
    for name, ratio in said["ratios"].items():
        assert ratio == pytest.approx(times[name.removesuffix("_over_forward")] / times["forward"])
    # 10,000 images a cell instead of 2.
    assert said["projected_s"] == {
        name: pytest.approx(5000 * times[name]) for name in ("sweep_generated", "sweep_from_files")
    }
    assert times["sweep_generated"] > times["generating"] > times["reading"]
    assert "75 cells x 2 images" in done.stdout
