# Sourced by methods.sh and attacks.sh: trains and evaluates every method of METHODS, plain and with TENET, for each seed,
# compares them, and writes the record of their figures. The caller defines METHODS, `method NAME` (the overrides of a
# method), and evaluate_options (overrides for evaluate.py); RUNS, EPOCHS, BACKBONE, SEEDS, TENET, EVALUATE and PYTHON may
# be set in the environment. A finished run is not trained or evaluated again; to evaluate it
# with other options, remove its folder evaluation/.
script=results/$(basename "$0")
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^#/p}' "$script" && exit ;; esac
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python}
SEEDS=${SEEDS:-0,1,2}
command="EPOCHS=$EPOCHS BACKBONE=$BACKBONE SEEDS=$SEEDS TENET='${TENET:-}' EVALUATE='${EVALUATE:-}' bash $script $*"
read -ra TENET <<< "${TENET:-}"                 # overrides for the runs with inhibition
read -ra EVALUATE <<< "${EVALUATE:-}"           # overrides for evaluate.py

dataset=()
for argument in "$@"; do
    case "$argument" in dataset*) dataset+=("$argument") ;; esac
done

# Written once, and read by every evaluation.
"$PYTHON" -m tenet.corruptions "$RUNS/cifar10-c" "${dataset[@]}"
for seed in ${SEEDS//,/ }; do
    for name in "${METHODS[@]}"; do
        read -ra options <<< "$(method "$name")"
        for tenet in none inhibition; do
            run=$RUNS/$name/$tenet-$seed
            [ "$tenet" = none ] && more=() || more=("${TENET[@]}")
            "$PYTHON" train.py hydra.run.dir="$run" "${options[@]}" tenet="$tenet" seed="$seed" "${more[@]}" \
                backbone="$BACKBONE" "$@"
            report=$run/evaluation/corruptions.json
            if [ ! -e "$report" ] || [ "$run/weights.safetensors" -nt "$report" ]; then
                "$PYTHON" evaluate.py run="$run" corruptions.root="$RUNS/cifar10-c" "${evaluate_options[@]}" "${EVALUATE[@]}"
            fi
        done
    done
done
for name in "${METHODS[@]}"; do
    echo "$name:"
    "$PYTHON" -m tenet.compare "$RUNS/$name" --by tenet --baseline tenet=none
done
"$PYTHON" -m results.record "${METHODS[@]/#/$RUNS/}" --command "$command" > "$RUNS/record.json"
