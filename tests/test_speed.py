"""Scoring and the windows of a heatmap take less processor time than the paths that they replace.

The ratios in nbs/results/runtime_ratios.csv were measured by `python -m realness.benchmark`, on a processor
with AMX. There each limit is two thirds of a ratio, so a test fails when a ratio falls by a third. Other
processors have other ratios: there, a third of the gain must remain.
"""

import csv
from pathlib import Path

import pytest

from realness.benchmark import noise_images
from realness.benchmark_ratios import scoring_ratio, window_ratio
from realness.runtimes import is_installed

TABLE = Path(__file__).parent.parent / 'nbs/results/runtime_ratios.csv'


def has_amx():
    """Whether this processor is of the kind on which the table was made."""
    facts = Path('/proc/cpuinfo')
    return facts.is_file() and 'amx_tile' in facts.read_text()


def limit(model, compared):
    """Two thirds of the ratio in the table; on a processor without AMX, 1 and a third of the gain."""
    rows = csv.DictReader(TABLE.open())
    [median] = [float(row['median']) for row in rows if (row['model'], row['compared']) == (model, compared)]
    return median * 2 / 3 if has_amx() else 1 + (median - 1) / 3


def skip_without(runtime):
    """Skip the test if the packages of a runtime are not installed."""
    if not is_installed(runtime):
        pytest.skip(f'the runtime {runtime} is not installed')


@pytest.mark.parametrize('runtime', ['torch', 'onnx'])
def test_scoring(tmp_path, runtime):
    """Images with decoding, scene statistics and descriptions, compared with the eager path."""
    skip_without(runtime)
    ratio = scoring_ratio(runtime, noise_images(tmp_path, 2), pairs=5)
    assert ratio.median > limit('lite', f'eager path / {runtime}'), ratio


@pytest.mark.parametrize('runtime', ['torch', 'onnx'])
def test_windows(tmp_path, runtime):
    """The windows of an exact map, compared with the loop of the published code."""
    skip_without(runtime)
    ratio = window_ratio(noise_images(tmp_path, 1)[0], 'lite-clip', runtime, pairs=5, n=16)
    assert ratio.median > limit('lite-clip', f'published loop / {runtime}'), ratio
