"""What a report says of the corruptions and the pictures that the training showed the network."""

import pytest

from tenet.config.build import build
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS
from tenet.evaluation.exposure import Exposure
from tests.config.options import composed


def exposure(*overrides):
    config = composed(*overrides)
    return Exposure.of(build(config[group], key=group) for group in ("augment", "mixing"))


@pytest.mark.parametrize(
    "option", ["augment=autoaugment", "augment=randaugment", "augment=trivialaugment", "mixing=pixmix"]
)
def test_methods_that_show_corruptions_of_the_benchmark_name_them(option):
    overlaps = exposure(option).overlaps
    assert {"brightness", "contrast"} <= set(overlaps) <= {*CORRUPTIONS, *EXTRA_CORRUPTIONS}


def test_other_methods_leave_nothing_to_say():
    for overrides in ([], ["augment=prime"], ["augment=none", "mixing=hybrid"], ["mixing=cutmix"]):
        assert exposure(*overrides) == Exposure()
    assert Exposure().lines() == []
    assert exposure("mixing=pixmix", "mixing.all_operators=false").overlaps == ()


def test_pictures_of_both_parts_are_named_by_their_origin():
    found = exposure(
        "augment=ipmix", "mixing=pixmix", "mixing.all_operators=false", "mixing.pictures=/a/fractals"
    )
    assert found.lines() == [
        "trained with pictures: 300 Julia sets rendered by this package (seed 0), not the authors' pictures",
        "trained with pictures: the pictures in fractals",
    ]


def test_one_corruption_is_named_in_the_singular():
    assert Exposure(("fog",)).lines() == ["trained with fog: this corruption overlaps with the benchmark's"]
