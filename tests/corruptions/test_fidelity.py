"""The generator against official files: statistics of 100 images per cell, pixels of 8."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.corruption_fidelity import DETERMINISTIC, cell_statistics, share_within_two_levels
from tenet.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt

FOLDER = Path(__file__).parents[1] / "fixtures" / "corruptions"
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS
# Mean squared change, total variation, deviation; frost's textures are synthetic.
TOLERANCES = dict.fromkeys(NAMES, (0.15, 0.08, 0.05)) | {"frost": (0.25, 0.25, 0.25)}


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "images.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def statistics() -> dict[str, list[list[float]]]:
    return json.loads((FOLDER / "statistics.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_each_severity_has_the_official_statistics_and_change_grows_where_the_official_one_does(
    name, official, statistics
):
    clean, changes = official["clean"], []
    for severity in SEVERITIES:
        ours = corrupt(torch.from_numpy(clean), corruption=name, severity=severity).numpy()
        found = cell_statistics(ours, clean)
        changes.append(found[0])
        for figure, expected, tolerance in zip(
            found, statistics[name][severity - 1], TOLERANCES[name], strict=True
        ):
            assert figure == pytest.approx(expected, rel=tolerance), severity
    expected = [cell[0] for cell in statistics[name]]
    for step in range(len(SEVERITIES) - 1):
        # a smaller rise can be due to the photographs of frost drawn for these 100 images
        if expected[step + 1] > 1.15 * expected[step]:
            assert changes[step + 1] > changes[step], step + 1


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions_match_the_official_pixels(name, official):
    clean = torch.from_numpy(official["clean"][official["pictures"]])
    for severity in SEVERITIES:
        ours = corrupt(clean, corruption=name, severity=severity).numpy()
        assert share_within_two_levels(ours, official[name][severity - 1]) >= 0.99, severity
        assert (ours == official[name][severity - 1]).mean() > 0.9, severity  # truncated, not rounded
