"""The explorer in a real browser: in JupyterLab, and as the app of `realness explore`.

The tests of JupyterLab share one Chromium and one notebook. Each begins with the same image.
"""

import base64
import importlib.util
import json
import os
import re
import signal
import sys
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import (
    accessibility_problems,
    browser,  # noqa: F401, a fixture
    copy_notebook,
    free_port,
    jupyter_env,
    jupyterlab,
    opened,
    page,  # noqa: F401, a fixture
    printed_address,
    run_notebook,
    served,
    status,
)
from PIL import Image

import realness
from realness.config import RealnessError
from realness.data import write_split
from realness.explorer import HeatmapExplorer
from realness.explorer.server import voila_command
from realness.regions import read_regions

ROOT = Path(__file__).resolve().parent.parent
MAX_DELAY = 100  # milliseconds from a slider to a new image
HTML_NAME = '<img src=x onerror=window.hacked=1>.png'
ROWS = [
    ('f0.png', -1.5, 'Yes. The square in the middle is full of noise, and the colours are flat.'),
    ('f1.png', 0.5, 'Somewhat. The square is noisy.'),
    (HTML_NAME, 1, '<script>window.hacked=1</script> Yes. The square is full of noise.'),
    ('f3.png', -0.2, 'Yes. The lower left is green.'),
]

pytestmark = pytest.mark.xdist_group('explorer')  # one JupyterLab for all tests of this file


