"""The corruptions of the C-bar benchmarks, pixel by pixel, as their authors define them; slow.

Each takes one image [size, size, 3] of levels, the draws of an image in the order of the package's, and a magnitude.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from tenet.corruptions.random import Draws


class One:
    """The draws of one image, as NumPy arrays."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        return lambda *shape, **limits: getattr(self._draws, name)(*shape, **limits)[0].numpy()


def pixels(image: np.ndarray, value: Callable[[int, int], object]) -> np.ndarray:
    size = len(image)
    return np.array([[value(y, x) for x in range(size)] for y in range(size)], dtype=np.float64)


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    top, left = math.floor(y), math.floor(x)
    total = np.zeros(3)
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < len(image) and 0 <= column < len(image):
            total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def single_frequency_greyscale(image, draws, magnitude):
    first = draws.uniform(low=-math.pi, high=math.pi)
    pair = [first, draws.uniform(low=-1.0) * abs(first)]
    along_x, along_y = pair[::-1] if draws.uniform() < 0.5 else pair
    phase = draws.uniform(high=2 * math.pi)
    wave = pixels(image, lambda y, x: math.sin(x * along_x + y * along_y + phase))
    return image + magnitude * 19.6 * wave[..., None]


def cocentric_sine_waves(image, draws, magnitude):
    size = len(image)
    x0, y0 = draws.uniform(high=float(size)), draws.uniform(high=float(size))
    frequency, amplitude, width = (draws.uniform(high=high) for high in (10.0, size / 10, size / 10))

    def ring(y, x):
        bent = math.hypot(x - x0, y - y0) + amplitude * math.sin(frequency * math.atan2(x - x0, y - y0))
        return bent % width / width - 0.5

    return image + magnitude * 12.8 * pixels(image, ring)[..., None]


def plasma_noise(image, draws, magnitude):
    time, steps = draws.uniform(high=6 * math.pi), draws.integers(4, 7)
    sharpness, scale = draws.uniform(low=0.5), draws.uniform(low=0.075, high=0.2) * len(image)

    def colour(y, x):
        x, y, a, b, c = x / scale, y / scale, 1.0, 1.0, 1.0
        for _ in range(steps):
            right, down = math.cos(y * a + time / b) / c, math.sin(x * a + time / b) / c
            x, y = x + right - 0.3 * down, y + down + 0.3 * right
            a, b, c = a * 1.93, b * 1.15, c * (2.25 - sharpness)
        return math.sin(x - time), math.sin((x + y + math.sin(time)) / 2), math.sin(y + time)

    intensity = magnitude * 6.4
    return (1 - intensity / 255) * image + intensity * pixels(image, colour)


def perlin_noise(image, draws, magnitude):
    unit = 7 / len(image)
    gradients = draws.uniform(2, 113, 113, low=-1.0)

    def noise(y, x):
        top, left = int(y), int(x)

        def slope(row, column):
            gradient = gradients[:, row, column]
            return gradient @ (y - row, x - column) / np.linalg.norm(gradient)

        fade_y, fade_x = ((3 - 2 * part) * part**2 for part in (y - top, x - left))
        above, below = (
            slope(row, left) + fade_x * (slope(row, left + 1) - slope(row, left)) for row in (top, top + 1)
        )
        return 1.5 * (above + fade_y * (below - above))

    def cloud(y, x):
        return sum(abs(noise(y * unit * octave, x * unit * octave)) / octave for octave in (1, 2, 4, 8, 16))

    alpha = 0.05 * magnitude
    return (1 - alpha) * image + 255 * alpha * np.clip(0.5 + 0.5 * pixels(image, cloud), 0, 1)[..., None]


