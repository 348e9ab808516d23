"""Classifiers of torchvision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from tenet.networks.imagenet import RESNET_CUTS
from tenet.networks.zoo.download import explain_download
from tenet.networks.zoo.model import Pretrained, ZooModel


class TorchvisionModel(ZooModel):
    library = "torchvision"

    def names(self) -> Sequence[str]:
        from torchvision import models

        return models.list_models(module=models)

    def construct(self, **kwargs: Any) -> nn.Module:
        from torchvision import models

        if self.name in ("googlenet", "inception_v3"):
            kwargs.setdefault("aux_logits", False)  # with them it returns more than logits
            kwargs.setdefault("init_weights", True)
        model = models.get_model(self.name, weights=None, **kwargs)
        if isinstance(model, models.ResNet):
            model.cut_aliases = RESNET_CUTS
        model.usual_image_size = self.image_size or (299 if self.name == "inception_v3" else 224)
        return model

    def _weights(self) -> Any:
        from torchvision import models

        return models.get_model_weights(self.name).DEFAULT

    def normalization(self) -> tuple[Sequence[float], Sequence[float]] | None:
        preset = self._weights().transforms()
        return preset.mean, preset.std

    def download(self) -> Pretrained:
        from torchvision import models

        weights = self._weights()
        file, folder = Path(urlparse(weights.url).path).name, Path(torch.hub.get_dir()) / "checkpoints"
        with (
            explain_download(f"get {weights.url} elsewhere and put {file} into {folder}"),
            torch.device("cpu"),
        ):
            model = models.get_model(self.name, weights=weights, progress=False, **self.kwargs)
        mean, std = self.normalization() or ((), ())
        classes = weights.meta["categories"]
        return Pretrained(model.state_dict(), mean, std, classes, f"torchvision's {weights}")
