"""Pictures of the errors under corruption."""

import pytest
from matplotlib.colors import to_rgb

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.evaluation.plots import draw_heatmap


def luminance(color):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("top", [4.0, 95.0])
def test_the_heatmap_has_a_column_of_means_a_scale_that_spreads_and_readable_figures(top):
    names = CORRUPTIONS + EXTRA_CORRUPTIONS
    errors = {
        name: {severity: 1 + top * (row + severity / 5) / 20 for severity in SEVERITIES}
        for row, name in enumerate(names)
    }
    axes = draw_heatmap(errors, title="digits-resnet8\nmCE").axes[0]
    (image,) = axes.images
    assert image.get_array().shape == (19, 6)
    first = list(errors["gaussian_noise"].values())
    assert image.get_array()[0, 5] == pytest.approx(sum(first) / 5)
    assert axes.get_title() == "digits-resnet8\nmCE"
    assert axes.get_xticklabels()[5].get_text() == "mean"
    backgrounds = [luminance(image.to_rgba(value)) for value in image.get_array().ravel()]
    assert (max(backgrounds) > 0.9, min(backgrounds) < 0.01) == (True, True), "all of the scale is used"
    for text, background in zip(axes.texts, backgrounds, strict=True):
        light, dark = sorted((background, luminance(to_rgb(text.get_color()))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
