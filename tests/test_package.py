"""The package: quick to import, with the published calls, and without side effects."""

import json
import shutil

import pytest

LIGHT_IMPORT = """
import sys, time

start = time.perf_counter()
import realness
seconds = time.perf_counter() - start
heavy = {'torch', 'torchvision', 'transformers', 'timm', 'open_clip'}
heavy |= {'sklearn', 'matplotlib', 'pandas', 'numpy'}
assert seconds < 2, seconds
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert {'load', 'train_run', 'evaluate'} <= set(dir(realness))
"""

IMPORT_EVERYTHING = """
import importlib, pkgutil
import realness

modules = [module.name for module in pkgutil.walk_packages(realness.__path__, 'realness.')]
modules = [name for name in modules if not name.endswith(('_modidx', '__main__'))]
for name in modules:
    importlib.import_module(name)
for name in realness.__all__:
    getattr(realness, name)
print(*modules)
"""

PUBLISHED_CALLS = """
import json, os
from realness.regression.train import create_data_loaders, load_and_prepare_data, main, train_model


def run():
    train_df, val_df, test_df = load_and_prepare_data()
    train_loader, val_loader, test_loader = create_data_loaders(train_df, val_df, test_df, batch_size=32)
    model, train_losses, val_losses, best_spearman = train_model(
        train_loader, val_loader, test_loader, num_epochs=2, learning_rate=0.0001
    )
    return dict(
        n=[len(train_df), len(val_df), len(test_df)],
        has_test_loader=test_loader is not None,
        has_test_metrics='test' in model.metrics,
        model=type(model).__name__,
        columns=list(test_df.columns)[:3],
        losses=[train_losses, val_losses],
        best=best_spearman,
    )


first = run()
os.environ['PROJECT_ROOT'] = os.environ['WITHOUT_TEST']
print(json.dumps([first, run()]))
"""

RUN_IN_A_NOTEBOOK = """
import importlib.util

spec = importlib.util.find_spec('realness.regression.train')
cell = {'__name__': '__main__', '__package__': 'realness.regression'}
exec(compile(open(spec.origin, encoding='utf-8').read(), 'cell', 'exec'), cell)
assert callable(cell['main'])
"""

COUNT_DEMO_DATA = """
import realness.demo

make_demo = realness.demo.make_demo


def counted(*args, **settings):
    print('made', flush=True)
    return make_demo(*args, **settings)


realness.demo.make_demo = counted
print(realness.demo.demo_data(None, 8, 4))
"""


@pytest.fixture
def project(trained, tmp_path):
    """A project folder with datasets/train and datasets/test."""
    shutil.copytree(trained.data, tmp_path / 'project/datasets')
    return tmp_path / 'project'


@pytest.fixture
def project_without_test(trained, tmp_path):
    """A project folder with datasets/train only."""
    shutil.copytree(trained.data / 'train', tmp_path / 'bare/datasets/train')
    return tmp_path / 'bare'


def test_import_is_light(started):
    result = started('-c', LIGHT_IMPORT, fresh=True).end()
    assert result.code == 0, result.err


def test_every_module_imports_from_anywhere(started, tmp_path):
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    result = started('-c', IMPORT_EVERYTHING, cwd=folder).end()
    assert result.code == 0, result.err
    published = {'realness.cli', 'realness.regression.train', 'realness.regression.realism_dataset'}
    assert published <= set(result.out.split())
    assert [path.name for path in folder.iterdir() if not path.name.startswith('.job')] == []


def test_published_calls(started, trained, project, project_without_test):
    variables = dict(
        PROJECT_ROOT=str(project), REALNESS_ENCODERS='lite', WITHOUT_TEST=str(project_without_test)
    )
    result = started('-c', PUBLISHED_CALLS, cache=trained.cache, **variables).end()
    assert result.code == 0, result.err
    with_test, without_test = json.loads(result.out.splitlines()[-1])
    assert with_test['n'] == [16, 4, 8]
    assert without_test['n'] == [16, 4, 0]
    assert (with_test['has_test_loader'], with_test['has_test_metrics']) == (True, True)
    assert (without_test['has_test_loader'], without_test['has_test_metrics']) == (False, False)
    for run in (with_test, without_test):
        assert run['model'] == 'COREModel'
        assert run['columns'] == ['filename', 'MOS', 'description']
        assert [len(losses) for losses in run['losses']] == [2, 2]
        assert all(loss > 0 for losses in run['losses'] for loss in losses)
        assert -1 <= run['best'] <= 1
    # The test rows have no influence on the training, and are evaluated once.
    assert with_test['losses'] == without_test['losses']
    assert with_test['best'] == without_test['best']
    assert result.out.count('evaluated once') == 1


def test_train_as_a_script(started, cli, trained, project):
    variables = dict(PROJECT_ROOT=str(project), REALNESS_ENCODERS='lite')
    command = ['-m', 'realness.regression.train', '--epochs', '1']
    result = started(*command, cache=trained.cache, **variables).end()
    assert result.code == 0, result.err
    run = project / 'runs/core'
    names = {path.name for path in run.iterdir()}
    assert {'config.json', 'model.safetensors', 'history.csv', 'curves.png'} <= names
    assert len((run / 'history.csv').read_text().splitlines()) == 2
    assert cli('predict', run, project / 'datasets/test', '--csv', 'o.csv').code == 0


def test_train_as_a_script_without_data(started, project):
    variables = dict(PROJECT_ROOT=str(project / 'nowhere'), REALNESS_ENCODERS='lite')
    result = started('-m', 'realness.regression.train', **variables).end()
    assert result.code == 1
    assert 'Traceback' not in result.err
    assert 'there is no such folder' in result.err


def test_a_notebook_that_runs_the_module_does_not_train(started, project):
    variables = dict(PROJECT_ROOT=str(project), REALNESS_ENCODERS='lite')
    result = started('-c', RUN_IN_A_NOTEBOOK, **variables).end()
    assert (result.code, result.out) == (0, ''), result.err
    assert not (project / 'runs').exists()


def test_demo_data_is_made_once(started, realness):
    """Three processes ask for the demo data at the same time; one makes them."""
    jobs = [started('-c', COUNT_DEMO_DATA) for _ in range(3)]
    results = [job.end() for job in jobs]
    assert [result.code for result in results] == [0, 0, 0], results
    lines = ''.join(result.out for result in results).splitlines()
    assert lines.count('made') == 1
    [folder] = set(lines) - {'made'}
    result = realness('data', 'demo', '--n-train', '8', '--n-test', '4', fresh=True)
    assert (result.code, result.out.strip()) == (0, folder)
    assert 'not human' in result.err
    assert realness('data', 'check', folder, fresh=True).code == 0
