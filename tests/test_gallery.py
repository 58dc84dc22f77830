"""The gallery that `realness explore --share-dir` writes, opened from disk in a real browser."""

import json
import shutil

import pytest
from browser import browser, opened, page, serious_problems  # noqa: F401, fixtures
from PIL import Image
from playwright.sync_api import expect
from typer.testing import CliRunner

from realness.cli import app

HOSTILE = '<img src=x onerror=fail()>.png'

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def gallery(trained, tmp_path_factory):
    "A gallery of the test images of the demo, an image with a hostile name, and a file that is no image."
    folder = tmp_path_factory.mktemp('shared')
    data, out = folder / 'test', folder / 'gallery'
    shutil.copytree(trained.data / 'test', data)
    image = Image.new('RGB', (60, 40), 'grey')
    image.save(data / 'images' / HOSTILE)
    (data / 'images' / 'broken.jpg').write_bytes(b'no image')
    command = ['explore', data, '--run', trained.run, '--share-dir', out]
    result = CliRunner().invoke(app, list(map(str, command)), env={'REALNESS_CACHE': str(trained.cache)})
    assert result.exit_code == 0, result.output
    assert '1 unreadable' in result.stdout
    return out


@pytest.fixture
def opened_gallery(gallery, page):
    "The gallery in the browser, from disk; it must load nothing from the network and raise no error."
    page.goto((gallery / 'index.html').as_uri())
    yield page
    assert page.faults == []
    assert page.outside == []


def names(page):
    "The names on the cards, in order."
    return page.locator('#cards strong').all_inner_texts()


def entries(gallery):
    text = (gallery / 'images.js').read_text(encoding='utf-8')
    return json.loads(text.partition(' = ')[2].rstrip(';\n'))['images']


def test_images_are_listed_with_maps_and_numbers(opened_gallery, gallery):
    "Every image has a card; names are text, and an unreadable image has its reason."
    listed = entries(gallery)
    assert sorted(names(opened_gallery)) == sorted(entry['name'] for entry in listed)
    assert f'images/{HOSTILE}' in names(opened_gallery)
    expect(opened_gallery.get_by_role('button', name='broken.jpg')).to_contain_text('cannot be read')
    images = opened_gallery.locator('#cards img')
    expect(images.first).to_be_visible()
    assert images.count() == 2 * (len(listed) - 1)
    assert all((gallery / entry['map']).is_file() for entry in listed if 'map' in entry)


def test_image_without_map(gallery, page, tmp_path):
    "An image whose map failed is shown without it, and with the reason."
    copy = shutil.copytree(gallery, tmp_path / 'copy')
    listed = entries(copy)
    failed = next(entry for entry in listed if 'map' in entry)
    failed['problem'] = 'the description is empty'
    (copy / failed.pop('map')).unlink()
    text = json.dumps({'title': 'copy', 'images': listed})
    (copy / 'images.js').write_text(f'window.REALNESS_GALLERY = {text};', encoding='utf-8')
    page.goto((copy / 'index.html').as_uri())
    card = page.get_by_role('button', name=failed['name'])
    expect(card).to_contain_text('no map: the description is empty')
    expect(card.locator('img')).to_have_count(1)
    card.click()
    expect(page.locator('#facts')).to_contain_text('the description is empty')
    assert page.faults == []


def test_sort_filter_and_search(opened_gallery, gallery):
    "Cards are sorted and filtered by numbers and words; the address holds the state."
    listed = {entry['name']: entry for entry in entries(gallery)}
    known = [name for name, entry in listed.items() if entry['mos'] is not None]
    opened_gallery.get_by_label('Sort by').select_option('MOS')
    opened_gallery.get_by_label('descending').check()
    expected = sorted(known, key=lambda name: -listed[name]['mos'])
    assert names(opened_gallery)[: len(known)] == expected
    limit = listed[expected[1]]['mos']
    opened_gallery.get_by_label('MOS, from', exact=True).fill(str(limit))
    assert names(opened_gallery) == expected[:2]
    expect(opened_gallery.get_by_role('status')).to_have_text(f'2 of {len(listed)} images')
    opened_gallery.reload()
    assert names(opened_gallery) == expected[:2]
    opened_gallery.get_by_role('button', name='Reset').click()
    opened_gallery.get_by_role('searchbox', name='Search').fill('ONERROR')
    expect(opened_gallery.locator('#cards strong')).to_have_text([f'images/{HOSTILE}'])


def test_one_image(opened_gallery):
    "A card opens by keyboard; arrow keys lead on, Escape closes, and the focus returns."
    order = names(opened_gallery)
    opened_gallery.locator('#cards button').nth(1).focus()
    opened_gallery.keyboard.press('Enter')
    heading = opened_gallery.locator('dialog h2')
    expect(heading).to_have_text(order[1])
    assert serious_problems(opened_gallery) == []
    opened_gallery.keyboard.press('ArrowRight')
    expect(heading).to_have_text(order[2])
    opened_gallery.locator('#opacity').fill('0')
    assert opened_gallery.locator('#large .layer').evaluate('layer => layer.style.opacity') == '0'
    opened_gallery.keyboard.press('Escape')
    expect(opened_gallery.locator('dialog')).to_be_hidden()
    assert opened_gallery.evaluate('document.activeElement.dataset.image') is not None


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 390])
def test_accessible(browser, gallery, scheme, width):
    "axe-core finds no serious problem, light and dark, and the page fits a phone."
    with opened(browser, width, 800) as page:
        page.emulate_media(color_scheme=scheme)
        page.goto((gallery / 'index.html').as_uri())
        assert serious_problems(page) == []
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        background = page.evaluate('getComputedStyle(document.body).backgroundColor')
        assert (background == 'rgb(255, 255, 255)') == (scheme == 'light')
