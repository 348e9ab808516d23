"""The all-convolutional network of AugMix's tables (Springenberg et al. 2015, arXiv 1412.6806)."""

from jaxtyping import Float
from torch import Tensor, nn

from tenet.networks.initialization import initialize


class SigmoidGelu(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that AugMix's code uses."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x * (1.702 * x).sigmoid()


class AllConv(nn.Module):
    """Nine convolutions, each with BatchNorm and GELU, in three stages separated by max-pooling and dropout.

    For 32x32 images, the stages end in 96 channels of 16x16 (features.10), 192 of 8x8 (features.21) and 192 of 10x10
    (features.30). The last three convolutions are one unpadded and two padded 1x1, as in the official code, so that
    the average pooling of 8x8 leaves out the last two rows and columns.

    The modules have the names of AugMix's checkpoints. Source: google-research/augmix, models/cifar/allconv.py.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        # Output channels, kernel size and padding of each convolution; None: the end of a stage.
        plan = (
            [(96, 3, 1)] * 3 + [None] + [(192, 3, 1)] * 3 + [None] + [(192, 3, 0), (192, 1, 1), (192, 1, 1)]
        )
        for step in plan:
            if step is None:
                layers += [nn.MaxPool2d(2), nn.Dropout(0.5)]
                continue
            width, kernel, padding = step
            convolution = nn.Conv2d(channels, width, kernel, padding=padding)
            layers += [convolution, nn.BatchNorm2d(width), SigmoidGelu()]
            channels = width
        self.features = nn.Sequential(*layers, nn.AvgPool2d(8))
        self.classifier = nn.Linear(channels, num_classes)
        self.cut_aliases = {"stage_1": "features.10", "stage_2": "features.21", "stage_3": "features.30"}
        initialize(self, linear_weights=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        return self.classifier(self.features(images).flatten(1))