def noisy_image(seed, width=160, height=128):
    "A colour gradient with a square of noise."
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 / width, y * 255 / height, 0 * x + 40 * seed], axis=-1)
    pixels[20:80, 30:90] = np.random.default_rng(seed).integers(0, 256, (60, 60, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "A folder with `split` (four images with descriptions, one unreadable), `bare` (two images) and `cache`."
    root = tmp_path_factory.mktemp('explorer')
    split = write_split(root / 'split', ROWS, {row[0]: noisy_image(i) for i, row in enumerate(ROWS)})
    (split / 'images' / 'f3.png').write_bytes(b'not an image')
    write_split(root / 'bare', [], {name: noisy_image(i) for i, name in enumerate(('a.png', 'b.png'))})
    (root / 'bare' / 'image_descriptions.csv').unlink()
    return root


# ---- the explorer on a page


SLIDER_STEP = """([label, key]) => {
  const labels = [...document.querySelectorAll('.rl-app .widget-label')];
  const row = labels.find(element => element.textContent === label).parentElement;
  const handle = row.querySelector('.noUi-handle');
  handle.focus();
  handle.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
}"""

TIMED_SLIDER_STEP = (
    """async ([label, key, statusText]) => {
  const canvas = document.querySelector('.rl-canvas'), status = document.querySelector('.rl-status');
  const before = canvas.toDataURL(), start = performance.now();
  ("""
    + SLIDER_STEP
    + """)([label, key]);
  while (canvas.toDataURL() === before || !status.innerText.includes(statusText)) {
    if (performance.now() - start > 15000) throw new Error(`${label} changed nothing: ${status.innerText}`);
    await new Promise(requestAnimationFrame);
  }
  return Number(canvas.dataset.drawn) - start;
}"""
)


class ExplorerPage:
    "What a user sees and does on a page with an explorer."

    def __init__(self, page):
        self.page = page
        self.canvas = page.locator('.rl-canvas')
        self.status = page.locator('.rl-status')
        self.description = page.locator('.rl-pane textarea')
        self.pane = page.locator('.rl-pane')
        self.findings = page.locator('.rl-table tbody tr')
        self.alert = page.get_by_role('alert')
        self.compare = page.get_by_role('button', name='Compare')
        self.save_finding = page.get_by_role('button', name='Save finding')

    # what the page shows

    def wait_for_maps(self, count=1):
        "Wait until the maps are finished and drawn."
        for index in range(count):
            self.status.nth(index).filter(has_text='mean').wait_for()
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.rl-canvas')].every(canvas => canvas.dataset.draws)"
        )

    def wait_for_text(self, text):
        self.page.get_by_text(text).wait_for()

    def pixels(self, pane=0):
        "The image with its map in a pane, as the browser draws it."
        self.page.wait_for_timeout(120)  # two frames, and a message to the kernel
        return self.canvas.nth(pane).evaluate('canvas => canvas.toDataURL()')

    def wait_for_change(self, before, pane=0):
        "Wait until the drawing differs from `before`, and return it."
        self.page.wait_for_function(
            "([before, pane]) => document.querySelectorAll('.rl-canvas')[pane].toDataURL() !== before",
            arg=[before, pane],
            timeout=20_000,
        )
        return self.pixels(pane)

    def thumbnail_names(self):
        return self.page.locator('.rl-thumbnail > span:not(.rl-line)').all_inner_texts()

    def wait_for_thumbnails(self, names):
        self.page.wait_for_function(
            """names => {
              const spans = document.querySelectorAll('.rl-thumbnail > span:not(.rl-line)');
              return JSON.stringify([...spans].map(span => span.textContent)) === JSON.stringify(names);
            }""",
            arg=names,
        )

    # what the user does

    def select_image(self, name):
        "Click a thumbnail. `name` may be a part of the file name."
        self.page.get_by_role('option').filter(has_text=name).click()
        self.page.locator('.rl-facts b').filter(has_text=name).first.wait_for()

    def set_model(self, name, pane=0):
        model = self.pane.nth(pane).get_by_label('Model')
        model.fill(name)
        model.press('Enter')

    def set_variant(self, name, pane=0):
        self.pane.nth(pane).get_by_label('Variant').select_option(name)

    def slider(self, label):
        rows = self.page.locator('.widget-hslider, .jupyter-widget-selection-slider, .widget-inline-hbox')
        return rows.filter(has=self.page.get_by_text(label, exact=True)).first

    def step_slider(self, label, steps):
        "Move a slider by keys: to the right if `steps` is positive."
        for _ in range(abs(steps)):
            self.page.evaluate(SLIDER_STEP, [label, 'ArrowRight' if steps > 0 else 'ArrowLeft'])

    def time_slider_step(self, label, key, status_text=''):
        "Milliseconds from a key on a slider to the changed drawing, with `status_text` below it."
        delay = self.page.evaluate(TIMED_SLIDER_STEP, [label, key, status_text])
        self.page.wait_for_timeout(250)
        return delay

    def drag_slider(self, label, dx):
        "Drag a slider by `dx` screen pixels."
        box = self.slider(label).locator('.noUi-handle').bounding_box()
        x = box['x'] + box['width'] / 2
        y = box['y'] + box['height'] / 2
        self._drag((x, y), (x + dx, y))

    def point(self, fx, fy):
        "A point of the image in screen pixels, given as shares of its width and height."
        canvas = self.canvas.first
        canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
        box = canvas.bounding_box()
        return box['x'] + fx * box['width'], box['y'] + fy * box['height']

    def hover(self, fx, fy):
        self.page.mouse.move(*self.point(fx, fy))

    def click(self, fx, fy):
        self.page.mouse.click(*self.point(fx, fy))

    def draw_box(self, start, end):
        "Drag a box between two points, each given as shares of width and height."
        self._drag(self.point(*start), self.point(*end))

    def clear_marks(self):
        self.canvas.first.press('Escape')
        self.wait_for_text('Rest the pointer on a location')

    def _drag(self, start, end):
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=8)
        self.page.mouse.up()

    def reset(self):
        "Return to the first image with its description, without marks and findings."
        remove = self.page.get_by_role('button', name='Remove last')
        while self.findings.count():
            count = self.findings.count()
            remove.click()
            self.page.wait_for_function(
                "count => document.querySelectorAll('.rl-table tbody tr').length < count", arg=count
            )
        self.select_image('f0.png')
        self.set_variant('dream')
        self.page.get_by_role('button', name='Reset').first.click()
        self.wait_for_maps()
        self.clear_marks()
        self.page.mouse.move(5, 5)
        self.page.wait_for_timeout(300)


# ---- thumbnails, without a kernel

GRID_PAGE = """<div class="rl-app"><div id="grid"></div></div><script>
const listeners = {};
const page = (number) => Array.from({ length: 24 }, (_, i) => ({ id: 24 * number + i, name: `f${i}.png` }));
const state = { items: page(0), selected: 0, page: 0, per_page: 24, total: 4800 };
const notify = (name) => (listeners[`change:${name}`] || []).forEach((listener) => listener());
const model = {
  get: (name) => state[name],
  set(name, value) {
    state[name] = value;
    notify(name);
    if (name === 'page') setTimeout(() => { state.items = page(value); notify('items'); }, 50);
  },
  on: (events, listener) => events.split(' ').forEach((event) => (listeners[event] ??= []).push(listener)),
  save_changes() {},
};
SCRIPT
render({ model, el: document.getElementById('grid') });
</script>"""


