"""The parts of snow, fog, frost and spatter, and the contact sheet."""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from tenet.corruptions import contact_sheet
from tenet.corruptions.frost import crystals, frost_texture
from tenet.corruptions.random import Draws, image_keys
from tenet.corruptions.spatter import FARTHEST, distance_to, edges, equalize_levels
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


def test_crystals_are_standardised_in_each_image():
    relief = crystals(24, 40, draws=draws(3), needle_sigma=1.0)
    torch.testing.assert_close(relief.mean(dim=(1, 2)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(relief.std(dim=(1, 2), correction=0), torch.ones(3).double())


def test_frost_has_longer_crystals_at_a_larger_scale():
    fine = frost_texture(32, 32, draws=draws(60), texture_scale=0.2)
    coarse = frost_texture(32, 32, draws=draws(60), texture_scale=1.0)
    assert coarse.diff(dim=-1).abs().mean() < 0.8 * fine.diff(dim=-1).abs().mean()


def test_rime_has_dark_gaps_where_dark_frost_has_bright_crystals():
    textures = frost_texture(32, 32, draws=draws(300), texture_scale=0.2).mean(dim=1).flatten(1)
    means = textures.mean(dim=1, keepdim=True)
    skewness = ((textures - means) ** 3).mean(dim=1) / textures.std(dim=1) ** 3
    rime = means[:, 0] > 0.72
    assert 0.25 < rime.double().mean() < 0.55
    assert skewness[rime].mean() < -0.05
    assert skewness[~rime].mean() > 0.05


def test_distance_is_scipys_up_to_the_largest_distance_used():
    marked = noise(4, 45, 30) > 0.997
    expected = np.stack([ndimage.distance_transform_edt(~image) for image in marked.numpy()])
    ours = distance_to(marked).clamp(max=FARTHEST).numpy()
    np.testing.assert_allclose(ours, np.minimum(expected, FARTHEST), atol=1e-9)


def test_edges_are_the_outline_of_a_bright_square():
    levels = torch.zeros(1, 12, 12, dtype=torch.float64)
    levels[:, 4:8, 4:8] = 200
    found = edges(levels)[0]
    # Of two equal gradients on the sides of a step, the left or upper one is kept.
    assert found[5].nonzero().flatten().tolist() == [3, 7]
    assert found[:, 5].nonzero().flatten().tolist() == [3, 7]
    assert not found[:3].any()
    assert not found[9:].any()
    assert not edges(torch.full((1, 12, 12), 200.0, dtype=torch.float64)).any()


def test_equalize_spreads_the_ranks_and_keeps_a_flat_image():
    values = torch.tensor([[[1, 1, 1, 1], [2, 2, 5, 9]]]).double()
    assert equalize_levels(values)[0].tolist() == [[0, 0, 0, 0], [128, 128, 191, 255]]
    assert torch.equal(
        equalize_levels(torch.full((1, 2, 2), 3.0).double()), torch.full((1, 2, 2), 3.0).double()
    )


def test_contact_sheet_is_a_picture(tmp_path):
    image = (noise(16, 16, 3) * 255).to(torch.uint8)
    contact_sheet(image, path=tmp_path / "sheet.png", seed=1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > sheet.width > 400
