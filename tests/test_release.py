"""The files of a release agree with settings.ini, and each version has its notes."""

import importlib.util
import re
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


def test_the_conda_recipe_has_every_requirement(release):
    recipe = read_yaml('conda/meta.yaml')
    assert len(recipe['requirements']['run']) == 1 + len(release.read_settings()['requirements'].split())
    assert 'pytorch >=2.5' in recipe['requirements']['run']


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
