"""Install combinations of extras into fresh environments, and print how large they are.

    python .ci/sizes.py [EXTRAS ...]     # default: lite, and lite with the notebook packages

It takes minutes and several GB in the temporary folder. The versions are those of `.ci/constraints.txt`.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ('lite', 'lite,notebook')
GPU = ('nvidia', 'cuda', 'triton')  # libraries for GPUs, which torch installs on Linux


def install(extras: str, folder: Path) -> Path:
    """Install the package with extras into a new environment; returns its site-packages."""
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    python = folder / 'bin/python'
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-compile']
    constraints = ['-c', ROOT / '.ci/constraints.txt']
    subprocess.run([*pip, *constraints, f'{ROOT}[{extras}]'], check=True)
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    return Path(subprocess.check_output([python, '-c', code], text=True).strip())


def measure(site: Path) -> dict:
    """Size of each installed package in MB."""
    sizes = {}
    for package in distributions(path=[str(site)]):
        files = [Path(package.locate_file(file)) for file in package.files or ()]
        sizes[package.name.lower()] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return sizes


def describe(extras: str, sizes: dict) -> str:
    """One row of the table."""
    total = sum(sizes.values())
    gpu = sum(size for name, size in sizes.items() if name.startswith(GPU))
    cells = [len(sizes), total, total - gpu, total - gpu - sizes.get('torch', 0)]
    return f'| `realness[{extras}]` | ' + ' | '.join(f'{cell:,.0f}' for cell in cells) + ' |'


def main() -> None:
    print('| installed | packages | MB | without GPU libraries | and without torch |')
    print('|---|---|---|---|---|')
    for extras in sys.argv[1:] or DEFAULT:
        with tempfile.TemporaryDirectory() as folder:
            print(describe(extras, measure(install(extras, Path(folder) / 'env'))), flush=True)


if __name__ == '__main__':
    main()