def spectral(image, draws, power, channels):
    size = len(image)
    center = size / 2
    phases = draws.uniform(channels, size * size // 2, high=2 * math.pi).reshape(channels, size // 2, size)
    phases = np.concatenate([phases, phases[:, ::-1, ::-1]], axis=1)
    amplitudes = pixels(image, lambda y, x: power(math.hypot(y - center, x - center)))
    spectrum = np.roll(amplitudes * np.exp(1j * phases), (size // 2, size // 2), axis=(1, 2))
    noise = np.fft.ifft2(spectrum).real
    return np.moveaxis(noise / noise.std(axis=(1, 2), keepdims=True), 0, 2)


def blue_noise_sample(image, draws, magnitude):
    return image * (spectral(image, draws, lambda distance: distance, 1) > 0.3 * magnitude - 2.5)


def brownish_noise(image, draws, magnitude):
    return image + 6.4 * magnitude * spectral(image, draws, lambda distance: 1 / (distance**2 + 1), 3)


def star(image, centre, lengths, count, exponent):
    def strength(y, x):
        down, right = y - centre[0], x - centre[1]
        turn = (math.atan2(right, down) + math.pi) / (2 * math.pi) * count
        ray, part = int(turn), turn - int(turn)
        length = (1 - part) * lengths[ray % count] + part * lengths[(ray + 1) % count]
        light = (length**2 / (down**2 + right**2 + 1e-4)) ** exponent
        return min(max((1 - (part - 0.5) ** 2) * light, 0), 1)

    return pixels(image, strength)[..., None]


def sparkles(image, draws, magnitude):
    for _ in range(5):
        centre = draws.uniform(2) * len(image)
        radius = 0.01 * magnitude * len(image)
        lengths = np.maximum(radius + 0.25 * radius * draws.normal(200), 1)
        light = star(image, centre, lengths, draws.integers(50, 200), 1)
        image = image + light * (255 - image)
    return image


def inverse_sparkles(image, draws, magnitude):
    centre = draws.uniform(2, low=0.25, high=0.75) * len(image)
    lengths = 0.25 * len(image) * (1 + 0.25 * draws.normal(200))
    return 255 + star(image, centre, lengths, draws.integers(50, 200), 6.5 * magnitude / 50) * (image - 255)


def checkerboard_cutout(image, draws, magnitude):
    angle = draws.uniform(high=2 * math.pi)
    side = max(draws.uniform(low=0.1, high=0.25) * len(image), 1)
    drawn = draws.uniform(1600).reshape(40, 40) < magnitude / 10

    def is_covered(y, x):
        a = (math.cos(angle) * y + math.sin(angle) * x) / side
        b = (math.cos(angle) * x - math.sin(angle) * y) / side
        return int(a % 2) == int(b % 2) and drawn[int(a), int(b)]

    return np.where(pixels(image, is_covered)[..., None] > 0, 128, image)


def lines(image, draws, magnitude):
    size = len(image)
    angle, deviation = draws.uniform(high=2 * math.pi), draws.uniform(low=0.1)
    for _ in range(int(magnitude / 10 * size)):
        y, x = draws.uniform(2) * size
        turned = angle + 2 * math.pi * deviation * draws.uniform(low=-0.5, high=0.5)
        down, right = math.cos(turned) * size, math.sin(turned) * size
        ends = [int(y - down), int(x - right), int(y + down), int(x + right)]
        for row, column, value in antialiased_line(*ends):
            if 0 <= row < size and 0 <= column < size:
                image[row, column] = np.floor((1 - value) * image[row, column] + value * 128 + 1e-6)
    return image


def antialiased_line(y0, x0, y1, x1):
    """Zingl's walk from pixel to pixel: each, and its neighbours nearer than a pixel to the line, once."""
    height, width = abs(y1 - y0), abs(x1 - x0)
    step_y, step_x = (1 if end > start else -1 for start, end in ((y0, y1), (x0, x1)))
    length = math.hypot(height, width) or 1
    found = {}
    y, x, error = y0, x0, width - height
    while True:
        found[y, x] = abs(error - width + height) / length
        before, before_x = error, x
        if 2 * before >= -width:
            if x == x1:
                break
            if before + height < length:
                found[y + step_y, x] = (before + height) / length
            error -= height
            x += step_x
        if 2 * before <= height:
            if y == y1:
                break
            if width - before < length:
                found[y, before_x + step_x] = (width - before) / length
            error += width
            y += step_y
    return [(*place, 1 - abs(distance)) for place, distance in found.items()]


def pinch_and_twirl(image, draws, magnitude):
    """Cell by cell in place, as the authors do."""
    side = len(image) // 3
    signs = draws.integers(0, 2, len(image) // side + 1, len(image) // side + 1) * 2 - 1
    for column, row in itertools.product(range(3), range(3)):
        centre = np.array([row * side + side / 2, column * side + side / 2])

        def moved(y, x, centre=centre, sign=signs[row, column]):
            offset = np.array([y, x]) - centre
            distance = np.linalg.norm(offset) / (side / 2)
            if distance > 1 or distance == 0:
                return y, x
            down, right = offset * math.sin(math.pi / 2 * distance) ** -(0.04 * magnitude + 0.1)
            turn = sign * magnitude / 10 * math.pi / 2 * (1 - distance) ** 2
            cosine, sine = math.cos(turn), math.sin(turn)
            return centre + np.array([down * cosine - right * sine, down * sine + right * cosine])

        rows, columns = (range(number * side, (number + 1) * side) for number in (row, column))
        cell = np.array([[bilinear(image, *moved(y, x)) for x in columns] for y in rows])
        image[rows.start : rows.stop, columns.start : columns.stop] = cell
    return image


def ripple(image, draws, magnitude):
    lengths, phases = (
        draws.uniform(2, low=0.1, high=0.3) * len(image),
        draws.uniform(2, high=2 * math.pi),
    )

    def moved(y, x):
        point = np.array([y, x])
        wave = np.sin(2 * math.pi * point / lengths + phases)
        return bilinear(image, *(point + 0.0025 * magnitude * len(image) * wave))

    return pixels(image, moved)


def transverse_chromatic_abberation(image, draws, magnitude):
    scales = [1, 1 + 0.025 * magnitude, 1 + 0.05 * magnitude]
    order = list(itertools.permutations(range(3)))[draws.integers(0, 6)]
    for channel in range(3):
        levels = image[..., channel].astype(np.uint8)
        enlarged = ndimage.zoom(levels, scales[order[channel]], prefilter=False)
        edge = (len(enlarged) - len(image)) // 2
        image[..., channel] = enlarged[edge : edge + len(image), edge : edge + len(image)]
    return image


def circular_motion_blur(image, draws, magnitude):
    steps = [step / 10 for step in range(-10, 11)]
    turned = [ndimage.rotate(image, 1.5 * magnitude * step, reshape=False) for step in steps]
    return np.average(turned, axis=0, weights=[math.exp(-2 * step**2) for step in steps])


def caustic_refraction(image, draws, magnitude):
    time, length = draws.uniform(low=0.5, high=2.0), draws.uniform(low=0.75, high=1.25) * len(image)
    surface = pixels(image, lambda y, x: caustic(np.array([y, x]) / length, time))
    surface = np.pad(ndimage.gaussian_filter(surface, 1), 1)

    def seen(y, x):
        around = surface[y : y + 3, x : x + 3]
        down, right = around[2, 1] - around[0, 1], around[1, 2] - around[1, 0]
        normal = np.array([down, right, 1]) / math.sqrt(down**2 + right**2 + 1)
        ray = refracted(np.array([0.0, 0.0, 1.0]), normal) * 0.05 * magnitude * len(image)
        light = 0.2 * magnitude * (down - right)
        return np.clip(bilinear(image / 255, *(np.array([y, x]) + np.round(ray, 3)[:2])) + light, 0, 1)

    return pixels(image, seen) * 255


def caustic(point, time):
    start = point % 1 * 2 * math.pi - 250
    place, total = start, 1.0
    for step in range(1, 6):
        phase = time * (1 - 3.5 / step)
        (y, x) = place
        move = [math.cos(phase - y) + math.sin(phase + x), math.sin(phase - x) + math.cos(phase + y)]
        place = start + move
        far = start * 0.005 / (math.sin(place[0] + phase), math.cos(place[1] + phase))
        total += 1 / np.linalg.norm(far)
    return min(abs(1.17 - (total / 5) ** 1.4) ** 8, 1)


def refracted(ray, normal, index=4.0):
    """By Snell's law, in the plane of the ray and the normal."""
    cosine = ray @ normal
    if cosine >= 1 - 1e-3:
        return ray
    angle = math.asin(math.sin(math.acos(cosine)) / index)
    across = np.cross(ray, normal)
    along = np.cross(normal, across / np.linalg.norm(across))
    return math.cos(angle) * normal + math.sin(angle) * along
