#!/usr/bin/env bash
# Trains and compares {standard, free adversarial training, FGSM-RS, PGD-3} x {plain, TENET} for each seed: clean error, mCE
# on generated CIFAR-10-C, and robust accuracy under FGSM, PGD-20 and AutoAttack at 8/255 on 500 test images. All runs draw
# the same number of training images; their numbers of forward passes differ. If it is interrupted, the same command
# continues. RUNS/record.json has the figures for results/build.py.
#
#   # A GPU job:
#   BACKBONE=preact_resnet18 bash results/attacks.sh dataset=cifar10 trainer.channels_last=true
#   # A CPU job:
#   EPOCHS=4 BACKBONE=resnet8 TENET=tenet.start_step=100 bash results/attacks.sh dataset=cifar10
#
# Arguments are overrides for train.py and, where they begin with dataset, for the test images too. AutoAttack needs
# pip install 'tenet-training[attacks]'.
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS=${RUNS:-runs/attacks}                      # a folder of its own for each set of settings
EPOCHS=${EPOCHS:-48}                            # a multiple of 4, the replays of free adversarial training
BACKBONE=${BACKBONE:-preact_resnet18}
METHODS=(standard free fgsm_rs pgd)
evaluate_options=("attacks.names=[fgsm,pgd,autoattack]" attacks.radius=8/255 attacks.images=500)

method() {  # the overrides of a method
    case "$1" in
        standard) echo augment=standard attack=none trainer.epochs="$EPOCHS" ;;
        # Every image is replayed four times.
        free) echo augment=standard attack=free attack.radius=8/255 attack.step_size=8/255 trainer.epochs=$((EPOCHS / 4)) ;;
        fgsm_rs) echo augment=standard attack=fgsm_rs trainer.epochs="$EPOCHS" ;;
        pgd) echo augment=standard attack=pgd attack.steps=3 attack.step_size=4/255 trainer.epochs="$EPOCHS" ;;
    esac
}

source results/loop.sh
