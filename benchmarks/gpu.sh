#!/usr/bin/env bash
# All that is to be known about a GPU, in one command of less than eight minutes on one GPU: tests, the ratios of every
# benchmark with their targets, and a table of them. A part that fails or takes too long is named in the table, and the
# others run. It needs no network (benchmarks/offline.py).
#
#   bash benchmarks/gpu.sh
#   PARTS="tests step" bash benchmarks/gpu.sh       # some of them, in this order
#   SMALL=1 DEVICE=cpu bash benchmarks/gpu.sh       # a rehearsal on a CPU, at sizes whose figures mean nothing
#
# OUT (build/gpu) receives gpu.md, gpu.json and gpu.log. COMMIT names the code's version where there is no git.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^#/p}' benchmarks/gpu.sh && exit ;; esac
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=${PYTHON:-python3}
offline=build/offline
if [ -d $offline/wheels ]; then
    [ -d $offline/site ] || "$PYTHON" -m pip install --quiet --no-index --no-deps --target $offline/site $offline/wheels/*.whl
    PYTHONPATH=$PWD/$offline/site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}  # the project need not be installed
if [ -e $offline/data.npz.xz ] && [ ! -e $offline/data.npz ]; then
    "$PYTHON" benchmarks/offline.py unpack
fi
options=(--output "${OUT:-build/gpu}")
[ -n "${SMALL:-}" ] && options+=(--small)
[ -n "${DEVICE:-}" ] && options+=(--device "$DEVICE")
[ -n "${PARTS:-}" ] && options+=(--parts $PARTS)
exec "$PYTHON" benchmarks/gpu.py "${options[@]}"
