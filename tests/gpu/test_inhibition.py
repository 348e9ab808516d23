"""The method on a CUDA device: the same results, and the host never waits. Run: pytest -m gpu."""

import warnings

import pytest
import torch

from tenet.inhibition import group_channels, inhibition_mask, orthogonality_loss
from tenet.inhibition.grouping import trusted_kernel
from tenet.methods import Batch, CrossEntropy, Draw, Inhibited
from tenet.networks import Network, ResNet
from tenet.training.optimizer import GuardedOptimizer
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


@pytest.mark.parametrize(
    ("channels", "size", "groups"), [(512, 16, 6), (40, 9, 1), (256, 7, 32), (64, 4, 48)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_device_groups_as_the_cpu_does(channels, size, groups, dtype):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, channels, size, size, generator=generator).relu().to(dtype)
    features[:, 3:7] = 0
    medoids = torch.rand(16, channels, generator=generator).topk(groups, dim=1).indices
    ours = group_channels(features.cuda(), groups=groups, initial_medoids=medoids.cuda())
    assert torch.equal(ours.cpu(), group_channels(features, groups=groups, initial_medoids=medoids))


def test_the_kernel_is_trusted_on_this_device():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trusted_kernel(torch.device("cuda")) is not None


def refuse(update):
    raise AssertionError(f"the {update.name} is not finite")


def test_an_inhibited_step_never_makes_the_host_wait():
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=10, depth=8, width=16), cut="stage_2").cuda()
    method = Inhibited(method=CrossEntropy(), layer="stage_2", interval=1, start_step=0)
    optimizer = GuardedOptimizer(torch.optim.SGD(network.parameters(), lr=0.0), network, on_nonfinite=refuse)
    images = torch.rand(32, 3, 32, 32, device="cuda")
    labels = network(images).argmax(dim=1)  # so that all samples are right
    batch = Batch(images=images, labels=labels, step=1, draw=Draw("cuda", seed=0, step=1))

    def step():
        for update in method.updates(network, batch):
            optimizer.step(update)

    step()  # allocations of the first step may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert method.inhibited_steps == 2
