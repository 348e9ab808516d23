"""The command line and its output formats."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from tenet.compare.__main__ import main
from tenet.compare.spread import Difference, Spread
from tenet.compare.text import difference_text, spread_text
from tests.compare.folders import PLAIN, TENET, write_evaluation, write_nine_keys, write_pair, write_run

ROOT = Path(__file__).resolve().parent.parent.parent


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_markdown_has_the_figures_and_the_paired_difference(tmp_path, capsys):
    text = printed(capsys, write_pair(tmp_path), "--format", "markdown")
    assert "| inhibition | 4.00 ± 1.00 | 12.00 ± 2.00 | 3 |" in text
    assert "| none | 4.00 ± 0.00 | 14.00 ± 2.65 | 3 |" in text
    assert "+2.00 \\[-0.48, +4.48] (3 pairs)" in text


def test_terminal_shows_figures_and_takes_brackets_literally(tmp_path, capsys):
    write_run(tmp_path, seed=0, mce=12, tenet={"_target_": "x", "layer": "[red]stage[/]"})
    text = printed(capsys, tmp_path, "--by", "tenet.layer")
    assert "[red]stage[/]" in text
    assert "12.00" in text


def test_control_characters_never_reach_the_terminal(tmp_path, capsys):
    folder = write_run(tmp_path / "a\x1b[2Jb", seed=0, mce=None, tenet={"_target_": "x", "layer": "\x1b[31m"})
    text = printed(capsys, folder, "--by", "tenet.layer")
    assert "\x1b" not in text
    assert "?[31m" in text


def test_latex_is_escaped(tmp_path, capsys):
    write_run(tmp_path, seed=0, mce=12, tenet={"_target_": "x", "layer": r"a_b & 50% \x {}"})
    text = printed(capsys, tmp_path, "--by", "tenet.layer", "--format", "latex")
    assert r"{}a\_b \& 50\% \textbackslash{}x \{\} & 4.00 & 12.00 & 1 \\" in text
    assert r"mCE, generated, \%" in text


def test_latex_has_minus_signs_for_numbers_only(tmp_path, capsys):
    text = printed(capsys, write_pair(tmp_path), "--baseline", "tenet=none", "--format", "latex")
    assert "$-$2.00 [$-$4.48, +0.48] (3 pairs)" in text
    write_run(tmp_path / "other", seed=0, tenet={"_target_": "x", "layer": "stage-2"})
    text = printed(capsys, tmp_path / "other", "--by", "tenet.layer", "--format", "latex")
    assert "stage-2" in text


def test_the_terminal_keeps_names_whole_in_eighty_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for groups in (2, 4):
        for seed in (0, 1, 2):
            tenet = {**TENET, "groups": groups, "weight": groups / 10}
            write_run(tmp_path / f"{groups}-{seed}", seed=seed, tenet=tenet, mce=groups + seed)
            write_run(tmp_path / f"plain-{seed}", seed=seed, tenet=PLAIN, mce=20)
    text = printed(capsys, tmp_path)
    assert "inhibition" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if line[0] in "┏┃┡│└") <= 80


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_terminal_never_cuts_a_figure(tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = printed(capsys, write_nine_keys(tmp_path))
    for figure in ("11.00 ± 1.00", "12.00 ± 1.00", "+1.00 [+1.00, +1.00] (3 pairs)"):
        # The interval and the pairs may stand on lines of their own.
        assert figure in text or all(
            part in text for part in figure.replace(" (", "|(").replace(" [", "|[").split("|")
        )
    assert "…" not in text
    assert "0.1429" in text
    assert "0.14285" not in text
    lines = [line for line in text.splitlines() if line[0] in "┏┃┡│└"]
    assert max(map(len, lines)) <= max(width, 60)


def test_csv_has_keys_in_full_precision(tmp_path, capsys):
    assert str(1 / 7) in printed(capsys, write_nine_keys(tmp_path), "--format", "csv")


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html"])
def test_runs_without_an_inhibited_step_are_listed(tmp_path, capsys, form):
    for seed, steps in enumerate((0, 0, 5)):
        run = write_run(tmp_path / f"ours-{seed}", seed=seed)
        (run / "summary.json").write_text(f'{{"train/inhibited_steps": {steps}}}')
        plain = write_run(tmp_path / f"plain-{seed}", seed=seed, tenet=PLAIN)
        (plain / "summary.json").write_text('{"train/inhibited_steps": 0}')
    assert main([str(tmp_path), "--format", form]) == 0
    text = "".join(capsys.readouterr())
    assert "no inhibited step was taken in 2 runs of tenet=inhibition: plain training" in text
    assert text.count("no inhibited step") == 1


@pytest.mark.parametrize(
    ("baseline", "text"), [("tenet=inhibition", "not evaluated"), ("tenet=none", "tenet=none not evaluated")]
)
def test_a_difference_without_figures_is_shown_as_not_evaluated(tmp_path, capsys, baseline, text):
    for seed in (0, 1, 2):
        write_run(tmp_path / f"ours-{seed}", seed=seed)
        write_run(tmp_path / f"plain-{seed}", seed=seed, tenet=PLAIN, mce=None)
    output = printed(capsys, tmp_path, "--baseline", baseline, "--format", "markdown")
    assert f"| {text} |" in output
    assert "no common seed" not in output


@pytest.mark.parametrize("name", ["x.docx", "x"])
def test_an_unknown_output_suffix_is_refused_with_the_known_ones(tmp_path, capsys, name):
    write_run(tmp_path / "0", seed=0)
    path = tmp_path / name
    assert main([str(tmp_path), "--output", str(path)]) == 1
    assert f"--output {path}: its suffix is none of .md, .tex, .csv, .html" in capsys.readouterr().err
    assert not path.exists()
    assert printed(capsys, tmp_path, "--output", path, "--format", "terminal") == f"{path}\n"


def test_markdown_is_escaped(tmp_path, capsys):
    write_run(tmp_path, seed=0, mce=12, tenet={"_target_": "x", "layer": "a|b <i>"})
    text = printed(capsys, tmp_path, "--by", "tenet.layer", "--format", "markdown")
    assert r"| a\|b &lt;i> | 4.00 |" in text


def test_csv_holds_figures_only_and_left_out_runs_are_printed_to_stderr(tmp_path, capsys):
    write_run(write_pair(tmp_path) / "cut", seed=9, is_saved=False)
    assert main([str(tmp_path), "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"{tmp_path / 'cut'}: unfinished: no weights.safetensors\n"
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    figures = {(row["tenet"], row["figure"]): row for row in rows}
    assert len(rows) == len(figures) == 4
    plain = figures["none", "mCE, generated, %"]
    assert float(plain["deviation"]) == pytest.approx(7**0.5)
    names = ("mean", "seeds", "difference", "low", "high", "pairs")
    assert [float(plain[name]) for name in names] == pytest.approx(
        [14, 3, 2, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5, 3], abs=1e-4
    )
    assert figures["inhibition", "mCE, generated, %"]["difference"] == ""


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html"])
def test_every_left_out_run_is_listed(tmp_path, capsys, form, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(write_pair(tmp_path))
    write_run(tmp_path / "cut", seed=7, epoch=1)
    write_run(tmp_path / "bare", seed=8, mce=None)
    assert main([".", "--format", form]) == 0
    text = "".join(capsys.readouterr())
    assert "unfinished: stopped at epoch 1 of 2" in text
    assert "cut" in text
    assert "bare" in text
    assert "not evaluated" in text


@pytest.mark.slow
@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html"])
def test_published_figures_are_shown_only_when_asked_and_marked(tmp_path, capsys, form, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_run(
        tmp_path / "1", seed=0, source="files", dataset={"_target_": "tenet.data.Cifar", "name": "cifar10"}
    )
    assert "12.31" not in printed(capsys, tmp_path / "1", "--format", form)
    text = printed(capsys, tmp_path / "1", "--format", form, "--published")
    assert all(figure in text for figure in ("3.50", "12.31", "10.9", "27.5"))
    assert "not measured here" in text
    assert "35.73" not in text, "of another data set"
    write_run(tmp_path / "2", seed=0)
    main([str(tmp_path / "2"), "--format", form, "--published"])
    text = "".join(capsys.readouterr())
    assert "no published figures on digits are known" in text
    assert "12.31" not in text


def test_official_and_generated_figures_have_separate_columns(tmp_path, capsys):
    write_evaluation(write_run(tmp_path, seed=0, mce=12), mce=9, source="files")
    text = printed(capsys, tmp_path, "--format", "markdown")
    assert "| group | test error, % | mCE, official files, % | mCE, generated, % | seeds |" in text
    assert "| all runs | 4.00 | 9.00 | 12.00 | 1 |" in text


def test_a_figure_that_some_seeds_lack_shows_the_number_of_seeds():
    assert spread_text(Spread(5.3, 0.7, 3), column="mCE, %", runs=5) == "5.30 ± 0.70 (3 of 5 seeds)"
    assert spread_text(None, column="mCE, %", runs=5) == "-"


def test_too_few_pairs_have_no_interval():
    assert (
        difference_text(Difference(-0.5, None, 2), column="mCE, %")
        == "-0.50 (2 pairs: too few for an interval)"
    )
    assert (
        difference_text(Difference(0.5, None, 1), column="mCE, %")
        == "+0.50 (1 pair: too few for an interval)"
    )
    assert difference_text(Difference(None, None, 0), column="mCE, %") == "no common seed"


def test_the_suffix_of_the_output_selects_the_format(tmp_path, capsys):
    write_run(tmp_path / "0", seed=0)
    for suffix, start in ((".md", "## digits, "), (".tex", "%"), (".csv", "figure,"), (".html", "<!doctype")):
        path = tmp_path / f"out{suffix}"
        assert printed(capsys, tmp_path / "0", "--output", path) == f"{path}\n"
        assert path.read_text().startswith(start)


@pytest.mark.parametrize(
    "arguments",
    [["nowhere"], [".", "--group-by", "tenet.layr"], [".", "--baseline", "a=b"], [".", "--output", "0.md"]],
)
def test_user_errors_are_one_line(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "0", seed=0)
    (tmp_path / "0.md").mkdir()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_a_duplicated_seed_is_one_line_with_both_folders(tmp_path, capsys):
    for name in ("one", "two"):
        write_run(tmp_path / name, seed=4, tenet=PLAIN, trainer={"device": name})
    assert main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{tmp_path / 'one'} and {tmp_path / 'two'}" in error


def test_torch_hydra_and_matplotlib_are_not_loaded():
    code = "import sys, tenet.compare.__main__, tenet.compare.page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "hydra", "omegaconf", "matplotlib"}.isdisjoint(done.stdout.split())


def test_metrics_other_than_percentages_have_four_digits(tmp_path, capsys):
    for seed, speed in enumerate((1024.34, 1026.34)):
        run = write_run(tmp_path / str(seed), seed=seed)
        (run / "summary.json").write_text(f'{{"speed/images_per_s": {speed}}}')
    text = printed(capsys, tmp_path, "--metrics", "speed/images_per_s", "--format", "markdown")
    assert "| 1025 ± 1.414 |" in text


def test_a_surface_needs_html(tmp_path, capsys):
    write_run(tmp_path, seed=0)
    assert main([str(tmp_path), "--surface", "a", "b"]) == 1
    assert "--surface: heatmaps need HTML" in capsys.readouterr().err


def test_an_mce_of_a_network_that_knew_a_corruption_is_marked(tmp_path, capsys):
    known = {"trained_with": {"overlaps": ["brightness", "contrast"]}}
    write_evaluation(write_run(tmp_path / "1", seed=0, mce=None), mce=12, **known)
    write_run(tmp_path / "2", seed=0, mce=13, tenet=PLAIN)
    text = printed(capsys, tmp_path, "--format", "markdown")
    assert "| inhibition | 4.00 | 12.00 † | 1 |" in text
    assert "| none | 4.00 | 13.00 | 1 |" in text
    assert (
        "- † tenet=inhibition: trained with brightness, contrast, which overlap with the benchmark\n" in text
    )
    assert r"\textbf{12.00 $\dagger$} &" in printed(capsys, tmp_path, "--format", "latex")
