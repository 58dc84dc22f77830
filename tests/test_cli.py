"""The command line: every command in a process of its own, on images of noise."""

import csv
import io
import json
import re
import shutil
import struct
import time
import zlib

import pandas as pd
import pytest
from PIL import Image
from system import noise, write_split, write_table

from realness import __version__

COLUMNS = [
    'path',
    'filename',
    'mos',
    'mos_100',
    'mos_lo',
    'mos_hi',
    'domain_score',
    'out_of_domain',
    'sentence_source',
    'error',
]
COMMANDS = (
    'predict',
    'heatmap',
    'describe',
    'explore',
    'train',
    'evaluate',
    'report',
    'lab',
    'demo',
    'cache',
    'data check',
    'data demo',
    'data fetch',
    'clip fit',
    'localizer fit',
)
IMPORTED = """
import contextlib, io, json, sys
from realness.cli import app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app(sys.argv[1:])
print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))
"""
HEAVY = {
    'torch',
    'torchvision',
    'transformers',
    'timm',
    'open_clip',
    'sklearn',
    'skimage',
    'matplotlib',
    'pandas',
}
PLUGIN_COMMAND = """
from dataclasses import dataclass
from realness.cli import app, command
from realness.config import RealnessError


@dataclass(frozen=True)
class Greeting:
    word: str = 'Hello'
    times: int = 1


@app.command()
@command
def greet(name: str, greeting: Greeting):
    "Greet someone."
    if greeting.times < 1:
        raise RealnessError('times is 0: at least 1')
    print(f'{greeting.word}, {name}! ' * greeting.times)


app()
"""


def read_rows(text: str) -> list:
    """The rows of a CSV text as dicts."""
    return list(csv.DictReader(io.StringIO(text)))


def read_scores(path) -> dict:
    """Predicted MOS by file name, as text."""
    return {row['filename']: row['mos'] for row in read_rows(path.read_text(encoding='utf-8'))}


