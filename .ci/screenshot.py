"""Take the screenshot of the explorer for the documentation, in a real browser on the demo images.

python .ci/screenshot.py    # writes nbs/howto/explorer.jpg; needs the extra dev and Chromium
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from realness.demo import demo_data

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / 'nbs' / 'howto' / 'explorer.jpg'
IMAGE = 'f22.png'
ALL_MAPPED = """() => {
  const thumbnails = [...document.querySelectorAll('.rl-thumbnail')];
  return thumbnails.length && thumbnails.every(thumbnail => /map \\d/.test(thumbnail.textContent));
}"""
WIDTH, HEIGHT = 1320, 806
sys.path.insert(0, str(ROOT / 'tests'))

from browser import free_port, launched, opened, printed_address, served  # noqa: E402, from tests/


def serve_demo(folder: Path):
    "Start the explorer app on the demo images. Returns the file with its address and the running server."
    port = free_port()
    url = f'http://127.0.0.1:{port}/'
    command = [sys.executable, '-m', 'realness.cli', 'explore', demo_data() / 'test']
    command += ['--port', port, '--no-browser', '--clip', 'lite-clip', '--out', 'findings']
    return folder / 'log', served(command, f'{url}voila/static/none', folder)


def pin_location(page):
    "Select an image, wait for its map and pin a location in the middle."
    page.get_by_role('option').filter(has_text=IMAGE).click()
    page.locator('.rl-facts b').filter(has_text=IMAGE).wait_for()
    page.locator('.rl-status').first.filter(has_text='mean').wait_for()
    box = page.locator('.rl-canvas').first.bounding_box()
    page.mouse.click(box['x'] + box['width'] * 0.5, box['y'] + box['height'] * 0.4)
    page.get_by_text('Pinned location').wait_for()
    page.wait_for_timeout(1000)


def show_maps(page):
    "Show the map of each image on its thumbnail, and wait for those of the page."
    page.get_by_role('button', name='Maps').click()
    page.wait_for_function(ALL_MAPPED)


def take_screenshot(url: str) -> bytes:
    "Return a PNG of the explorer with maps on the thumbnails and a pinned location."
    with launched() as browser, opened(browser, WIDTH, 880) as page:
        page.goto(url)
        show_maps(page)
        pin_location(page)
        return page.screenshot(clip={'x': 0, 'y': 0, 'width': WIDTH, 'height': HEIGHT})


def main():
    with tempfile.TemporaryDirectory() as folder:
        log, server = serve_demo(Path(folder))
        with server:
            png = take_screenshot(printed_address(log))
    Image.open(io.BytesIO(png)).convert('RGB').save(OUTPUT, quality=80, optimize=True)
    print(f'{OUTPUT.relative_to(ROOT)}: {OUTPUT.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
