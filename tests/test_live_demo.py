"""The demo in the browser: its maps are those of the package, and it says why it cannot run."""

import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from browser import browser, opened, page, serious_problems, served_folder  # noqa: F401, fixtures
from PIL import Image

from realness.localization.localizer import Localizer
from realness.photographs import photographs

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group('live_demo')]

MAP = '() => { const { map, whole } = DEMO.state.result; return { ...map, values: [...map.values], whole }; }'
DEMO = "document.querySelector('#live-demo').demo"
NAME = "document.querySelector('[data-part=name]').textContent"
PIXEL = """() => {
  const context = document.querySelector('[data-part=image]').getContext('2d');
  return [...context.getImageData(5, 5, 1, 1).data];
}"""


def bare_page():
    "The demo alone, as the notebook of its page defines it."
    cells = json.loads((ROOT / 'nbs' / 'live_demo.ipynb').read_text(encoding='utf-8'))['cells']
    text = '\n'.join(''.join(cell['source']) for cell in cells)
    part = re.search(r'<link .*live_demo\.js"></script>', text, re.S)[0]
    head = '<meta charset="utf-8"><title>Demo</title>'
    return f'<!doctype html><html lang="en">{head}<main><h1>Demo</h1>{part}</main></html>'


@pytest.fixture(scope='module')
def command():
    "The module .ci/live_demo.py."
    sys.path.insert(0, str(ROOT / '.ci'))
    try:
        import live_demo
    finally:
        sys.path.remove(str(ROOT / '.ci'))
    return live_demo


@pytest.mark.parametrize('error', [KeyError('no such member'), tarfile.ReadError('not a gzip file')])
def test_the_site_of_a_damaged_package_says_that_it_has_no_demo(command, tmp_path, monkeypatch, error):
    def fail(folder):
        raise error

    monkeypatch.setattr(command, 'fetch_runtime', fail)
    monkeypatch.setattr(command, 'input_digest', lambda: 'damaged')
    assert command.add_to(tmp_path) == f'The site has no live demo: {error}'
    assert json.loads((tmp_path / 'live/live.json').read_text()) == {}  # no failed request on the page


@pytest.fixture(scope='module')
def folder(command, tmp_path_factory):
    "A folder with the page and the files of the demo; skipped where they cannot be made."
    pytest.importorskip('onnx', reason='needs onnx: pip install -e ".[dev]"')
    site = tmp_path_factory.mktemp('site')
    (site / 'live_demo.html').write_text(bare_page(), encoding='utf-8')
    print(command.add_to(site))
    if not (site / 'live' / 'localizer.onnx').is_file():
        pytest.skip('ONNX Runtime for the web cannot be fetched from npm')
    return site


@pytest.fixture(scope='module')
def address(folder):
    "The address of the served folder."
    with served_folder(folder) as start:
        yield f'{start}live_demo.html'


@pytest.fixture(scope='module')
def demo(browser, address):
    "The page after the localizer has been loaded."
    with opened(browser, 1000, 1000) as page:
        page.goto(address)
        page.wait_for_selector('#live-demo[data-state=ready]')
        yield page


def map_in_browser(page, file):
    "The map of an image file, the chance of the whole image, and the seconds until it was drawn."
    page.set_input_files('[data-part=file]', file)
    page.wait_for_function(f'name => {DEMO}.state.result && {NAME} === name', arg=file.name)
    result = page.evaluate(MAP.replace('DEMO', DEMO))
    values = np.array(result['values'], np.float32).reshape(result['height'], result['width'])
    return values, result['whole'], page.evaluate(f'() => {DEMO}.state.wall')


def image_files(folder):
    "Photographs as JPEG and PNG files in several sizes."
    photos = {photo.name: photo for photo in photographs()}
    for name, size, ending in (
        ('coffee', (600, 400), 'jpg'),
        ('astronaut', (512, 512), 'png'),
        ('china', (1900, 1270), 'jpg'),
        ('rocket', (210, 140), 'jpg'),
        ('chelsea', (900, 40), 'png'),
        ('flower', (451, 640), 'jpg'),
    ):
        file = folder / f'{name}.{ending}'
        photos[name].open().resize(size).save(file, quality=92)
        yield file


def test_maps_are_those_of_the_package(demo, tmp_path):
    "Maps in the browser and in torch agree in JPEG and PNG files of all sizes."
    localizer = Localizer.load('network')
    for file in image_files(tmp_path):
        values, whole, seconds = map_in_browser(demo, file)
        image = Image.open(file)
        expected = Image.fromarray(localizer.map(image)).resize(values.shape[::-1], Image.Resampling.BILINEAR)
        expected = np.asarray(expected)
        correlation = np.corrcoef(values.ravel(), expected.ravel())[0, 1]
        difference = np.abs(values - expected).max()
        print(f'{file.name} {image.size}: r {correlation:.5f}, most {difference:.4f}, {seconds:.1f} s')
        assert correlation > 0.99, file.name
        assert difference < 0.05, file.name
        assert abs(whole - localizer.whole(image)) < 0.02, file.name
        assert seconds < 60, file.name
    assert demo.faults == []
    assert demo.outside == []


def test_upright_and_transparent_images(demo, tmp_path):
    "The rotation in the file is respected, and transparency lies on white."
    photo = next(photo.open() for photo in photographs() if photo.name == 'coffee')
    turned, clear = tmp_path / 'turned.jpg', tmp_path / 'clear.png'
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    photo.save(turned, exif=exif, quality=92)
    Image.new('RGBA', (300, 200), (10, 20, 30, 0)).save(clear)
    values, _, _ = map_in_browser(demo, turned)
    assert values.shape == (photo.width, photo.height)
    values, _, _ = map_in_browser(demo, clear)
    assert np.ptp(values) == 0  # one colour
    assert demo.evaluate(PIXEL) == [255, 255, 255, 255]


def test_examples_and_keys(demo):
    "An example is mapped after a click; arrow keys read the map, and the opacity can be changed."
    demo.get_by_role('button', name='A twisted cup').click()
    demo.wait_for_function(f"() => {DEMO}.state.result && {NAME} === 'A twisted cup'")
    assert 'least real place' in demo.locator('[data-part=status]').inner_text()
    assert 'Time in your browser' in demo.locator('[data-part=facts]').inner_text()
    demo.locator('[data-part=view]').focus()
    demo.keyboard.press('ArrowRight')
    assert re.search(r'Chance at this place: [\d.]+ %', demo.locator('[data-part=value]').inner_text())
    demo.locator('[data-part=opacity]').fill('30')
    assert demo.locator('[data-part=map]').evaluate('map => map.style.opacity') == '0.3'
    assert serious_problems(demo, '#live-demo') == []


def test_files_that_are_no_images(demo, tmp_path):
    "A file that is no image gives a message; its name is never parsed as HTML."
    file = tmp_path / '<img src=x onerror=fail()>.png'
    file.write_bytes(b'no image')
    demo.set_input_files('[data-part=file]', file)
    status = demo.locator('[data-part=status].live-problem')
    status.wait_for()
    assert '<img src=x onerror=fail()>.png is no image' in status.inner_text()
    assert demo.faults == []


def test_opened_from_disk(folder, page):
    "Opened from disk, the page says how to serve it."
    page.goto((folder / 'live_demo.html').as_uri())
    assert 'python -m http.server' in page.locator('#live-demo').inner_text()
