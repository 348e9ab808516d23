"""Names of runs and groups in W&B, made of what was typed."""

from collections.abc import Sequence

MAX_CHARACTERS = 128  # the limit of W&B


def short_name(overrides: Sequence[str]) -> str:
    """Such as `groups=4 seed=1`: the last part of each key if that is unambiguous."""
    parts = [override.lstrip("+").partition("=") for override in overrides]
    lasts = [key.rpartition(".")[2] for key, _, _ in parts]
    keys = [last if lasts.count(last) == 1 else part[0] for last, part in zip(lasts, parts, strict=True)]
    return cut(" ".join(key + equals + value for key, (_, equals, value) in zip(keys, parts, strict=True)))


def cut(text: str) -> str:
    """At most MAX_CHARACTERS: what is longer ends after a whole word, or after a whole value of a list."""
    if len(text) <= MAX_CHARACTERS:
        return text
    head = text[: MAX_CHARACTERS - 1]
    end = max(head.rfind(" "), head.rfind(","))
    return f"{head[: end + 1].rstrip() if end >= 0 else head}…"
