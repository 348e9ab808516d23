"""The names of weights in files of other implementations of the same networks."""

from torch import nn

# The parts of a block in EfficientNet-PyTorch, in the order in which they run, and those of timm's two kinds of blocks.
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
ATTENTION = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def efficientnet_names(model: nn.Module) -> dict[str, str]:
    """Patterns of EfficientNet-PyTorch's names -> the names in timm's EfficientNet of the same kind.

    EfficientNet-PyTorch numbers the blocks of all stages consecutively. Empty for other models.
    """
    if type(model).__name__ != "EfficientNet":
        return {}
    names = {rf"(?:^|(?<=\.)){theirs}\.": f"{own}." for theirs, own in ENDS.items()}
    blocks = [
        (f"blocks.{stage}.{place}", block)
        for stage, part in model.get_submodule("blocks").named_children()
        for place, block in part.named_children()
    ]
    in_blocks = {}
    for index, (name, block) in enumerate(blocks):
        parts = INVERTED if hasattr(block, "conv_pwl") else SEPARABLE
        for theirs, own in {**parts, **ATTENTION}.items():
            in_blocks[rf"(?:^|(?<=\.))_blocks\.{index}\.{theirs}\."] = f"{name}.{own}."
    return {**in_blocks, **names}  # blocks first, because some of their parts have the same names as the ends
