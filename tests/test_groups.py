"""Groups of images: the option --group of train, evaluate and data check, and the group of dataset.json."""

import json
import shutil

import pandas as pd
import pytest
from system import add_groups

TRAIN = ('--encoders', 'lite', '--out', 'run', '--json')


@pytest.fixture
def grouped(trained, tmp_path):
    """The data of the trained run, with the column `scene`: five scenes of four training images."""
    data = shutil.copytree(trained.data, tmp_path / 'data')
    add_groups(data / 'train', 'scene')
    return data


def read_config(folder):
    """The config.json of a run."""
    return json.loads((folder / 'config.json').read_text())


def test_train_keeps_groups_together(cli, grouped, tmp_path):
    result = cli('train', '--data', grouped, *TRAIN, '--group', 'scene', '--cv', '5')
    assert result.code == 0, result.err
    assert json.loads(result.out)['metrics']['groups'] == {'column': 'scene', 'n': 5}
    config = read_config(tmp_path / 'run')
    assert config['intervals']['both']['how'] == 'training rows by 5 folds that keep 5 groups together'
    assert 'come from 5 groups (scene), which is few' in result.err
    assert 'come from 5 groups (scene), which is few' in (tmp_path / 'run/README.md').read_text()


def test_dataset_json_names_the_group_and_none_switches_it_off(cli, grouped, tmp_path):
    (grouped / 'dataset.json').write_text('{"group": "scene"}')
    assert cli('train', '--data', grouped, *TRAIN).code == 0
    assert json.loads((tmp_path / 'run/settings.json').read_text())['group'] == 'scene'
    result = cli('train', '--data', grouped, *TRAIN[:2], '--out', 'plain', '--json', '--group', 'none')
    assert result.code == 0, result.err
    assert 'groups' not in json.loads(result.out)['metrics']
    assert read_config(tmp_path / 'plain')['intervals']['both']['how'] == 'training rows by 5 of 5 folds'
    other = cli('train', '--data', grouped, *TRAIN, '--group', 'none')
    assert 'group = scene, not None' in other.err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--group', 'place'), 'no column place; the table has filename, MOS, description, scene'),
        (('--group', 'scene', '--cv', '6'), 'column scene has 5 groups, too few for 6 folds; use --cv 5'),
    ],
)
def test_errors_name_the_column(cli, grouped, options, message):
    result = cli('train', '--data', grouped, *TRAIN, *options)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_an_empty_group_is_an_error_of_its_row(cli, grouped):
    table = grouped / 'train/image_descriptions.csv'
    table.write_text(table.read_text().replace(',b\n', ',\n', 1))
    result = cli('train', '--data', grouped, *TRAIN, '--group', 'scene')
    assert result.code == 2
    assert 'row 3: column scene is empty; give every row a group' in result.err
    result = cli('data', 'check', grouped / 'train', '--group', 'scene', '--json')
    assert result.code == 1
    (problem,) = json.loads(result.out)['train']['problems']
    assert (problem['row'], problem['problem']) == (3, 'column scene is empty')


def test_evaluate_shows_coverage_and_flags_within_groups(cli, grouped, tmp_path):
    assert cli('train', '--data', grouped, *TRAIN, '--group', 'scene').code == 0
    options = ('--data', grouped, '--split', 'train', '--out', 'evaluation')
    result = cli('evaluate', 'run', *options, '--group', 'scene')
    assert result.code == 0, result.err
    assert 'Coverage of the 90 % intervals and out-of-domain images within parts' in result.out
    parts = pd.read_csv(tmp_path / 'evaluation/parts.csv')
    assert set(parts.part) == {'all', 'ai', 'photo'}  # four images in each scene are too few for a part
    assert (parts.coverage_lo <= parts.coverage).all() and (parts.coverage <= parts.coverage_hi).all()


def test_variants_are_found_without_a_group(cli, grouped, tmp_path):
    images = grouped / 'train/images'
    names = pd.read_csv(grouped / 'train/image_descriptions.csv').filename
    shutil.copyfile(images / names[0], images / names[1])
    result = cli('data', 'check', grouped / 'train', '--suggest', 'suggestion.csv', '--json')
    assert 'images look like variants of another image' in result.out
    assert pd.read_csv(tmp_path / 'suggestion.csv').source[1] == names[0]
    result = cli('train', '--data', grouped, *TRAIN)
    assert 'look like variants of another image' in result.err
    assert (tmp_path / 'run/sources.csv').is_file()
    quiet = cli('data', 'check', grouped / 'train', '--group', 'none', '--json')
    assert 'variants' not in quiet.out
