"""The experiments whose tables `python -m results.build` writes: what makes their records, and what that costs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Experiment(NamedTuple):
    """command, cost: of its record, for as long as there is none. methods: in the order of the table.

    published: the mCE of the same network on the official files, with its source, by method and whether it is TENET's.
    """

    command: str
    cost: str
    methods: Sequence[str] = ()
    published: Mapping[tuple[str, bool], tuple[float, str]] = {}


METHODS = ("standard", "augmix", "augmix-jsd", "hybrid", "prime")
ATTACKS = ("standard", "free", "fgsm_rs", "pgd")
GPU = "trainer.precision=bf16 trainer.channels_last=true"
CPU = "tracking=none trainer.batch_size=128 trainer.channels_last=true"

# By the name of the record, results/records/NAME.json.
EXPERIMENTS = {
    "methods-resnet8": Experiment(
        "python -m results.subset subset.npz cifar10 --test 2000 && EPOCHS=2 BACKBONE=resnet8 TENET=tenet.start_step=100 "
        f"bash results/methods.sh dataset=arrays dataset.path=$PWD/subset.npz {CPU}",
        "30 runs of 100,000 training images and 75 cells of test images each, on a CPU",
        METHODS,
    ),
    "methods-wideresnet40": Experiment(
        f"BACKBONE=wideresnet40 bash results/methods.sh dataset=cifar10 {GPU}",
        "30 runs of 10,000,000 training images each, of which AugMix with JSD passes three and HybridAugment two views, "
        "and 75 cells of 10,000 test images each; a GPU",
        METHODS,
        {
            ("augmix-jsd", False): (11.18, "arXiv 1912.02781"),
            ("hybrid", False): (8.3, "arXiv 2307.11823, HybridAugment++ PS"),
        },
    ),
    "attacks-resnet8": Experiment(
        "python -m results.subset subset.npz cifar10 --training 20000 --test 1000 && EPOCHS=4 BACKBONE=resnet8 "
        "TENET=tenet.start_step=100 bash results/attacks.sh backbone.width=8 dataset=arrays dataset.path=$PWD/subset.npz "
        "tracking=none trainer.batch_size=128",
        "24 runs of 80,000 training images each, which PGD-3 passes four times, 75 cells of test images each, and "
        "FGSM, PGD-20 and AutoAttack on 500 images each, on a CPU",
        ATTACKS,
    ),
    "attacks-preact_resnet18": Experiment(
        f"BACKBONE=preact_resnet18 bash results/attacks.sh dataset=cifar10 {GPU}",
        "24 runs of 2,400,000 training images each, which PGD-3 passes four times, 75 cells of 10,000 test images each, "
        "and FGSM, PGD-20 and AutoAttack on 500 images each; a GPU",
        ATTACKS,
    ),
    "cifar10-resnext29": Experiment(
        f"BACKBONES=resnext29 bash results/cifar10.sh {GPU} optimizer.fused=true",
        "12 runs of 20,000,000 training images and 75 cells of 10,000 test images each; a GPU",
        ("standard", "augmix"),
        {("standard", False): (27.5, "arXiv 1912.02781"), ("augmix", True): (12.31, "arXiv 2103.02152")},
    ),
    "gpu": Experiment("bash benchmarks/gpu.sh", "eight minutes at most, on one GPU"),
}
