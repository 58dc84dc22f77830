"""Measure 16-bit parity, and windows, images and training steps in a second, for `.ci/gpu.sh`."""

import json
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import realness
from realness.benchmark import noise_images
from realness.device import pick_device
from realness.encoders import create_encoders
from realness.images import load_image
from realness.localization.clip import load_clip
from realness.localization.embed import EmbedOptions, embed_corners
from realness.localization.heatmap import heatmap
from realness.localization.windows import Grid, spread_windows
from realness.regression.learner import Learner, training_settings
from realness.regression.regression_model import COREModel
from realness.regression.train import create_data_loaders, load_and_prepare_data

DEVICE = os.environ['DEVICE']
STRIDE = int(os.environ['STRIDE'])
IMAGES = int(os.environ['IMAGES'])
WIDTH = int(os.environ['WIDTH'])  # of the mapped image
CLIP = 'ViT-B-32@random'
GOAL_SECONDS = 3  # for the windows of the published setting on an H100

figures = {}


def report(name: str, **values):
    """Print figures and store them."""
    figures[name] = values
    texts = [
        f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}'
        for key, value in values.items()
    ]
    print(f'{name}: {", ".join(texts)}')


def wait():
    """Wait for the GPU."""
    if torch.cuda.is_available() and DEVICE.startswith('cuda'):
        torch.cuda.synchronize()


@contextmanager
def timed():
    """Yields a list that contains the elapsed seconds afterwards."""
    seconds = []
    wait()
    start = time.perf_counter()
    yield seconds
    wait()
    seconds.append(time.perf_counter() - start)


def compare_precisions(image):
    """16-bit against 32-bit vectors of windows, and 32-bit vectors of the device against those of the CPU."""
    grid = Grid(image.height, image.width, 64, 8)
    corners = grid.corners()[spread_windows(grid, min(256, len(grid)))]
    exact = embed_corners(image, load_clip(CLIP, DEVICE), 64, corners)
    fast = embed_corners(image, load_clip(CLIP, DEVICE), 64, corners, EmbedOptions(fast=True))
    cpu = embed_corners(image, load_clip(CLIP, 'cpu'), 64, corners[:32])
    cosine = (exact * fast).sum(1)
    report(
        'parity', windows=len(corners), lowest_cosine=float(cosine.min()), mean_cosine=float(cosine.mean())
    )
    report('parity with the CPU', largest_difference=float(np.abs(exact[:32] - cpu).max()))


def time_maps(image):
    """The windows of the published setting, each embedded once."""
    maps = {}
    for fast in (False, True):
        options = dict(
            clip=CLIP, variant='dream', device=DEVICE, cache=False, fast=fast, windows=(128, 64, 32)
        )
        heatmap(image, 'The sky melts.', **options, stride=32)  # loads and warms up
        with timed() as seconds:
            maps[fast] = heatmap(image, 'The sky melts.', **options, stride=STRIDE)
        n = maps[fast].computed
        name = 'DREAM, 16 bits' if fast else 'DREAM, 32 bits'
        report(name, windows=n, seconds=seconds[0], per_second=n / seconds[0], goal_seconds=GOAL_SECONDS)
    correlation = np.corrcoef(maps[False].array.ravel(), maps[True].array.ravel())[0, 1]
    report('DREAM, 16 against 32 bits', correlation=float(correlation))


def score_images(data, folder):
    """Images in a second with a lite run, and the same scores as on the CPU."""
    run = realness.train_run(data, folder / 'run', realness.RunConfig('lite'), device=DEVICE, log=None)
    images = folder / 'images'
    images.mkdir()
    paths = noise_images(images, IMAGES)
    scores = {}
    for batch_size in (16, 64):
        predictor = realness.load(run, DEVICE, batch_size)
        predictor.rows(paths[:8])
        with timed() as seconds:
            scores[batch_size] = [row['mos'] for row in predictor.rows(paths)]
        report(f'scoring, batches of {batch_size}', images=IMAGES, per_second=IMAGES / seconds[0])
    cpu = [row['mos'] for row in realness.load(run, 'cpu').rows(paths[:32])]
    difference = np.abs(np.array(cpu) - scores[16][:32]).max()
    report('scores against the CPU', images=len(cpu), largest_difference=float(difference))


def fine_tune_epoch(data):
    """One epoch of fine-tuning, with 32 and with 16 bits."""
    frames = load_and_prepare_data(data)
    loaders = create_data_loaders(*frames, batch_size=16, encoders='lite')[:2]
    settings = training_settings(realness.RunConfig('lite', head='mlp', tune=True), device=DEVICE)
    losses = {}
    for half in (False, True):
        torch.manual_seed(0)
        model = COREModel(*create_encoders('lite'))
        chosen = replace(settings, epochs=1, half_precision=half)
        learner = Learner(model, *loaders, chosen)
        with timed() as seconds:
            learner.fit(1)
        losses[half] = learner.history[0]['train_loss']
        n = len(loaders[0].dataset) + len(loaders[1].dataset)
        name = f'fine-tuning, {16 if learner.half else 32} bits'
        report(name, images=n, seconds=seconds[0], per_second=n / seconds[0], loss=losses[half])


def main():
    device = pick_device(DEVICE)
    name = torch.cuda.get_device_name() if device.type == 'cuda' else str(device)
    print(f'{name}, torch {torch.__version__}, stride {STRIDE}, {IMAGES} images')
    data = realness.demo_data(n_train=60, n_test=20)
    image = load_image(sorted((data / 'test/images').glob('*.png'))[0]).resize((WIDTH, WIDTH * 3 // 4))
    with tempfile.TemporaryDirectory() as folder:
        compare_precisions(image)
        time_maps(image)
        score_images(data, Path(folder))
        fine_tune_epoch(data)
    if out := os.environ.get('OUT'):
        Path(out).mkdir(parents=True, exist_ok=True)
        Path(out, 'gpu.json').write_text(json.dumps(dict(device=name, figures=figures), indent=1))


if __name__ == '__main__':
    main()
