"""Make the short moving picture of the explorer that the README and the home page show.

    python .ci/moving_picture.py

It needs Chromium and the extra `explore`. The images are those of the demo data, so they may be shared.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / 'nbs' / 'explorer.webp'
SIZE = (1180, 800)  # of the page
WIDTH = 860  # of the moving picture
MILLISECONDS = 1300  # for each frame
MOST_BYTES = 1_500_000
IMAGES = ('f24.png', 'f26.png', 'f23.png')
sys.path[:0] = [str(ROOT / 'tests'), str(ROOT / '.ci')]

from browser import launched, opened, printed_address  # noqa: E402, from tests/
from screenshot import serve_demo, show_maps  # noqa: E402


def choose_image(page, name: str):
    "Select an image and wait for its map."
    page.get_by_role('option').filter(has_text=name).click()
    page.locator('.rl-facts b').filter(has_text=name).wait_for()
    page.locator('.rl-status').first.filter(has_text='mean').wait_for()
    page.wait_for_timeout(800)


def drag_box(page):
    "Drag a box over the image, in steps that the frames show."
    box = page.locator('.rl-canvas').first.bounding_box()
    start, end = (
        (box['x'] + box['width'] * share, box['y'] + box['height'] * share) for share in (0.3, 0.65)
    )
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1200)


def frames(url: str) -> list:
    "Screenshots of a walk through the explorer."
    shots = []
    with launched() as browser, opened(browser, *SIZE) as page:

        def shoot():
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert('RGB'))

        page.goto(url)
        for name in IMAGES:
            choose_image(page, name)
            shoot()
        show_maps(page)
        shoot()
        choose_image(page, IMAGES[0])
        for share in (0.3, 0.5, 0.7):
            box = page.locator('.rl-canvas').first.bounding_box()
            page.mouse.move(box['x'] + box['width'] * share, box['y'] + box['height'] * 0.5, steps=4)
            page.wait_for_timeout(700)
            shoot()
        drag_box(page)
        shoot()
    return shots


def main():
    with tempfile.TemporaryDirectory() as folder:
        log, server = serve_demo(Path(folder))
        with server:
            shots = frames(printed_address(log))
    small = [
        shot.resize((WIDTH, WIDTH * shot.height // shot.width), Image.Resampling.LANCZOS) for shot in shots
    ]
    first, *others = small
    first.save(
        OUTPUT, save_all=True, append_images=others, duration=MILLISECONDS, loop=2, quality=72, method=6
    )
    size = OUTPUT.stat().st_size
    print(f'{OUTPUT.relative_to(ROOT)}: {len(small)} frames, {size / 1000:.0f} kB')
    if size > MOST_BYTES:
        raise SystemExit('the moving picture is too large; take fewer frames or a lower quality')


if __name__ == '__main__':
    main()
