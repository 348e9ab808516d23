"""The method on a CUDA device: the same answers, and the host never waits. Run: pytest -m gpu."""

import pytest
import torch

from tenet.backbones import ResNet
from tenet.inhibition import Inhibition, group_channels, inhibition_mask, orthogonality_loss
from tests import golden

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", golden.INHIBITION_FILES)
def test_golden_values_hold_on_the_device(name):
    values = {key: value.cuda() for key, value in golden.load(name).items()}
    medoids = values["initial_medoids"]
    groups = medoids.shape[1]
    assignments = group_channels(values["features"], groups=groups, initial_medoids=medoids)
    assert torch.equal(assignments, values["assignments"])
    given = {"assignments": assignments, "groups": groups}
    mask = inhibition_mask(values["features"], gradients=values["gradients"], **given)
    torch.testing.assert_close(mask, values["mask"], rtol=0, atol=1e-5)
    loss = orthogonality_loss(values["features"], **given)
    torch.testing.assert_close(loss, values["orthogonality"], rtol=1e-5, atol=0)


def test_an_inhibited_step_never_makes_the_host_wait():
    torch.manual_seed(0)
    model = ResNet(num_classes=10, depth=8, width=16).cuda()
    inhibition = Inhibition(layer="stage_2", groups=6)
    images = torch.randn(32, 3, 32, 32, device="cuda")
    labels = torch.randint(10, (32,), device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    inhibition.step(
        model, images, labels, generator=generator
    ).loss.backward()  # warm-up: allocations may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        inhibition.step(model, images, labels, generator=generator).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
