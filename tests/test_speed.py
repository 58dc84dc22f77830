"""A run with ONNX Runtime takes less processor time than with torch."""

import pytest

from realness.benchmark import noise_images
from realness.benchmark_ratios import scoring_ratio

pytest.importorskip('onnx', reason='the extra onnx is not installed')
pytest.importorskip('onnxruntime', reason='the extra onnx is not installed')

MEASURED = 1.6  # torch to onnx: processor time with decoding and scene statistics, on two busy cores


def test_onnx_scores_with_less_processor_time_than_torch(tmp_path):
    """The median over pairs may be a third below the measured ratio."""
    ratio = scoring_ratio('onnx', noise_images(tmp_path, 2), pairs=5)
    assert ratio.median > MEASURED * 2 / 3, ratio
