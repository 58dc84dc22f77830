#!/usr/bin/env bash
# Train CORE: ./train.sh [options of `python -m realness.regression.train`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PROJECT_ROOT="${PROJECT_ROOT:-$PWD}"

usage() {
    cat <<'TEXT'
Usage: ./train.sh [OPTIONS]

Trains the realness model on PROJECT_ROOT/datasets/train (PROJECT_ROOT is this folder by default). OPTIONS are
passed to `python -m realness.regression.train`. If the package is installed, `./train.sh --help` lists them below.

If datasets/train/image_descriptions.csv does not exist, the script runs `realness demo`, which generates a small
data set and trains on it with the `lite` encoders.

The script uses the active virtual environment, or creates .venv if there is none. If the package is missing
there, the script installs it with pip.
TEXT
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3.11}" python3 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo 'train.sh: Python 3.11 or newer is needed; name one with PYTHON=/path/to/python' >&2
    return 1
}

# Whether Python finds the package of this folder, even from another folder, and the packages that it needs
installed() {
    (cd / && HERE="$OLDPWD" python -c '
import os, sys
import realness, torch, timm, skimage
sys.exit(not os.path.samefile(os.path.dirname(os.path.dirname(realness.__file__)), os.environ["HERE"]))') 2>/dev/null
}

help=
for option in "$@"; do
    [[ $option == -h || $option == --help ]] && help=1
done
if [[ -n $help ]]; then
    usage
    for bin in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin}" "$PWD/.venv/bin"; do
        if [[ -n $bin && -x $bin/python ]] && PATH="$bin:$PATH" installed; then
            exec "$bin/python" -m realness.regression.train --help
        fi
    done
    exit 0
fi

if [[ -z ${VIRTUAL_ENV:-} && -z ${CONDA_PREFIX:-} ]]; then
    [[ -x .venv/bin/python ]] || "$(find_python)" -m venv .venv
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
fi
installed || python -m pip install -e ".[lite,demo]"

if [[ -f $PROJECT_ROOT/datasets/train/image_descriptions.csv ]]; then
    exec python -m realness.regression.train "$@"
fi
echo "train.sh: $PROJECT_ROOT/datasets/train/image_descriptions.csv does not exist; running the demo on synthetic data." >&2
(($# == 0)) || echo "train.sh: the demo takes no training options; ignored: $*" >&2
exec realness demo
