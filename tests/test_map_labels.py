"""The labels of boxes on an image of the explorer, drawn in a real browser without a kernel."""

from itertools import combinations
from pathlib import Path

import pytest
from browser import browser, page  # noqa: F401, fixtures

import realness.explorer

SCRIPT = Path(realness.explorer.__file__).parent / 'static/map_view.js'

# `MapView` with a model that only holds values; it reports the rectangles of the labels, in canvas pixels
DRAW = """async ([source, marks]) => {
  const labels = [];
  const lines = [];
  const prototype = CanvasRenderingContext2D.prototype;
  const { fillRect, strokeRect } = prototype;
  prototype.fillRect = function (...rect) { labels.push(rect); fillRect.apply(this, rect); };
  prototype.strokeRect = function (...rect) { lines.push(labels.length); strokeRect.apply(this, rect); };
  const values = { size: [480, 360], marks, cursor: [], label: 'x.png', placeholder: '' };
  const model = { get: (name) => values[name], on() {}, off() {} };
  const root = document.body.appendChild(document.createElement('div'));
  root.style.width = '480px';
  const module = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  module.default.render({ model, el: root });
  const canvas = root.querySelector('canvas');
  canvas.style.width = '480px';
  while (!canvas.dataset.draws) await new Promise(requestAnimationFrame);
  labels.length = lines.length = 0;
  window.dispatchEvent(new Event('resize'));
  root.style.width = '481px';
  while (!lines.length) await new Promise(requestAnimationFrame);
  return { labels, lines, size: [canvas.width, canvas.height] };
}"""


def region(x, y, w, h, label):
    return {'x': x, 'y': y, 'w': w, 'h': h, 'kind': 'region', 'label': label}


def shared_area(first, second):
    (x, y, w, h), (x2, y2, w2, h2) = first, second
    width = min(x + w, x2 + w2) - max(x, x2)
    height = min(y + h, y2 + h2) - max(y, y2)
    return max(0, width) * max(0, height)


CASES = {
    'one above the other': [region(100, 100, 120, 60, 'left hand'), region(100, 165, 120, 60, 'sleeve')],
    'one within the other': [region(60, 60, 300, 200, 'face'), region(62, 62, 90, 60, 'left eye')],
    'at the corners': [region(0, 0, 40, 30, 'a long label'), region(440, 330, 40, 30, 'another long label')],
    'at one place': [region(200, 150, 50, 40, f'region {i}') for i in range(4)],
    'the whole image': [region(0, 0, 480, 360, 'everything'), region(0, 0, 480, 20, 'sky')],
}


@pytest.mark.parametrize('name', CASES)
def test_labels_do_not_overlap(page, name):
    "Labels lie inside the canvas, cover no other label, and are drawn over all outlines."
    page.goto('about:blank')
    drawn = page.evaluate(DRAW, [SCRIPT.read_text(), CASES[name]])
    assert page.faults == []
    assert len(drawn['labels']) == len(CASES[name])
    assert set(drawn['lines']) == {0}
    width, height = drawn['size']
    for x, y, w, h in drawn['labels']:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for first, second in combinations(drawn['labels'], 2):
        assert shared_area(first, second) == 0
