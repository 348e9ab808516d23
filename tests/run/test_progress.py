"""Plain lines without a terminal; a bar that fits where there is one."""

from rich.console import Console

from tenet.run.progress import ProgressReport, format_duration


def test_lines_show_position_status_and_time_left(capsys):
    with ProgressReport("training", total=10, unit="step", done=2) as progress:
        progress.update(5, "loss 1.0")
        assert capsys.readouterr().out == "", "at most a line in ten seconds"
        progress.update(6, "loss 0.5  error 3 %", milestone=True)
        progress.last_line -= 11
        progress.update(7, "loss 0.4")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("training  step 6/10  loss 0.5  error 3 %  0:00:00 left")
    assert second.startswith("training  step 7/10  loss 0.4")


def test_a_narrow_terminal_cuts_the_status_and_keeps_the_time(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    progress = ProgressReport("training", total=10, unit="step")
    progress.update(5, "epoch 1/3  loss 0.5  error 3.00 %  700 images/s")
    console = Console(width=60, color_system=None)
    with console.capture() as capture:
        console.print(progress.bar.get_renderable())
    (line,) = capture.get().splitlines()
    assert line.startswith("training ")
    assert " 5/10 epoch 1/3" in line
    assert "images/s" not in line
    assert line.rstrip().endswith("-:--:-- left")


def test_durations_have_hours_minutes_and_seconds():
    assert format_duration(3671.4) == "1:01:11"
