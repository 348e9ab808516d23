#!/usr/bin/env bash
# Trains and compares {standard, AugMix, AugMix with JSD, HybridAugment++, PRIME} x {plain, TENET} for each seed: clean error
# and mCE on generated CIFAR-10-C. All runs draw the same number of training images, in the same number of steps. If it is
# interrupted, the same command continues. RUNS/record.json has the figures for results/build.py.
#
#   # A GPU job:
#   BACKBONE=wideresnet40 bash results/methods.sh dataset=cifar10 trainer.precision=bf16 trainer.channels_last=true
#   # A CPU job:
#   EPOCHS=2 BACKBONE=resnet8 TENET=tenet.start_step=100 bash results/methods.sh dataset=cifar10
#
# Arguments are overrides for train.py and, where they begin with dataset, for the test images too.
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS=${RUNS:-runs/methods}                      # a folder of its own for each set of settings
EPOCHS=${EPOCHS:-200}                           # even: AugMix without JSD shows every image twice an epoch
BACKBONE=${BACKBONE:-wideresnet40}
METHODS=(standard augmix augmix-jsd hybrid prime)
evaluate_options=()

method() {  # the overrides of a method
    case "$1" in
        standard) echo augment=standard trainer.epochs="$EPOCHS" ;;
        augmix) echo augment=augmix trainer.epochs=$((EPOCHS / 2)) ;;
        augmix-jsd) echo augment=augmix objective=jsd trainer.epochs="$EPOCHS" ;;
        hybrid) echo augment=hybrid mixing=hybrid trainer.epochs="$EPOCHS" ;;
        prime) echo augment=prime trainer.epochs="$EPOCHS" ;;
    esac
}

source results/loop.sh