def test_pages_of_thumbnails(page, tmp_path):
    "The arrow keys lead from one page to the next and back; a page can be chosen by its number."
    script = (files('realness.explorer') / 'static' / 'thumbnail_grid.js').read_text(encoding='utf-8')
    file = tmp_path / 'grid.html'
    file.write_text(GRID_PAGE.replace('SCRIPT', script.replace('export default { render };', '')), 'utf-8')
    page.goto(file.as_uri())
    focused = page.locator('.rl-thumbnail:focus')
    page.locator('.rl-thumbnail').last.focus()
    for key, expected in (('ArrowRight', '24'), ('ArrowLeft', '23'), ('PageDown', '24')):
        page.keyboard.press(key)
        page.locator(f'.rl-thumbnail:focus[data-id="{expected}"]').wait_for()
        assert focused.get_attribute('aria-selected') == 'true'
    number = page.get_by_label('page')
    number.fill('999')
    number.press('Enter')
    page.get_by_text('4777–4800 of 4800').wait_for()
    assert number.input_value() == '200'
    assert page.faults == []


# ---- JupyterLab


@pytest.fixture(scope='module')
def lab_page(browser, data, tmp_path_factory):
    "The notebook of the explorer app, run in JupyterLab on the images of `data`."
    folder = tmp_path_factory.mktemp('lab')
    notebook = copy_notebook(ROOT / 'nbs' / 'apps' / 'explorer.ipynb', folder / 'work')
    text = notebook.read_text(encoding='utf-8')
    demo = "demo_data() / 'test'"
    assert text.count(demo) == 1
    images = json.dumps(repr(str(data / 'split')))[1:-1]
    notebook.write_text(text.replace(demo, images), encoding='utf-8')
    with (
        jupyterlab(notebook.parent, folder, REALNESS_CACHE=str(data / 'cache')) as url,
        opened(browser) as page,
    ):
        run_notebook(page, url, notebook.name)
        page.locator('.rl-thumbnail').first.wait_for()
        yield page
        assert page.faults == []
        assert page.outside == []
        errors = page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"]')
        assert errors.all_inner_texts() == []


@pytest.fixture
def lab(lab_page):
    "The explorer in JupyterLab, on its first image."
    explorer = ExplorerPage(lab_page)
    explorer.reset()
    return explorer


def test_typed_description_changes_map(lab):
    "The map changes while you type, and no window is embedded again. Reset restores the first map."
    before = lab.pixels()
    lab.description.first.click()
    lab.page.keyboard.press('End')
    lab.page.keyboard.type(' The right side is dark red.', delay=15)
    lab.wait_for_change(before)
    lab.status.first.filter(has_text='all windows cached').wait_for()
    lab.page.get_by_role('button', name='Reset').first.click()
    lab.page.wait_for_function(
        "before => document.querySelector('.rl-canvas').toDataURL() === before", arg=before
    )


def test_dragging_opacity(lab):
    "At opacity 0 only the image is left; at 1 the map is stronger than at the default of 0.75."
    before = lab.pixels()
    lab.drag_slider('Opacity', -400)
    image_only = lab.wait_for_change(before)
    assert lab.slider('Opacity').locator('.widget-readout').inner_text() == '0.00'
    lab.drag_slider('Opacity', 400)
    assert lab.wait_for_change(image_only) != before
    lab.step_slider('Opacity', -25)
    lab.page.wait_for_function(
        "before => document.querySelector('.rl-canvas').toDataURL() === before", arg=before
    )


def test_slider_delay(lab):
    "A slider changes the image in less than 100 ms, in the browser and with cached windows in the kernel."
    keys = ('ArrowRight', 'ArrowRight', 'ArrowLeft', 'ArrowRight', 'ArrowLeft', 'ArrowLeft')
    in_browser = [lab.time_slider_step('Contrast', key) for key in keys]
    for _ in range(4):  # embed windows of 32, 48, 64 and 96 pixels
        lab.time_slider_step('Window', 'ArrowRight', 'window')
    lab.status.first.filter(has_text=re.compile(r'window 96.* m?s')).wait_for()
    with_kernel = [lab.time_slider_step('Window', key, 'window') for key in ('ArrowLeft', 'ArrowRight') * 4]
    medians = f'contrast {np.median(in_browser):.0f} ms, window {np.median(with_kernel):.0f} ms'
    print(f'\nslider to image, medians: {medians}')
    assert np.median(in_browser) < MAX_DELAY, in_browser
    assert sorted(with_kernel)[2] < MAX_DELAY, (
        with_kernel
    )  # a low rank, because load on the machine only adds delay
    lab.step_slider('Window', -4)
    lab.status.first.filter(has_text='window 128').wait_for()


