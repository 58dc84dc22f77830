"""Damaged runs and caches, and interrupts at any moment, end in one line that names the file."""

import copy
import json
import random
import shutil
import signal
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import realness
from realness.cache import VectorCache
from realness.config import RealnessError

VALUES = (None, 'text', -1, 10**12, [], {}, 1e308)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run."""
    return shutil.copytree(trained.run, tmp_path / 'run')


def entries(value, path=()):
    """The paths of all entries of nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from entries(part, (*path, key))


def test_a_changed_config_loads_or_names_the_file(run):
    path = run / 'config.json'
    config = json.loads(path.read_text())
    places = list(entries(config))
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        changed = copy.deepcopy(config)
        *parents, last = rng.choice(places)
        parent = changed
        for key in parents:
            parent = parent[key]
        value = rng.choice((*VALUES, 'remove'))
        if value == 'remove':
            del parent[last]
        else:
            parent[last] = value
        path.write_text(json.dumps(changed))
        try:
            realness.load(run)
        except RealnessError as error:  # and no other error
            assert str(run) in str(error) or 'not known here' in str(error), (parents, last, value)
            refused += 1
    assert refused > 10


def test_absurd_widths_allocate_nothing(run):
    path = run / 'config.json'
    config = json.loads(path.read_text())
    config['hidden'] = [10**12]
    config['heads']['both']['n'] = 10**12
    path.write_text(json.dumps(config))
    with pytest.raises(RealnessError, match=r'not those that config\.json describes'):
        realness.load(run)


def rename(tensors):
    name = next(name for name in tensors if name.startswith('heads.'))
    return {f'{name}.other' if key == name else key: tensor for key, tensor in tensors.items()}


def change(function):
    """Apply a function to the tensors of the heads."""
    return lambda tensors: {
        name: function(tensor) if name.startswith('heads.') and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    'tamper',
    [
        rename,
        lambda tensors: {
            name: tensor for name, tensor in tensors.items() if not name.startswith('heads.both')
        },
        change(lambda tensor: tensor.flatten()[:1].clone()),
        change(lambda tensor: torch.full_like(tensor, torch.nan)),
        lambda tensors: {},
    ],
    ids=['other name', 'missing', 'other size', 'NaN', 'empty'],
)
def test_tampered_tensors_name_the_file(run, tamper):
    path = run / 'model.safetensors'
    save_file(tamper(load_file(path)), path)
    with pytest.raises(RealnessError, match=r'(model\.safetensors|config\.json)'):
        realness.load(run)


@pytest.mark.parametrize('kind', ['cut', 'noise', 'huge header', 'empty'])
def test_damaged_weights_name_the_file(run, kind):
    path = run / 'model.safetensors'
    raw = path.read_bytes()
    damaged = {
        'cut': raw[: len(raw) // 2],
        'noise': random.Random(0).randbytes(len(raw)),
        'huge header': struct.pack('<Q', 1 << 60) + raw[8:],
        'empty': b'',
    }
    path.write_bytes(damaged[kind])
    with pytest.raises(RealnessError, match=r'model\.safetensors'):
        realness.load(run)


@pytest.mark.parametrize('kind', ['cut', 'noise', 'no folder'])
def test_predictions_without_a_usable_cache(cli, trained, tmp_path, kind):
    """The scores are the same, and the command says once that it does without the cache."""
    image = trained.data / 'test/images/f1.png'
    expected = json.loads(cli('predict', trained.run, image, '--json').out)
    folder = tmp_path / 'bad'
    if kind == 'no folder':
        folder.write_text('a file')
    else:
        cache = VectorCache(folder / 'features.db')
        cache.put({str(i): [float(i)] * 99 for i in range(200)})
        raw = cache.path.read_bytes()
        cache.path.write_bytes(
            raw[: len(raw) // 3] if kind == 'cut' else random.Random(0).randbytes(len(raw))
        )
    result = cli('predict', trained.run, image, '--json', cache=folder)
    assert result.code == 0, result.err
    assert json.loads(result.out) == expected
    assert 'Traceback' not in result.err
    assert result.err.count('warning: ') == 1 and 'the cache' in result.err


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs the signals of Unix')
@pytest.mark.parametrize('module', ['regression.train', 'localization.run_heatmap_analysis'])
def test_ctrl_c_while_a_script_is_imported(started, module):
    """Python reports its imports, so that the interrupt comes after the first ones of the package."""
    job = started('-X', 'importtime', '-m', f'realness.{module}', fresh=True)
    assert job.until(lambda: 'realness.script' in job.output()), job.output()
    ended = job.kill(signal.SIGINT)
    assert ended.code in (130, -signal.SIGINT)
    assert 'Traceback' not in ended.err
    assert ended.err.rstrip().splitlines()[-1].startswith(('stopped; run', 'interrupted; the same'))


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs the signals of Unix')
def test_sigterm_cleans_up(started, trained, tmp_path):
    command = ['train', '--data', trained.data, '--encoders', 'lite', '--out', 'run']
    job = started('-m', 'realness.cli', *command, cache=trained.cache)
    assert job.until((tmp_path / 'run/settings.json').is_file), job.output()
    ended = job.kill(signal.SIGTERM)
    assert ended.code == 143
    assert ended.err.split('\n') == ['', 'terminated; run the same command again to resume', '']
    assert not list(tmp_path.rglob('*.partial'))
