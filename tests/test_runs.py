"The id of a run: the same for any number of threads, and that of the weights for a run saved without one."

import json
import shutil

import pandas as pd
import pytest
import torch
from system import write_split

from realness.images import file_digest
from realness.regression.checkpoints import read_run_id

TRAIN = ['-m', 'realness.cli', 'train', '--encoders', 'lite', '--head', 'svr', '--seed', '0']


def train(started, folder, threads):
    "Train with a number of threads, in a new process and with an empty cache; returns the run folder."
    out, number = folder / f'run{threads}', str(threads)
    command = [*TRAIN, '--data', folder / 'data', '--out', out]
    variables = dict(OMP_NUM_THREADS=number, MKL_NUM_THREADS=number, OPENBLAS_NUM_THREADS=number)
    result = started(*command, cache=folder / f'cache{threads}', fresh=True, **variables).end()
    assert result.code == 0, result.err
    return out


@pytest.fixture
def two_runs(started, tmp_path):
    "The same training with one thread and with two."
    write_split(tmp_path / 'data/train', 20, seed=0)
    return [train(started, tmp_path, threads) for threads in (1, 2)]


def test_the_id_does_not_depend_on_the_number_of_threads(two_runs):
    first, second = (read_run_id(run) for run in two_runs)
    assert first == second
    stored = [json.loads((run / 'config.json').read_text())['run'] for run in two_runs]
    assert [record['id'] for record in stored] == [first, first]
    # Each run still records its exact weights.
    digests = [file_digest(run / 'model.safetensors') for run in two_runs]
    assert [record['weights'] for record in stored] == digests


@pytest.fixture
def run_without_id(trained, tmp_path):
    "A run as it was saved before its id was stored."
    run = shutil.copytree(trained.run, tmp_path / 'earlier')
    config = json.loads((run / 'config.json').read_text())
    del config['run']
    (run / 'config.json').write_text(json.dumps(config))
    return run


def test_a_run_without_an_id_keeps_the_digest_of_its_weights(cli, trained, run_without_id, tmp_path):
    out = tmp_path / 'scores.csv'
    command = ('predict', run_without_id, trained.data / 'test', '--csv', out)
    assert cli(*command).code == 0
    weights = file_digest(run_without_id / 'model.safetensors')[:12]
    assert set(pd.read_csv(out, dtype=str).run) == {weights}
    written = out.read_bytes()
    assert cli(*command).code == 0  # resumes the table
    assert out.read_bytes() == written


def test_a_table_of_the_same_run_with_other_threads_is_resumed(cli, trained, two_runs, tmp_path):
    out = tmp_path / 'scores.csv'
    for run in two_runs:
        assert cli('predict', run, trained.data / 'test', '--csv', out).code == 0
    assert set(pd.read_csv(out, dtype=str).run) == {read_run_id(two_runs[0])}


def test_changed_weights_have_another_id(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    run = shutil.copytree(trained.run, tmp_path / 'changed')
    tensors = load_file(run / 'model.safetensors')
    name = next(name for name in tensors if tensors[name].dtype == torch.float64)
    save_file(tensors | {name: tensors[name] + 1e-12}, run / 'model.safetensors')
    assert read_run_id(run) != read_run_id(trained.run)
