"""AugMix with its settings for ImageNet (severity 1, 224 pixels), against values of the official code."""

import json

import numpy as np
import pytest
import torch

from tenet.augment.augmix import NO_OPERATOR, OPERATORS, AugMixDraws, apply_operators, mix
from tests.golden import GOLDEN

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
# The file holds these pixels of each output.
ROWS, COLUMNS = slice(1, None, 4), slice(2, None, 4)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "augmix-imagenet.npz") as file:
        return dict(file)


def images_of(golden):
    return torch.from_numpy(golden["images"]).permute(0, 3, 1, 2).contiguous()


def test_each_operator_equals_the_official_one(golden):
    traces = json.loads(str(golden["operation/trace"]))
    assert {trace["op"] for trace in traces} == set(OPERATORS)
    changed = apply_operators(
        images_of(golden)[[trace["image"] for trace in traces]],
        torch.tensor([OPERATORS.index(trace["op"]) for trace in traces]),
        torch.tensor([trace["level"] for trace in traces]),
        torch.tensor([-1.0 if trace["negative"] else 1.0 for trace in traces]),
    )
    for trace, image in zip(traces, changed[:, :, ROWS, COLUMNS].permute(0, 2, 3, 1), strict=True):
        difference = (image.int() - torch.from_numpy(golden[trace["key"]]).int()).abs()
        if trace["op"] in ("rotate", "shear_x", "shear_y"):  # rounding of Pillow's fixed-point arithmetic
            assert difference.max() <= 1
            assert (difference > 0).float().mean() < 0.02
        else:
            assert difference.max() == 0


def test_whole_mixes_equal_the_official_ones(golden):
    for index, trace in enumerate(json.loads(str(golden["mixed/trace"]))):
        width, depth = len(trace["chains"]), max(map(len, trace["chains"]))
        operators, levels = torch.full((1, width, depth), NO_OPERATOR), torch.zeros(1, width, depth)
        signs = torch.ones(1, width, depth)
        for chain, steps in enumerate(trace["chains"]):
            for step, drawn in enumerate(steps):
                operators[0, chain, step] = OPERATORS.index(drawn["op"])
                levels[0, chain, step] = drawn.get("level", 1.0)  # autocontrast and equalize have none
                signs[0, chain, step] = -1.0 if drawn.get("negative") else 1.0
        mixing = AugMixDraws(
            operators, levels, signs, torch.tensor([trace["weights"]]), torch.tensor([trace["blend"]])
        )
        mixed = mix(images_of(golden)[index : index + 1], mixing=mixing)[0, :, ROWS, COLUMNS]
        difference = ((mixed - MEAN) / STD - torch.from_numpy(golden[f"mixed/{index}"])).abs()
        # One level of one chain, as above.
        assert difference.max() < 0.02
        assert difference.mean() < 2e-4
