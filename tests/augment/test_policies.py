"""torchvision's policies, with a draw for every image."""

from collections import Counter

import pytest
import torch
from torchvision.transforms import autoaugment

from tenet.augment import AutoAugment, RandAugment, TrivialAugment
from tenet.augment.policies import Operation, apply_operations

POLICIES = [AutoAugment(), RandAugment(), TrivialAugment()]
IMAGES = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_images_of_one_operation_are_changed_as_torchvision_changes_each_of_them():
    operations = [Operation("Rotate", 12.0), None, Operation("Color", -0.4), Operation("Equalize", 0.0)] * 16
    changed = apply_operations(IMAGES, operations)
    for image, operation, ours in zip(IMAGES, operations, changed, strict=True):
        if operation is None:
            assert torch.equal(ours, image)
            continue
        theirs = autoaugment._apply_op(
            image, *operation, interpolation=autoaugment.InterpolationMode.NEAREST, fill=None
        )
        assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_draws_are_those_of_torchvision(policy):
    """The same operations as often, of 4,000 draws each: torchvision draws for one image at a time."""
    seen = Counter()

    def spy(image, name, magnitude, **settings):
        seen[name, round(magnitude, 3)] += 1
        return image

    original = {
        AutoAugment: autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10),
        RandAugment: autoaugment.RandAugment(),
        TrivialAugment: autoaugment.TrivialAugmentWide(),
    }[type(policy)]
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoaugment, "_apply_op", spy)
        for _ in range(4000):
            original(IMAGES[0])
    generator = torch.Generator().manual_seed(0)
    ours = Counter(
        (operation.name, round(operation.magnitude, 3))
        for _ in range(4000)
        for operation in policy.draw((32, 32), generator=generator)
        if operation is not None
    )
    assert ours.total() == pytest.approx(seen.total(), rel=0.05)
    for operation in ours.keys() | seen.keys():
        expected = max(ours[operation], seen[operation])
        # Five standard deviations of the difference of two counts.
        assert abs(ours[operation] - seen[operation]) <= 5 * (2 * expected) ** 0.5


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_views_depend_on_the_generator_alone_and_images_differ(policy):
    def view(seed, images=IMAGES):
        return policy.view(images, generator=torch.Generator().manual_seed(seed))

    first = view(0)
    torch.manual_seed(1)
    assert torch.equal(view(0), first)
    assert not torch.equal(view(1), first)
    same = IMAGES[:1].expand(32, -1, -1, -1)
    assert len(policy.change(same, generator=torch.Generator().manual_seed(0)).unique(dim=0)) > 8


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="policy=cifar must be one of imagenet, cifar10, svhn"):
        AutoAugment(policy="cifar")
