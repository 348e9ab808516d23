"""Attacks: small changes of an image, within a radius, that make a network's prediction for it worse.

    worse = attack.perturb(network, images, labels, draw=batch.draw)

An `Attack` is built from its settings alone (`Pgd(radius="8/255", steps=20)`) and keeps no state, so that training and
evaluation share the same classes. `perturb` takes images in [0, 1] and labels (or soft targets), and returns images of the
same shape and type, in [0, 1] and within `attack.ball` around those that were given. It asks for random generators by
`draw("restart 1")`, and so on: `draw` returns one generator for the whole batch, or a list with one for each image, which
makes the result independent of how images are put into batches. `perturb` computes in float32 for networks of any precision,
runs the network in the mode that the caller has chosen, and leaves its weights, gradients and BatchNorm statistics alone.
Your own attack overrides `search`; `perturb` calls it with the network in float32 and with BatchNorm statistics that don't
move.
"""

from tenet.methods.attacks.apgd import ApgdCe
from tenet.methods.attacks.attack import Attack, Draws, attacked, cross_entropy_of, input_gradients
from tenet.methods.attacks.ball import Ball, LinfBall, draw_like, make_ball
from tenet.methods.attacks.fgsm import Fgsm, FgsmRs
from tenet.methods.attacks.pgd import Pgd, ascend

__all__ = [
    "ApgdCe",
    "Attack",
    "Ball",
    "Draws",
    "Fgsm",
    "FgsmRs",
    "LinfBall",
    "Pgd",
    "ascend",
    "attacked",
    "cross_entropy_of",
    "draw_like",
    "input_gradients",
    "make_ball",
]
