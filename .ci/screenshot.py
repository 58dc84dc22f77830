"""The image of the explorer that the documentation shows, taken in a real browser on the demo images.

python .ci/screenshot.py    # writes nbs/howto/explorer.jpg; needs the extra dev and a Chromium
"""

import io
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))


def take(url: str) -> bytes:
    "A PNG of the explorer with an image chosen and a place pinned."
    from browser import launched, opened

    with launched() as b, opened(b, 1320, 880) as pg:
        pg.goto(url)
        pg.get_by_role('option').filter(has_text='f22.png').click()
        pg.locator('.rl-facts b').filter(has_text='f22.png').wait_for()
        pg.locator('.rl-status').first.filter(has_text=re.compile('mean.*window 128')).wait_for()
        c = pg.locator('.rl-canvas').first.bounding_box()
        pg.mouse.click(c['x'] + c['width'] * 0.5, c['y'] + c['height'] * 0.4)
        pg.get_by_text('At the pin').wait_for()
        pg.wait_for_timeout(1000)
        return pg.screenshot(clip=dict(x=0, y=0, width=1320, height=806))


def main():
    from browser import free_port, served
    from PIL import Image

    from realness.demo import demo_data

    port = free_port()
    url = f'http://127.0.0.1:{port}/'
    with tempfile.TemporaryDirectory() as tmp:
        argv = [
            sys.executable,
            '-m',
            'realness.cli',
            'explore',
            demo_data() / 'test',
            '--port',
            port,
            '--no-browser',
            '--clip',
            'lite-clip',
        ]
        with served(argv, f'{url}voila/static/none', Path(tmp)):
            png = take(url)
    out = ROOT / 'nbs/howto/explorer.jpg'
    Image.open(io.BytesIO(png)).convert('RGB').save(out, quality=80, optimize=True)
    print(f'{out.relative_to(ROOT)}: {out.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
