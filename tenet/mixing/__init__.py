"""What mixes the images of a batch, and their labels, after they were augmented."""

from tenet.mixing.cutmix import CutMix
from tenet.mixing.cutout import Cutout
from tenet.mixing.frequency import Apr, Hybrid
from tenet.mixing.mixing import DataFacts, Mixing
from tenet.mixing.mixup import Mixup
from tenet.mixing.pixmix import PixMix

__all__ = ["Apr", "CutMix", "Cutout", "DataFacts", "Hybrid", "Mixing", "Mixup", "PixMix"]
