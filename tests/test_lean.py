"""Without the extra `notebook`: everything works but the explorer, which says what to install."""

import json

# Python imports no module whose entry in sys.modules is None, as if it were not installed
WITHOUT_NOTEBOOK = """
import sys
packages = ('jupyterlab', 'nbdev', 'ipywidgets', 'anywidget', 'IPython', 'ipykernel', 'notebook', 'voila')
sys.modules |= {name: None for name in packages}
"""

IMPORT_ALL = """
import importlib, pkgutil, realness
from realness import *
failed = []
for module in pkgutil.walk_packages(realness.__path__, 'realness.'):
    if module.name.endswith('__main__'):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        failed.append(module.name)
print(json.dumps(failed))
"""

ASK_FOR_THE_EXPLORER = """
import realness, realness.explorer
for package in (realness, realness.explorer):
    try:
        package.HeatmapExplorer
    except realness.RealnessError as error:
        print(error)
    assert 'HeatmapExplorer' not in package.__all__ and 'HeatmapExplorer' in dir(package)
"""

RUN_COMMANDS = """
from typer.testing import CliRunner
from realness.cli import app
commands = [
    ['train', '--data', DATA, '--encoders', 'lite', '--head', 'svr', '--out', 'run'],
    ['predict', 'run', IMAGE, '--json'],
    ['heatmap', IMAGE, '--variant', 'learned', '--out', 'maps'],
    ['explore', DATA],
]
for command in commands:
    result = CliRunner().invoke(app, command)
    print(json.dumps([result.exit_code, result.stdout[-2000:], result.stderr[-2000:]]))
"""


def run_without_notebook(started, code: str, **settings) -> list:
    """The lines that code prints in a process in which the packages of the extra are missing."""
    result = started('-c', f'import json\n{WITHOUT_NOTEBOOK}\n{code}', **settings).end()
    assert result.code == 0, result.err
    return result.out.splitlines()


def test_all_modules_but_those_of_widgets_import(started):
    [failed] = run_without_notebook(started, IMPORT_ALL)
    widgets = {'app', 'findings_panel', 'image_browser', 'inspector', 'map_pane', 'regions_panel', 'widgets'}
    renderer = {'realness.documentation'}  # a renderer for nbdev
    assert set(json.loads(failed)) == renderer | {f'realness.explorer.{name}' for name in widgets}


def test_the_explorer_names_its_extra(started):
    lines = run_without_notebook(started, ASK_FOR_THE_EXPLORER)
    assert lines == ['HeatmapExplorer: needs ipywidgets; pip install "realness[notebook]"'] * 2


def test_the_metric_names_its_extra(started):
    code = """
import sys
sys.modules['torchmetrics'] = None
import realness.integrations
try:
    realness.integrations.RealnessScore
except realness.RealnessError as error:
    print(error)
print('RealnessScore' in realness.integrations.__all__)
"""
    result = started('-c', code).end()
    message = 'RealnessScore: needs torchmetrics; pip install "realness[torchmetrics]"'
    assert result.out.splitlines() == [message, 'False'], result.err


def test_commands_work(started, trained):
    image = trained.data / 'test/images/f1.png'
    paths = f'DATA, IMAGE = {str(trained.data)!r}, {str(image)!r}\n'
    lines = run_without_notebook(started, paths + RUN_COMMANDS, cache=trained.cache)
    train, predict, heatmap, explore = map(json.loads, lines)
    assert [train[0], predict[0], heatmap[0]] == [0, 0, 0], lines
    assert json.loads(predict[1])['error'] == ''
    assert (explore[0], 'needs voila: pip install "realness[explore]"' in explore[2]) == (2, True)
