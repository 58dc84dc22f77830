"""Check the installed package from another folder: it is the one of this clone, and it imports quickly.

python .ci/imports.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_SECONDS = 2  # for `import realness`, best of three
HEAVY = {'torch', 'torchvision', 'transformers', 'timm', 'open_clip', 'sklearn', 'skimage', 'matplotlib'}
IMPORT_REALNESS = """
import json, sys, time
start = time.perf_counter()
import realness
seconds = time.perf_counter() - start
print(json.dumps([seconds, realness.__file__, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
IMPORT_EVERY_MODULE = """
import importlib, pkgutil, time, realness
for module in pkgutil.walk_packages(realness.__path__, "realness."):
    if module.name.endswith(".__main__"):
        continue
    start = time.perf_counter()
    importlib.import_module(module.name)
    print(f"{module.name}: {time.perf_counter() - start:.2f} s")
"""


def run_python(code: str) -> str:
    """The output of `code` in a new Python process, started in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{done.stdout}{done.stderr}')
    return done.stdout.strip()


def import_problems() -> list[str]:
    """Problems of a bare `import realness`."""
    runs = [json.loads(run_python(IMPORT_REALNESS)) for _ in range(3)]
    best = min(seconds for seconds, _, _ in runs)
    _, file, modules = runs[0]
    print(f'import realness: {best:.3f} s')
    problems = []
    if best >= MAX_SECONDS:
        problems.append(f'import realness takes {best:.1f} s, more than {MAX_SECONDS}')
    if heavy := HEAVY & set(modules):
        problems.append(f'import realness loads {", ".join(sorted(heavy))}')
    if not Path(file).resolve().is_relative_to(ROOT):
        problems.append('the installed realness is not the one of this folder')
    return problems


def main() -> int:
    problems = import_problems()
    print(run_python(IMPORT_EVERY_MODULE))
    for problem in problems:
        print(problem)
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
