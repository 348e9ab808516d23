#!/usr/bin/env bash
# Trains and compares {standard, free adversarial training, FGSM-RS, PGD-3} x {plain, TENET} for each seed: clean error, mCE
# on generated CIFAR-10-C, and robust accuracy under FGSM, PGD-20 and AutoAttack at 8/255 on 500 test images. All runs draw
# the same number of training images; their numbers of forward passes differ. If it is interrupted, the same command continues.
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
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^#/p}' results/attacks.sh && exit ;; esac
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python}
RUNS=${RUNS:-runs/attacks}                      # a folder of its own for each set of settings
EPOCHS=${EPOCHS:-48}                            # a multiple of 4, the replays of free adversarial training
BACKBONE=${BACKBONE:-preact_resnet18}
SEEDS=${SEEDS:-0,1,2}
read -ra TENET <<< "${TENET:-}"                 # overrides for the runs with inhibition
read -ra EVALUATE <<< "${EVALUATE:-}"           # overrides for evaluate.py
METHODS=(standard free fgsm_rs pgd)

dataset=()
for argument in "$@"; do
    case "$argument" in dataset*) dataset+=("$argument") ;; esac
done
common=(augment=standard backbone="$BACKBONE" "$@")

method() {  # the overrides of a method
    case "$1" in
        standard) echo attack=none trainer.epochs="$EPOCHS" ;;
        # Every image is replayed four times.
        free) echo attack=free attack.radius=8/255 attack.step_size=8/255 trainer.epochs=$((EPOCHS / 4)) ;;
        fgsm_rs) echo attack=fgsm_rs trainer.epochs="$EPOCHS" ;;
        pgd) echo attack=pgd attack.steps=3 attack.step_size=4/255 trainer.epochs="$EPOCHS" ;;
    esac
}

# Written once, and read by every evaluation.
"$PYTHON" -m tenet.corruptions "$RUNS/cifar10-c" "${dataset[@]}"
for seed in ${SEEDS//,/ }; do
    for name in "${METHODS[@]}"; do
        read -ra options <<< "$(method "$name")"
        for tenet in none inhibition; do
            run=$RUNS/$name/$tenet-$seed
            [ "$tenet" = none ] && more=() || more=("${TENET[@]}")
            "$PYTHON" train.py hydra.run.dir="$run" "${options[@]}" tenet="$tenet" seed="$seed" "${more[@]}" "${common[@]}"
            "$PYTHON" evaluate.py run="$run" corruptions.root="$RUNS/cifar10-c" \
                "attacks.names=[fgsm,pgd,autoattack]" attacks.radius=8/255 attacks.images=500 "${EVALUATE[@]}"
        done
    done
done
for name in "${METHODS[@]}"; do
    echo "$name:"
    "$PYTHON" -m tenet.compare "$RUNS/$name" --by tenet --baseline tenet=none
done
