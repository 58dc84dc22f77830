"""The command `realness lab`: interrupted and resumed, with groups, with bad input, with --json."""

import json
import shutil

import pandas as pd
import pytest
from system import add_groups, write_table

# a small protocol: one encoder pair, one head, one input, 3 folds, 2 repeats
SMALL = ('--encoders', 'lite', '--heads', 'svr', '--modalities', 'both', '--cv', '3', '--repeats', '2')
SMALL_COMMAND = (
    'realness lab DATA --out DIR --encoders lite --heads svr --modalities both --cv 3 --repeats 2 --seeds 1'
)


def stored_units(out):
    """The paths of the units in a folder, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in out.glob('units/*/*/*.json')}


def assert_one_line_error(result, message):
    """Assert that a command failed with exit code 2 and one line that contains the message."""
    assert result.code == 2, result
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not result.out


def test_a_killed_run_resumes(started, trained, tmp_path):
    command = ('-m', 'realness.cli', 'lab', trained.data, *SMALL, '--seeds', '2', '--out')
    out = tmp_path / 'lab'
    job = started(*command, out, cache=trained.cache)
    assert job.until(lambda: len(stored_units(out)) > 3)
    job.kill(9)
    units = stored_units(out)
    assert units
    assert not (out / 'table.csv').exists()

    resumed = started(*command, out, cache=trained.cache).end()
    assert resumed.code == 0, resumed
    assert 'control' in resumed.out
    assert not resumed.err
    assert units.items() <= stored_units(out).items()  # no unit was computed twice

    whole = tmp_path / 'whole'
    assert started(*command, whole, cache=trained.cache).end().code == 0
    tables = ('table.csv', 'predictions.csv', 'repeats.csv', 'predictions-official-test.csv')
    for name in (*tables, 'table.md', 'table.png'):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_predictions_and_comparison(cli, trained, tmp_path):
    assert cli('lab', trained.data, *SMALL, '--seeds', '0', '--out', 'lab').code == 0
    rows = ['lite plain', 'lite svr both']
    baselines = ['mean of training', 'photograph or not', 'answer word', 'TF-IDF + ridge']
    predictions = pd.read_csv(tmp_path / 'lab/predictions.csv')
    assert list(predictions.columns) == ['filename', 'MOS', *rows, *baselines]

    result = cli('lab', '--out', 'lab', '--compare', 'lite svr both', 'answer word')
    assert result.code == 0
    assert 'SROCC of lite svr both minus answer word' in result.out


def interval_width(cli):
    """The width of the interval of a difference between two rows of the folder `lab`."""
    result = cli('lab', '--out', 'lab', '--compare', 'lite svr both', 'lite plain', '--json')
    assert result.code == 0, result.err
    srocc = json.loads(result.out)['srocc']
    return srocc['hi'] - srocc['lo']


def test_a_folder_without_repeats_gets_wider_intervals(cli, trained, tmp_path):
    assert cli('lab', trained.data, *SMALL, '--seeds', '0', '--out', 'lab').code == 0
    table = pd.read_csv(tmp_path / 'lab/table.csv').set_index('row').loc['lite svr both']
    width = interval_width(cli)
    assert abs(width - (table.diff_hi - table.diff_lo)) < 1e-6
    (tmp_path / 'lab/repeats.csv').unlink()  # as in a folder that an earlier version wrote
    assert interval_width(cli) != width


@pytest.fixture
def grouped_data(trained, tmp_path):
    """The data of the trained run with five prompts of four images, and raw ratings by four raters."""
    data = shutil.copytree(trained.data, tmp_path / 'data')
    add_groups(data / 'train', 'prompt')
    images = list(pd.read_csv(data / 'train/image_descriptions.csv').itertuples())
    ratings = [f'{im.filename},{rater},{im.MOS + rater / 9}' for im in images for rater in range(4)]
    write_table(data, ratings, header='filename,rater,rating')
    (data / 'image_descriptions.csv').rename(data / 'ratings.csv')
    return data


def test_groups_and_ratings(cli, grouped_data, tmp_path):
    options = ('--group', 'prompt', '--leave-out', 'prompt', '--seeds', '0', '--out', 'lab', '--json')
    result = cli('lab', grouped_data, *SMALL, *options)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    table = pd.DataFrame(report['table'])
    assert set(table.part) == {'cross-validation', 'leave-out prompt'}  # --seeds 0: no official test
    groups = table[table.group.notna()]
    assert set(groups.group) == set('abcde')
    assert (groups.n == 4).all()
    assert report['people']['srocc']['ceiling'] == pytest.approx(1)
    assert report['people']['plcc']['raters'] == 4

    for number, group in enumerate('abcde'):  # each unit names the group that was left out
        paths = (tmp_path / 'lab').glob(f'units/leave-out*/*/0-{number}.json')
        assert {json.loads(path.read_text())['name'] for path in paths} == {group}
    text = (tmp_path / 'lab/table.md').read_text(encoding='utf-8')
    assert 'SROCC in each left-out group' in text
    left_out = text.split('## Leave-out prompt')[1]
    assert 'a bootstrap over groups with twice the variance' in left_out
    repeats = pd.read_csv(tmp_path / 'lab/repeats-leave-out-prompt.csv')
    assert set(repeats.group) == set('abcde')  # so that rows can be compared later in the same way


BAD_OPTIONS = {
    'no column scene; the table has filename, MOS, description': ('--group', 'scene'),
    'row 2 has no number as its rating': ('--ratings', 'ratings.csv'),
    "'tree'": ('--heads', 'tree'),
    "baseline 'best': no such row": ('--baseline', 'best'),
    'permutations is 1; it must be at least 3': ('--permutations', '1'),
    'contains other files': ('--out', 'other'),
}


@pytest.mark.parametrize('message', BAD_OPTIONS)
def test_bad_options(cli, trained, tmp_path, message):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/table.csv').write_text('mine')
    (tmp_path / 'ratings.csv').write_text('filename,rater,rating\nf1.png,1,good\n')
    result = cli('lab', trained.data, *SMALL, '--out', 'lab', *BAD_OPTIONS[message])
    assert_one_line_error(result, message)
    assert not (tmp_path / 'lab').exists()
    assert (tmp_path / 'other/table.csv').read_text() == 'mine'


def test_compare_needs_a_finished_folder(cli):
    result = cli('lab', '--out', 'lab', '--compare', 'a', 'b')
    assert_one_line_error(result, 'no such file; run `realness lab`')


def test_json(cli, trained):
    result = cli('lab', trained.data, *SMALL, '--seeds', '1', '--out', 'lab', '--json')
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report['chosen'] == 'lite svr both'
    assert isinstance(report['control_holds'], bool)
    assert -1 <= report['chosen_test'] <= 1
    assert report['command'] == SMALL_COMMAND
    table = pd.DataFrame(report['table'])
    line = table[table.part == 'cross-validation'].set_index('row').loc['lite svr both']
    assert line.srocc_lo <= line.srocc_pooled <= line.srocc_hi
    assert (line.n, line.folds, line.repeats) == (20, 3, 2)


def test_other_settings_are_refused(cli, trained, tmp_path):
    command = ('lab', trained.data, *SMALL, '--seeds', '0', '--out', 'lab')
    assert cli(*command).code == 0
    units = stored_units(tmp_path / 'lab')
    refused = cli(*command, '--seed', '1')
    assert refused.code == 2
    assert 'was made with seed = 0, not 1' in refused.err
    assert '--overwrite' in refused.err
    assert stored_units(tmp_path / 'lab') == units

    assert cli(*command, '--seed', '1', '--overwrite').code == 0
    assert not stored_units(tmp_path / 'lab').items() & units.items()