def test_map_sharpens(lab):
    "While a fine map is computed, the kernel answers other requests and finishes a coarser map."
    busy = lab.page.locator('.rl-status.busy')
    point = lab.point(0.7, 0.6)
    lab.step_slider('Stride', 1)  # 4 pixels: 434 windows
    busy.filter(has_text='sharpening').first.wait_for()
    lab.page.mouse.click(*point)
    lab.wait_for_text('Pinned location: x 11')
    assert busy.count(), 'the map was finished before the location: the test shows nothing'
    lab.step_slider('Stride', 3)  # 32 pixels: all windows cached
    lab.status.first.filter(has_text='stride 32 · all windows cached').wait_for()
    lab.step_slider('Stride', -4)


def test_hover_and_pin(lab):
    "Resting on a location shows its score; a click pins it with the clauses of the description."
    lab.hover(0.4, 0.4)
    lab.page.locator('.rl-tooltip').filter(has_text=re.compile(r'^-?\d')).wait_for()
    lab.wait_for_text(re.compile('Under the pointer: x '))
    lab.click(0.4, 0.4)
    lab.wait_for_text(re.compile('Pinned location: x 6[34], y 5[01]'))
    clauses = lab.page.locator('.rl-clauses li')
    assert clauses.count() == 2
    nearest = lab.page.locator('.rl-clauses li.nearest').inner_text().split('\n')[0]
    assert nearest in ('The square in the middle is full of noise', 'the colours are flat')


def test_findings_are_exported(lab, data):
    "A pinned location and a box are saved, and written as a table and a figure."
    lab.click(0.4, 0.4)
    lab.wait_for_text('Pinned location')
    lab.save_finding.click()
    lab.findings.first.wait_for()
    lab.draw_box((0.2, 0.2), (0.6, 0.7))
    lab.wait_for_text(re.compile(r'^Box 6[45] × 6[456] at 3[12], 2[56]$'))
    lab.save_finding.click()
    lab.findings.nth(1).wait_for()
    folder = data / 'findings'
    folder_input = lab.page.get_by_role('textbox', name='Folder')
    folder_input.fill(str(folder))
    folder_input.press('Tab')
    lab.page.get_by_role('button', name='Export CSV + PNG').click()
    lab.wait_for_text('Written to')
    table = pd.read_csv(folder / 'findings.csv')
    assert table.picture.tolist() == ['images/f0.png'] * 2
    assert table.w[0] == 64
    assert table['mean'].notna().all()
    assert Image.open(folder / 'findings.png').width > 300


def test_box_stays_when_pointer_leaves(lab):
    "The mean of a box is shown until the box is removed, also while the pointer is elsewhere on the image."
    lab.draw_box((0.2, 0.2), (0.6, 0.7))
    lab.wait_for_text(re.compile('^Box '))
    lab.hover(0.9, 0.9)
    lab.page.locator('.rl-tooltip').filter(has_text=re.compile(r'^-?\d')).wait_for()
    lab.wait_for_text(re.compile('^Box '))
    lab.page.mouse.move(5, 5)
    lab.wait_for_text(re.compile('^Box '))


def test_keyboard(lab):
    "Locations are read, pinned and cleared without a mouse; Space shows the image alone."
    lab.canvas.first.focus()
    lab.page.keyboard.press('ArrowRight')
    assert re.match(r'83, 64: -?\d', lab.page.locator('.rl-announcement').first.inner_text())
    lab.page.keyboard.press('Enter')
    lab.wait_for_text('Pinned location: x 83, y 64')
    lab.page.keyboard.down('Shift')
    for _ in range(3):
        lab.page.keyboard.press('ArrowDown')
    lab.page.keyboard.up('Shift')
    lab.wait_for_text(re.compile('^Box '))
    lab.clear_marks()
    with_map = lab.pixels()
    lab.page.keyboard.down(' ')
    image_only = lab.wait_for_change(with_map)
    lab.page.keyboard.up(' ')
    lab.wait_for_change(image_only)


