"""Models of timm."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tenet.networks.foreign_names import efficientnet_names
from tenet.networks.zoo.download import check_reachable, explain_download
from tenet.networks.zoo.model import Pretrained, ZooModel


class TimmModel(ZooModel):
    library = "timm"

    def names(self) -> Sequence[str]:
        return _timm().list_models()

    def check_name(self) -> None:
        super().check_name()
        base, _, tag = self.name.partition(".")
        published = _timm().list_pretrained(f"{base}.*") if tag or self.is_pretrained else []
        if tag and self.name not in published:
            raise ValueError(
                f"name={self.name}: timm has {', '.join(published) or 'no published weights of it'}"
            )

    def construct(self, **kwargs: Any) -> nn.Module:
        model = _timm().create_model(self.name, **kwargs)
        stages = {4: "stage_1", 8: "stage_2", 16: "stage_3", 32: "stage_4"}
        found = [
            (stages.get(info["reduction"]), info["module"]) for info in getattr(model, "feature_info", [])
        ]
        # Of models without stages, such as ViT, all blocks are at one scale.
        if len({stage for stage, _ in found}) > 1:
            model.cut_aliases = {stage: module for stage, module in found if stage is not None}
        config = getattr(model, "pretrained_cfg", {})
        model.usual_image_size = self.image_size or config.get("input_size", (3, 224, 224))[-1]
        model.other_names = efficientnet_names(model)
        return model

    def normalization(self) -> tuple[Sequence[float], Sequence[float]] | None:
        config = self._config()
        return None if config is None else (config.mean, config.std)

    def _config(self) -> Any:
        return _timm().models.get_pretrained_cfg(self.name, allow_unregistered=True)

    def download(self) -> Pretrained:
        config = self._config()
        if config is None or not (config.hf_hub_id or config.url):
            raise ValueError(f"pretrained=true: timm has no published weights of {self.name}; leave it out")
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
        remedy = (
            f"get {url if config.hf_hub_id else config.url} elsewhere and give backbone.weights=FILE instead"
        )
        with explain_download(remedy):
            if config.hf_hub_id and not self._is_cached(config.hf_hub_id):
                check_reachable(url)  # the hub's client would try for a minute
            with torch.device("cpu"):
                model = _timm().create_model(self.name, pretrained=True, **self.kwargs)
        return Pretrained(model.state_dict(), config.mean, config.std, (), f"timm's {self.name}.{config.tag}")

    @staticmethod
    def _is_cached(repository: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return any(
            isinstance(try_to_load_from_cache(repository, name), str)
            for name in ("model.safetensors", "pytorch_model.bin")
        )


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError("timm is not installed; run pip install 'tenet-training[models]'") from error
    return timm
