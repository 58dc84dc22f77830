"""Write the files that repeat settings.ini, and print the notes of a release.

python .ci/release.py                  # write CITATION.cff and conda/recipe.yaml
python .ci/release.py --check          # exit 1 if one of them differs from settings.ini
python .ci/release.py --notes 0.2.0    # the section of CHANGELOG.md with this version, as Markdown
python .ci/release.py --notes          # the section [Unreleased]
"""

import argparse
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = dict(torch='pytorch', matplotlib='matplotlib-base')  # where they differ
CITATION = """\
# Written by .ci/release.py from settings.ini
cff-version: 1.2.0
message: If you use this software, please cite it.
type: software
title: {title}
abstract: {description}.
version: {version}
license: Apache-2.0
repository-code: {git_url}
url: {doc_host}{doc_baseurl}
authors:
  - name: {author}
keywords:
{keywords}
"""
CONDA = """\
# Written by .ci/release.py from settings.ini: rattler-build build -c conda-forge --recipe conda
# All packages are on conda-forge except those of the extra `lite`: pip install --no-deps adds them. The
# extra `describe` is openai and py3langid there.
package:
  name: {lib_name}
  version: "{version}"

source:
  path: ..

build:
  number: 0
  noarch: python
  script: ${{{{ PYTHON }}}} -m pip install . --no-deps --no-build-isolation -vv
  python:
    entry_points:
      - {entry_point}

requirements:
  host:
    - python >={min_python}
    - pip
    - setuptools
    - wheel
  run:
    - python >={min_python}
{requirements}

tests:
  - python:
      imports:
        - {lib_name}
      pip_check: true
  - script:
      - {lib_name} --help
      - {lib_name} --version

about:
  homepage: {git_url}
  repository: {git_url}
  documentation: {doc_host}{doc_baseurl}
  license: Apache-2.0
  license_file: LICENSE
  summary: {description}
"""


def read_settings() -> dict:
    """The entries of settings.ini."""
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(ROOT / 'settings.ini', encoding='utf-8')
    return dict(ini['DEFAULT'])


def conda_requirement(requirement: str) -> str:
    """A requirement of pip (`torch>=2.5`) as one of conda (`pytorch >=2.5`)."""
    name, limits = re.fullmatch(r'([\w.-]+)(.*)', requirement).groups()
    return f'{CONDA_NAMES.get(name, name)} {limits}'.strip()


def make_files() -> dict[Path, str]:
    """Path -> content of the files that repeat settings.ini."""
    settings = read_settings()
    keywords = '\n'.join(f'  - {word.strip()}' for word in settings['keywords'].split(','))
    lines = '\n'.join(f'    - {conda_requirement(each)}' for each in settings['requirements'].split())
    values = settings | dict(
        keywords=keywords, requirements=lines, entry_point=settings['console_scripts'].replace('=', ' = ')
    )
    return {
        ROOT / 'CITATION.cff': CITATION.format(**values),
        ROOT / 'conda/recipe.yaml': CONDA.format(**values),
    }


def release_notes(version: str, log: str) -> str:
    """The section of a version in a change log. Ends the script if there is none, or if it is empty."""
    sections = re.split(r'^## \[(.+?)\].*\n', log, flags=re.M)
    notes = dict(zip(sections[1::2], sections[2::2], strict=True)).get(version, '').strip()
    if not notes:
        raise SystemExit(f'CHANGELOG.md: no notes below ## [{version}]; add the section of this version')
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='compare the files, write nothing')
    parser.add_argument('--notes', nargs='?', const='Unreleased', metavar='VERSION', help='print the notes')
    options = parser.parse_args()
    if options.notes:
        print(release_notes(options.notes.removeprefix('v'), (ROOT / 'CHANGELOG.md').read_text('utf-8')))
        return
    for path, text in make_files().items():
        if options.check and (not path.is_file() or path.read_text('utf-8') != text):
            raise SystemExit(f'{path.name} differs from settings.ini; run python .ci/release.py')
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, 'utf-8')


if __name__ == '__main__':
    main()
