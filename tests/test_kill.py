"What is killed half-way goes on where it stopped, and ends as if nothing had happened."

import csv
import json
import os
import shutil
import signal
import time

import pytest
from safetensors.numpy import load_file
from system import noise, write_split

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs kill -9')

TUNE = """
import sys
from functools import partial
import timm, torch
import realness.regression.runs as runs
from realness.encoders import ImageEncoder, TextEncoder
torch.manual_seed(1)
small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
name = next(n for n in ('test_resnet', 'resnet10t') if n in timm.list_models())
pair = lambda *a, **kw: (ImageEncoder(name, weights='random'), TextEncoder('bert-base-uncased', weights='random', config=small))
runs.create_encoders, runs.RealismDataset = pair, partial(runs.RealismDataset, size=(96, 128))
runs.train_run(sys.argv[1], sys.argv[2], runs.RunConfig('tiny+tiny', 'mlp', tune=True, epochs=3, batch_size=4, accumulate=2, lr=1e-3))
"""

PREDICT = """
import sys
import realness.regression.predict as p
from realness.cache import VectorCache
inner = p.score_rows
def counted(rows, predictor):
    print('scored', len(rows), flush=True)
    return inner(rows, predictor)
p.score_rows = counted
p.predict(p.load(sys.argv[1], cache=VectorCache()), ['many'], 'o.csv', description='Yes, "stones",\\nand a second line.', chunk=4)
"""


def same_run(a, b):
    "Both runs hold the same tensors and the same history, to the last bit."
    x, y = (load_file(d / 'model.safetensors') for d in (a, b))
    assert (
        set(x) == set(y)
        and [k for k in x if not (x[k].dtype == y[k].dtype and x[k].tobytes() == y[k].tobytes())] == []
    )
    for name in ('history.csv', 'rows.csv', 'config.json'):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    for d in (a, b):
        assert not (d / 'resume').exists() and not list(d.rglob('*.partial'))


def lines(path):
    return path.read_text().splitlines() if path.is_file() else []


def test_training_killed_twice(started, trained, tmp_path):
    shutil.copytree(trained.data / 'train', tmp_path / 'data/train')

    def train(out, n=25):
        argv = [
            'train',
            '--data',
            'data',
            '--encoders',
            'lite',
            '--head',
            'mlp',
            '--epochs',
            n,
            '--lr',
            '1e-4',
            '--out',
            out,
        ]
        return started('-m', 'realness.cli', *argv, cache=trained.cache)

    whole = train('whole').end()
    assert whole.code == 0 and whole.out.count('Epoch') == 25, whole.err
    for part in ('image', 'both'):  # one kill in the middle of either head
        job, at = train('cut'), tmp_path / 'cut/resume' / part / 'checkpoint.pt'
        assert job.until(at.is_file), job.said()
        time.sleep(0.1)
        assert job.kill(signal.SIGKILL).code == -signal.SIGKILL
        assert not (tmp_path / 'cut/config.json').exists()  # no half-made run looks like a whole one
    assert started('-m', 'realness.cli', 'predict', 'cut', 'data').end().code == 2
    again = train('cut').end()
    assert again.code == 0 and 0 < again.out.count('Epoch') < 25, (
        again.err
    )  # it went on, and did not begin again
    same_run(tmp_path / 'whole', tmp_path / 'cut')
    assert train('cut', 26).end().code == 2


def test_fine_tuning_killed(started, tmp_path):
    write_split(tmp_path / 'data/train', 20, size=(128, 96))

    def tune(out):
        return started('-c', TUNE, 'data', out)

    whole = tune('whole').end()
    assert whole.code == 0 and whole.out.count('Epoch') == 3, whole.err
    job, at = tune('cut'), tmp_path / 'cut/resume/checkpoint.pt'
    assert job.until(at.is_file), job.said()
    assert job.kill(signal.SIGKILL).code == -signal.SIGKILL and not (tmp_path / 'cut/config.json').exists()
    again = tune('cut').end()
    assert again.code == 0 and 0 < again.out.count('Epoch') < 3, again.err
    same_run(tmp_path / 'whole', tmp_path / 'cut')
    assert any(
        k.startswith('image.') for k in load_file(tmp_path / 'cut/model.safetensors')
    )  # the tuned encoders are in the run


def test_prediction_killed(started, trained, tmp_path):
    (tmp_path / 'many').mkdir()
    for i in range(24):
        noise(300 + i).save(tmp_path / 'many' / f'{i:02}.png', compress_level=1)
    shutil.copytree(trained.cache, tmp_path / 'cache')

    def predict():
        return started('-c', PREDICT, trained.run, cache=tmp_path / 'cache')

    out = tmp_path / 'o.csv'
    job = predict()
    assert job.until(lambda: len(lines(out)) > 8), (
        job.said()
    )  # a row takes two lines: its sentence has a line break
    assert job.kill(signal.SIGKILL).code == -signal.SIGKILL
    torn = out.read_text(encoding='utf-8')
    with out.open(newline='', encoding='utf-8') as f:
        have = len(list(csv.reader(f))) - 1
    assert 4 <= have < 24
    out.write_text(
        torn[:-20], encoding='utf-8', newline=''
    )  # as if the kill had come in the middle of a write
    again = predict().end()
    assert again.code == 0, again.err
    assert sum(int(s.split()[1]) for s in again.out.splitlines()) == 24 - (
        have - 1
    )  # rows on disk were not scored again
    resumed = out.read_bytes()
    assert resumed.startswith(torn[:-200].encode())
    out.unlink()
    assert predict().end().code == 0 and out.read_bytes() == resumed
    assert predict().end().out == ''


def test_interrupt_is_one_line(started, trained, tmp_path):
    os.symlink(trained.data, tmp_path / 'data')
    job = started('-m', 'realness.cli', 'train', '--data', 'data', '--encoders', 'lite', '--out', 'run')
    assert job.until((tmp_path / 'run/settings.json').is_file), job.said()
    time.sleep(1)
    said = job.kill(signal.SIGINT)
    assert (
        said.code == 130
        and said.err.split('\n') == ['', 'stopped; the same command goes on where it stopped', '']
        and said.out == ''
    )
    assert (
        json.loads((tmp_path / 'run/settings.json').read_text())['head'] == 'svr'
        and not (tmp_path / 'run/config.json').exists()
    )
