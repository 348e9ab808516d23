"""The README's Python runs as it is printed."""

import re
from pathlib import Path
from typing import Any

import torch
import torchvision

import tenet
from tenet.training.schedule import Constant
from tests.training.runs import assert_same_weights, run

README = Path(__file__).resolve().parents[1] / "README.md"
STEPS = 2


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 3, 32, 32, generator=generator), torch.arange(4)) for _ in range(STEPS)]


class Loader:
    """The batches of the loop in the README, as the project's own loop takes them."""

    steps_per_epoch = STEPS

    def epoch(self, epoch: int, *, start: int = 0) -> Any:
        for step, (images, labels) in enumerate(batches(), start=1):
            yield tenet.Batch(
                images=images, labels=labels, step=step, draw=tenet.Draw("cpu", seed=0, step=step)
            )


def test_the_loop_in_the_readme_gives_the_weights_of_the_projects_own_loop(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert code.count("\n") < 20
    # Inhibited from the first step on, and with a rate at which four images of noise are learnt.
    code = code.replace("groups=6", "groups=6, start_step=1, interval=1").replace("lr=0.1", "lr=0.01")
    names: dict[str, Any] = {"batches": batches()}
    torch.manual_seed(0)
    exec(code, names)
    assert names["method"].inhibited_steps > 0

    torch.manual_seed(0)
    backbone = torchvision.models.resnet18(num_classes=10)
    method = tenet.Inhibited(method=tenet.CrossEntropy(), layer="layer2", start_step=1, interval=1)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.01, momentum=0.9)
    run(
        tmp_path, backbone=backbone, cut="layer2", method=method, optimizer=optimizer, loader=Loader(),
        schedule=Constant(), epochs=1,
    )  # fmt: skip
    assert_same_weights(names["network"].backbone, backbone)
