"""Count the passed and failed notebooks and tests in a log of `.ci/notebooks.py` and `pytest`.

python .ci/count.py LOG                  # the last line of the output is "PASSED FAILED"
python .ci/count.py --complete LOG       # the same for tests alone, of which none may be skipped
python .ci/count.py --failures LOG...    # what failed, at most twenty lines for each notebook
"""

import re
import sys
from pathlib import Path


def count_notebooks(log: str) -> tuple[int, int]:
    """Notebooks (passed, failed); a missing closing line is one failure."""
    closing = re.findall(r'^notebooks: (\d+) passed, (\d+) failed$', log, re.M)
    return tuple(map(int, closing[-1])) if closing else (0, 1)


def count_tests(log: str, complete: bool = False) -> tuple[int, int]:
    """Tests (passed, failed) from pytest's closing line; a missing line, or no test run, is one failure.

    With `complete`, a skipped test counts as failed.
    """
    closing = re.findall(r'^[= ]*((?:\d+ \w+(?:, )?)+|no tests ran) in [\d.]+s.*$', log, re.M)
    if not closing:
        return 0, 1
    counts = {kind.removesuffix('s'): int(n) for n, kind in re.findall(r'(\d+) (\w+)', closing[-1])}
    passed = counts.get('passed', 0)
    failed = counts.get('failed', 0) + counts.get('error', 0) + (counts.get('skipped', 0) if complete else 0)
    return passed, failed if passed else max(failed, 1)


def failures(log: str) -> list[str]:
    """Lines about failed notebooks, at most the last twenty of each, and about failed tests."""
    lines = []
    for block in re.findall(r'^nbs/\S+: FAILED.*\n(?:(?!nbs/\S+: |notebooks: ).*\n)*', log, re.M):
        first, *rest = block.splitlines()
        lines += [first, *rest[-20:]]
    return lines + re.findall(r'^(?:FAILED|ERROR) .*$', log, re.M)


def main() -> int:
    option, *paths = sys.argv[1:] if sys.argv[1].startswith('--') else ['', *sys.argv[1:]]
    log = '\n'.join(Path(path).read_text(encoding='utf-8', errors='replace') for path in paths)
    if option == '--failures':
        print(*failures(log), sep='\n')
        return 0
    counts = {'pytest': count_tests(log, complete=option == '--complete')}
    if option != '--complete':
        counts = {'notebooks': count_notebooks(log)} | counts
    for name, (passed, failed) in counts.items():
        print(f'{name}: {passed} passed, {failed} failed')
    passed, failed = map(sum, zip(*counts.values(), strict=True))
    print(passed, failed)
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
