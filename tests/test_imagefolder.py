"""A data set in the imagefolder layout: written, read by `datasets`, and read by the commands."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import find_sample, run_sample

from realness.data import write_split
from realness.imagefolder import write_imagefolder


@pytest.fixture(scope='module')
def copy(trained, tmp_path_factory):
    "The data of the trained run in the imagefolder layout."
    out = tmp_path_factory.mktemp('imagefolder') / 'data'
    assert write_imagefolder(trained.data, out) == dict(train=20, test=8)
    return out


def test_train_reads_it(trained, cli, copy, tmp_path):
    "A training on the copy has the same id as that on the original."
    result = cli('train', '--data', copy, '--encoders', 'lite', '--head', 'svr', '--seed', 0, '--out', 'run')
    assert result.code == 0, result.err
    ids = [
        json.loads((run / 'config.json').read_text())['run']['id'] for run in (trained.run, tmp_path / 'run')
    ]
    assert ids[0] == ids[1]
    assert (tmp_path / 'run/evaluations/data-test/table.csv').is_file()


def test_predict_finds_its_descriptions(trained, cli, copy, tmp_path):
    "The descriptions in the table beside the images are used, or those of a table by option."
    tables = {}
    for name, arguments in dict(
        original=[trained.data / 'test'],
        copy=[copy / 'test'],
        option=[trained.data / 'test', '--descriptions', copy / 'test/metadata.csv'],
    ).items():
        result = cli('predict', trained.run, *arguments, '--csv', f'{name}.csv')
        assert result.code == 0, result.err
        table = pd.read_csv(tmp_path / f'{name}.csv')
        tables[name] = table.assign(name=[path.rsplit('/', 1)[-1] for path in table.path]).set_index('name')
    for name, source in dict(copy='beside', option='csv').items():
        assert set(tables[name].sentence_source) == {source}
        expected = tables['original'].mos.loc[tables[name].index]
        np.testing.assert_allclose(tables[name].mos, expected, atol=1e-5)


def test_json_lines(tmp_path):
    "`metadata.jsonl` is read as a table."
    from realness.data import load_split

    Image.new('RGB', (60, 40)).save(tmp_path / 'a.png')
    row = dict(file_name='a.png', MOS=0.25, description='No, it is calm.', extra=[1, 2])
    (tmp_path / 'metadata.jsonl').write_text(json.dumps(row) + '\n')
    [read] = load_split(tmp_path).to_dict('records')
    assert (read['filename'], read['MOS'], read['extra']) == ('a.png', 0.25, '[1, 2]')


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    "The library, without the network and with an empty cache."
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    monkeypatch.setenv('HF_DATASETS_OFFLINE', '1')
    module = pytest.importorskip('datasets', reason='needs datasets: pip install datasets')
    monkeypatch.setattr(module.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    return module


def test_datasets_reads_it(trained, copy, tmp_path, datasets):
    "`load_dataset` returns the same rows and pixels, without the network."
    table = pd.read_csv(trained.data / 'test/image_descriptions.csv')
    for arguments in (dict(path='imagefolder', data_dir=str(copy)), dict(path=str(copy))):
        loaded = datasets.load_dataset(**arguments)
        assert {split: len(rows) for split, rows in loaded.items()} == dict(train=20, test=8)
        np.testing.assert_allclose(loaded['test']['MOS'], table.MOS)
        assert loaded['test']['description'] == table.description.tolist()
        with Image.open(trained.data / 'test/images' / table.filename[0]) as image:
            assert np.array_equal(loaded['test'][0]['image'], image)


@pytest.mark.parametrize(
    ('page', 'name'), [('howto/other_libraries.ipynb', 'OUT'), ('033_imagefolder.ipynb', 'out')]
)
def test_datasets_in_the_documentation(datasets, tmp_path, monkeypatch, page, name):
    "The samples in the documentation return the row that they announce."
    rows = [('a.png', 0.5, 'No, it is calm.')]
    write_split(tmp_path / 'data/train', rows, {'a.png': Image.new('RGB', (60, 40))})
    write_imagefolder(tmp_path / 'data', tmp_path / name)
    monkeypatch.chdir(tmp_path)
    sample = find_sample(page, 'load_dataset')
    [row] = run_sample(sample, {})
    assert row.pop('image').size == (60, 40)
    assert row == dict(MOS=0.5, description='No, it is calm.')
    announced = sample.partition('# ')[2]
    assert re.findall(r'\b(image|MOS|description)\b', announced) == ['image', *row]
