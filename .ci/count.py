"""Count the passed and failed notebooks and tests in a log of `.ci/notebooks.py` and `pytest`.

python .ci/count.py LOG              # the last line of the output is "PASSED FAILED"
python .ci/count.py --failures LOG   # what failed, at most twenty lines for each notebook
"""

import re
import sys
from pathlib import Path


def count_notebooks(log: str) -> tuple[int, int]:
    """Notebooks (passed, failed); a missing closing line is one failure."""
    closing = re.findall(r'^notebooks: (\d+) passed, (\d+) failed$', log, re.M)
    return tuple(map(int, closing[-1])) if closing else (0, 1)


def count_tests(log: str) -> tuple[int, int]:
    """Tests (passed, failed) from pytest's closing line; a missing line, or no test run, is one failure."""
    closing = re.findall(r'^[= ]*((?:\d+ \w+(?:, )?)+|no tests ran) in [\d.]+s.*$', log, re.M)
    if not closing:
        return 0, 1
    counts = {kind.removesuffix('s'): int(n) for n, kind in re.findall(r'(\d+) (\w+)', closing[-1])}
    passed = counts.get('passed', 0)
    failed = counts.get('failed', 0) + counts.get('error', 0)
    return passed, failed if passed else max(failed, 1)


def failures(log: str) -> list[str]:
    """Lines about failed notebooks, at most the last twenty of each, and about failed tests."""
    lines = []
    for block in re.findall(r'^nbs/\S+: FAILED.*\n(?:(?!nbs/\S+: |notebooks: ).*\n)*', log, re.M):
        first, *rest = block.splitlines()
        lines += [first, *rest[-20:]]
    return lines + re.findall(r'^(?:FAILED|ERROR) .*$', log, re.M)


def main() -> int:
    log = Path(sys.argv[-1]).read_text(encoding='utf-8', errors='replace')
    if '--failures' in sys.argv:
        print(*failures(log), sep='\n')
        return 0
    notebooks = count_notebooks(log)
    tests = count_tests(log)
    print(f'notebooks: {notebooks[0]} passed, {notebooks[1]} failed')
    print(f'pytest: {tests[0]} passed, {tests[1]} failed')
    print(notebooks[0] + tests[0], notebooks[1] + tests[1])
    return bool(notebooks[1] + tests[1])


if __name__ == '__main__':
    sys.exit(main())
