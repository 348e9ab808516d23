"""The parts of snow, fog, frost and spatter, and the contact sheet."""

from itertools import groupby

import numpy as np
import pytest
import torch
from PIL import Image

from tenet.corruptions import contact_sheet
from tenet.corruptions.frost import KINDS, frost_texture
from tenet.corruptions.pictures import sheet_of
from tenet.corruptions.random import Draws, image_keys
from tenet.corruptions.spatter import connected, distance_to, edges, equalize_levels
from tenet.corruptions.weather import plasma


def draws(count: int) -> Draws:
    return Draws(image_keys(torch.arange(count), seed=0, corruption="fog", severity=1))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_plasma_fills_its_range_and_is_rougher_for_a_smaller_decay():
    smooth, rough = (plasma(32, draws=draws(20), decay=decay) for decay in (3.0, 1.5))
    assert smooth.amin(dim=(1, 2)).eq(0).all()
    assert smooth.amax(dim=(1, 2)).eq(1).all()
    assert rough.diff(dim=1).abs().mean() > 1.5 * smooth.diff(dim=1).abs().mean()


def frost(size: int, *, scale: float, images: int) -> torch.Tensor:
    """Textures in [0, 1]: [images, 3, size, size]."""
    channels = frost_texture(size, size, draws=draws(images), texture_scale=scale)
    return torch.stack(list(channels), dim=1) / 255


def test_each_texture_of_frost_has_the_contrast_of_its_kind():
    deviations = 255 * frost(64, scale=0.3, images=60).std(dim=(2, 3), correction=0)
    kinds = torch.tensor([contrasts for _, contrasts, _ in KINDS]).abs()
    away, nearest = torch.cdist(deviations, kinds.double()).min(dim=1)
    assert away.max() < 1  # some values are cut off at black and white
    assert nearest.unique().tolist() == [0, 1, 2, 3, 4]


def test_frost_has_longer_crystals_at_a_larger_scale():
    fine, coarse = (frost(32, scale=scale, images=60) for scale in (0.2, 1.0))
    assert coarse.diff(dim=-1).abs().mean() < 0.8 * fine.diff(dim=-1).abs().mean()


def test_rime_has_dark_gaps_where_dark_frost_has_bright_crystals():
    textures = frost(32, scale=0.2, images=300).mean(dim=1).flatten(1)
    means = textures.mean(dim=1, keepdim=True)
    skewness = ((textures - means) ** 3).mean(dim=1) / textures.std(dim=1) ** 3
    rime = means[:, 0] > 0.72
    assert 0.25 < rime.double().mean() < 0.55
    assert skewness[rime].mean() < -0.05
    assert skewness[~rime].mean() > 0.05


def shortest_paths(marked: np.ndarray) -> np.ndarray:
    """Relax every pixel from its 16 neighbours until nothing changes; in 65536ths of a pixel, at most 20 pixels."""
    lengths = {(0, 1): 65536, (1, 1): 91750, (1, 2): 143976}
    steps = [
        (dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if tuple(sorted((abs(dy), abs(dx)))) in lengths
    ]
    distance = np.where(marked, 0, 20 * 65536)
    while True:
        height, width = distance.shape
        padded = np.pad(distance, 2, constant_values=20 * 65536)
        near = [
            padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]
            + lengths[tuple(sorted((abs(dy), abs(dx))))]
            for dy, dx in steps
        ]
        shorter = np.minimum(distance, np.min(near, axis=0))
        if (shorter == distance).all():
            return distance
        distance = shorter


def test_distance_is_the_shortest_path_of_opencvs_steps():
    marked = noise(4, 45, 30) > 0.997
    expected = np.stack([shortest_paths(image) for image in marked.numpy()])
    assert np.array_equal(distance_to(marked).numpy(), expected)
    line = torch.zeros(1, 9, 9, dtype=torch.bool)
    line[0, 4, 4] = True
    # two steps of a knight and one straight step; OpenCV's constants, not the Euclidean 5.099
    assert distance_to(line)[0, 3, 8].item() / 65536 == pytest.approx(2.1969 + 2, abs=1e-5)


def test_a_long_weak_edge_is_found_from_one_strong_pixel():
    chain = torch.zeros(1, 60, 60, dtype=torch.bool)
    chain[0].fill_diagonal_(True)
    chain[0, 10, 50] = True
    start = torch.zeros_like(chain)
    start[0, 0, 0] = True
    assert connected(start, within=chain).sum() == 60


def test_frost_is_smoother_where_the_photographs_are_scaled_less():
    def variation(size: int, scale: float) -> float:
        return frost(size, scale=scale, images=20).diff(dim=-1).abs().mean().item()

    assert variation(64, 0.3) / variation(32, 0.2) == pytest.approx(0.78, abs=0.06)
    assert variation(224, 1.0) / variation(32, 0.2) == pytest.approx(0.55, abs=0.06)


def test_edges_are_the_outline_of_a_bright_square():
    levels = torch.zeros(1, 12, 12)
    levels[:, 4:8, 4:8] = 200
    found = edges(levels)[0]
    # Of two equal gradients on the sides of a step, the left or upper one is kept.
    assert found[5].nonzero().flatten().tolist() == [3, 7]
    assert found[:, 5].nonzero().flatten().tolist() == [3, 7]
    assert not found[:3].any()
    assert not found[9:].any()
    assert not edges(torch.full((1, 12, 12), 200.0)).any()


def test_equalize_spreads_the_ranks_and_keeps_a_flat_image():
    values = torch.tensor([[[1, 1, 1, 1], [2, 2, 5, 9]]]).float()
    assert equalize_levels(values)[0].tolist() == [[0, 0, 0, 0], [128, 128, 191, 255]]
    assert torch.equal(equalize_levels(torch.full((1, 2, 2), 3.0)), torch.full((1, 2, 2), 3.0))


def test_a_long_name_is_whole_on_a_sheet():
    cells = {
        name: {1: torch.zeros(8, 8, 3, dtype=torch.uint8)}
        for name in ("fog", "transverse_chromatic_abberation")
    }
    figure = sheet_of(cells)
    figure.canvas.draw()
    labels = figure.axes[0].get_yticklabels()
    assert min(label.get_window_extent().x0 for label in labels) >= 0


def test_the_contact_sheet_shows_each_clean_image_before_its_corruptions(tmp_path):
    images = torch.stack([torch.full((16, 16, 3), level, dtype=torch.uint8) for level in (40, 200)])
    contact_sheet(images, path=tmp_path / "sheet.png", seed=1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > sheet.height > 400, "two blocks side by side"
        pixels = np.asarray(sheet.convert("L")).astype(int)
    # Down the column of the clean images, first of the left block: one image after the other.
    column = pixels[:, round(sheet.width * (1.5 + 0.375) / 12.05)]
    levels = [level for level, _ in groupby(column) if level in (40, 200)]
    assert levels == [40, 200] * 5
