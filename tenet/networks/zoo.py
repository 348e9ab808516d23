"""Models of other libraries by name: timm's and torchvision's."""

import difflib
import inspect
import re
import socket
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlparse
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from tenet.networks.foreign_names import efficientnet_names
from tenet.networks.stems import fit_stem_to_small_images

TIMEOUT_S = 30
# Arguments that the project sets itself, and those by which a library would read files or return no logits.
RESERVED = (
    *("num_classes", "in_chans", "pretrained", "weights", "weights_backbone", "progress"),
    *(
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
        "out_indices",
    ),
)


class Pretrained(NamedTuple):
    """Published weights by the model's names, what they expect of images in [0, 1], and where they come from."""

    tensors: Mapping[str, Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    classes: Sequence[str]
    source: str


@dataclass(frozen=True)
class ZooModel(ABC):
    """A model of a library by its name there, with further `kwargs` of its constructor.

    is_pretrained: whether its published weights are wanted. Building it neither reads nor downloads them.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_pretrained: bool = False

    library = ""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """All names of the library."""

    @abstractmethod
    def construct(self, **kwargs: Any) -> nn.Module:
        """Call the library."""

    @abstractmethod
    def normalization(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and std that the published weights of this name expect; None if there are none."""

    @abstractmethod
    def download(self) -> Pretrained:
        """The published weights. Raises ValueError, which says what to put where, if they can't be downloaded."""

    def build(self, num_classes: int, *, stem: str | None) -> nn.Module:
        """The model with random weights. Raises ValueError for an unknown name and for refused `kwargs`."""
        self.check_name()
        for key in self.kwargs:
            if key in RESERVED:
                raise ValueError(
                    f"kwargs.{key}={self.kwargs[key]} can't be given: the project sets it, or it names a file"
                )
        with self._explain():
            model = self._construct_on_any_device(num_classes=num_classes)
        if stem == "cifar":
            fit_stem_to_small_images(model, name=self.name)
        vars(model).update(zoo=self, architecture=self.name)
        return model

    def check_name(self) -> None:
        base = self.name.partition(".")[0]
        if base not in self.names():
            near = difflib.get_close_matches(base, self.names(), n=5, cutoff=0.5)
            hint = f"; near ones: {', '.join(near)}" if near else ""
            raise ValueError(f"name={self.name} is no model of {self.library}{hint}")

    def _construct_on_any_device(self, **kwargs: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on defaults that will change
            try:
                return self.construct(**self.kwargs, **kwargs)
            except NotImplementedError:  # some compute with tensors, which have no values on the meta device
                device = torch.empty(0).device
                with torch.device("cpu"):
                    return self.construct(**self.kwargs, **kwargs).to(device)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn what a constructor raises into a ValueError of one line."""
        try:
            yield
        except (
            Exception
        ) as error:  # constructors refuse with TypeError, AssertionError, RuntimeError, KeyError, ...
            found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            if found is None or found[1] not in self.kwargs:
                raise ValueError(
                    f"kwargs={dict(self.kwargs)}: {self.library} can't build {self.name} ({what})"
                ) from error
            near = difflib.get_close_matches(found[1], self._arguments(), n=3)
            hint = f"; near ones: {', '.join(near)}" if near else ""
            raise ValueError(
                f"kwargs.{found[1]}={self.kwargs[found[1]]}: this is no argument of {self.library}'s {self.name}{hint}"
            ) from error

    def _arguments(self) -> list[str]:
        with torch.device("meta"):
            plain = type(self)(self.name)._construct_on_any_device(num_classes=2)
        return list(inspect.signature(type(plain).__init__).parameters)

    @property
    def image_size(self) -> int | None:
        """The side of the images that `kwargs` ask for; None if they do not."""
        for key in ("img_size", "image_size", "input_size"):
            size = self.kwargs.get(key)
            size = size[-1] if isinstance(size, list | tuple) and size else size
            if isinstance(size, int):
                return size
        return None


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
            stages = {f"stage_{index}": f"layer{index}" for index in (1, 2, 3, 4)}
            model.cut_aliases = {"stem": "maxpool", **stages}
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


def timm_model(
    num_classes: int,
    name: str,
    pretrained: bool = False,
    stem: Literal["cifar"] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A model of timm (pip install 'tenet-training[models]'), such as `convnext_atto` or `resnet50.a1_in1k`.

    pretrained: whether training starts from its published weights (see `ZooModel.download`).
    stem: cifar for small images (see `fit_stem_to_small_images`). kwargs: of timm's constructor, such as drop_path_rate.
    stage_1 to stage_4 are where features have 1/4, 1/8, 1/16 and 1/32 of the image's side, without `stem`.
    Raises ValueError for a name that timm lacks, with the nearest ones, and for refused `kwargs`.
    """
    return TimmModel(name, kwargs or {}, pretrained).build(num_classes, stem=stem)


def torchvision_model(
    num_classes: int,
    name: str,
    pretrained: bool = False,
    stem: Literal["cifar"] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A classifier of torchvision, such as `resnet50`; the arguments are those of `timm_model`."""
    return TorchvisionModel(name, kwargs or {}, pretrained).build(num_classes, stem=stem)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError("timm is not installed; run pip install 'tenet-training[models]'") from error
    return timm


def check_reachable(url: str) -> None:
    """Raise OSError unless the server answers, or a proxy may."""
    if not getproxies():
        socket.create_connection((urlparse(url).hostname or "", 443), timeout=TIMEOUT_S).close()


@contextmanager
def explain_download(remedy: str) -> Iterator[None]:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # a network that drops packets would block forever
    try:
        yield
    except Exception as error:  # each library has errors of its own
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"pretrained=true: the weights could not be downloaded ({why}); {remedy}") from error
    finally:
        socket.setdefaulttimeout(timeout)
