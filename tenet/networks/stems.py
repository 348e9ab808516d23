"""Stems for small images: the first layers of networks for 224x224 images would shrink 32x32 images too much."""

from torch import nn

from tenet.networks.initialization import initialize


def fit_stem_to_small_images(model: nn.Module, *, name: str) -> None:
    """Change the model, in place, to begin at the full resolution of small images, such as CIFAR's.

    torchvision's and timm's ResNets: a 3x3 convolution of stride 1 and no max-pooling, as He et al. 2016 have it for
    CIFAR. Other networks: the first convolution with a stride gets stride 1, and keeps its kernel.
    Raises ValueError if the model has no such convolution, or if it cuts the image into patches.
    """
    first = getattr(model, "conv1", None)
    if isinstance(first, nn.Conv2d) and isinstance(getattr(model, "maxpool", None), nn.Module):
        model.conv1 = nn.Conv2d(
            first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None
        )
        initialize(model.conv1)
        model.maxpool = nn.Identity()
        return
    strided = [
        (layer, module)
        for layer, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1
    ]
    if not strided:
        raise ValueError(f"stem=cifar: {name} has no convolution with a stride; leave backbone.stem out")
    layer, convolution = strided[0]
    if convolution.kernel_size == convolution.stride:
        patches = "x".join(map(str, convolution.kernel_size))
        raise ValueError(
            f"stem=cifar: {name} cuts images into patches of {patches} ({layer}); give it smaller patches, such as "
            "+backbone.kwargs.patch_size=2"
        )
    if isinstance(getattr(model, "maxpool", None), nn.Module):
        model.maxpool = nn.Identity()
    convolution.stride = (1, 1)
