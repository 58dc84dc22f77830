"The laboratory as a user meets it: stopped and gone on with, grouped, refused, read by a program."

import json
import shutil

import pandas as pd
import pytest
from system import write_table

LITE = ('--encoders', 'lite', '--heads', 'svr', '--modalities', 'both', '--cv', '3', '--repeats', '2')


def units(out):
    return {p: p.stat().st_mtime_ns for p in out.glob('units/*/*/*.json')}


def test_killed_and_gone_on(started, cli, trained, tmp_path):
    argv = ('-m', 'realness.cli', 'lab', trained.data, *LITE, '--seeds', '2', '--out')
    job = started(*argv, tmp_path / 'lab', cache=trained.cache)
    assert job.until(lambda: len(units(tmp_path / 'lab')) > 3), job.said()
    job.kill(9)
    before = units(tmp_path / 'lab')
    assert before and not (tmp_path / 'lab/table.csv').exists()
    said = started(*argv, tmp_path / 'lab', cache=trained.cache).end()
    assert said.code == 0 and 'control' in said.out and not said.err, said
    assert before.items() <= units(tmp_path / 'lab').items()  # nothing was computed twice
    whole = started(*argv, tmp_path / 'whole', cache=trained.cache).end()
    assert whole.code == 0
    for n in ('table.csv', 'table.md', 'predictions.csv', 'predictions-official-test.csv', 'table.png'):
        assert (tmp_path / 'lab' / n).read_bytes() == (tmp_path / 'whole' / n).read_bytes(), n
    p = pd.read_csv(tmp_path / 'lab/predictions.csv')
    assert list(p.columns) == [
        'filename',
        'MOS',
        'lite plain',
        'lite svr both',
        'mean of training',
        'photograph or not',
        'answer word',
        'TF-IDF + ridge',
    ]
    said = cli('lab', '--out', 'lab', '--compare', 'lite svr both', 'answer word')
    assert said.code == 0 and 'SROCC of lite svr both minus answer word' in said.out


def test_groups(cli, trained, tmp_path):
    data = shutil.copytree(trained.data, tmp_path / 'data')
    t = pd.read_csv(data / 'train/image_descriptions.csv')
    rows = [f'{r.filename},{r.MOS},"{r.description}",{"abcde"[i % 5]}' for i, r in enumerate(t.itertuples())]
    write_table(data / 'train', rows, header='filename,MOS,description,prompt')
    write_table(
        data,
        [f'{r.filename},{j},{r.MOS + j / 9}' for r in t.itertuples() for j in range(4)],
        header='filename,rater,rating',
    )
    (data / 'image_descriptions.csv').rename(data / 'ratings.csv')
    said = cli(
        'lab',
        data,
        *LITE,
        '--group',
        'prompt',
        '--leave-out',
        'prompt',
        '--seeds',
        '0',
        '--out',
        'lab',
        '--json',
    )
    assert said.code == 0, said.err
    got = json.loads(said.out)
    table = pd.DataFrame(got['table'])
    assert set(table.part) == {'cross-validation', 'leave-out prompt'}  # the test was left alone
    assert set(table.group.dropna()) == set('abcde') and (table[table.group.notna()].n == 4).all()
    assert got['people']['srocc']['ceiling'] == pytest.approx(1) and got['people']['plcc']['raters'] == 4
    folds = [
        set(
            json.loads(p.read_text())['name']
            for p in (tmp_path / 'lab').glob(f'units/leave-out*/*/0-{k}.json')
        )
        for k in range(5)
    ]
    assert [f for f in folds if len(f) == 1] == folds
    assert 'SROCC in each left-out group' in (tmp_path / 'lab/table.md').read_text(encoding='utf-8')


def test_bad_input(cli, trained, tmp_path):
    argv = ('lab', trained.data, *LITE, '--out', 'lab')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/table.csv').write_text('mine')
    (tmp_path / 'ratings.csv').write_text('filename,rater,rating\nf1.png,1,good\n')
    for more, want in (
        (('--group', 'scene'), 'no column scene; the table has filename, MOS, description'),
        (('--ratings', 'ratings.csv'), 'row 2 has no number as its rating'),
        (('--heads', 'tree'), "unknown name 'tree'"),
        (('--baseline', 'best'), "baseline 'best': no such row"),
        (('--permutations', '1'), 'permutations is 1; it must be at least 3'),
        (('--out', 'other'), 'holds something else'),
    ):
        said = cli(*argv, *more)
        assert said.code == 2 and want in said.err and len(said.err.splitlines()) == 1 and not said.out, (
            more,
            said,
        )
    assert not (tmp_path / 'lab').exists() and (tmp_path / 'other/table.csv').read_text() == 'mine'
    said = cli('lab', '--out', 'lab', '--compare', 'a', 'b')
    assert said.code == 2 and 'no such file; run `realness lab`' in said.err


def test_json_and_other_settings(cli, trained, tmp_path):
    argv = ('lab', trained.data, *LITE, '--seeds', '1', '--out', 'lab', '--json')
    said = cli(*argv)
    assert said.code == 0, said.err
    got = json.loads(said.out)
    assert (
        got['chosen'] == 'lite svr both'
        and isinstance(got['control_holds'], bool)
        and -1 <= got['chosen_test'] <= 1
    )
    assert (
        got['command']
        == 'realness lab DATA --out DIR --encoders lite --heads svr --modalities both --cv 3 --repeats 2 --seeds 1'
    )
    line = next(r for r in got['table'] if r['part'] == 'cross-validation' and r['row'] == 'lite svr both')
    assert line['srocc_lo'] <= line['srocc_pooled'] <= line['srocc_hi'] and (
        line['n'],
        line['folds'],
        line['repeats'],
    ) == (20, 3, 2)
    before = units(tmp_path / 'lab')
    refused = cli(*argv, '--seed', '1')
    assert (
        refused.code == 2
        and 'was made with seed = 0, not 1' in refused.err
        and '--overwrite' in refused.err
        and units(tmp_path / 'lab') == before
    )
    assert (
        cli(*argv, '--seed', '1', '--overwrite').code == 0
        and not units(tmp_path / 'lab').items() & before.items()
    )
