"""Measure how fast the explorer app is in a real browser, with an empty cache.

    python .ci/explorer_times.py                  # 60 demo images, then 5,000 images
    python .ci/explorer_times.py --images 500     # fewer images on the second page

It needs the extras explore and dev, and Chromium. The first times count from the start of the command
`realness explore`. Other programs on the machine lengthen all of them, so the load is printed too.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from realness.demo import demo_data

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
sys.path.insert(0, str(ROOT / 'tests'))

from browser import free_port, jupyter_env, launched, opened, printed_address, served  # noqa: E402, from tests/
from test_explorer import ExplorerPage  # noqa: E402, from tests/

LOADED = """first => {
  const images = [...document.querySelectorAll('.rl-thumbnail img')];
  const isNew = document.querySelector('.rl-thumbnail')?.dataset.id !== first;
  const isComplete = images.length > 0 && !document.querySelector('.rl-thumbnail .rl-missing');
  return isNew && isComplete && images.every(image => image.complete && image.naturalWidth);
}"""
HAS_MAP = """() => {
  const text = document.querySelector('.rl-status')?.textContent || '';
  return /mean|sharpen/.test(text) && document.querySelector('.rl-canvas')?.dataset.draws;
}"""
TURN_PAGE = """async loaded => {
  const isLoaded = eval(loaded), first = document.querySelector('.rl-thumbnail').dataset.id;
  const start = performance.now();
  document.querySelector('[aria-label="next images"]').click();
  while (!isLoaded(first)) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


@contextmanager
def explorer_app(images: Path, work: Path):
    "Serve images with an empty cache. Yields the address and the time of the start."
    port = free_port()
    url = f'http://127.0.0.1:{port}/'
    command = [sys.executable, '-m', 'realness.cli', 'explore', images, '--port', port, '--no-browser']
    work.mkdir()
    start = time.perf_counter()
    with served(
        command, f'{url}voila/static/none', work, jupyter_env(work, REALNESS_CACHE=str(work / 'cache'))
    ):
        yield printed_address(work / 'log'), start


def write_copies(images: list, count: int, folder: Path) -> Path:
    "Write `count` JPEG files from some images, each with another name."
    folder.mkdir()
    sources = []
    for number, path in enumerate(images):
        sources.append(folder / f'{number:05}.jpg')
        Image.open(path).convert('RGB').save(sources[-1], quality=85)
    for number in range(len(sources), count):
        os.link(sources[number % len(sources)], folder / f'{number:05}.jpg')
    return folder


def measure_start(page, url: str, start: float) -> dict:
    "Open the app; seconds from the start of the command."
    times = {'server answers': time.perf_counter() - start}
    page.goto(url)
    page.wait_for_function(LOADED, arg='')
    times['first thumbnails'] = time.perf_counter() - start
    page.wait_for_function(HAS_MAP)
    times['first map'] = time.perf_counter() - start
    ExplorerPage(page).wait_for_maps()
    times['complete map'] = time.perf_counter() - start
    return times


def measure_slider(page) -> float:
    "Median milliseconds from a key on a slider to the changed drawing."
    explorer = ExplorerPage(page)
    return statistics.median(explorer.time_slider_step('Opacity', 'ArrowLeft') for _ in range(REPEATS))


def measure_pages(page) -> float:
    "Median seconds from a click on the next page to its loaded thumbnails, each page for the first time."
    return statistics.median(page.evaluate(TURN_PAGE, LOADED) / 1000 for _ in range(REPEATS))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=5000, help='images of the second folder')
    count = parser.parse_args().images
    demo = demo_data() / 'test'
    print(f'{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}')
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        work = Path(folder)
        with explorer_app(demo, work / 'demo') as (url, start), opened(browser) as page:
            for name, seconds in measure_start(page, url, start).items():
                print(f'demo images, {name}: {seconds:.1f} s')
            print(f'slider to drawing: {measure_slider(page):.0f} ms (median of {REPEATS})')
        copies = write_copies(sorted((demo / 'images').iterdir()), count, work / 'copies')
        with explorer_app(copies, work / 'many') as (url, start), opened(browser) as page:
            for name, seconds in measure_start(page, url, start).items():
                print(f'{count:,} images, {name}: {seconds:.1f} s')
            print(f'{count:,} images, next page: {measure_pages(page):.2f} s (median of {REPEATS})')
    print(f'load at the end: {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
