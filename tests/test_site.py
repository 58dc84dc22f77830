"""The documentation in a real browser: pages, links, anchors, images, the search and sliders."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import (  # noqa: F401, fixtures
    TIMEOUT,
    accessibility_problems,
    browser,
    opened,
    page,
    served_folder,
)

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / '_site'

pytestmark = pytest.mark.xdist_group('site')  # one rendered site for all tests of this file


@pytest.fixture(scope='module')
def site():
    "The address of the rendered site. It is rendered only if a file that it is made from has changed."
    pytest.importorskip('smalldocs', reason='needs smalldocs: pip install -e ".[dev]"')
    build = subprocess.run([sys.executable, '.ci/site.py'], cwd=ROOT, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    with served_folder(SITE) as address:
        yield address


def page_names():
    return sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob('*.html'))


# ---- all pages

INSPECT_PAGE = r"""async () => {
  const images = [...document.images];
  for (const image of images) {
    image.loading = 'eager';
    await image.decode().catch(() => {});
  }
  const titles = [...document.querySelectorAll('main h1')].filter(title => !title.closest('.cell-output'));
  const named = [...document.querySelectorAll('[id], a[name]')];
  const texts = [...document.querySelectorAll('main pre')].map(element => element.innerText);
  const bounds = cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect();
  };
  const touching = cell => {
    const next = cell.nextElementSibling;
    if (!next || !cell.textContent.trim() || !next.textContent.trim()) return false;
    return bounds(next).left - bounds(cell).right < 5;
  };
  return {
    touching: [...document.querySelectorAll('main table :is(th, td)')].filter(touching)
      .map(cell => `${cell.textContent} ${cell.nextElementSibling.textContent}`),
    titles: titles.length,
    words: document.querySelector('main').innerText.length,
    broken: images.filter(image => !image.naturalWidth).map(image => image.src.slice(0, 80)),
    ids: named.flatMap(element => [element.id, element.getAttribute('name')]).filter(Boolean),
    links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    frames: document.querySelectorAll('iframe').length,
    errors: texts.filter(text => text.includes('Traceback (most recent call last)')).length,
    raw_links: texts.filter(text => /^(class|def) /.test(text) && /\]\(http|:Annotated/.test(text)),
    silent: images.filter(image => !image.hasAttribute('alt')).length,
  };
}"""


@pytest.fixture(scope='module')
def pages(site, browser):
    "What each page holds, by name; and the requests that failed or left this machine."
    inspected = {}
    failed = []

    def note_failure(response):
        if response.status >= 400 and 'favicon' not in response.url:
            failed.append((response.status, response.url))

    with opened(browser, 1280, 900) as page:
        page.on('response', note_failure)
        for name in page_names():
            page.goto(site + name)
            inspected[name] = page.evaluate(INSPECT_PAGE)
        assert failed == []
        assert page.outside == []
        assert page.faults == []
    return inspected


def test_every_page_is_whole(pages):
    "Each page has one title, some text, complete images and no error."
    assert len(pages) > 60
    for name, content in pages.items():
        assert content['titles'] == 1, name
        assert content['words'] > 150, name
        assert content['broken'] == [], name
        assert content['errors'] == 0, name
        assert content['frames'] == 0, name
        assert content['silent'] == 0, name
        assert content['touching'] == [], name  # neighbouring cells of a table would read as one word


def test_every_link_leads_somewhere(site, pages):
    "Each link within the site leads to a file, and each anchor to a place on the page."
    followed = 0
    for name, content in pages.items():
        for link in {link for link in content['links'] if link.startswith(site)}:
            path, _, anchor = link.removeprefix(site).partition('#')
            path = unquote(path) or 'index.html'
            assert (SITE / path).is_file(), (name, link)
            if anchor and path in pages:
                assert unquote(anchor) in pages[path]['ids'], (name, link)
            followed += 1
    assert followed > 3000


def test_sidebar_lists_every_page(site, page):
    "The home page leads to all pages; those for readers come first."
    page.goto(site)
    links = page.locator('#quarto-sidebar a[href]').evaluate_all('links => links.map(link => link.href)')
    listed = [link.removeprefix(site) for link in links]
    assert set(page_names()) - set(listed) == set()
    assert listed[:3] == ['index.html', 'live_demo.html', 'tutorials/ten_minutes.html']
    for_readers = {'how_good.html', 'how_good_maps.html', 'how_it_works.html', 'howto/read_a_heatmap.html'}
    assert for_readers <= set(listed[:12])


@pytest.mark.parametrize('name', ['srocc', 'HeatmapExplorer', 'describe'])
def test_search_finds_functions(site, page, name):
    "A function is found by its name, and the result leads to its place in the reference."
    page.goto(f'{site}howto/run_offline.html')  # from a sub-folder
    page.get_by_role('searchbox', name='Search').press_sequentially(name, delay=20)
    results = page.locator('.smalldocs-search-results')
    result = results.locator(f'a[href$="#{name.lower()}"], a[href$="#{name}"]').first
    result.wait_for()
    result.click()
    page.wait_for_url(re.compile(rf'\.html#{name}$', re.I))
    anchor = page.url.split('#')[1]
    place = page.locator(f'[id="{anchor}"]').first
    place.scroll_into_view_if_needed()
    assert place.is_visible()
    assert name in page.locator('main').inner_text()
    assert page.outside == []
    assert page.faults == []


@pytest.mark.parametrize(('words', 'first'), [('heatmap', 'howto/'), ('realness train', 'commands/train')])
def test_search_lists_pages_for_readers_first(site, page, words, first):
    "The search for a common word leads to a how-to or a command, not to a module."
    from playwright.sync_api import expect

    page.goto(f'{site}train.html')
    page.get_by_role('searchbox', name='Search').press_sequentially(words, delay=20)
    # Results for a part of the words are shown while they are typed.
    expect(page.locator('.smalldocs-search-results a').first).to_have_attribute(
        'href', re.compile(first), timeout=TIMEOUT
    )


# ---- the reference of the commands


def test_commands_have_pages_with_their_options(site, page):
    "The page of a command lists its options with their texts; the reference of its module links to it."
    page.goto(f'{site}commands/train.html')
    text = page.locator('main').inner_text()
    assert 'Random seed. Default: 0' in text
    assert '(or --encoders)' in text
    page.goto(f'{site}cli_train.html')
    assert 'Annotated' not in page.locator('main').inner_text()
    page.locator('main').get_by_role('link', name='realness train', exact=True).first.click()
    page.wait_for_url('**/commands/train.html')


def test_signatures_are_plain_text(pages):
    "No signature shows the source of a link, and none the annotation of a command line option."
    for name, content in pages.items():
        assert not content['raw_links'], (name, content['raw_links'])


# ---- a slider without a kernel


def visible_captions(page):
    "The texts of the images of the first slider that are shown."
    return page.locator('.realness-slider').first.evaluate(
        """slider => [...slider.querySelectorAll('figure')]
             .filter(figure => !figure.hidden).map(figure => figure.querySelector('img').alt)"""
    )


def test_slider(site, page):
    "Keys and mouse change the image of a slider and its caption."
    page.goto(f'{site}howto/read_a_heatmap.html')
    bar = page.locator('.realness-slider input[type=range]').first
    bar.scroll_into_view_if_needed()
    first = visible_captions(page)
    assert len(first) == 1
    assert int(bar.get_attribute('max')) >= 3
    bar.focus()
    page.keyboard.press('ArrowRight')
    second = visible_captions(page)
    assert len(second) == 1
    assert second != first
    assert bar.get_attribute('aria-valuetext') == second[0]
    page.keyboard.press('End')
    assert visible_captions(page) != first
    box = bar.bounding_box()
    page.mouse.click(box['x'] + 4, box['y'] + box['height'] / 2)
    assert visible_captions(page) == first
    image = page.locator('.realness-slider figure:not([hidden]) img').first
    assert image.evaluate('image => Math.min(image.naturalWidth, image.clientWidth)') > 300


def test_slider_without_scripts(site, browser):
    "Where scripts are off, all images of a slider are shown."
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f'{site}howto/read_a_heatmap.html')
    figures = page.locator('.realness-slider').first.locator('figure')
    assert figures.count() >= 4
    assert all(figure.is_visible() for figure in figures.all())
    context.close()


KINDS_OF_PAGES = [
    'index',
    'tutorials/ten_minutes',
    'howto/read_a_heatmap',
    'how_good',
    'how_it_works',
    'commands/train',
    'train',
    'explorer',
    'live_demo',
]


@pytest.mark.parametrize(
    ('width', 'scheme'), [(1280, 'light'), (390, 'light'), (1280, 'dark'), (390, 'dark')]
)
def test_pages_are_accessible(site, browser, width, scheme):
    "axe-core finds no problem on any kind of page, in light and in dark colours."
    found = {}
    with opened(browser, width, 800, scheme) as page:
        for name in KINDS_OF_PAGES:
            page.goto(f'{site}{name}.html')
            background = page.evaluate('getComputedStyle(document.body).backgroundColor')
            assert background == ('rgb(255, 255, 255)' if scheme == 'light' else 'rgb(22, 25, 29)')
            found[name] = accessibility_problems(page)
    assert found == {name: [] for name in KINDS_OF_PAGES}


def test_colour_scheme_can_be_switched(site, browser):
    "A reader chooses dark colours, which stay on the next page."
    with opened(browser, 1280, 800) as page:
        page.goto(site)
        page.locator('.quarto-color-scheme-toggle').first.click()
        page.goto(f'{site}how_good.html')
        page.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(22, 25, 29)'")


@pytest.mark.parametrize(
    'name',
    [
        'index',
        'tutorials/ten_minutes',
        'howto/read_a_heatmap',
        'how_good',
        'how_good_maps',
        'how_it_works',
        'explorer',
        'commands/train',
        'live_demo',
    ],
)
def test_page_fits_a_phone(site, browser, name):
    "A page fits a narrow screen; wider tables and code scroll within their boxes."
    with opened(browser, 390, 800) as page:
        page.goto(f'{site}{name}.html')
        assert page.evaluate('document.documentElement.scrollWidth') <= 391
