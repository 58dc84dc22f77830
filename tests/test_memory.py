"""The memory and the start of commands. The limits are generous: a failure means a multiple of the memory."""

import sys

import pytest

from realness.benchmark_memory import (
    command_peak,
    map_memory,
    predict_memory,
    write_noise,
    write_small_images,
)

pytestmark = pytest.mark.slow

BLOCKED = """
import sys
sys.modules |= {name: None for name in ('timm', 'torch._dynamo', 'transformers', 'skimage', 'sklearn')}
sys.argv = ['realness', 'predict', RUN, IMAGE, '--no-cache', '--device', 'cpu']
from realness.cli import main
main()
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    few, many = (write_small_images(tmp_path / str(n), n) for n in (4, 40))
    few, many = predict_memory([few, many])
    assert many.memory < few.memory + 70e6


def test_a_map_of_a_large_image_needs_a_small_multiple_of_its_pixels(tmp_path):
    image = write_noise(tmp_path / 'large.jpg', 10_000, 2000)  # 20 million pixels
    assert map_memory(image).memory < 2.2e9


def test_predict_needs_no_large_packages(trained, tmp_path):
    image = write_noise(tmp_path / 'image.png', 64, 48)
    code = f'RUN, IMAGE = {str(trained.run)!r}, {str(image)!r}\n{BLOCKED}'
    assert command_peak([sys.executable, '-c', code]).memory > 0
