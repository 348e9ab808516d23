"""See what inhibition does to single images: `python -m tenet.xray --help`."""

from tenet.xray.figures import Explanation, explain, group_overlap

__all__ = ["Explanation", "explain", "group_overlap"]
