#!/usr/bin/env bash
# Measure the package on a GPU, in under eight minutes: .ci/gpu.sh
#
# It needs an environment with the extras `lite` and `demo`, and no network: CLIP has random weights of its true
# shape, which cost the same time. CI does not run it. Without a GPU, check the script itself on small inputs:
#
#     DEVICE=cpu STRIDE=32 WIDTH=160 IMAGES=8 .ci/gpu.sh
#
# Each line has the name of a measurement and its figures. OUT=FOLDER also writes them to FOLDER/gpu.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export DEVICE="${DEVICE:-cuda}" STRIDE="${STRIDE:-4}" IMAGES="${IMAGES:-400}" WIDTH="${WIDTH:-512}"
export HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

if [[ -z ${REALNESS_CACHE:-} ]]; then
    REALNESS_CACHE="$(mktemp -d)"
    trap 'rm -rf "$REALNESS_CACHE"' EXIT
fi
export REALNESS_CACHE

if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
fi
timeout "${LIMIT:-470}" "${PYTHON:-python}" .ci/gpu.py
