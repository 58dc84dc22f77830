"The command line as a user meets it: every verb in a process of its own, on images of noise."

import csv
import io
import json
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


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def by_name(path):
    return {r['filename']: r['mos'] for r in rows(path.read_text(encoding='utf-8'))}


def bomb(width=30000, height=30000):
    "The few bytes of a PNG that says it is huge."
    chunk = lambda kind, data: (
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    )
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'IDAT', zlib.compress(b'\0' * 99))
        + chunk(b'IEND', b'')
    )


BAD = {  # file name as in the table -> (rest of the row, what must be said of it)
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


def add_bad(split):
    "Adds every kind of bad row to a split."
    images, table = split / 'images', split / 'image_descriptions.csv'
    for n in ('twice', 'nan', 'word', 'none', 'silent'):
        noise(50 + len(n), (64, 48)).save(images / f'{n}.png')
    noise(60, (64, 48)).save(split / 'outside.png')
    whole = (images / 'f1.png').read_bytes()
    bodies = dict(torn=whole[: len(whole) // 2], empty=b'', words=b'no picture at all', bomb=bomb())
    for n, body in bodies.items():
        (images / f'{n}.png').write_bytes(body)
    with table.open('a', encoding='utf-8') as f:
        f.write('twice.png,1,"Yes, the first."\n')
        f.writelines(f'{n},{rest}\n' for n, (rest, _) in BAD.items())
    return split


@pytest.fixture(scope='module')
def bad(trained, tmp_path_factory):
    "The data of the trained run with bad rows among its training rows."
    data = tmp_path_factory.mktemp('bad') / 'data'
    shutil.copytree(trained.data, data)
    add_bad(data / 'train')
    return data


def test_help_and_version(started):
    for argv in (
        ['--help'],
        ['data', '--help'],
        *([v, '--help'] for v in ('train', 'evaluate', 'predict', 'demo', 'cache')),
    ):
        said = started('-m', 'realness.cli', *argv, fresh=True).end()
        assert said.code == 0 and 'Usage' in said.out and not said.err, argv
    assert 'higher' in started('-m', 'realness.cli', 'predict', '--help', fresh=True).end().out
    assert started('-m', 'realness.cli', '--version', fresh=True).end().out == __version__ + '\n'
    assert started('-m', 'realness.cli', 'no-such-verb', fresh=True).end().code == 2


def test_check_of_good_data(started, tmp_path):
    write_split(tmp_path / 'datasets/train', 3, size=(64, 48))
    said = started('-m', 'realness.cli', 'data', 'check', fresh=True).end()  # datasets/ of the current folder
    assert (said.code, said.err) == (0, '') and said.out.startswith('train: 3 good rows, 0 problems, 0 notes')
    got = json.loads(started('-m', 'realness.cli', 'data', 'check', '--json', fresh=True).end().out)
    assert got == {'train': {'rows': 3, 'problems': []}}


def test_check_names_every_bad_row(started, bad):
    said = started('-m', 'realness.cli', 'data', 'check', bad, '--json', fresh=True).end()
    assert said.code == 1 and not said.err
    got = json.loads(said.out)
    assert (
        got['test'] == {'rows': 8, 'problems': []} and got['train']['rows'] == 21
    )  # the first of two rows of a name is kept
    problems = {p['filename']: p for p in got['train']['problems'] if p['level'] == 'error'}
    assert set(problems) == set(BAD)
    for name, (_, want) in BAD.items():
        assert want in problems[name]['problem'] and problems[name]['fix'] and problems[name]['row'] > 21, (
            name
        )
    text = started('-m', 'realness.cli', 'data', 'check', bad, fresh=True).end()
    assert text.code == 1 and '11 problems' in text.out and all(n in text.out for n in BAD)


@pytest.mark.parametrize(
    'how, want',
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
def test_check_of_the_table(started, tmp_path, how, want):
    data = write_split(tmp_path / 'data', 3, size=(64, 48))
    write_table(data, ['f1.png,1,"Yes, a stone."', 'r0.png,2,"No, a café."'], **how)
    said = started('-m', 'realness.cli', 'data', 'check', data, fresh=True).end()
    assert said.code == (1 if want else 0) and (want or '2 good rows') in ' '.join(
        said.out.replace('│', ' ').split()
    )
    assert 'Traceback' not in said.err


def test_check_of_nothing(started, tmp_path):
    said = started('-m', 'realness.cli', 'data', 'check', 'nowhere', fresh=True).end()
    assert said.code == 1 and 'there is no such folder' in said.out


def test_train_writes_a_run(trained):
    assert trained.said.code == 0 and 'The run is in run' in trained.said.out and not trained.said.err
    there = {p.name for p in trained.run.iterdir()}
    assert {
        'config.json',
        'model.safetensors',
        'settings.json',
        'rows.csv',
        'evaluations',
    } <= there and 'resume' not in there
    assert not list(trained.root.rglob('*.partial')) and not list(trained.root.rglob('*.pkl'))
    heads = json.loads((trained.run / 'config.json').read_text())['heads']
    assert set(heads) == {'image', 'both'}  # an image without a sentence has a head too
    assert 'mean of training' in trained.said.out and 'n = 8' in trained.said.out


def test_train_again(cli, trained):
    argv = ['train', '--data', trained.data, '--encoders', 'lite', '--out', trained.run]
    before = {p: p.read_bytes() for p in trained.run.glob('*.*')}
    again = cli(*argv, '--head', 'gp')
    assert (
        again.code == 2
        and 'is a run with head = svr, not gp' in again.err
        and len(again.err.splitlines()) == 1
    )
    assert {p: p.read_bytes() for p in trained.run.glob('*.*')} == before


def test_bad_rows_stop_or_are_skipped(cli, bad, tmp_path):
    argv = ['train', '--data', bad, '--encoders', 'lite', '--head', 'svr', '--out', tmp_path / 'run']
    said = cli(*argv)
    assert (
        said.code == 2
        and '11 problems' in said.err
        and all(n in said.err for n in BAD)
        and not (tmp_path / 'run').exists()
    )
    assert 'Traceback' not in said.err
    said = cli(*argv, '--skip-bad', '--json')
    assert said.code == 0, said.err
    got = json.loads(said.out)
    assert (
        got['run'] == str(tmp_path / 'run')
        and got['metrics']['n_train'] == 21
        and {r['metric'] for r in got['test']} >= {'srocc', 'plcc'}
    )
    assert 'left out 11 rows' in said.err and all(n in said.err for n in BAD)
    kept = pd.read_csv(tmp_path / 'run' / 'rows.csv').filename
    assert len(kept) == 21 and set(BAD) & set(kept) == {'twice.png'}


def test_evaluate(cli, trained, tmp_path):
    said = cli('evaluate', trained.run, '--data', trained.data, '--out', tmp_path / 'judged', '--json')
    assert said.code == 0, said.err
    table = pd.DataFrame(json.loads(said.out))
    assert {'srocc', 'krcc', 'plcc', 'mse', 'rmse'} <= set(table.metric) and set(table.fitted) == {
        'unfitted',
        'logistic4',
    }
    assert {'mean of training', 'answer word', 'TF-IDF + ridge', 'photograph or not'} < set(table.model)
    assert (table.n == 8).all() and not (table.value < table.lo).any()
    assert {p.name for p in (tmp_path / 'judged').iterdir()} >= {
        'table.csv',
        'predictions.csv',
        'calibration.csv',
        'scatter.png',
        'calibration.png',
    }
    said = cli('evaluate', trained.run, '--data', tmp_path)
    assert said.code == 2 and 'holds no test/' in said.err


def test_predict_a_folder(started, cli, trained, tmp_path):
    out = tmp_path / 'o.csv'
    said = started(
        '-m',
        'realness.cli',
        'predict',
        trained.run,
        trained.data / 'test',
        '--csv',
        out,
        cache=trained.cache,
        fresh=True,
    ).end()
    assert said.code == 0, said.err
    with out.open(newline='', encoding='utf-8') as f:
        assert next(csv.reader(f))[: len(COLUMNS)] == COLUMNS
    got = rows(out.read_text(encoding='utf-8'))
    assert [r['path'] for r in got] == sorted(
        f'images/{n}' for n in pd.read_csv(trained.data / 'test/image_descriptions.csv').filename
    )
    assert all(r['filename'] == r['path'].split('/')[-1] for r in got)
    assert all(r['error'] == r['mos_100'] == '' and r['sentence_source'] == 'beside' for r in got)
    assert all(-5 < float(r['mos']) < 5 for r in got) and len({r['mos'] for r in got}) > 4
    judged = pd.read_csv(next(trained.run.rglob('predictions.csv'))).set_index('filename')[
        'CORE, image and description'
    ]
    assert max(abs(float(r['mos']) - judged[r['filename']]) for r in got) < 1e-5  # evaluate and predict agree
    assert all(
        float(r['mos_lo']) < float(r['mos']) < float(r['mos_hi'])
        and r['out_of_domain'] == str(int(float(r['domain_score']) > 1))
        for r in got
    )
    before = out.read_bytes()
    assert (
        cli('predict', trained.run, trained.data / 'test', '--csv', out).code == 0
        and out.read_bytes() == before
    )


def test_far_from_home(cli, trained, tmp_path):
    "An image of another kind is marked, and said to be; a run of before there were marks leaves the cells empty."
    Image.new('RGB', (512, 384), 'red').save(tmp_path / 'red.png')
    near = trained.data / 'train/images/f1.png'
    said = cli('predict', trained.run, 'red.png', near)
    assert (
        '1 of 2 images are far from the training images (domain_score > 1): their MOS is less sure'
        in said.out
        and 'FAR' in said.out
    )
    got = {
        r['filename']: r
        for r in map(json.loads, cli('predict', trained.run, 'red.png', near, '--json').out.splitlines())
    }
    assert (got['red.png']['out_of_domain'], got['f1.png']['out_of_domain']) == (1, 0) and got['f1.png'][
        'mos_lo'
    ] < got['f1.png']['mos']
    old = shutil.copytree(trained.run, tmp_path / 'old')
    known = json.loads((old / 'config.json').read_text())
    assert known['intervals']['both']['level'] == 0.9 and known['calibration']['both']['n'] == 20
    (old / 'config.json').write_text(
        json.dumps({k: v for k, v in known.items() if k not in ('intervals', 'calibration', 'domain')})
    )
    got = json.loads(cli('predict', old, near, '--json').out)
    assert got['mos_lo'] is got['domain_score'] is got['out_of_domain'] is None and -5 < got['mos'] < 5


def test_evaluate_on_other_data(cli, trained, tmp_path):
    "Without sentences, on another scale, in groups."
    shutil.copytree(trained.data / 'test/images', tmp_path / 'other/images')
    names = sorted(p.name for p in (tmp_path / 'other/images').iterdir())
    for n in names:
        shutil.copy(tmp_path / 'other/images' / n, tmp_path / 'other/images' / f'{n[0]}9{n[1:]}')
    write_table(
        tmp_path / 'other',
        [f'{n[0]}{m}{n[1:]},{50 + 3 * i},{"ab"[m == "9"]}' for m in ('', '9') for i, n in enumerate(names)],
        header='filename,MOS,maker',
    )
    said = cli('evaluate', trained.run, '--data', 'other', '--group', 'maker')
    assert said.code == 0, said.err
    assert (
        said.out.count('another scale') == 1
        and 'maker=b' in said.out
        and 'of the true MOS lie in the 90 % intervals' in said.out
    )
    assert 'CORE, image alone' in said.out and 'image and sentence' not in said.out
    t = pd.read_csv(next((trained.run / 'evaluations').glob('other-*')) / 'table.csv')
    core = t[t.model == 'CORE, image alone'].set_index(['metric', 'part'])
    assert (
        set(t.part) == {'all', 'ai', 'photo', 'maker=a', 'maker=b'}
        and core.loc[('srocc', 'ai')].n.item() == 8
    )
    assert core.loc[('coverage', 'all')].value.item() == 0  # MOS near 60: none of them within
    assert cli('evaluate', trained.run, '--data', 'other', '--group', 'model').code == 2


def test_where_sentences_come_from(cli, trained, tmp_path):
    pics = [trained.data / 'test/images' / n for n in ('f1.png', 'r0.png')]
    (tmp_path / 'loose').mkdir()
    for p in pics:
        shutil.copy(p, tmp_path / 'loose')
    write_table(tmp_path, ['r0.png,"No, it is made."'], header='filename,description')

    def ask(*argv):
        return {
            r['filename']: r
            for r in map(json.loads, cli('predict', trained.run, *argv, '--json').out.splitlines())
        }

    beside, none = ask(*pics), ask('loose')
    one, table = (
        ask('loose', '--description', 'No, it is made.'),
        ask('loose', '--descriptions', tmp_path / 'image_descriptions.csv'),
    )
    source = lambda got: {n: (r['sentence_source'], r['modality']) for n, r in got.items()}
    assert source(beside) == {n: ('beside', 'both') for n in ('f1.png', 'r0.png')}
    assert source(none) == {n: ('none', 'image') for n in ('f1.png', 'r0.png')}
    assert source(one) == {n: ('option', 'both') for n in ('f1.png', 'r0.png')}
    assert source(table) == {'r0.png': ('csv', 'both'), 'f1.png': ('none', 'image')}
    assert (
        table['r0.png']['mos'] == one['r0.png']['mos']
        and table['f1.png']['mos'] == none['f1.png']['mos'] != one['f1.png']['mos']
    )
    assert set(COLUMNS) <= set(one['f1.png'])
    both = cli(
        'predict',
        trained.run,
        'loose',
        '--description',
        'x',
        '--descriptions',
        tmp_path / 'image_descriptions.csv',
    )
    assert both.code == 2 and 'exclude each other' in both.err


def test_same_number_for_any_batch_and_order(cli, trained, tmp_path):
    pics = sorted((trained.data / 'test/images').iterdir())
    pics = pics[:4]
    cases = {'one.csv': (pics, '1'), 'many.csv': (pics[::-1], '3'), 'some.csv': (pics[1:2], '16')}
    for name, (asked, size) in cases.items():
        said = cli(
            'predict',
            trained.run,
            '-',
            '--csv',
            name,
            '--batch-size',
            size,
            '--no-cache',
            stdin=''.join(f'{p}\n' for p in asked),
        )
        assert said.code == 0, said.err
        assert [r['filename'] for r in rows((tmp_path / name).read_text())] == [
            p.name for p in asked
        ]  # in the order given
    one, many, some = (by_name(tmp_path / n) for n in cases)
    assert one == many and some.items() <= one.items()


def test_paths_are_unique(cli, trained, tmp_path):
    for d, seed in (('a', 1), ('b', 3), ('b/deep', 5)):
        (tmp_path / 'two' / d).mkdir(parents=True)
        noise(seed).save(tmp_path / 'two' / d / 'x.png')
    whole = cli('predict', trained.run, 'two', '--csv', 'whole.csv')
    parts = cli('predict', trained.run, 'two/b', 'two/a', 'two/a/x.png', '--csv', 'parts.csv')
    flat = cli('predict', trained.run, 'two/a/x.png', tmp_path / 'two/b/x.png', '--csv', 'flat.csv')
    assert whole.code == parts.code == flat.code == 0
    read = lambda n: {r['path']: r['mos'] for r in rows((tmp_path / n).read_text())}
    assert (
        list(read('whole.csv')) == ['a/x.png', 'b/x.png', 'b/deep/x.png']
        and len(set(read('whole.csv').values())) == 3
    )
    assert list(read('parts.csv')) == [
        'two/b/x.png',
        'two/b/deep/x.png',
        'two/a/x.png',
    ]  # asked for twice, scored once
    assert {k.removeprefix('two/'): v for k, v in read('parts.csv').items()} == read('whole.csv')
    assert len(read('flat.csv')) == 2


def test_unreadable_files_become_rows(cli, trained, bad, tmp_path):
    images = shutil.copytree(bad / 'train/images', tmp_path / 'loose')
    asked = [images / n for n in ('torn.png', 'f1.png', 'empty.png', 'words.png', 'bomb.png', 'missing.png')]
    said = cli('predict', trained.run, *asked, '--csv', 'o.csv')
    assert said.code == 0 and 'Traceback' not in said.err and said.err.count('warning') == 5
    got = {r['filename']: r for r in rows((tmp_path / 'o.csv').read_text())}
    assert list(got) == [p.name for p in asked]
    for name, r in got.items():
        assert (r['mos'] == '') == (r['mos_hi'] == '') == (r['out_of_domain'] == '') == (
            name != 'f1.png'
        ) and (BAD[name][1] in r['error'] if name in BAD else not r['error'])
    nothing = cli('predict', trained.run, images / 'torn.png', 'nowhere.png')
    assert nothing.code == 1 and 'there is no such file' in nothing.err


def test_parquet(cli, trained, tmp_path):
    pytest.importorskip('pyarrow')
    for name in ('o.parquet', 'o.csv'):
        assert cli('predict', trained.run, trained.data / 'test', '--csv', name).code == 0
    a, b = pd.read_parquet(tmp_path / 'o.parquet'), pd.read_csv(tmp_path / 'o.csv')
    assert list(a.columns) == list(b.columns) and list(a.columns)[: len(COLUMNS)] == COLUMNS
    assert a.mos.tolist() == b.mos.tolist() and a.path.tolist() == b.path.tolist() and a.mos_100.isna().all()
    assert a.mos_lo.tolist() == b.mos_lo.tolist() and a.out_of_domain.tolist() == b.out_of_domain.tolist()
    assert sorted(p.name for p in tmp_path.glob('o.*')) == ['o.csv', 'o.parquet']


def test_a_table_of_something_else_is_left_alone(cli, trained, tmp_path):
    pics = trained.data / 'test/images'
    out = tmp_path / 'o.csv'
    assert cli('predict', trained.run, pics / 'f1.png', '--csv', out).code == 0
    whole = out.read_bytes()
    run_id = rows(whole.decode())[0]['run'].encode()
    for body, want in (
        (whole.replace(run_id, b'0123456789ab'), 'was written by run 0123456789ab'),
        (
            b'path,filename,mos,mos_100,sentence_source,error,modality,description,run,digest\n',
            'another version of realness',
        ),
        (b'name,grade\nme,1\n', 'something other than scores'),
    ):
        out.write_bytes(body)
        said = cli('predict', trained.run, pics / 'f1.png', '--csv', out)
        assert said.code == 2 and want in said.err and '--overwrite' in said.err and out.read_bytes() == body
    assert (
        cli('predict', trained.run, pics / 'f1.png', '--csv', out, '--overwrite').code == 0
        and out.read_bytes() == whole
    )
    out.write_bytes(whole[:-9])  # a torn last row is made again
    assert cli('predict', trained.run, pics / 'f1.png', '--csv', out).code == 0 and out.read_bytes() == whole


@pytest.mark.parametrize(
    'argv, want',
    [
        (['predict', 'nowhere', 'x.png'], 'is no run folder'),
        (['predict', '{run}'], 'Missing argument'),
        (['predict', '{run}', '-'], 'no images'),
        (['predict', '{run}', '{pics}', '--csv', 'o.txt'], 'must end in .csv or .parquet'),
        (
            ['train', '--data', '{data}', '--encoders', 'lite', '--tune', '--out', 'r'],
            'fine-tuning needs the mlp head',
        ),
        (
            ['train', '--data', '{data}', '--encoders', 'lite', '--head', 'tree', '--out', 'r'],
            'choose svr, gp or mlp',
        ),
        (['train', '--data', 'nowhere', '--encoders', 'lite', '--out', 'r'], 'there is no such folder'),
    ],
)
def test_errors_are_one_line_and_code_2(cli, trained, tmp_path, argv, want):
    said = cli(*(a.format(run=trained.run, data=trained.data, pics=trained.data / 'test') for a in argv))
    assert said.code == 2 and want in said.err and 'Traceback' not in said.err and not said.out
    assert not (tmp_path / 'r').exists()


def test_missing_weights_are_said_soon(started, trained, tmp_path):
    t = time.time()
    nothing = dict(HF_HOME=str(tmp_path / 'hub'), TORCH_HOME=str(tmp_path / 'torch'))
    said = started(
        '-m',
        'realness.cli',
        'train',
        '--data',
        trained.data,
        '--out',
        'run',
        cache=trained.cache,
        fresh=True,
        **nothing,
    ).end()
    took = time.time() - t
    assert (
        said.code == 2
        and 'weights of resnet50 are not on this machine' in said.err
        and 'pip install "realness[lite]"' in said.err
    )
    assert 'Traceback' not in said.err and len(said.err.splitlines()) == 1 and took < 20
    again = started(
        '-m',
        'realness.cli',
        'train',
        '--data',
        trained.data,
        '--out',
        'run',
        '--encoders',
        'lite',
        cache=trained.cache,
    ).end()
    assert again.code == 0, again.err  # what the message advises works, in the same folder


def test_cache(cli, trained):
    got = json.loads(cli('cache', 'info', '--json').out)
    assert got['vectors'] >= 32 and got['path'].startswith(str(trained.cache))
    assert cli('cache', 'clean').code == 2
