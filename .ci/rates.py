"""Measure scoring in one process and with Ray: processor time with all daemons, memory and start.

    python .ci/rates.py RUN [IMAGES]     # an environment with the extra ray; default: 300 images

The images are small and made of noise. Each way of scoring runs twice, with a few images and with all: the
difference gives the time of an image, and the rest is the start of Python, Ray and the workers. It takes some
minutes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FEW = 20
TICK = os.sysconf('SC_CLK_TCK')
WAYS = {'one process': (), '`--ray`, 1 worker': ('--ray', '--ray-workers', '1')}
WAYS['`--ray`, 2 workers'] = ('--ray', '--ray-workers', '2')


def write_images(folder: Path, n: int) -> Path:
    """Write images of noise."""
    folder.mkdir()
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(folder / f'{i}.png')
    return folder


def read_processes() -> dict:
    """Process -> (parent, processor seconds)."""
    processes = {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            cells = (folder / 'stat').read_text().rpartition(')')[2].split()
        except OSError:
            continue
        processes[int(folder.name)] = int(cells[1]), (int(cells[11]) + int(cells[12])) / TICK
    return processes


def read_memory(process: int) -> float:
    """Memory of a process in MB; shared pages are divided among their processes."""
    try:
        lines = Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith('Pss:'))


class Family:
    """A process and all that it starts, also after their parents have ended."""

    def __init__(self, process: int):
        self.seconds = {process: 0.0}
        self.memory = 0.0  # largest sum, in MB

    def sample(self):
        """Add new members, their processor time so far, and their memory now."""
        processes = read_processes()
        grown = True
        while grown:
            new = [one for one, (parent, _) in processes.items() if parent in self.seconds]
            new = [one for one in new if one not in self.seconds]
            self.seconds |= dict.fromkeys(new, 0.0)
            grown = bool(new)
        alive = [one for one in self.seconds if one in processes]
        self.seconds |= {one: processes[one][1] for one in alive}
        self.memory = max(self.memory, sum(map(read_memory, alive)))


def measure(command: list, environment: dict) -> tuple:
    """(processor seconds, largest memory in MB) of a command with all processes that it starts."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    family = Family(process.pid)
    while process.poll() is None:
        family.sample()
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.stderr.read().decode()[-2000:])
    return sum(family.seconds.values()), family.memory


def measure_way(run: str, folders: list, options: tuple, root: Path) -> tuple:
    """Processor seconds of an image and of the start, and the largest memory in MB."""
    seconds, memory = [], 0.0
    for number, folder in enumerate(folders):
        out = root / f'out{len(options)}_{options[-1:]}_{number}'
        target = ('--out', str(out)) if options else ('--csv', f'{out}.csv')
        arguments = ['predict', run, str(folder), '--device', 'cpu', *target, *options]
        environment = os.environ | {
            'REALNESS_CACHE': str(root / 'cache' / out.name),
            'OMP_WAIT_POLICY': 'passive',
        }
        used, peak = measure([sys.executable, '-m', 'realness.cli', *arguments], environment)
        seconds.append(used)
        memory = max(memory, peak)
    n = [len(list(folder.iterdir())) for folder in folders]
    rate = (seconds[1] - seconds[0]) / (n[1] - n[0])
    return rate, seconds[0] - n[0] * rate, memory


def main() -> None:
    run = sys.argv[1]
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    print('| scoring | processor s an image | processor s to start | memory, GB |')
    print('|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        folders = [write_images(root / f'images{size}', size) for size in (FEW, n)]
        for name, options in WAYS.items():
            rate, start, memory = measure_way(run, folders, options, root)
            print(f'| {name} | {rate:.3f} | {start:.0f} | {memory / 1e3:.1f} |', flush=True)


if __name__ == '__main__':
    main()