def read_lines(text: str) -> dict:
    """Rows by file name from one JSON object a line."""
    rows = [json.loads(line) for line in text.splitlines()]
    return {row['filename']: row for row in rows}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, data and checksum."""
    checksum = zlib.crc32(kind + data)
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)


def huge_png(width: int = 30000, height: int = 30000) -> bytes:
    """A PNG of a few bytes whose header claims that it is huge."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b'\0' * 99)
    chunks = [png_chunk(b'IHDR', header), png_chunk(b'IDAT', pixels), png_chunk(b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


BAD_ROWS = {  # file name -> (rest of the row, part of the message)
    'missing.png': ('1,"Yes, fine."', 'there is no such file'),
    'torn.png': ('1,"Yes, fine."', 'truncated or damaged'),
    'empty.png': ('1,"Yes, fine."', 'the file is empty'),
    'words.png': ('1,"Yes, fine."', 'not an image that Pillow can read'),
    'bomb.png': ('1,"Yes, fine."', 'decompression bomb'),
    'twice.png': ('1,"Yes, fine."', 'the same file name as row'),
    'nan.png': ('NaN,"Yes, fine."', 'the MOS is NaN'),
    'word.png': ('high,"Yes, fine."', 'the MOS "high" is not a number'),
    'none.png': (',"Yes, fine."', 'the MOS is empty'),
    'silent.png': ('1,"  "', 'the description is empty'),
    '../outside.png': ('1,"Yes, fine."', 'leaves the image folder'),
}


def add_bad_rows(split):
    """Add every kind of bad row to a split."""
    images = split / 'images'
    for name in ('twice', 'nan', 'word', 'none', 'silent'):
        noise(50 + len(name), (64, 48)).save(images / f'{name}.png')
    noise(60, (64, 48)).save(split / 'outside.png')
    whole = (images / 'f1.png').read_bytes()
    (images / 'torn.png').write_bytes(whole[: len(whole) // 2])
    (images / 'empty.png').write_bytes(b'')
    (images / 'words.png').write_bytes(b'no picture at all')
    (images / 'bomb.png').write_bytes(huge_png())
    with (split / 'image_descriptions.csv').open('a', encoding='utf-8') as table:
        table.write('twice.png,1,"Yes, the first."\n')
        table.writelines(f'{name},{rest}\n' for name, (rest, _) in BAD_ROWS.items())
    return split


@pytest.fixture(scope='module')
def bad_data(trained, tmp_path_factory):
    """The data of the trained run with bad rows among its training rows."""
    data = tmp_path_factory.mktemp('bad') / 'data'
    shutil.copytree(trained.data, data)
    add_bad_rows(data / 'train')
    return data


@pytest.fixture
def loose_images(trained, tmp_path):
    """Two images in a folder without descriptions, and a table beside it that describes one of them."""
    folder = tmp_path / 'loose'
    folder.mkdir()
    for name in ('f1.png', 'r0.png'):
        shutil.copy(trained.data / 'test/images' / name, folder)
    write_table(tmp_path, ['r0.png,"No, it is made."'], header='filename,description')
    return folder


# Help


@pytest.mark.parametrize('name', ['', 'data', 'clip', 'localizer', *COMMANDS])
def test_help(realness, name):
    result = realness(*name.split(), '--help', COLUMNS='80')
    assert result.code == 0
    assert not result.err
    assert 'Usage' in result.out
    assert max(len(line) for line in result.out.splitlines()) <= 80


def test_every_option_has_a_help_text(realness):
    for name in COMMANDS:
        page = realness(*name.split(), '--help').out
        for line in re.findall(r'^│ +\*? *(--\S.*?)│$', page, re.M):
            assert re.search(r'(<[^>]*>(\.\.\.)?|[A-Z]+)( \[[^]]*\])? +\w', line), f'{name}: {line}'


@pytest.mark.parametrize('arguments', [['--help'], ['train', '--help'], ['heatmap', '--help'], ['--version']])
def test_help_loads_no_model_library(started, arguments):
    result = started('-c', IMPORTED, *arguments, fresh=True).end()
    assert result.code == 0, result.err
    assert not HEAVY & set(json.loads(result.out.splitlines()[-1]))


def test_help_of_a_fresh_process(realness):
    assert 'higher' in realness('predict', '--help', fresh=True).out
    assert realness('--version', fresh=True).out == f'{__version__}\n'
    assert realness('no-such-command', fresh=True).code == 2


def test_a_command_from_outside_the_package(started):
    result = started('-c', PLUGIN_COMMAND, 'greet', 'you', '--word', 'Hi', '--times', '2').end()
    assert (result.code, result.out) == (0, 'Hi, you! Hi, you! \n')
    result = started('-c', PLUGIN_COMMAND, 'greet', 'you', '--times', '0').end()
    assert (result.code, result.err) == (2, 'error: times is 0: at least 1\n')
    assert 'greet' in started('-c', PLUGIN_COMMAND, '--help').end().out


# data check


def test_check_of_good_data(realness, tmp_path):
    write_split(tmp_path / 'datasets/train', 3, size=(64, 48))
    result = realness('data', 'check', fresh=True)  # finds datasets/ in the current folder
    assert (result.code, result.err) == (0, '')
    assert result.out.startswith('train: 3 good rows, 0 problems, 0 notes')
    result = realness('data', 'check', '--json', fresh=True)
    assert json.loads(result.out) == {'train': {'rows': 3, 'problems': []}}


def test_check_names_every_bad_row(realness, bad_data):
    result = realness('data', 'check', bad_data, '--json', fresh=True)
    assert result.code == 1
    assert not result.err
    checked = json.loads(result.out)
    assert checked['test'] == {'rows': 8, 'problems': []}
    assert checked['train']['rows'] == 21  # of two rows with the same name the first one counts
    problems = {p['filename']: p for p in checked['train']['problems'] if p['level'] == 'error'}
    assert set(problems) == set(BAD_ROWS)
    for name, (_, message) in BAD_ROWS.items():
        assert message in problems[name]['problem'], name
        assert problems[name]['fix'], name
        assert problems[name]['row'] > 21, name


def test_check_prints_every_bad_row(realness, bad_data):
    result = realness('data', 'check', bad_data, fresh=True)
    assert result.code == 1
    assert '11 problems' in result.out
    assert all(name in result.out for name in BAD_ROWS)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(header='filename,score,text'),
            'no column MOS and no column description; the header reads filename, score, text',
        ),
        (dict(header=''), 'no column filename'),
        (dict(encoding='latin-1'), 'line 3 is not UTF-8'),
        (dict(encoding='utf-16'), 'is UTF-16'),
        (dict(encoding='utf-8-sig'), None),
    ],
    ids=['columns', 'header', 'latin-1', 'utf-16', 'bom'],
)
def test_check_of_the_table(realness, tmp_path, settings, message):
    data = write_split(tmp_path / 'data', 3, size=(64, 48))
    write_table(data, ['f1.png,1,"Yes, a stone."', 'r0.png,2,"No, a café."'], **settings)
    result = realness('data', 'check', data, fresh=True)
    text = ' '.join(result.out.replace('│', ' ').split())
    assert result.code == (1 if message else 0)
    assert (message or '2 good rows') in text
    assert 'Traceback' not in result.err


def test_check_of_a_missing_folder(realness):
    result = realness('data', 'check', 'nowhere', fresh=True)
    assert result.code == 1
    assert 'there is no such folder' in result.out


# train


def test_train_writes_a_run(trained):
    assert trained.result.code == 0
    assert 'The run is in run' in trained.result.out
    assert not trained.result.err
    names = {path.name for path in trained.run.iterdir()}
    assert {'config.json', 'model.safetensors', 'settings.json', 'rows.csv', 'evaluations'} <= names
    assert 'resume' not in names
    assert not list(trained.root.rglob('*.partial'))
    assert not list(trained.root.rglob('*.pkl'))


def test_train_fits_an_image_only_head_as_well(trained):
    heads = json.loads((trained.run / 'config.json').read_text())['heads']
    assert set(heads) == {'image', 'both'}


def test_train_prints_the_evaluation(trained):
    assert 'mean of training' in trained.result.out
    assert 'n = 8' in trained.result.out


def test_train_does_not_overwrite_another_run(cli, trained):
    before = {path: path.read_bytes() for path in trained.run.glob('*.*')}
    again = cli('train', '--data', trained.data, '--encoders', 'lite', '--out', trained.run, '--head', 'gp')
    assert again.code == 2
    assert 'is a run with head = svr, not gp' in again.err
    assert len(again.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in trained.run.glob('*.*')} == before


def test_bad_rows_stop_the_training(cli, bad_data, tmp_path):
    result = cli(
        'train', '--data', bad_data, '--encoders', 'lite', '--head', 'svr', '--out', tmp_path / 'run'
    )
    assert result.code == 2
    assert '11 problems' in result.err
    assert all(name in result.err for name in BAD_ROWS)
    assert 'Traceback' not in result.err
    assert not (tmp_path / 'run').exists()


def test_bad_rows_are_skipped_on_request(cli, bad_data, tmp_path):
    run = tmp_path / 'run'
    options = ('--encoders', 'lite', '--head', 'svr', '--out', run, '--skip-bad', '--json')
    result = cli('train', '--data', bad_data, *options)
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert record['run'] == str(run)
    assert record['metrics']['n_train'] == 21
    assert {row['metric'] for row in record['test']} >= {'srocc', 'plcc'}
    assert 'left out 11 rows' in result.err
    assert all(name in result.err for name in BAD_ROWS)
    names = pd.read_csv(run / 'rows.csv').filename
    assert len(names) == 21
    assert set(BAD_ROWS) & set(names) == {'twice.png'}


# evaluate


def test_evaluate(cli, trained, tmp_path):
    out = tmp_path / 'evaluation'
    result = cli('evaluate', trained.run, '--data', trained.data, '--out', out, '--json')
    assert result.code == 0, result.err
    table = pd.DataFrame(json.loads(result.out))
    assert {'srocc', 'krcc', 'plcc', 'mse', 'rmse'} <= set(table.metric)
    assert set(table.fitted) == {'unfitted', 'logistic4'}
    assert {'mean of training', 'answer word', 'TF-IDF + ridge', 'photograph or not'} < set(table.model)
    assert (table.n == 8).all()
    assert not (table.value < table.lo).any()
    files = {'table.csv', 'predictions.csv', 'calibration.csv', 'scatter.png', 'calibration.png'}
    assert files <= {path.name for path in out.iterdir()}


def test_evaluate_without_data(cli, trained, tmp_path):
    result = cli('evaluate', trained.run, '--data', tmp_path)
    assert result.code == 2
    assert 'holds no test/' in result.err


@pytest.fixture
def other_data(trained, tmp_path):
    """Rated images without descriptions, on another scale of MOS, with a column `maker`."""
    images = tmp_path / 'other/images'
    shutil.copytree(trained.data / 'test/images', images)
    names = sorted(path.name for path in images.iterdir())
    rows = []
    for maker, prefix in (('a', ''), ('b', '9')):
        for i, name in enumerate(names):
            copy = f'{name[0]}{prefix}{name[1:]}'
            if prefix:
                shutil.copy(images / name, images / copy)
            rows.append(f'{copy},{50 + 3 * i},{maker}')
    write_table(tmp_path / 'other', rows, header='filename,MOS,maker')
    return tmp_path / 'other'


def test_evaluate_on_other_data(cli, trained, other_data):
    result = cli('evaluate', trained.run, '--data', other_data, '--group', 'maker')
    assert result.code == 0, result.err
    assert result.out.count('another scale') == 1
    assert 'maker=b' in result.out
    assert 'of the true MOS lie in the 90 % intervals' in result.out
    assert 'CORE, image alone' in result.out
    assert 'image and description' not in result.out
    table = pd.read_csv(next((trained.run / 'evaluations').glob('other-*')) / 'table.csv')
    assert set(table.part) == {'all', 'ai', 'photo', 'maker=a', 'maker=b'}
    core = table[table.model == 'CORE, image alone'].set_index(['metric', 'part'])
    assert core.loc[('srocc', 'ai')].n.item() == 8
    assert core.loc[('coverage', 'all')].value.item() == 0  # the MOS is near 60, far outside all intervals


def test_evaluate_with_an_unknown_column(cli, trained, other_data):
    assert cli('evaluate', trained.run, '--data', other_data, '--group', 'model').code == 2


# predict


def test_predict_a_folder(realness, cli, trained, tmp_path):
    table = tmp_path / 'o.csv'
    arguments = ('predict', trained.run, trained.data / 'test', '--csv', table)
    result = realness(*arguments, cache=trained.cache, fresh=True)
    assert result.code == 0, result.err
    rows = read_rows(table.read_text(encoding='utf-8'))
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS
    names = pd.read_csv(trained.data / 'test/image_descriptions.csv').filename
    assert [row['path'] for row in rows] == sorted(f'images/{name}' for name in names)
    assert len({row['mos'] for row in rows}) > 4
    for row in rows:
        assert row['filename'] == row['path'].split('/')[-1]
        assert row['error'] == row['mos_100'] == ''
        assert row['sentence_source'] == 'beside'
        assert float(row['mos_lo']) < float(row['mos']) < float(row['mos_hi'])
        assert row['out_of_domain'] == str(int(float(row['domain_score']) > 1))
        assert -5 < float(row['mos']) < 5
    before = table.read_bytes()
    assert cli(*arguments).code == 0
    assert table.read_bytes() == before


def test_predict_and_evaluate_agree(cli, trained):
    scores = read_lines(cli('predict', trained.run, trained.data / 'test', '--json').out)
    predictions = pd.read_csv(trained.run / 'evaluations/data-test/predictions.csv').set_index('filename')
    evaluated = predictions['CORE, image and description']
    for name, row in scores.items():
        assert abs(row['mos'] - evaluated[name]) < 1e-5


def test_out_of_domain(cli, trained, tmp_path):
    """An image unlike the training images is marked."""
    Image.new('RGB', (512, 384), 'red').save(tmp_path / 'red.png')
    near = trained.data / 'train/images/f1.png'
    result = cli('predict', trained.run, 'red.png', near)
    assert '1 of 2 images is out-of-domain (domain_score > 1): their MOS is less certain' in result.out
    assert ' out ' in result.out
    rows = read_lines(cli('predict', trained.run, 'red.png', near, '--json').out)
    assert (rows['red.png']['out_of_domain'], rows['f1.png']['out_of_domain']) == (1, 0)
    assert rows['f1.png']['mos_lo'] < rows['f1.png']['mos']


def test_a_run_without_intervals_and_domain(cli, trained, tmp_path):
    """Such a run still predicts; the columns of intervals and domain are empty."""
    run = shutil.copytree(trained.run, tmp_path / 'old')
    config = json.loads((run / 'config.json').read_text())
    assert config['intervals']['both']['level'] == 0.9
    assert config['calibration']['both']['n'] == 20
    rest = {key: value for key, value in config.items() if key not in ('intervals', 'calibration', 'domain')}
    (run / 'config.json').write_text(json.dumps(rest))
    row = json.loads(cli('predict', run, trained.data / 'train/images/f1.png', '--json').out)
    assert row['mos_lo'] is row['domain_score'] is row['out_of_domain'] is None
    assert -5 < row['mos'] < 5


def test_where_descriptions_come_from(cli, trained, loose_images, tmp_path):
    def predict(*arguments):
        rows = read_lines(cli('predict', trained.run, *arguments, '--json').out)
        return rows, {name: (row['sentence_source'], row['modality']) for name, row in rows.items()}

    images = [trained.data / 'test/images' / name for name in ('f1.png', 'r0.png')]
    _, beside = predict(*images)
    rows_without, without = predict('loose')
    rows_option, option = predict('loose', '--description', 'No, it is made.')
    rows_table, table = predict('loose', '--descriptions', tmp_path / 'image_descriptions.csv')
    assert beside == {name: ('beside', 'both') for name in ('f1.png', 'r0.png')}
    assert without == {name: ('none', 'image') for name in ('f1.png', 'r0.png')}
    assert option == {name: ('option', 'both') for name in ('f1.png', 'r0.png')}
    assert table == {'r0.png': ('csv', 'both'), 'f1.png': ('none', 'image')}
    assert rows_table['r0.png']['mos'] == rows_option['r0.png']['mos']
    assert rows_table['f1.png']['mos'] == rows_without['f1.png']['mos'] != rows_option['f1.png']['mos']
    assert set(COLUMNS) <= set(rows_option['f1.png'])


def test_two_sources_of_descriptions(cli, trained, loose_images, tmp_path):
    table = tmp_path / 'image_descriptions.csv'
    result = cli('predict', trained.run, 'loose', '--description', 'x', '--descriptions', table)
    assert result.code == 2
    assert 'exclude each other' in result.err


def test_scores_do_not_depend_on_batch_and_order(cli, trained, tmp_path):
    images = sorted((trained.data / 'test/images').iterdir())[:4]
    cases = {'one.csv': (images, '1'), 'both.csv': (images[::-1], '3'), 'some.csv': (images[1:2], '16')}
    for name, (requested, size) in cases.items():
        paths = ''.join(f'{path}\n' for path in requested)
        options = ('--csv', name, '--batch-size', size, '--no-cache')
        result = cli('predict', trained.run, '-', *options, stdin=paths)
        assert result.code == 0, result.err
        rows = read_rows((tmp_path / name).read_text())
        assert [row['filename'] for row in rows] == [path.name for path in requested]  # in the order given
    one, both, some = (read_scores(tmp_path / name) for name in cases)
    assert one == both
    assert some.items() <= one.items()


def test_paths_are_unique(cli, trained, tmp_path):
    for folder, seed in (('a', 1), ('b', 3), ('b/deep', 5)):
        (tmp_path / 'two' / folder).mkdir(parents=True)
        noise(seed).save(tmp_path / 'two' / folder / 'x.png')

    def predict(table, *arguments):
        assert cli('predict', trained.run, *arguments, '--csv', table).code == 0
        return {row['path']: row['mos'] for row in read_rows((tmp_path / table).read_text())}

    whole = predict('whole.csv', 'two')
    assert list(whole) == ['a/x.png', 'b/x.png', 'b/deep/x.png']
    assert len(set(whole.values())) == 3
    parts = predict('parts.csv', 'two/b', 'two/a', 'two/a/x.png')  # one image is named twice and scored once
    assert list(parts) == ['two/b/x.png', 'two/b/deep/x.png', 'two/a/x.png']
    assert {path.removeprefix('two/'): mos for path, mos in parts.items()} == whole
    assert len(predict('flat.csv', 'two/a/x.png', tmp_path / 'two/b/x.png')) == 2


def test_unreadable_files_become_rows(cli, trained, bad_data, tmp_path):
    images = shutil.copytree(bad_data / 'train/images', tmp_path / 'loose')
    names = ('torn.png', 'f1.png', 'empty.png', 'words.png', 'bomb.png', 'missing.png')
    result = cli('predict', trained.run, *[images / name for name in names], '--csv', 'o.csv')
    assert result.code == 0
    assert 'Traceback' not in result.err
    assert result.err.count('warning') == 5
    rows = {row['filename']: row for row in read_rows((tmp_path / 'o.csv').read_text())}
    assert list(rows) == list(names)
    good = rows.pop('f1.png')
    assert good['mos'] and good['mos_hi'] and good['out_of_domain'] and not good['error']
    for name, row in rows.items():
        assert row['mos'] == row['mos_hi'] == row['out_of_domain'] == ''
        assert BAD_ROWS[name][1] in row['error']


def test_no_readable_file(cli, trained, bad_data, tmp_path):
    shutil.copy(bad_data / 'train/images/torn.png', tmp_path)
    result = cli('predict', trained.run, 'torn.png', 'nowhere.png')
    assert result.code == 1
    assert 'there is no such file' in result.err


def test_parquet(cli, trained, tmp_path):
    pytest.importorskip('pyarrow')
    for name in ('o.parquet', 'o.csv'):
        assert cli('predict', trained.run, trained.data / 'test', '--csv', name).code == 0
    parquet = pd.read_parquet(tmp_path / 'o.parquet')
    table = pd.read_csv(tmp_path / 'o.csv')
    assert list(parquet.columns) == list(table.columns)
    assert list(parquet.columns)[: len(COLUMNS)] == COLUMNS
    for column in ('path', 'mos', 'mos_lo', 'out_of_domain'):
        assert parquet[column].tolist() == table[column].tolist()
    assert parquet.mos_100.isna().all()
    assert sorted(path.name for path in tmp_path.glob('o.*')) == ['o.csv', 'o.parquet']


def test_a_foreign_table_is_not_overwritten(cli, trained, tmp_path):
    image = trained.data / 'test/images/f1.png'
    table = tmp_path / 'o.csv'
    assert cli('predict', trained.run, image, '--csv', table).code == 0
    scores = table.read_bytes()
    run_id = read_rows(scores.decode())[0]['run'].encode()
    other_columns = b'path,filename,mos,mos_100,sentence_source,error,modality,description,run,digest\n'
    foreign = (
        (scores.replace(run_id, b'0123456789ab'), 'was written by run 0123456789ab'),
        (other_columns, 'another version of realness'),
        (b'name,grade\nme,1\n', 'something other than scores'),
    )
    for content, message in foreign:
        table.write_bytes(content)
        result = cli('predict', trained.run, image, '--csv', table)
        assert result.code == 2
        assert message in result.err
        assert '--overwrite' in result.err
        assert table.read_bytes() == content
    assert cli('predict', trained.run, image, '--csv', table, '--overwrite').code == 0
    assert table.read_bytes() == scores


def test_an_incomplete_row_is_computed_again(cli, trained, tmp_path):
    image = trained.data / 'test/images/f1.png'
    table = tmp_path / 'o.csv'
    assert cli('predict', trained.run, image, '--csv', table).code == 0
    scores = table.read_bytes()
    table.write_bytes(scores[:-9])
    assert cli('predict', trained.run, image, '--csv', table).code == 0
    assert table.read_bytes() == scores


# Errors


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['predict', 'nowhere', 'x.png'], 'is not a run folder'),
        (['predict', '{run}'], 'Missing argument'),
        (['predict', '{run}', '-'], 'no images'),
        (['predict', '{run}', '{images}', '--csv', 'o.txt'], 'must end in .csv or .parquet'),
        (
            ['train', '--data', '{data}', '--encoders', 'lite', '--tune', '--out', 'r'],
            'fine-tuning needs the mlp head',
        ),
        (
            ['train', '--data', '{data}', '--encoders', 'lite', '--head', 'tree', '--out', 'r'],
            'choose svr, gp or mlp',
        ),
        (['train', '--data', 'nowhere', '--encoders', 'lite', '--out', 'r'], 'there is no such folder'),
        (
            ['predict', '{run}', '{images}', '--device', 'gpu'],
            "device 'gpu' is unknown; choose cuda, mps or cpu",
        ),
        (['heatmap', '{images}', '--out', 'r', '--device', 'gpu'], "device 'gpu' is unknown"),
        (['heatmap', '{images}', '--out', 'r', '--cmap', 'pretty'], "cmap 'pretty': matplotlib has no such"),
        (['train', '--data', '{data}', '--seed', '-1', '--out', 'r'], 'seed is -1; it must be at least 0'),
        (['train', '--data', '{data}', '--lr', 'nan', '--out', 'r'], 'lr is nan; it must be above 0'),
        (['lab', '{data}', '--seed', '-1', '--out', 'r'], 'seed is -1; it must be at least 0'),
        (['explore', '{images}', '--port', '99999'], 'less than or equal to 65535'),
    ],
)
def test_errors_are_one_line_and_code_2(cli, trained, tmp_path, arguments, message):
    folders = dict(run=trained.run, data=trained.data, images=trained.data / 'test')
    result = cli(*(argument.format(**folders) for argument in arguments))
    assert result.code == 2
    assert message in result.err
    assert 'Traceback' not in result.err
    assert not result.out
    assert not (tmp_path / 'r').exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda config: [], 'is not a mapping'),
        (lambda config: {key: value for key, value in config.items() if key != 'heads'}, 'is missing: heads'),
        (lambda config: config | dict(metrics='good'), 'expected a mapping, got text in metrics'),
        (lambda config: config | dict(hidden=['wide']), 'expected a whole number, got text in hidden'),
    ],
)
def test_a_damaged_config_names_the_entry(cli, trained, tmp_path, change, message):
    run = shutil.copytree(trained.run, tmp_path / 'run')
    config = json.loads((run / 'config.json').read_text())
    (run / 'config.json').write_text(json.dumps(change(config)))
    result = cli('predict', run, trained.data / 'test/images/f1.png')
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_an_unexpected_error_is_one_line(cli, trained, tmp_path):
    """`--debug` adds the traceback."""
    (tmp_path / 'broken.py').write_text(
        'import realness.cli\n'
        '@realness.cli.app.command()\n'
        '@realness.cli.command\n'
        'def fail():\n'
        '    raise KeyError(3)\n'
    )
    plugin = dict(REALNESS_PLUGINS='broken')
    result = cli('fail', fresh=True, **plugin)
    assert result.code == 3
    assert result.err.splitlines() == [result.err.strip()]
    assert result.err.startswith('error: KeyError: 3; this is a fault of realness')
    assert 'Traceback' in cli('--debug', 'fail', fresh=True, **plugin).err


def test_missing_weights_are_reported_soon(realness, trained, tmp_path):
    no_weights = dict(HF_HOME=str(tmp_path / 'hub'), TORCH_HOME=str(tmp_path / 'torch'))
    arguments = ('train', '--data', trained.data, '--out', 'run')
    start = time.time()
    result = realness(*arguments, cache=trained.cache, fresh=True, **no_weights)
    seconds = time.time() - start
    assert result.code == 2
    assert 'weights of resnet50 are not on this machine' in result.err
    assert 'pip install "realness[lite]"' in result.err
    assert 'Traceback' not in result.err
    assert len(result.err.splitlines()) == 1
    assert seconds < 20
    again = realness(*arguments, '--encoders', 'lite', cache=trained.cache)  # the fix that the message names
    assert again.code == 0, again.err


# cache


def test_cache(cli, trained):
    info = json.loads(cli('cache', 'info', '--json').out)
    assert info['vectors'] >= 32
    assert info['path'].startswith(str(trained.cache))
    assert cli('cache', 'clean').code == 2
