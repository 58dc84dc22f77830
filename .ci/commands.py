"""Write the pages of the command line reference, nbs/commands/*.qmd, from the help of the commands.

python .ci/commands.py          # write the pages
python .ci/commands.py --check  # exit 1 if a page differs from the help
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'nbs' / 'commands'


def page_problems(pages: dict[str, str]) -> list[str]:
    """Pages that are missing or differ from the help, and pages without a command."""
    problems = []
    for stem, text in pages.items():
        path = FOLDER / f'{stem}.qmd'
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            problems.append(f'{path.relative_to(ROOT)} differs from the help; run python .ci/commands.py')
    unknown = [path for path in sorted(FOLDER.glob('*.qmd')) if path.stem not in pages]
    return problems + [f'{path.relative_to(ROOT)}: there is no such command' for path in unknown]


def write(pages: dict[str, str]):
    """Write all pages and remove those without a command."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob('*.qmd'):
        old.unlink()
    for stem, text in pages.items():
        (FOLDER / f'{stem}.qmd').write_text(text, encoding='utf-8')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='compare, write nothing')
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from realness.cli.reference import all_pages

    pages = all_pages()
    if not options.check:
        write(pages)
    problems = page_problems(pages)
    for problem in problems:
        print(problem)
    print(f'commands: {len(pages)} pages, {len(problems)} problems')
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
