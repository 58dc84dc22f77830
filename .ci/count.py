"""What a log of `nbdev_test --do_print` and `pytest` says, counted.

python .ci/count.py LOG NOTEBOOKS   # NOTEBOOKS: how many there are; the last line is "PASSED FAILED"
"""

import re
import sys
from pathlib import Path


def notebooks(log: str, total: int) -> tuple[int, int]:
    "Notebooks (passed, failed): nbdev prints `- Completed` for both kinds and names the failed ones at the end."
    done = set(re.findall(r'- Completed (.+?\.ipynb)', log))
    named = re.search(r'nbdev Tests Failed On The Following Notebooks:\n=+\n((?:\t.+\.ipynb\n?)+)', log)
    failed = {o.strip() for o in named[1].splitlines()} if named else set()
    passed = len([o for o in done if Path(o).name not in failed])
    return passed, max(total - passed, len(failed))  # one that never came to its end has failed


def pytests(log: str, any_tests: bool) -> tuple[int, int]:
    "Tests (passed, failed), from pytest's closing line; no closing line, or none run where there are some, is a failure."
    closing = re.findall(r'^[= ]*((?:\d+ \w+(?:, )?)+|no tests ran) in [\d.]+s.*$', log, re.M)
    if not closing:
        return 0, 1
    seen = {k.removesuffix('s'): int(v) for v, k in re.findall(r'(\d+) (\w+)', closing[-1])}
    failed = seen.get('failed', 0) + seen.get('error', 0)
    return seen.get('passed', 0), failed or int(any_tests and not seen.get('passed'))


def main() -> int:
    log, total = Path(sys.argv[1]).read_text(encoding='utf-8', errors='replace'), int(sys.argv[2])
    found = sorted((Path(__file__).resolve().parent.parent / 'tests').glob('**/test_*.py'))
    nb, py = notebooks(log, total), pytests(log, bool(found))
    print(f'notebooks: {nb[0]} passed, {nb[1]} failed')
    print(f'pytest: {py[0]} passed, {py[1]} failed ({len(found)} files)')
    print(nb[0] + py[0], nb[1] + py[1])
    return bool(nb[1] + py[1])


if __name__ == '__main__':
    sys.exit(main())
