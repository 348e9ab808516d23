"""IPMix: the published values given the draws, step by step, and its own draws."""

import json

import numpy as np
import pytest
import torch

from tenet.augment import IPMix
from tenet.augment.ipmix import (
    IPMIX_OPERATORS,
    WAYS,
    PatchDraw,
    apply_ipmix_operators,
    blend_chains,
    draw_patches,
    mix_patches,
    patch_mask,
)
from tests.golden import GOLDEN

with np.load(GOLDEN / "mixing.npz") as file:
    VALUES = {key: torch.from_numpy(file[key]) for key in file.files if not key.endswith("trace")}
    TRACES = json.loads(str(file["ipmix/trace"]))
IMAGES = VALUES["images"].permute(0, 3, 1, 2).contiguous()
PICTURES = VALUES["pictures"].permute(0, 3, 1, 2).contiguous()
NAMES = {"random_pixels": "pixels", "random_elems": "elements"}


def published_patch(step, index):
    left, top, right, bottom = step["box_left_top_right_bottom"]
    edges = [torch.tensor([edge]) for edge in (top, left, bottom - top, right - left)]
    noise = torch.zeros(1, 3, 32, 32)
    if "uniform" in step:
        noise[0, :, top:bottom, left:right] = VALUES[f"ipmix/{index}/uniform_{step['uniform']}"]
    return PatchDraw(
        patch_mask(*edges, size=32),
        torch.tensor([WAYS.index(NAMES.get(step["mix"], step["mix"]))]),
        torch.tensor([step.get("a", 0.0)]),
        torch.tensor([step.get("b", 0.0)]),
        noise,
        torch.tensor([step.get("threshold", 0.0)]),
    )


@pytest.mark.parametrize("index", range(5))
def test_every_step_and_the_mixture_are_the_published_ones(index):
    image, picture, trace = IMAGES[index][None], PICTURES[index % 3][None], TRACES[index]
    chains = []
    for chain in trace["chains"]:
        current = image
        for step in chain["steps"]:
            if chain["way"] == "P":
                ours = mix_patches(current, picture, published_patch(step, index))
            else:
                ours = apply_ipmix_operators(
                    current,
                    torch.tensor([IPMIX_OPERATORS.index(step["op"])]),
                    torch.tensor([step.get("level", 1.0)], dtype=torch.float32),
                    torch.tensor([-1.0 if step.get("negative") else 1.0]),
                )
            current = VALUES[f"ipmix/{index}/steps"][step["image"]].permute(2, 0, 1)[None]
            # Shears may differ by one level in few pixels.
            assert (ours != current).float().mean() < 0.01
            assert ((ours.int() - current.int()).abs() % 255 <= 1).all()
        chains.append(current)
    mixed = blend_chains(
        image,
        torch.cat(chains),
        weights=torch.tensor([trace["weights"]]),
        blend=torch.tensor([trace["blend"]]),
    )
    expected = VALUES[f"ipmix/{index}/output"]
    torch.testing.assert_close((mixed[0] - 0.5) / 0.5, expected, atol=1e-5, rtol=0)


def test_patches_lie_inside_and_have_the_four_sizes():
    images = torch.zeros(2000, 3, 32, 32, dtype=torch.uint8)
    draw = draw_patches(images, beta=3.0, generator=torch.Generator().manual_seed(0))
    rows, columns = draw.inside[:, 0].any(2).sum(1), draw.inside[:, 0].any(1).sum(1)
    assert torch.equal(draw.inside.flatten(1).sum(1), rows * columns)
    assert rows.min() >= 2
    assert rows.max() == 32
    squares = {4: 0, 8: 0, 16: 0, 32: 0}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row == column and row in squares:
            squares[row] += 1
    assert all(200 < count < 450 for count in squares.values())
    assert draw.way.bincount().min() > 400


def test_views_depend_on_the_generator_alone_and_share_their_pictures():
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)

    def together(seed):
        return IPMix().together(images, views=3, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(together(0), together(0))
    assert not torch.equal(together(0), together(1))
    clean, one, other = together(0).chunk(3)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert clean.shape == images.shape
