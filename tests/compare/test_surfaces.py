"""Parameter surfaces: one figure over the values of two keys."""

import pytest

from tenet.compare.groups import compare
from tenet.compare.heatmaps import find_surfaces, surface_heatmaps
from tenet.compare.runs import CompareError, find_runs, read_run
from tests.compare.folders import PLAIN, TENET, write_run


def comparison_of(top, **kwargs):
    return compare([read_run(folder) for folder in find_runs([str(top)])], **kwargs)


def write_grid(top, *, lrs=(0.1,), seeds=(0, 1)):
    """mCE = groups + 10 * weight + seed + 100 * lr; and plain runs."""
    for lr in lrs:
        for seed in seeds:
            for groups in (2, 4, 12):
                for weight in (0.1, 1.0):
                    tenet = {**TENET, "groups": groups, "weight": weight}
                    mce = groups + 10 * weight + seed + 100 * lr
                    write_run(top / f"{lr}-{groups}-{weight}-{seed}", seed=seed, lr=lr, tenet=tenet, mce=mce)
            write_run(top / f"plain-{lr}-{seed}", seed=seed, lr=lr, tenet=PLAIN, mce=50)
    return top


def test_a_grid_of_two_keys_gives_one_surface_of_means_over_seeds(tmp_path):
    (surface,) = find_surfaces(comparison_of(write_grid(tmp_path)))
    assert (surface.down, surface.across, surface.rest) == (
        "tenet.groups",
        "tenet.weight",
        "tenet=inhibition",
    )
    means = {place: spread.mean for place, spread in surface.cells.items()}
    grid = [(groups, weight) for groups in (2, 4, 12) for weight in (0.1, 1.0)]
    assert means == pytest.approx({place: place[0] + 10 * place[1] + 10.5 for place in grid})
    assert {spread.seeds for spread in surface.cells.values()} == {2}


def test_groups_that_differ_in_a_third_key_are_not_averaged(tmp_path):
    found = find_surfaces(comparison_of(write_grid(tmp_path, lrs=(0.1, 0.2))))
    pairs = [(surface.down, surface.across, surface.rest) for surface in found]
    assert sorted(pairs) == sorted(
        [("tenet.groups", "tenet.weight", f"lr={lr}, tenet=inhibition") for lr in (0.1, 0.2)]
        + [("optimizer.lr", "tenet.groups", f"tenet=inhibition, weight={weight}") for weight in ("0.1", "1")]
        + [("optimizer.lr", "tenet.weight", f"tenet=inhibition, groups={groups}") for groups in (2, 4, 12)]
    )


def test_keys_that_change_together_have_a_surface_only_if_it_is_asked_for(tmp_path):
    for index in range(4):
        tenet = {**TENET, "groups": 2 + index, "weight": index / 10}
        write_run(tmp_path / str(index), seed=0, tenet=tenet, mce=index)
    comparison = comparison_of(tmp_path)
    assert find_surfaces(comparison) == []
    (surface,) = find_surfaces(comparison, [("tenet.weight", "tenet.groups")])
    assert (surface.down, len(surface.cells)) == ("tenet.weight", 4)


def test_the_figure_is_the_one_of_sort(tmp_path):
    (surface,) = find_surfaces(comparison_of(write_grid(tmp_path), sort="test"))
    assert {spread.mean for spread in surface.cells.values()} == {4.0}


@pytest.mark.parametrize("key", ["tenet", "tenet.layr", "tenet.layer"])
def test_a_chosen_key_without_numbers_is_refused_and_keys_with_numbers_are_listed(tmp_path, key):
    comparison = comparison_of(write_grid(tmp_path))
    with pytest.raises(CompareError, match=rf"--surface {key}: .* tenet\.groups, tenet\.weight"):
        find_surfaces(comparison, [(key, "tenet.groups")])


def test_the_heatmap_is_in_numerical_order_and_frames_the_lowest_figure(tmp_path):
    (heatmap,), about = surface_heatmaps(comparison_of(write_grid(tmp_path)))
    assert heatmap.title == "tenet.groups down, tenet.weight across; tenet=inhibition"
    assert heatmap.columns == ["0.1", "1"]
    assert [name for name, _ in heatmap.rows] == ["2", "4", "12"]
    cells = [cell for _, row in heatmap.rows for cell in row]
    assert cells[0] == ("13.50 ± 0.71", 0, "2 seeds", True)
    assert cells[-1] == ("32.50 ± 0.71", 100, "2 seeds", False)
    assert sum(cell.is_best for cell in cells) == 1
    assert "from 13.50 (faint) to 32.50 (strong)" in about
