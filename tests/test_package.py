"The package as others use it: light to import, the published calls, nothing done unasked."

import json
import shutil

import pytest

CALLS = """
import json, os
from realness.regression.train import main, train_model, load_and_prepare_data, create_data_loaders
def run():
    train_df, val_df, test_df = load_and_prepare_data()
    train_loader, val_loader, test_loader = create_data_loaders(train_df, val_df, test_df, batch_size=32)
    model, train_losses, val_losses, best_spearman = train_model(train_loader, val_loader, test_loader, num_epochs=2, learning_rate=0.0001)
    return dict(n=[len(train_df), len(val_df), len(test_df)], test_loader=test_loader is not None, model=type(model).__name__,
                columns=list(test_df.columns)[:3],
                losses=[train_losses, val_losses], best=best_spearman, test='test' in model.metrics)
first = run()
os.environ['PROJECT_ROOT'] = os.environ['NO_TEST']
print(json.dumps([first, run()]))
"""

NOTEBOOK = """
import importlib.util
spec = importlib.util.find_spec('realness.regression.train')
g = {'__name__': '__main__', '__package__': 'realness.regression'}
exec(compile(open(spec.origin, encoding='utf-8').read(), 'cell', 'exec'), g)
assert callable(g['main'])
"""

DEMO = """
import realness.demo as d
make = d.make_demo
def counted(*a, **kw):
    print('made', flush=True)
    return make(*a, **kw)
d.make_demo = counted
print(d.demo_data(None, 8, 4))
"""


@pytest.fixture
def project(trained, tmp_path):
    "A project folder with datasets/, and one without a test/ folder."
    shutil.copytree(trained.data, tmp_path / 'project/datasets')
    shutil.copytree(trained.data / 'train', tmp_path / 'bare/datasets/train')
    return tmp_path / 'project'


def test_import_is_light(started):
    code = """
import sys, time
t = time.perf_counter()
import realness
took = time.perf_counter()-t
heavy = ('torch', 'torchvision', 'transformers', 'timm', 'open_clip', 'sklearn', 'matplotlib', 'pandas', 'numpy')
assert took < 2, took
assert not [m for m in heavy if m in sys.modules], [m for m in heavy if m in sys.modules]
assert {'load', 'train_run', 'evaluate'} <= set(dir(realness))
"""
    said = started('-c', code, fresh=True).end()
    assert said.code == 0, said.err


def test_every_module_imports_from_anywhere(started, tmp_path):
    code = """
import importlib, pkgutil, sys
import realness
names = [m.name for m in pkgutil.walk_packages(realness.__path__, 'realness.') if not m.name.endswith(('_modidx', '__main__'))]
for n in names: importlib.import_module(n)
for n in realness.__all__: getattr(realness, n)
print(*names)
"""
    (tmp_path / 'elsewhere').mkdir()
    said = started('-c', code, cwd=tmp_path / 'elsewhere').end()
    assert said.code == 0, said.err
    assert {'realness.cli', 'realness.regression.train', 'realness.regression.realism_dataset'} <= set(
        said.out.split()
    )
    assert [p.name for p in (tmp_path / 'elsewhere').iterdir() if not p.name.startswith('.job')] == []


def test_published_calls(started, trained, project, tmp_path):
    said = started(
        '-c',
        CALLS,
        cache=trained.cache,
        PROJECT_ROOT=str(project),
        REALNESS_ENCODERS='lite',
        NO_TEST=str(tmp_path / 'bare'),
    ).end()
    assert said.code == 0, said.err
    with_test, without = json.loads(said.out.splitlines()[-1])
    assert with_test['n'] == [16, 4, 8] and without['n'] == [16, 4, 0]
    assert (with_test['test_loader'], with_test['test'], without['test_loader'], without['test']) == (
        True,
        True,
        False,
        False,
    )
    for got in (with_test, without):
        assert got['model'] == 'COREModel' and got['columns'] == ['filename', 'MOS', 'description']
        assert (
            [len(l) for l in got['losses']] == [2, 2]
            and all(v > 0 for l in got['losses'] for v in l)
            and -1 <= got['best'] <= 1
        )
    assert (
        with_test['losses'] == without['losses'] and with_test['best'] == without['best']
    )  # the test rows change nothing
    assert said.out.count('looked at once') == 1


def test_train_as_a_script(started, trained, project):
    kw = dict(cache=trained.cache, PROJECT_ROOT=str(project), REALNESS_ENCODERS='lite')
    said = started('-m', 'realness.regression.train', '--epochs', '1', **kw).end()
    assert said.code == 0, said.err
    assert {p.name for p in (project / 'runs/core').iterdir()} >= {
        'config.json',
        'model.safetensors',
        'history.csv',
        'curves.png',
    }
    assert len((project / 'runs/core/history.csv').read_text().splitlines()) == 2
    argv = ['predict', project / 'runs/core', project / 'datasets/test', '--csv', 'o.csv']
    assert started('-m', 'realness.cli', *argv, cache=trained.cache).end().code == 0
    bad = started('-m', 'realness.regression.train', **dict(kw, PROJECT_ROOT=str(project / 'nowhere'))).end()
    assert bad.code == 1 and 'Traceback' not in bad.err and 'there is no such folder' in bad.err


def test_a_notebook_that_runs_the_module_does_not_train(started, project):
    said = started('-c', NOTEBOOK, PROJECT_ROOT=str(project), REALNESS_ENCODERS='lite').end()
    assert said.code == 0 and said.out == '' and not (project / 'runs').exists(), said.err


def test_demo_data_is_made_once(started):
    jobs = [started('-c', DEMO) for _ in range(3)]
    said = [j.end() for j in jobs]
    assert [s.code for s in said] == [0, 0, 0], said
    out = ''.join(s.out for s in said).splitlines()
    assert out.count('made') == 1 and len(set(out) - {'made'}) == 1
    cli = started('-m', 'realness.cli', 'data', 'demo', '--n-train', '8', '--n-test', '4', fresh=True).end()
    assert cli.code == 0 and cli.out.strip() in out and 'not human' in cli.err
    assert started('-m', 'realness.cli', 'data', 'check', cli.out.strip(), fresh=True).end().code == 0
