"""The installed package, seen from another folder: it is this clone, it imports quickly, and every module imports.

python .ci/imports.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 2  # `import realness`, the best of three
HEAVY = {'torch', 'torchvision', 'transformers', 'timm', 'open_clip', 'sklearn', 'skimage', 'matplotlib'}
LIGHT = """
import json, sys, time
start = time.perf_counter()
import realness
print(json.dumps([time.perf_counter() - start, realness.__file__, sorted({o.partition(".")[0] for o in sys.modules})]))
"""
ALL = """
import importlib, pkgutil, time, realness
for o in pkgutil.walk_packages(realness.__path__, "realness."):
    start = time.perf_counter()
    importlib.import_module(o.name)
    print(f"{o.name}: {time.perf_counter()-start:.2f} s")
"""


def python(code: str) -> str:
    "What `code` prints in a Python of its own, started in an empty folder."
    with tempfile.TemporaryDirectory() as d:
        done = subprocess.run([sys.executable, '-c', code], cwd=d, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{done.stdout}{done.stderr}')
    return done.stdout.strip()


def light_faults() -> list[str]:
    "What is wrong with a bare `import realness`."
    runs = [json.loads(python(LIGHT)) for _ in range(3)]
    best, where, heavy = min(o[0] for o in runs), Path(runs[0][1]), HEAVY & set(runs[0][2])
    print(f'import realness: {best:.3f} s')
    found = [f'import realness takes {best:.1f} s, more than {SECONDS}'] if best >= SECONDS else []
    if heavy:
        found.append(f'import realness loads {", ".join(sorted(heavy))}')
    if not where.resolve().is_relative_to(ROOT):
        found.append('the realness that is installed is not the one of this folder')
    return found


def main() -> int:
    found = light_faults()
    print(python(ALL))
    for o in found:
        print(o)
    return bool(found)


if __name__ == '__main__':
    sys.exit(main())
