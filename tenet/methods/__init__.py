"""Training methods: generators of updates. The training loop takes one optimizer step for each update."""

from tenet.methods.adversarial import Adversarial
from tenet.methods.attacks import ApgdCe, Attack, Fgsm, FgsmRs, Pgd
from tenet.methods.binary_cross_entropy import BinaryCrossEntropy
from tenet.methods.cross_entropy import CrossEntropy
from tenet.methods.free import Free
from tenet.methods.inhibited import Inhibited, importance_pass
from tenet.methods.jsd import Jsd
from tenet.methods.method import Batch, Composed, Draw, Method, Update, seed_global_generators
from tenet.methods.trades import Trades

__all__ = [
    "Adversarial",
    "ApgdCe",
    "Attack",
    "Batch",
    "BinaryCrossEntropy",
    "Composed",
    "CrossEntropy",
    "Draw",
    "Fgsm",
    "FgsmRs",
    "Free",
    "Inhibited",
    "Jsd",
    "Method",
    "Pgd",
    "Trades",
    "Update",
    "importance_pass",
    "seed_global_generators",
]
