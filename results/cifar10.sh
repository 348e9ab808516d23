#!/usr/bin/env bash
# Trains and measures what results/cifar10.md reports: {AugMix, standard} x {TENET, plain} for each backbone and
# seed, clean error and mCE on generated CIFAR-10-C. All have the same number of steps: an epoch of AugMix shows
# every image twice. If it is interrupted, the same command continues.
#
#   # The official schedule, a GPU job:
#   bash results/cifar10.sh trainer.precision=bf16 trainer.channels_last=true optimizer.fused=true
#   # A CPU job:
#   EPOCHS=2 BACKBONES=resnet8 TENET=tenet.start_step=100 bash results/cifar10.sh
#
# Arguments are overrides for train.py (dataset=, trainer.batch_size=, launcher=parallel, ...).
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^#/p}' results/cifar10.sh && exit ;; esac
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python}
RUNS=${RUNS:-runs/cifar10}                      # a folder of its own for each set of settings
EPOCHS=${EPOCHS:-200}                           # of AugMix; twice as many of standard augmentation
BACKBONES=${BACKBONES:-resnext29,wideresnet40}
SEEDS=${SEEDS:-0,1,2}
read -ra TENET <<< "${TENET:-}"                 # overrides for the runs with inhibition
read -ra EVALUATE <<< "${EVALUATE:-}"           # overrides for evaluate.py

train() {
    "$PYTHON" train.py -m hydra.sweep.dir="$RUNS/$1" augment="$1" trainer.epochs="$2" backbone="$BACKBONES" \
        seed="$SEEDS" "${@:3}"
}

train augmix "$EPOCHS" tenet=inhibition "${TENET[@]}" "$@"
train augmix "$EPOCHS" tenet=none "$@"
train standard $((2 * EPOCHS)) tenet=inhibition "${TENET[@]}" "$@"
train standard $((2 * EPOCHS)) tenet=none "$@"

missing=()
for weights in "$RUNS"/*/*/weights.safetensors; do
    run=$(dirname "$weights")
    [ -e "$run/evaluation/corruptions.json" ] || missing+=("$run")
done
if [ ${#missing[@]} -gt 0 ]; then
    "$PYTHON" evaluate.py -m hydra.sweep.dir="$RUNS" run="$(IFS=,; echo "${missing[*]}")" "${EVALUATE[@]}"
fi

"$PYTHON" -m tenet.compare "$RUNS" --by backbone augment tenet --published --output "$RUNS/table.md"
for backbone in ${BACKBONES//,/ }; do
    for augment in augmix standard; do
        echo "$backbone, $augment:"
        "$PYTHON" -m tenet.compare "$RUNS/$augment"/*-"$backbone"-* --by tenet --baseline tenet=none
    done
done
