"""Ten images made by code, and a small saved run: the same scores on other processors.

python tests/golden.py           # print the scores of this machine as JSON
python tests/golden.py --train   # train the run in tests/golden_run again, on noise
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from system import write_split

SIZE = (512, 384)
RUN = Path(__file__).parent / 'golden_run'


def _waves(angle: float, period: float) -> np.ndarray:
    """Stripes, from 0 to 1."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    return 0.5 + 0.5 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)


def _blocks(n: int, seed: int) -> np.ndarray:
    """Squares of random grey."""
    values = np.random.default_rng(seed).random((3 * n, 4 * n))
    return np.kron(values, np.ones((SIZE[1] // (3 * n), SIZE[0] // (4 * n))))


def make_images() -> dict[str, Image.Image]:
    """Name -> image. The pixels depend on NumPy alone."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.06).astype(float)
    grain = np.random.default_rng(0).random((SIZE[1], SIZE[0]))
    planes = {
        'grey': [np.full_like(x, 0.5)] * 3,
        'sky': [0.4 + 0.3 * y, 0.6 + 0.2 * y, 0.95 - 0.1 * y],
        'corner': [x, y, 1 - x],
        'disc': [disc, 0.7 * disc, 1 - disc],
        'stripes': [_waves(0.3, 24)] * 3,
        'fine stripes': [_waves(1.1, 5)] * 3,
        'crossing': [_waves(0, 40), _waves(np.pi / 2, 40), _waves(0.8, 40)],
        'blocks': [_blocks(4, 1), _blocks(4, 2), _blocks(4, 3)],
        'small blocks': [_blocks(32, 4)] * 3,
        'grain': [0.25 + 0.5 * grain] * 3,
    }
    return {
        name: Image.fromarray(np.rint(255 * np.stack(parts, 2)).astype(np.uint8))
        for name, parts in planes.items()
    }


def train():
    """Train the run on noise, and save what a prediction needs in `tests/golden_run`."""
    from realness import RunConfig, train_run

    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder) / 'data/train', 20, seed=0)
        train_run(Path(folder) / 'data', Path(folder) / 'run', RunConfig('lite', 'svr', seed=0))
        RUN.mkdir(exist_ok=True)
        for name in ('config.json', 'model.safetensors'):
            shutil.copyfile(Path(folder) / 'run' / name, RUN / name)


def score_images() -> dict[str, list]:
    """Name -> scores with and without a description, of the saved run."""
    from realness import load

    predictor = load(RUN)
    images = list(make_images().values())
    texts = ['Somewhat, the scene has light and stones.'] * len(images)
    scores = zip(predictor(images, texts), predictor(images, [''] * len(images)), strict=True)
    rounded = [[round(float(value), 6) for value in pair] for pair in scores]
    return dict(zip(make_images(), rounded, strict=True))


if __name__ == '__main__':
    if '--train' in sys.argv[1:]:
        train()
    json.dump(score_images(), sys.stdout, indent=1)
    print()