def test_regions_are_marked(lab, data, realness_here):
    "Regions are drawn by mouse and by keyboard, changed and removed; `evaluate-maps` reads their file."
    page = lab.page
    panel = page.locator('.rl-panel').filter(has=page.get_by_role('heading', name='Regions'))
    regions = panel.get_by_role('listbox').get_by_role('option')
    add = panel.get_by_role('button', name='Add region')
    assert add.is_disabled()
    lab.draw_box((0.2, 0.2), (0.6, 0.7))
    panel.get_by_label('Label').fill('noise')
    add.click()
    regions.filter(has_text='1. noise · clear').wait_for()
    lab.canvas.first.focus()
    page.keyboard.down('Shift')
    for key in 3 * ['ArrowDown', 'ArrowRight']:
        page.keyboard.press(key)
    page.keyboard.up('Shift')
    lab.wait_for_text(re.compile('^Box '))
    panel.get_by_label('Label').fill('edge')
    panel.get_by_label('Severity').select_option('severe')
    add.press('Enter')
    regions.nth(1).filter(has_text='2. edge · severe').wait_for()
    panel.get_by_role('listbox').select_option('1. noise · clear')
    label = panel.get_by_label('Label').element_handle()
    page.wait_for_function('label => label.value === "noise"', arg=label)  # the choice fills in all fields
    panel.get_by_label('Note').fill('the whole square')
    panel.get_by_role('button', name='Change').click()
    regions.first.filter(has_text='the whole square').wait_for()
    path = Path(re.search(r'in (/.*regions\.json)\.', panel.inner_text())[1])
    marked = read_regions(path)['images/f0.png']
    assert [(region.label, region.severity, region.note) for region in marked] == [
        ('noise', 2, 'the whole square'),
        ('edge', 3, ''),
    ]
    arguments = ('evaluate-maps', data / 'split' / 'images' / 'f0.png', '--truth', path, '--json')
    table = json.loads(realness_here(*arguments, cache=data / 'cache').out)
    assert (table[0]['variant'], table[0]['n']) == ('learned', 1)
    for _ in marked:
        panel.get_by_role('listbox').press('Home')
        panel.get_by_role('button', name='Remove').click()
        page.wait_for_timeout(300)
    panel.get_by_role('button', name='Nothing looks unreal').click()
    lab.wait_for_text(re.compile('^0 regions in 1 judged image'))
    assert read_regions(path) == {'images/f0.png': ()}


def test_comparison(lab):
    "Two maps are shown side by side, each with its description and variant."
    lab.compare.click()
    lab.wait_for_maps(2)
    before = lab.pixels(1)
    lab.description.nth(1).fill('The upper right is red.')
    other_description = lab.wait_for_change(before, 1)
    lab.set_variant('learned', 1)
    lab.wait_for_change(other_description, 1)
    lab.set_variant('dream', 1)
    lab.compare.click()
    lab.page.wait_for_function("() => document.querySelectorAll('.rl-canvas').length === 1")


def test_unknown_model(lab):
    "The error of an unknown model is shown until a known model is chosen."
    lab.set_model('no-such-model')
    lab.alert.filter(has_text='no-such-model').wait_for()
    lab.set_model('lite-clip')
    lab.alert.wait_for(state='detached')


def test_unreadable_image(lab):
    "The error of an image that cannot be read is shown until another image is selected."
    lab.select_image('f3.png')
    lab.alert.filter(has_text='f3.png').wait_for()
    lab.select_image('f1.png')
    lab.alert.wait_for(state='detached')


def test_html_in_names_is_text(lab):
    "A file name and a description that are HTML are shown as text and never run."
    lab.select_image('onerror')
    lab.wait_for_maps()
    assert lab.page.locator('.rl-facts b').first.inner_text() == HTML_NAME
    lab.click(0.1, 0.1)
    lab.wait_for_text('Pinned location')
    lab.save_finding.click()
    lab.findings.first.wait_for()
    assert lab.page.evaluate('window.hacked') is None
    assert lab.page.locator('.rl-app script').count() == 0


def test_sort_and_search(lab):
    "Images are sorted by MOS and found by their descriptions."
    by_name = [HTML_NAME, 'f0.png', 'f1.png', 'f3.png']
    assert lab.thumbnail_names() == by_name
    highest_first = lab.page.locator('button[title="Highest first"]')
    lab.page.get_by_label('Sort').select_option('MOS')
    highest_first.click()
    lab.wait_for_thumbnails([HTML_NAME, 'f1.png', 'f3.png', 'f0.png'])
    search = lab.page.get_by_placeholder('Search names and descriptions')
    search.fill('GREEN')
    lab.wait_for_thumbnails(['f3.png'])
    search.fill('')
    lab.page.get_by_label('Filter', exact=True).select_option('MOS')
    handles = lab.page.get_by_role('slider', name=re.compile('^Range, (lowest|highest)$'))
    handles.nth(1).wait_for()
    texts = [handle.get_attribute('aria-valuetext') for handle in handles.all()]
    assert texts == lab.page.locator('.rl-range .widget-readout').inner_text().split(' – ')
    assert accessibility_problems(lab.page, '.rl-app') == []
    lab.page.get_by_label('Filter', exact=True).select_option('off')
    lab.page.get_by_label('Sort').select_option('name')
    highest_first.click()
    lab.wait_for_thumbnails(by_name)


