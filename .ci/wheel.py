"""Build wheel and sdist, check them, and try the wheel in an environment of its own.

    python .ci/wheel.py                # in the environment of this Python, without installing dependencies
    python .ci/wheel.py --clean        # in a new environment, with all dependencies of the extra `lite`
    python .ci/wheel.py --out dist     # keep both files

The wheel is built from the sdist. The fast form takes seconds; `--clean` takes minutes and several GB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MB = 15
SMOKE = r"""
import json, subprocess, sys, time
start = time.perf_counter()
import realness
seconds = time.perf_counter() - start
assert seconds < 2, f'import realness takes {seconds:.1f} s'
assert sys.argv[1] in realness.__file__, f'{realness.__file__} is not the installed wheel'

def command(*arguments):
    done = subprocess.run([sys.executable, '-m', 'realness.cli', *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

assert 'predict' in command('--help')
assert command('--version').strip() == realness.__version__ == sys.argv[2]

import numpy as np
from pathlib import Path
from PIL import Image
for split, n in (('train', 20), ('test', 6)):
    images = Path('data', split, 'images')
    images.mkdir(parents=True)
    rows = ['filename,MOS,description']
    for i in range(n):
        rng = np.random.default_rng(i + 100 * n)
        noise = rng.integers(0, 256, (6 + i, 8 + i, 3), np.uint8)
        Image.fromarray(noise).resize((512, 384)).save(images / f'f{i}.png')
        rows.append(f'f{i}.png,{i % 5},"Noise, {i}"')
    (images.parent / 'image_descriptions.csv').write_text('\n'.join(rows) + '\n')
command(*'train --data data --encoders lite --head svr --degraded 0 --seed 0 --out run'.split())
score = json.loads(command('predict', 'run', 'data/test/images/f1.png', '--json'))
assert score['error'] == '' and -5 < score['mos'] < 10, score
assert command('heatmap', 'data/test/images/f1.png', '--variant', 'learned', '--out', 'maps')
assert list(Path('maps').glob('*.npy')), 'no map was written'
print('import, --help, train, predict and heatmap: as expected')
"""


def run(*command, **settings) -> None:
    """Run a command; a failure ends this script."""
    done = subprocess.run(list(map(str, command)), **settings)
    if done.returncode:
        raise SystemExit(f'failed ({done.returncode}): {" ".join(map(str, command[:6]))}')


def tracked_files() -> list[str]:
    """The files of the working tree that belong to the project, also those that are not committed."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    return subprocess.check_output(command, cwd=ROOT, text=True).splitlines()


def copy_tree(folder: Path) -> None:
    """Copy the project without build folders and caches, which must not get into a release."""
    for name in tracked_files():
        if name.startswith(('nbs/', 'index_files/')) or not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    copy_tree(folder / 'source')
    out = folder / 'dist'
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, folder / 'source']
    run(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(out.glob('*.tar.gz')), next(out.glob('*.whl'))


def check_content(wheel: Path) -> None:
    """The wheel contains the package, all of it and nothing else, and is small."""
    megabytes = wheel.stat().st_size / 1e6
    print(f'{wheel.name}: {megabytes:.1f} MB')
    if megabytes >= MOST_MB:
        raise SystemExit(f'the wheel has {megabytes:.1f} MB; the limit is {MOST_MB} MB')
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}
    package = {name for name in tracked_files() if name.startswith('realness/')}
    package = {name for name in package if (ROOT / name).is_file()}
    if packed != package:
        raise SystemExit(f'wheel and package differ: {sorted(packed ^ package)[:10]}; see MANIFEST.in')


def version() -> str:
    lines = (ROOT / 'settings.ini').read_text(encoding='utf-8').splitlines()
    return next(line.split('=')[1].strip() for line in lines if line.startswith('version'))


def install(wheel: Path, folder: Path, clean: bool) -> tuple[Path, dict]:
    """Install the wheel; returns the Python to run, and its environment variables."""
    variables = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    variables |= dict(REALNESS_CACHE=str(folder / 'cache'), HF_HUB_OFFLINE='1')
    if clean:
        run(sys.executable, '-m', 'venv', '--without-pip', folder / 'env')
        python = folder / 'env/bin/python'
        pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '-q']
        run(*pip, '-c', ROOT / '.ci/constraints.txt', f'{wheel}[lite]')
        return python, variables
    target = folder / 'env'
    run(sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', target, wheel)
    return Path(sys.executable), variables | dict(PYTHONPATH=str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--clean', action='store_true', help='install all dependencies into a new environment'
    )
    parser.add_argument('--out', type=Path, help='folder for wheel and sdist')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdist, wheel = build(folder)
        run(sys.executable, '-m', 'twine', 'check', '--strict', sdist, wheel)
        check_content(wheel)
        python, variables = install(wheel, folder, options.clean)
        (folder / 'work').mkdir()
        run(python, '-c', SMOKE, folder / 'env', version(), cwd=folder / 'work', env=variables)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            for file in (sdist, wheel):
                shutil.copy(file, options.out)


if __name__ == '__main__':
    main()
