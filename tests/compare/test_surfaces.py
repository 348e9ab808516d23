"""Parameter surfaces: one figure by the values of two keys."""

import pytest

from tenet.compare.groups import compare
from tenet.compare.heatmaps import find_surfaces, surface_table
from tenet.compare.runs import CompareError, find_runs, read_run
from tests.compare.folders import PLAIN, TENET, write_run


def comparison_of(top, **kwargs):
    return compare([read_run(folder) for folder in find_runs([str(top)])], **kwargs)


def write_grid(top, *, lrs=(0.1,), seeds=(0, 1)):
    """mCE = groups + 10 * weight + seed + 100 * lr; beside it, plain runs."""
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
        "tenet=Inhibition",
    )
    means = {place: spread.mean for place, spread in surface.cells.items()}
    grid = [(groups, weight) for groups in (2, 4, 12) for weight in (0.1, 1.0)]
    assert means == pytest.approx({place: place[0] + 10 * place[1] + 10.5 for place in grid})
    assert {spread.seeds for spread in surface.cells.values()} == {2}


def test_a_third_key_is_never_averaged_over(tmp_path):
    found = find_surfaces(comparison_of(write_grid(tmp_path, lrs=(0.1, 0.2))))
    pairs = [(surface.down, surface.across, surface.rest) for surface in found]
    assert sorted(pairs) == sorted(
        [("tenet.groups", "tenet.weight", f"lr={lr}, tenet=Inhibition") for lr in (0.1, 0.2)]
        + [("optimizer.lr", "tenet.groups", f"tenet=Inhibition, weight={weight}") for weight in ("0.1", "1")]
        + [("optimizer.lr", "tenet.weight", f"tenet=Inhibition, groups={groups}") for groups in (2, 4, 12)]
    )


def test_keys_that_were_changed_together_make_no_surface_unless_it_is_asked_for(tmp_path):
    for index in range(4):
        tenet = {**TENET, "groups": 2 + index, "weight": index / 10}
        write_run(tmp_path / str(index), seed=0, tenet=tenet, mce=index)
    comparison = comparison_of(tmp_path)
    assert find_surfaces(comparison) == []
    (surface,) = find_surfaces(comparison, [("tenet.weight", "tenet.groups")])
    assert (surface.down, len(surface.cells)) == ("tenet.weight", 4)


def test_the_figure_is_the_one_that_is_sorted_by(tmp_path):
    (surface,) = find_surfaces(comparison_of(write_grid(tmp_path), sort="test"))
    assert {spread.mean for spread in surface.cells.values()} == {4.0}


@pytest.mark.parametrize("key", ["tenet", "tenet.layr", "tenet.layer"])
def test_a_chosen_key_that_has_no_numbers_is_refused_with_those_that_have(tmp_path, key):
    comparison = comparison_of(write_grid(tmp_path))
    with pytest.raises(CompareError, match=rf"--surface {key}: .* tenet\.groups, tenet\.weight"):
        find_surfaces(comparison, [(key, "tenet.groups")])


def test_the_table_has_rows_and_columns_in_the_order_of_their_numbers_and_frames_the_lowest(tmp_path):
    (surface,) = find_surfaces(comparison_of(write_grid(tmp_path)))
    text = surface_table(surface, column="mCE, generated, %", low=13.5, high=32.5)
    places = [text.index(f'<th scope="row">{groups}</th>') for groups in (2, 4, 12)]
    assert places == sorted(places)
    assert '<td class="best" title="2 seeds" style="--share:0%">13.50 ± 0.71</td>' in text
    assert '<td class="strong" title="2 seeds" style="--share:100%">32.50 ± 0.71</td>' in text
    assert text.count("best") == 1