# ---- the app


def descendants(pid):
    "The processes that a process has started, directly or not; none where /proc is missing."
    try:
        tasks = list(Path(f'/proc/{pid}/task').iterdir())
        children = [int(child) for task in tasks for child in (task / 'children').read_text().split()]
    except OSError:
        return []
    return children + [grandchild for child in children for grandchild in descendants(child)]


def is_running(pid):
    "Whether a process exists and is no zombie."
    try:
        return 'State:\tZ' not in Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return False


def saved_notes(explorer):
    "The notes of the findings on the page, the first one awaited."
    explorer.findings.first.wait_for()
    return [row.locator('td').last.inner_text() for row in explorer.findings.all()]


def use_state_of_address(explorer):
    "The address holds image, variant and text; a reload shows them again, and the saved findings."
    page = explorer.page
    page.locator('.rl-thumbnail').nth(1).click()
    page.wait_for_url(re.compile(r'b\.png.*text=The'))
    explorer.set_variant('learned')
    page.wait_for_url(re.compile('variant=learned'))
    explorer.wait_for_maps()
    explorer.draw_box((0.2, 0.2), (0.6, 0.7))
    explorer.wait_for_text(re.compile('^Box '))
    page.wait_for_url(re.compile('box=3'))
    page.get_by_placeholder('Note (optional)').fill('a square')
    page.get_by_placeholder('Note (optional)').press('Tab')
    explorer.save_finding.click()
    assert saved_notes(explorer) == ['a square']
    page.reload()
    page.locator('.rl-facts').filter(has_text='b.png').wait_for()
    explorer.status.filter(has_text='learned').wait_for()
    assert 'variant=learned' in page.url
    explorer.wait_for_text(re.compile('^Box '))
    assert saved_notes(explorer) == ['a square']
    assert page.title() == 'b.png – Heatmap explorer'


def use_shortcuts(explorer):
    "A list of all keyboard shortcuts opens by ?; letters reach the parts of the page."
    page = explorer.page
    page.locator('.rl-canvas').first.focus()
    page.keyboard.press('?')
    page.get_by_role('dialog').get_by_text('Keyboard shortcuts').wait_for()
    assert accessibility_problems(page) == []
    page.keyboard.press('Escape')
    page.keyboard.press('p')
    page.locator('.rl-facts').filter(has_text='a.png').wait_for()
    page.keyboard.press('n')
    page.locator('.rl-facts').filter(has_text='b.png').wait_for()
    page.keyboard.press('/')
    assert page.evaluate('document.activeElement.placeholder') == 'Search names and descriptions'


def use_maps(explorer):
    "The key h shows the map of each image on its thumbnail, and hides it again."
    page = explorer.page
    page.locator('.rl-canvas').first.focus()
    before = page.locator('.rl-thumbnail img').first.get_attribute('src')
    page.keyboard.press('h')
    page.wait_for_function("() => document.querySelectorAll('.rl-thumbnail .rl-line').length === 2")
    assert page.locator('.rl-thumbnail .rl-line').first.inner_text().startswith('map ')
    assert page.locator('.rl-thumbnail img').first.get_attribute('src') != before
    page.locator('button[aria-pressed=true]').filter(has_text='Maps').wait_for()
    page.keyboard.press('h')
    page.wait_for_function("() => !document.querySelector('.rl-thumbnail .rl-line')")


def use_tags(explorer, folder):
    "The keys t and 1 tag images, and the list Only selects those of a tag. The tags are in a file."
    page = explorer.page
    page.keyboard.press('t')
    page.keyboard.type('hands')
    page.keyboard.press('Enter')
    page.locator('.rl-thumbnail .rl-line').filter(has_text='hands').wait_for()
    page.locator('.rl-canvas').first.focus()
    page.keyboard.press('p')
    page.locator('.rl-facts').filter(has_text='a.png').wait_for()
    page.keyboard.press('1')
    page.wait_for_function("() => document.querySelectorAll('.rl-thumbnail .rl-line').length === 2")
    page.locator('button.rl-tag[aria-pressed=true]').filter(has_text='1 hands').wait_for()
    tags = json.loads((folder / 'findings' / 'tags.json').read_text())
    assert {Path(name).name: values for name, values in tags.items()} == {
        'a.png': ['hands'],
        'b.png': ['hands'],
    }
    page.keyboard.press('1')
    page.get_by_label('Only').select_option('tag: hands (1)')
    explorer.wait_for_thumbnails(['b.png'])
    assert accessibility_problems(page) == []
    page.get_by_label('Only').select_option('all images')
    explorer.wait_for_thumbnails(['a.png', 'b.png'])


