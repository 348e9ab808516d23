"""Predictions for images that an attack has made worse."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenet.data import ImageBatch, ImageSource, to_images_01
from tenet.errors import DatasetError, NonFiniteOutputError
from tenet.evaluation.cache import save_arrays
from tenet.evaluation.classifier import CPU_IMAGES, Classifier
from tenet.evaluation.measures import Predictions
from tenet.files.arrays import read_arrays
from tenet.methods.attacks import Attack, attacked
from tenet.networks import Network
from tenet.randomness import make_generator
from tenet.run.progress import ProgressReport

# Larger batches need too much memory for the backward pass of a large network.
GPU_IMAGES = 250


class AttackedBatch(NamedTuple):
    """images: in [0, 1]. logits: in the order of the data's classes."""

    images: Float[Tensor, "image 3 h w"]
    logits: Float[Tensor, "image class"]
    labels: Int64[Tensor, " image"]


def predict_attacked(
    classifier: Classifier, source: ImageSource, attack: Attack, *, parts: Path | None = None
) -> Predictions:
    """Predictions for the images of the source, in order, each attacked by `attack_batch`.

    The processes share whole batches, so that their number does not matter. parts: a folder for the predictions of each
    batch, from which an interrupted attack continues. Raises NonFiniteOutputError if an output is not finite.
    """
    group = classifier.process_group
    at_once = CPU_IMAGES if classifier.network.mean.device.type == "cpu" else GPU_IMAGES
    batches = torch.arange(len(source)).split(min(at_once, classifier.batch_size))
    own: dict[int, Tensor] = {}
    numbers = range(group.rank, len(batches), group.size)
    with ProgressReport("attack", total=len(numbers), unit="batch") as progress:
        for number in numbers:
            ids, path = batches[number], None if parts is None else parts / f"{number}.npz"
            rows = None if path is None else _read(path, images=len(ids))
            if rows is None:
                found = attack_batch(classifier, source.read(ids), attack, ids)
                rows = Predictions.pack(found.logits, found.labels).cpu()
                if path is not None:
                    save_arrays(path, {"rows": rows.numpy()})
            own[number] = rows
            progress.update(len(own), "")
    rows_of = {number: rows for share in group.gather(own) for number, rows in share.items()}
    packed = torch.cat([rows_of[number] for number in range(len(batches))])
    if not torch.isfinite(packed).all():
        raise NonFiniteOutputError(
            "the model's outputs for attacked images are not finite: check its weights"
        )
    return Predictions.unpack(packed)


@torch.no_grad()
def attack_batch(
    classifier: Classifier, batch: ImageBatch, attack: Attack, ids: Int64[Tensor, " image"]
) -> AttackedBatch:
    """The batch after the attack on those of its images that are classified right; the others stay.

    In eval mode and float32. ids: the random numbers of an image depend on its own id alone.
    """
    network, device = classifier.network, classifier.network.mean.device
    images, labels = to_images_01(batch.images.to(device)), batch.labels.to(device)
    with _as_measured(network):
        logits = classifier.in_order(network(images))
        right = logits.argmax(1) == labels
        if right.any():
            targets, chosen = labels[right], ids[right.cpu()].tolist()
            if classifier.order is not None:
                targets = targets.new_tensor(classifier.order)[targets]

            def draw(purpose: str) -> list[torch.Generator]:
                return [
                    make_generator(device, seed=0, purpose=f"attack {purpose}", step=one) for one in chosen
                ]

            images[right] = attack.perturb(network, images[right], targets, draw=draw)
            logits = classifier.in_order(network(images))
    return AttackedBatch(images, logits, labels)


@contextmanager
def _as_measured(network: Network) -> Iterator[None]:
    """A context in which the network is in eval mode and computes in float32, without TF32, which keeps 10 bits only."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before, was_training = (matmul.allow_tf32, cudnn.allow_tf32), network.training
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    network.eval()
    try:
        with attacked(network):
            yield
    finally:
        network.train(was_training)
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _read(path: Path, *, images: int) -> Tensor | None:
    """None if the file is missing or damaged."""
    try:
        rows = torch.from_numpy(read_arrays(path, ["rows"])["rows"])
    except DatasetError:
        return None
    return rows if rows.shape == (images, len(Predictions._fields)) and rows.dtype == torch.float32 else None
