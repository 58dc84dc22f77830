"""Commands that are killed and resumed give the same results as complete ones."""

import csv
import json
import os
import shutil
import signal
import time

import pytest
from safetensors.numpy import load_file
from system import noise, write_split

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs SIGKILL')

# Fine-tunes a pair of tiny encoders: arguments are the data folder and the run folder.
FINE_TUNE = """
import sys
from functools import partial

import timm
import torch

import realness.regression.runs as runs
from realness.encoders import ImageEncoder, TextEncoder

torch.manual_seed(1)
image_network = next(name for name in ('test_resnet', 'resnet10t') if name in timm.list_models())
small_bert = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)


def create_tiny_encoders(*args, **kwargs):
    return (
        ImageEncoder(image_network, weights='random'),
        TextEncoder('bert-base-uncased', weights='random', config=small_bert),
    )


runs.create_encoders = create_tiny_encoders
runs.RealismDataset = partial(runs.RealismDataset, size=(96, 128))
config = runs.RunConfig('tiny+tiny', 'mlp', tune=True, epochs=3, batch_size=4, accumulate=2, lr=1e-3)
runs.train_run(sys.argv[1], sys.argv[2], config)
"""

# Scores a folder in small chunks and prints how many rows each chunk has: the argument is the run folder.
PREDICT = """
import sys

import realness.regression.predict as predict
from realness.cache import VectorCache

score_rows = predict.score_rows


def print_and_score(rows, predictor):
    print('scored', len(rows), flush=True)
    return score_rows(rows, predictor)


predict.score_rows = print_and_score
predictor = predict.load(sys.argv[1], cache=VectorCache())
description = 'Yes, "stones",\\nand a second line.'
predict.predict(predictor, ['many'], 'scores.csv', description=description, chunk=4)
"""


def assert_same_run(first, second):
    """Both run folders hold the same tensors, bit for bit, and the same history."""
    tensors = load_file(first / 'model.safetensors')
    others = load_file(second / 'model.safetensors')
    assert set(tensors) == set(others)
    for name, tensor in tensors.items():
        assert tensor.dtype == others[name].dtype, name
        assert tensor.tobytes() == others[name].tobytes(), name
    for name in ('history.csv', 'rows.csv', 'config.json'):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for folder in (first, second):
        assert not (folder / 'resume').exists()
        assert not list(folder.rglob('*.partial'))


def count_lines(path):
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_training_killed_twice(started, trained, tmp_path):
    shutil.copytree(trained.data / 'train', tmp_path / 'data/train')

    def train(out, epochs=25):
        options = ['--data', 'data', '--encoders', 'lite', '--head', 'mlp', '--lr', '1e-4']
        options += ['--epochs', epochs, '--out', out]
        return started('-m', 'realness.cli', 'train', *options, cache=trained.cache)

    complete = train('complete').end()
    assert complete.code == 0, complete.err
    assert complete.out.count('Epoch') == 25

    for head in ('image', 'both'):  # one kill while each head is trained
        job = train('killed')
        checkpoint = tmp_path / 'killed/resume' / head / 'checkpoint.pt'
        assert job.until(checkpoint.is_file), job.output()
        time.sleep(0.1)
        assert job.kill(signal.SIGKILL).code == -signal.SIGKILL
        # only a complete run has a configuration
        assert not (tmp_path / 'killed/config.json').exists()
    assert started('-m', 'realness.cli', 'predict', 'killed', 'data').end().code == 2

    resumed = train('killed').end()
    assert resumed.code == 0, resumed.err
    assert 0 < resumed.out.count('Epoch') < 25
    assert_same_run(tmp_path / 'complete', tmp_path / 'killed')
    assert train('killed', epochs=26).end().code == 2  # other settings are refused


def test_fine_tuning_killed(started, tmp_path):
    write_split(tmp_path / 'data/train', 20, size=(128, 96))

    def fine_tune(out):
        return started('-c', FINE_TUNE, 'data', out)

    complete = fine_tune('complete').end()
    assert complete.code == 0, complete.err
    assert complete.out.count('Epoch') == 3

    job = fine_tune('killed')
    checkpoint = tmp_path / 'killed/resume/checkpoint.pt'
    assert job.until(checkpoint.is_file), job.output()
    assert job.kill(signal.SIGKILL).code == -signal.SIGKILL
    assert not (tmp_path / 'killed/config.json').exists()

    resumed = fine_tune('killed').end()
    assert resumed.code == 0, resumed.err
    assert 0 < resumed.out.count('Epoch') < 3
    assert_same_run(tmp_path / 'complete', tmp_path / 'killed')
    tensors = load_file(tmp_path / 'killed/model.safetensors')
    assert any(name.startswith('image.') for name in tensors)  # the run contains the fine-tuned encoders


def test_prediction_killed(started, trained, tmp_path):
    (tmp_path / 'many').mkdir()
    for i in range(24):
        noise(300 + i).save(tmp_path / 'many' / f'{i:02}.png', compress_level=1)
    shutil.copytree(trained.cache, tmp_path / 'cache')

    def predict():
        return started('-c', PREDICT, trained.run, cache=tmp_path / 'cache')

    table = tmp_path / 'scores.csv'
    job = predict()
    # a row takes two lines, since its description has a line break
    assert job.until(lambda: count_lines(table) > 8), job.output()
    assert job.kill(signal.SIGKILL).code == -signal.SIGKILL
    text = table.read_text(encoding='utf-8')
    with table.open(newline='', encoding='utf-8') as file:
        rows = len(list(csv.reader(file))) - 1
    assert 4 <= rows < 24

    table.write_text(text[:-20], encoding='utf-8', newline='')  # as if killed in the middle of a write
    resumed = predict().end()
    assert resumed.code == 0, resumed.err
    scored = sum(int(line.split()[1]) for line in resumed.out.splitlines())
    assert scored == 24 - (rows - 1)  # complete rows are not scored again
    resumed_table = table.read_bytes()
    assert resumed_table.startswith(text[:-200].encode())

    table.unlink()
    assert predict().end().code == 0
    assert table.read_bytes() == resumed_table
    assert predict().end().out == ''


def test_interrupt_prints_one_line(started, trained, tmp_path):
    os.symlink(trained.data, tmp_path / 'data')
    job = started('-m', 'realness.cli', 'train', '--data', 'data', '--encoders', 'lite', '--out', 'run')
    assert job.until((tmp_path / 'run/settings.json').is_file), job.output()
    time.sleep(1)
    ended = job.kill(signal.SIGINT)
    assert ended.code == 130
    assert ended.err.split('\n') == ['', 'stopped; run the same command again to resume', '']
    assert ended.out == ''
    assert json.loads((tmp_path / 'run/settings.json').read_text())['head'] == 'svr'
    assert not (tmp_path / 'run/config.json').exists()
