"The documentation as a reader meets it, in a real browser: every page, link, anchor and image; the search; a slider that needs no kernel."

import functools
import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import browser, opened, page

ROOT = Path(__file__).resolve().parent.parent


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a):
        pass


@pytest.fixture(scope='module')
def site():
    "The address of the rendered site; one that was made from these very files is kept."
    pytest.importorskip('smalldocs', reason='needs smalldocs: pip install -e ".[dev]"')
    made = subprocess.run([sys.executable, '.ci/site.py'], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Quiet, directory=ROOT / '_site')
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()


def pages():
    return sorted(p.relative_to(ROOT / '_site').as_posix() for p in (ROOT / '_site').rglob('*.html'))


SEEN = """async () => {
  const pictures = [...document.images];
  for (const i of pictures) { i.loading = 'eager'; await i.decode().catch(() => {}) }
  return { broken: pictures.filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80)), titles: [...document.querySelectorAll('main h1')].filter(h => !h.closest('.cell-output')).length,
    ids: [...document.querySelectorAll('[id], a[name]')].flatMap(e => [e.id, e.getAttribute('name')]).filter(Boolean), links: [...document.querySelectorAll('a[href]')].map(a => a.href), words: document.querySelector('main').innerText.length,
    frames: document.querySelectorAll('iframe').length, errors: [...document.querySelectorAll('main pre')].filter(e => /Traceback \\(most recent call last\\)/.test(e.innerText)).length } }"""


def test_every_page(site, browser):
    "Each page has one title, whole images and no error; each link and anchor within the site leads somewhere; nothing is asked of the outside."
    found, answers = {}, []
    with opened(browser, 1280, 900) as pg:
        pg.on(
            'response',
            lambda r: (
                answers.append((r.status, r.url)) if r.status >= 400 and 'favicon' not in r.url else None
            ),
        )
        for name in pages():
            pg.goto(site + name)
            found[name] = seen = pg.evaluate(SEEN)
            assert (seen['titles'], seen['broken'], seen['errors'], seen['frames']) == (1, [], 0, 0) and seen[
                'words'
            ] > 150, (name, seen)
        assert pg.outside == [] and pg.faults == [] and answers == []
    assert len(found) > 60
    followed = 0
    for name, seen in found.items():
        for link in {o for o in seen['links'] if o.startswith(site)}:
            to, _, place = link[len(site) :].partition('#')
            to = unquote(to) or 'index.html'
            assert (ROOT / '_site' / to).is_file(), (name, link)
            if place and to in found:
                assert unquote(place) in found[to]['ids'], (name, link)
            followed += 1
    assert followed > 3000


def test_from_home_to_every_page(site, page):
    "The sidebar of the home page lists all pages, the reader's first."
    page.goto(site)
    listed = [
        o[len(site) :]
        for o in page.locator('#quarto-sidebar a[href]').evaluate_all('a => a.map(o => o.href)')
    ]
    assert set(pages()) <= set(listed), set(pages()) - set(listed)
    assert listed[:2] == ['index.html', 'tutorials/ten_minutes.html'] and {
        'how_good.html',
        'how_it_works.html',
        'howto/read_a_heatmap.html',
    } <= set(listed[:12])


@pytest.mark.parametrize('name', ['srocc', 'HeatmapExplorer', 'describe'])
def test_search(site, page, name):
    "A function is found by its name, and the result leads to its place in the reference."
    page.goto(f'{site}howto/run_offline.html')  # from a folder below
    page.get_by_role('searchbox', name='Search').press_sequentially(name, delay=20)
    hit = page.locator(
        f'.smalldocs-search-results a[href$="#{name.lower()}"], .smalldocs-search-results a[href$="#{name}"]'
    ).first
    hit.wait_for()
    hit.click()
    page.wait_for_url(re.compile(rf'\.html#{name}$', re.I))
    place = page.locator(f'[id="{page.url.split("#")[1]}"]').first
    place.scroll_into_view_if_needed()
    assert place.is_visible() and name in page.locator('main').inner_text()
    assert page.outside == [] and page.faults == []


def shown(pg):
    return pg.locator('.realness-slider').first.evaluate(
        "s => [...s.querySelectorAll('figure')].filter(f => !f.hidden).map(f => f.querySelector('img').alt)"
    )


def test_static_slider(site, page):
    "A slider over maps that were made before: keys and mouse change the image, its words go with it, no kernel is there."
    page.goto(f'{site}howto/read_a_heatmap.html')
    bar = page.locator('.realness-slider input[type=range]').first
    bar.scroll_into_view_if_needed()
    first, steps = shown(page), int(bar.get_attribute('max'))
    assert len(first) == 1 and steps >= 3
    bar.focus()
    page.keyboard.press('ArrowRight')
    second = shown(page)
    assert len(second) == 1 and second != first and bar.get_attribute('aria-valuetext') == second[0]
    page.keyboard.press('End')
    last = shown(page)
    b = bar.bounding_box()
    page.mouse.click(b['x'] + 4, b['y'] + b['height'] / 2)
    assert shown(page) == first != last
    assert page.locator('.realness-slider figure:not([hidden]) img').first.evaluate(
        'i => i.naturalWidth > 300 && i.getBoundingClientRect().width > 300'
    )


def test_slider_without_script(site, browser):
    "Where scripts are off all images of a slider are shown."
    context = browser.new_context(java_script_enabled=False)
    pg = context.new_page()
    pg.goto(f'{site}howto/read_a_heatmap.html')
    figures = pg.locator('.realness-slider').first.locator('figure')
    assert figures.count() >= 4 and all(f.is_visible() for f in figures.all())
    context.close()


def test_on_a_phone(site, browser):
    "A page fits a narrow screen: what is wider scrolls within itself."
    with opened(browser, 390, 800) as pg:
        for name in (
            'index',
            'tutorials/ten_minutes',
            'howto/read_a_heatmap',
            'how_good',
            'how_it_works',
            'explorer',
        ):
            pg.goto(f'{site}{name}.html')
            assert pg.evaluate('document.documentElement.scrollWidth') <= 391, name
