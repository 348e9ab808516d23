"""Rays, squares and lines that cover parts of the image."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from tenet.corruptions.bar.noise import axes, by_image
from tenet.corruptions.operators import to_whole_levels
from tenet.corruptions.random import Draws

Images = Float64[Tensor, "batch 3 h w"]
Weights = Float64[Tensor, "batch h w"]

SPARKLES = 5
MIN_RAYS, MAX_RAYS = 50, 200
RAY_DEVIATION = 0.25  # of the lengths of rays, as a fraction of the mean length
SMALLEST_SQUARE, LARGEST_SQUARE = 0.1, 0.25
SQUARES = 40  # along an axis of the table of drawn squares: none of an image has the draw of another
GREY = 128 / 255


def sparkles(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Five white stars of many rays at random places."""
    height, width = images_01.shape[-2:]
    darkness = 1 - images_01
    for _ in range(SPARKLES):
        centres = draws.uniform(2) * images_01.new_tensor([height, width])
        lengths = ray_lengths(draws, mean=0.01 * magnitude * min(height, width)).clamp_(min=1)
        darkness *= 1 - star(images_01, centres, lengths, draws.integers(MIN_RAYS, MAX_RAYS), 1.0)[:, None]
    return 1 - darkness


def inverse_sparkles(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """A white veil around one star of many rays, through which the image shows."""
    height, width = images_01.shape[-2:]
    centres = draws.uniform(2, low=0.25, high=0.75) * images_01.new_tensor([height, width])
    lengths = ray_lengths(draws, mean=0.25 * min(height, width))
    clear = star(images_01, centres, lengths, draws.integers(MIN_RAYS, MAX_RAYS), 0.13 * magnitude)
    return 1 - clear[:, None] * (1 - images_01)


def ray_lengths(draws: Draws, *, mean: float) -> Float64[Tensor, "batch ray"]:
    return mean * (1 + RAY_DEVIATION * draws.normal(MAX_RAYS))


def star(
    images: Images,
    centres: Float64[Tensor, "batch 2"],
    lengths: Float64[Tensor, "batch ray"],
    counts: Tensor,
    exponent: float,
) -> Weights:
    """In [0, 1], the strength of `counts` rays around the centre (row, column); it falls with the distance."""
    rows, columns = axes(images)
    down, right = rows - by_image(centres[:, 0]), columns - by_image(centres[:, 1])
    counts = by_image(counts)
    turns = (torch.atan2(right, down) + math.pi) / (2 * math.pi) * counts
    first = turns.floor()
    part = turns - first
    before, after = (
        lengths.gather(1, ray.remainder(counts).long().flatten(1)).view_as(turns)
        for ray in (first, first + 1)
    )
    length = before + part * (after - before)
    strength = length.square() / (down.square() + right.square() + 1e-4)
    return ((1 - (part - 0.5).square()) * strength.pow(exponent)).clamp_(0, 1)


def checkerboard_cutout(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Grey squares: each field of one colour of a turned chessboard, with a probability of a tenth of the magnitude."""
    rows, columns = axes(images_01)
    angles = by_image(draws.uniform(high=2 * math.pi))
    sides = draws.uniform(low=SMALLEST_SQUARE, high=LARGEST_SQUARE) * min(images_01.shape[-2:])
    sides = by_image(sides.clamp(min=1))
    down = (angles.cos() * rows + angles.sin() * columns) / sides
    right = (angles.cos() * columns - angles.sin() * rows) / sides
    is_drawn = draws.uniform(SQUARES**2) < magnitude / 10
    # As in the official code, a field's number is truncated toward 0.
    fields = down.trunc().remainder(SQUARES) * SQUARES + right.trunc().remainder(SQUARES)
    is_covered = is_drawn.gather(1, fields.long().flatten(1)).view_as(down)
    is_covered &= down.floor().remainder(2) == right.floor().remainder(2)
    return images_01.masked_fill_(is_covered[:, None], GREY)


def lines(images_01: Images, *, draws: Draws, magnitude: float) -> Images:
    """Grey antialiased lines through random points, along one direction and a random deviation from it."""
    height, width = images_01.shape[-2:]
    size = min(height, width)
    angles, deviations = draws.uniform(high=2 * math.pi), draws.uniform(low=0.1)
    for _ in range(int(magnitude / 10 * size)):
        points = draws.uniform(2) * images_01.new_tensor([height, width])
        turned = angles + 2 * math.pi * deviations * draws.uniform(low=-0.5, high=0.5)
        reach = torch.stack([turned.cos(), turned.sin()], dim=1) * size
        weights = line_weights(images_01, (points - reach).trunc(), (points + reach).trunc())[:, None]
        images_01 = to_whole_levels(images_01.lerp(images_01.new_tensor(GREY), weights))
    return images_01


def line_weights(
    images: Images, start: Float64[Tensor, "batch 2"], end: Float64[Tensor, "batch 2"]
) -> Weights:
    """1 minus a pixel's distance in pixels from the line between two pixels (row, column); 0 beyond its ends.

    Where Zingl's algorithm, of the official code, draws: the algorithm visits the pixels one by one.
    """
    rows, columns = axes(images)
    down, right = (by_image(step) for step in (end - start).unbind(1))
    below, beside = rows - by_image(start[:, 0]), columns - by_image(start[:, 1])
    length = (down.square() + right.square()).sqrt().clamp_(min=1)
    distance = (below * right - beside * down).abs() / length
    # The axis along which the line is longer, from 0 at its start to 1 at its end.
    along = torch.where(down.abs() > right.abs(), below / down, beside / right)
    return (1 - distance).clamp_(0).masked_fill_((along < 0) | (along > 1), 0)
