"""Default places of results are tried before anything is computed."""

import errno

import pytest
from system import write_split

import realness.limits
from realness.config import RealnessError
from realness.localization import run_heatmap_analysis
from realness.regression import train

PLACES = {  # command without --out -> where it writes
    'train --data {data} --encoders lite --head svr': 'base/runs/lite-svr',
    'train --data {data} --best': 'base/runs/best',
    'demo': 'base/runs/demo',
    'lab {data} --encoders lite': 'base/runs/lab',
    'heatmap {data}/train/images/r0.png': 'base/heatmaps',
    'data fetch raise --accept-licence': 'base/datasets',
    'evaluate {run} --data {data}': 'run/evaluations/data-test',
    'report {run} --data {data}': 'run/report.html',
    'clip fit --data {data}': 'lite-clip',
    'localizer fit': 'localizer',
}


@pytest.fixture
def folders(tmp_path):
    """A data folder and an empty run folder."""
    write_split(tmp_path / 'data/train', 4, size=(64, 48))
    write_split(tmp_path / 'data/test', 2, size=(64, 48))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/config.json').write_text('{}')
    return tmp_path


@pytest.fixture
def full_disk(folders, monkeypatch):
    """The folders on a disk that has become full."""

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    (folders / 'base').mkdir()
    monkeypatch.setenv('PROJECT_ROOT', str(folders / 'base'))
    monkeypatch.setattr(realness.limits.tempfile, 'TemporaryFile', refuse)
    return folders


@pytest.mark.parametrize(('command', 'place'), PLACES.items())
def test_default_places_are_tried_first(full_disk, realness_here, command, place):
    arguments = command.format(data=full_disk / 'data', run=full_disk / 'run').split()
    result = realness_here(*arguments)
    assert result.code == 2, result
    assert f'{place}: cannot be written (No space left on device)' in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (full_disk / 'cache').exists()


def test_the_scripts_try_their_places_first(full_disk, capsys):
    with pytest.raises(RealnessError, match='runs/core: cannot be written'):
        train.main(())
    assert run_heatmap_analysis.main(['--all']) == 2
    assert 'heatmaps: cannot be written' in capsys.readouterr().err


FOLDERS = (  # commands that write a folder
    'train --data {data} --encoders lite --head svr',
    'lab {data} --encoders lite',
    'heatmap {data}/train/images/r0.png',
    'evaluate {run} --data {data}',
    'clip fit --data {data}',
    'localizer fit',
    'demo',
)


@pytest.mark.parametrize('command', FOLDERS)
def test_a_file_in_place_of_a_folder(folders, realness_here, command):
    file = folders / 'notes.txt'
    file.write_text('notes')
    arguments = command.format(data=folders / 'data', run=folders / 'run').split()
    result = realness_here(*arguments, '--out', file)
    assert result.code == 2, result
    [line] = result.err.strip().splitlines()
    assert line.startswith('error: ') and 'notes.txt' in line
    assert file.read_text() == 'notes'
    assert not (folders / 'cache').exists()
