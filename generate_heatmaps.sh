#!/usr/bin/env bash
# Map where images stop looking real:  ./generate_heatmaps.sh [NAMES | --all] [--window 64 --stride 32 ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PROJECT_ROOT="${PROJECT_ROOT:-$PWD}"

fail() {
    echo "generate_heatmaps.sh: $1" >&2
    exit 2
}

if [[ -z ${VIRTUAL_ENV:-} && -z ${CONDA_PREFIX:-} && -x .venv/bin/python ]]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
python=$(command -v python || command -v python3) || fail 'Python 3.11 or newer is needed'
"$python" -c 'import realness' 2>/dev/null || fail 'install the package first: pip install -e ".[lite,demo]"'
exec "$python" -m realness.localization.run_heatmap_analysis "$@"
