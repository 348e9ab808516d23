"""What a run's training showed its network that its figures depend on, for reports."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tenet.errors import printable


@runtime_checkable
class ImageChange(Protocol):
    """An augmentation or a mixing."""

    @property
    def overlaps(self) -> tuple[str, ...]: ...

    @property
    def picture_source(self) -> str: ...


@dataclass(frozen=True)
class Exposure:
    """overlaps: the benchmark's corruptions, in the order of their names. pictures: where the pictures come
    from that were mixed into the images.
    """

    overlaps: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()

    @classmethod
    def of(cls, built: Iterable[ImageChange | None]) -> "Exposure":
        """built: what changed the images of a training; None: nothing, as with mixing=none."""
        parts = [part for part in built if part is not None]
        return cls(
            tuple(sorted({name for part in parts for name in part.overlaps})),
            tuple(part.picture_source for part in parts if part.picture_source),
        )

    def content(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"overlaps": list(self.overlaps), "pictures": list(self.pictures)}

    def lines(self) -> list[str]:
        """For the printed report; none if there is nothing to say."""
        lines = [f"trained with pictures: {pictures}" for pictures in self.pictures]
        if self.overlaps:
            what = "this corruption overlaps" if len(self.overlaps) == 1 else "these corruptions overlap"
            lines.insert(0, f"trained with {', '.join(self.overlaps)}: {what} with the benchmark's")
        return [printable(line) for line in lines]
