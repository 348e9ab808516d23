"""The README's Python runs as it is printed."""

import re
from pathlib import Path

import torch

from tenet.methods import Inhibited
from tenet.networks import Network

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_loop_in_the_readme_trains() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 16, 16, generator=generator)
    names: dict = {"batches": [(images, torch.arange(4))] * 2}
    # Earlier, and on a network that is nothing to wait for.
    code = code.replace(
        "ResNeXt(num_classes=10)", "ResNeXt(num_classes=4, depth=11, base_width=4, widen_factor=1)"
    )
    code = code.replace("groups=6", "groups=6, start_step=1, interval=1").replace("lr=0.1", "lr=0.01")
    exec(code, names)
    assert isinstance(names["network"], Network)
    assert isinstance(names["method"], Inhibited)
    counters = names["method"].counters()
    assert sum(counters.values()) == 2
    assert names["network"].backbone.bn_1.num_batches_tracked == 2 + counters["inhibited_steps"]
