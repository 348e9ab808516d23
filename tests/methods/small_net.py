"""The small network of the golden values of attacks and of adversarial training."""

import torch
from torch import Tensor, nn

from tenet.networks import Network
from tests import golden


class SmallNet(nn.Module):
    """Three convolutions, no BatchNorm and no dropout; cut at `conv2`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, 2, padding=1)
        self.conv3 = nn.Conv2d(16, 32, 3, 2, padding=1)
        self.fc = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            images = convolution(images).relu()
        return self.fc(images.mean((2, 3)))


def load(dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], Network, Tensor, Tensor]:
    """The golden values, the network with their weights, images in [0, 1] and labels."""
    values = golden.load("adversarial.npz")
    backbone = SmallNet()
    backbone.load_state_dict(
        {key.removeprefix("weights/"): value for key, value in values.items() if key.startswith("weights/")}
    )
    images = (values["images"].permute(0, 3, 1, 2) / 255).to(dtype)
    return values, Network(backbone.to(dtype)), images, values["labels"]
