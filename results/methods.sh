#!/usr/bin/env bash
# Trains and compares {standard, AugMix, AugMix with JSD, HybridAugment++, PRIME} x {plain,
# TENET} for each seed, clean error and mCE on generated CIFAR-10-C. All runs draw the same number of training images, in
# the same number of steps. If it is interrupted, the same command continues.
#
#   # A GPU job:
#   BACKBONE=wideresnet40 bash results/methods.sh dataset=cifar10 trainer.precision=bf16 trainer.channels_last=true
#   # A CPU job:
#   EPOCHS=2 BACKBONE=resnet8 TENET=tenet.start_step=100 bash results/methods.sh dataset=cifar10
#
# Arguments are overrides for train.py and, where they begin with dataset, for the test images too.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^#/p}' results/methods.sh && exit ;; esac
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python}
RUNS=${RUNS:-runs/methods}                      # a folder of its own for each set of settings
EPOCHS=${EPOCHS:-200}                           # even: AugMix without JSD shows every image twice an epoch
BACKBONE=${BACKBONE:-wideresnet40}
SEEDS=${SEEDS:-0,1,2}
read -ra TENET <<< "${TENET:-}"                 # overrides for the runs with inhibition
read -ra EVALUATE <<< "${EVALUATE:-}"           # overrides for evaluate.py
METHODS=(standard augmix augmix-jsd hybrid prime)

dataset=()
for argument in "$@"; do
    case "$argument" in dataset*) dataset+=("$argument") ;; esac
done
common=(backbone="$BACKBONE" "$@")

method() {  # the overrides of a method
    case "$1" in
        standard) echo augment=standard trainer.epochs="$EPOCHS" ;;
        augmix) echo augment=augmix trainer.epochs=$((EPOCHS / 2)) ;;
        augmix-jsd) echo augment=augmix objective=jsd trainer.epochs="$EPOCHS" ;;
        hybrid) echo augment=hybrid mixing=hybrid trainer.epochs="$EPOCHS" ;;
        prime) echo augment=prime trainer.epochs="$EPOCHS" ;;
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
            "$PYTHON" evaluate.py run="$run" corruptions.root="$RUNS/cifar10-c" "${EVALUATE[@]}"
        done
    done
done
for name in "${METHODS[@]}"; do
    echo "$name:"
    "$PYTHON" -m tenet.compare "$RUNS/$name" --by tenet --baseline tenet=none
done