GIVE_FILE = """async ([kind, name, url]) => {
  const files = new DataTransfer();
  files.items.add(new File([await (await fetch(url)).blob()], name));
  const event = kind === 'drop'
    ? new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true })
    : new ClipboardEvent('paste', { clipboardData: files, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


def add_images(explorer, folder):
    "Dropped, pasted and chosen files become images of the session; another file is one line."
    page = explorer.page
    large = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)  # two parts
    Image.fromarray(large).save(folder / 'noise.png')
    url = f'data:image/png;base64,{base64.b64encode((folder / "noise.png").read_bytes()).decode()}'
    page.evaluate(GIVE_FILE, ['drop', 'dropped.png', url])
    page.locator('.rl-facts').filter(has_text='dropped.png').wait_for()
    page.evaluate(GIVE_FILE, ['paste', 'notes.txt', 'data:text/plain,words'])
    explorer.alert.filter(has_text='notes.txt: ').wait_for()
    page.evaluate(GIVE_FILE, ['paste', 'pasted.png', url])
    page.locator('.rl-facts').filter(has_text='pasted.png').wait_for()
    page.locator('input[type=file]').set_input_files(folder / 'noise.png')
    page.locator('.rl-facts').filter(has_text='noise.png').wait_for()
    explorer.wait_for_maps()
    assert explorer.thumbnail_names()[2:] == ['dropped.png', 'pasted.png', 'noise.png']
    explorer.select_image('b.png')
    explorer.wait_for_maps()


def restore_after_crash(explorer, server):
    "When the kernel stops, the page says so and blocks its controls; then it is loaded again with its state."
    page = explorer.page
    for pid in descendants(server):
        if 'ipykernel' in Path(f'/proc/{pid}/cmdline').read_text():
            os.kill(pid, signal.SIGKILL)
    page.get_by_role('alert').filter(has_text='connection to the explorer is lost').wait_for()
    assert page.locator('.rl-app > [inert]').count() > 3
    page.get_by_role('alert').filter(has_text='connection').wait_for(state='hidden')
    page.locator('.rl-facts').filter(has_text='b.png').wait_for()
    explorer.status.filter(has_text='learned').wait_for()


def test_app(browser, data, tmp_path):
    "`realness explore` serves a folder on this machine only, and leaves no process behind."
    port = free_port()
    url = f'http://127.0.0.1:{port}/'
    command = [sys.executable, '-m', 'realness.cli', 'explore', data / 'bare']
    command += ['--port', port, '--no-browser', '--clip', 'lite-clip']
    env = jupyter_env(tmp_path, REALNESS_CACHE=str(data / 'cache'), PYTHONUNBUFFERED='1')
    with served(command, f'{url}voila/static/none', tmp_path, env) as app:
        with opened(browser, 1280, 900) as page:
            page.goto(printed_address(tmp_path / 'log'))
            explorer = ExplorerPage(page)
            explorer.wait_for_maps()
            assert 'token' not in page.url
            before = explorer.pixels()
            explorer.description.first.click()
            page.keyboard.type('The square is full of noise', delay=10)
            with_description = explorer.wait_for_change(before)
            explorer.drag_slider('Contrast', 60)
            explorer.wait_for_change(with_description)
            assert 'http' not in page.locator('.rl-app').inner_text()
            for scheme in ('dark', 'light'):
                page.emulate_media(color_scheme=scheme)
                is_light = str(scheme == 'light').lower()
                page.locator(f'html[data-jp-theme-light="{is_light}"]').wait_for(state='attached')
                assert accessibility_problems(page) == []
            use_state_of_address(explorer)
            use_shortcuts(explorer)
            use_maps(explorer)
            use_tags(explorer, tmp_path)
            add_images(explorer, tmp_path)
            restore_after_crash(explorer, app.pid)
            assert page.outside == []
            assert page.faults == []
        log = (tmp_path / 'log').read_text()
        assert f'The explorer is at {url}' in log
        processes = descendants(app.pid)
        app.send_signal(signal.SIGTERM)
        assert app.wait(30) == 0, log[-2000:]
    end = time.monotonic() + 20
    while any(map(is_running, processes)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(map(is_running, processes)), 'the app has left processes behind'


def test_predictions(trained, monkeypatch):
    "With a run folder every image has the predicted MOS of `realness predict`, and images are sorted by it."
    monkeypatch.setenv('REALNESS_CACHE', str(trained.cache))
    explorer = HeatmapExplorer(trained.data / 'test', run=trained.run)
    try:
        rows = explorer.wait().collection.rows
        assert explorer.error == ''
        predicted = realness.load(trained.run)(rows.path.tolist(), rows.description.tolist())
        np.testing.assert_allclose(rows.predicted, predicted, atol=1e-6)
        browser_column = explorer.browser
        assert list(browser_column.sort_by.options) == ['name', 'MOS', 'predicted MOS', 'predicted − MOS']
        browser_column.sort_by.value = 'predicted − MOS'
        browser_column.descending.value = True
        order = [item['id'] for item in explorer.wait().browser.grid.items]
        assert (np.diff((rows.predicted - rows.mos)[order]) <= 0).all()
        assert 'difference' in explorer.layout_parts.facts.value
    finally:
        explorer.close()


WEBSOCKET = {
    'Connection': 'Upgrade',
    'Upgrade': 'websocket',
    'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Version': '13',
}


def visit_app(url):
    "The cookie of the first visit, and the id of the kernel of its page."
    with urllib.request.urlopen(url, timeout=120) as answer:
        kernel = re.search(r'kernelId": *"([0-9a-f-]+)"', answer.read().decode())[1]
        cookie = answer.headers['Set-Cookie']
    assert 'SameSite=Strict' in cookie
    assert 'HttpOnly' in cookie
    return cookie.split(';')[0], kernel


def test_app_refuses_others(data, tmp_path):
    "The app opens with the token or its cookie only, and refuses websockets of pages of other origins."
    port = free_port()
    command = [sys.executable, '-m', 'realness.cli', 'explore', data / 'bare', '--port', port, '--no-browser']
    env = jupyter_env(tmp_path, REALNESS_CACHE=str(data / 'cache'))
    with served(command, f'http://127.0.0.1:{port}/voila/static/none', tmp_path, env) as app:
        url = printed_address(tmp_path / 'log')
        token = url.partition('token=')[2]
        cookie, kernel = visit_app(url)
        channels = f'/api/kernels/{kernel}/channels'
        own = {'Cookie': cookie, 'Origin': f'http://127.0.0.1:{port}'}
        assert [status(port, path) for path in ('/', '/?token=wrong', '/login?next=/')] == [302, 302, 403]
        assert [status(port, f'/api/kernels/{kernel}', headers) for headers in ({}, own)] == [403, 200]
        assert [status(port, channels, WEBSOCKET | headers) for headers in ({}, own)] == [403, 101]
        for origin in ('http://other.example', 'http://127.0.0.1:1', 'null'):
            assert status(port, channels, WEBSOCKET | own | {'Origin': origin}) == 403
        assert not any(token in Path(f'/proc/{pid}/cmdline').read_text() for pid in descendants(app.pid))
        assert 'Traceback' not in (tmp_path / 'log').read_text()
    with served(command, f'http://127.0.0.1:{port}/voila/static/none', tmp_path, env):
        assert printed_address(tmp_path / 'log') != url
        assert status(port, f'/api/kernels/{kernel}', own) == 404  # the cookie is valid, the kernel is gone
        assert status(port, f'/?token={token}') == 302


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(['none'], 'there is no such folder or image'), (['bare', '--run', 'bare'], 'no run here')],
)
def test_app_reports_wrong_arguments(started, data, arguments, message):
    "A folder or a run that does not exist gives an error and exit code 2."
    result = started('-m', 'realness.cli', 'explore', *arguments, cwd=data).end()
    assert result.code == 2
    assert message in result.err
    assert 'Traceback' not in result.err


def test_app_without_voila(monkeypatch):
    "Without Voila the error names the package to install."
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(RealnessError, match=r'pip install "realness\[explore\]"'):
        voila_command('explorer.ipynb')


def test_predictions_of_earlier_sessions_are_restored(trained, monkeypatch, tmp_path):
    "The second session scores nothing that the first one has scored."
    monkeypatch.setenv('REALNESS_CACHE', str(tmp_path / 'cache'))
    first = HeatmapExplorer(trained.data / 'test', run=trained.run)
    first.wait().close()
    second = HeatmapExplorer(trained.data / 'test', run=trained.run)
    try:
        second.collection.predict = None  # a call is an error
        assert second.wait().error == ''
        np.testing.assert_array_equal(second.collection.rows.predicted, first.collection.rows.predicted)
        assert second.browser.scoring.value == ''
    finally:
        second.close()
