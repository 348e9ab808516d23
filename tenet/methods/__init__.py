"""Training methods: generators of updates, which the one training loop takes steps on."""

from tenet.methods.binary_cross_entropy import BinaryCrossEntropy
from tenet.methods.cross_entropy import CrossEntropy
from tenet.methods.inhibited import Inhibited, importance_pass
from tenet.methods.jsd import Jsd
from tenet.methods.method import Batch, Draw, Method, Update, seed_global_generators

__all__ = [
    "Batch",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Draw",
    "Inhibited",
    "Jsd",
    "Method",
    "Update",
    "importance_pass",
    "seed_global_generators",
]
