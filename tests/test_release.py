"""The files of a release agree with settings.ini, and each version has its notes."""

import ast
import importlib.util
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def release():
    spec = importlib.util.spec_from_file_location('release', ROOT / '.ci/release.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))


def test_the_citation_names_the_version(release):
    citation = read_yaml('CITATION.cff')
    assert {'cff-version', 'message', 'title', 'authors', 'version'} <= set(citation)  # all that CFF requires
    assert str(citation['version']) == release.read_settings()['version']


def names_of(requirements):
    """The names of some requirements, as pip compares them."""
    return {re.match(r'[\w.-]+', each)[0].lower().replace('_', '-') for each in requirements.split()}


def test_the_conda_recipe_has_every_requirement(release):
    recipe = read_yaml('conda/recipe.yaml')
    limits = [re.search(r'[<>=].*', each)[0] for each in release.read_settings()['requirements'].split()]
    assert [each.split(' ', 1)[1] for each in recipe['requirements']['run']] == ['>=3.11', *limits]
    assert 'pytorch >=2.5' in recipe['requirements']['run']
    assert 'torch >=2.5' not in recipe['requirements']['run']


def test_the_conda_recipe_is_rendered(release):
    rattler_build = pytest.importorskip('rattler_build', reason='needs py-rattler-build')
    text = (ROOT / 'conda/recipe.yaml').read_text(encoding='utf-8')
    [variant] = rattler_build.Stage0Recipe.from_yaml(text).render()
    recipe = variant.recipe
    assert (recipe.package.name, str(recipe.package.version)) == (
        'realness',
        release.read_settings()['version'],
    )
    assert recipe.build.noarch == 'python'
    assert recipe.requirements.run == read_yaml('conda/recipe.yaml')['requirements']['run']


FRAMEWORKS = {  # modules of packages that come with a requirement by their purpose
    'jupyter_client': 'voila',
    'jupyter_core': 'voila',
    'jupyter_server': 'voila',
    'traitlets': 'ipywidgets',
    'starlette': 'gradio',
}
ADAPTED = {'fiftyone', 'pyiqa'}  # used where users have them


def test_imported_packages_are_requirements(release):
    modules = set()
    for path in (ROOT / 'realness').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.partition('.')[0])
    modules -= {*sys.stdlib_module_names, *ADAPTED, 'realness'}
    settings = release.read_settings()
    required = set.union(*(names_of(value) for name, value in settings.items() if 'requirements' in name))
    known = packages_distributions()
    missing = {
        module
        for module in modules
        if not names_of(FRAMEWORKS.get(module) or ' '.join(known.get(module, [module]))) & required
    }
    assert not missing
    assert 'torch' in modules


@pytest.mark.parametrize(
    ('pip', 'conda'), [('numpy>=1.26', 'numpy >=1.26'), ('torch', 'pytorch'), ('a-b>=1,<2', 'a-b >=1,<2')]
)
def test_requirements_of_pip_and_conda(release, pip, conda):
    assert release.conda_requirement(pip) == conda


def test_files_that_differ_are_found(release):
    for path, text in release.make_files().items():
        assert path.read_text(encoding='utf-8') == text, f'run python .ci/release.py: {path.name}'


def test_notes_are_one_section_of_the_change_log(release):
    log = '# Log\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n- A.\n\n## [0.1.0]\n- B.\n'
    assert release.release_notes('0.2.0', log) == '### Added\n- A.'
    assert release.release_notes('0.1.0', log) == '- B.'
    for version in ('Unreleased', '0.3.0'):  # empty, and missing
        with pytest.raises(SystemExit, match=re.escape(f'no notes below ## [{version}]')):
            release.release_notes(version, log)


def test_workflows_run_files_of_the_project():
    commands = []
    for path in (ROOT / '.github/workflows').glob('*.yml'):
        for job in read_yaml(path.relative_to(ROOT))['jobs'].values():
            commands += [step['run'] for step in job['steps'] if 'run' in step]
    files = {word for command in commands for word in re.findall(r'\.ci/\w[\w.]*', command)}
    assert {'.ci/run', '.ci/wheel.py', '.ci/release.py'} <= files
    assert all((ROOT / name).is_file() for name in files)


def test_constraints_have_one_version_each():
    lines = (ROOT / '.ci/constraints.txt').read_text(encoding='utf-8').splitlines()
    names = [line.split('==')[0].lower() for line in lines if line and not line.startswith('#')]
    assert len(names) == len(set(names))
