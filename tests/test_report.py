"The report as a reader meets it: made by the command, opened in a browser, with hostile names and with little to show."

import json
import os
import shutil
from html.parser import HTMLParser

import pytest
from browser import browser
from system import Job, environment, write_split, write_table

NASTY = '<script>alert(1)<script> & "q\'.png'  # a file name cannot hold a slash
SAYS = "Yes, the sky </td></table><script>alert(2)</script><img src=x onerror='alert(3)'> melts."
NAME = '</title><script>alert(4)</script><a href="javascript:alert(5)">x</a>'


class Page(HTMLParser):
    "What a page holds, as a browser would read it."

    def __init__(self, path):
        super().__init__()
        self.tags, self.ids, self.links, self.pictures, self.text, self.meta = set(), [], [], [], '', {}
        self.source = path.read_text(encoding='utf-8')
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        assert not [k for k in a if k.startswith('on') or k == 'style'], a
        self.tags.add(tag)
        if 'id' in a:
            self.ids.append(a['id'])
        if tag == 'a':
            self.links.append(a['href'])
        if tag == 'img':
            self.pictures.append(a)
        if tag == 'meta' and 'http-equiv' in a:
            self.meta[a['http-equiv']] = a['content']

    def handle_data(self, data):
        self.text += data


def spoil(split, file=None):
    "One row with a hostile name and sentence; with `file` that image is torn."
    table = split / 'image_descriptions.csv'
    names = [line.split(',')[0] for line in table.read_text(encoding='utf-8').splitlines()[1:]]
    rows = table.read_text(encoding='utf-8').splitlines()[1:]
    (split / 'images' / names[0]).rename(split / 'images' / NASTY)
    quoted = '"' + NASTY.replace('"', '""') + '"'
    rows[0] = f'{quoted},9.5,"{SAYS}"'  # far off, so it is shown among the worst
    write_table(split, rows)
    if file:
        (split / 'images' / file).write_bytes(b'torn')


@pytest.fixture(scope='module')
def hostile(trained, warm, tmp_path_factory):
    "A data folder and a run whose names a careless page would run, the page made of them, and what was said."
    root = tmp_path_factory.mktemp('hostile')
    data, run = shutil.copytree(trained.data, root / 'data'), shutil.copytree(trained.run, root / 'run <b>')
    spoil(data / 'test', 'f3.png')
    about = dict(name=NAME, licence=f'free {SAYS}', human=False, note=f'Mind the {NAME}')
    (data / 'dataset.json').write_text(json.dumps(about), encoding='utf-8')
    config = json.loads((run / 'config.json').read_text(encoding='utf-8'))
    config['data'].update(about)
    (run / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    argv = ['-m', 'realness.cli', 'report', str(run), '--data', str(data), '--out', 'deep/page.html']
    return data, run, root / 'deep/page.html', Job(argv, root, environment(trained.cache), warm=warm).end()


def test_hostile(hostile, cli, tmp_path):
    data, run, path, said = hostile
    assert said.code == 0 and 'The report is in deep/page.html' in said.out and not said.err, said
    assert os.listdir(path.parent) == ['page.html']  # written whole, nothing beside it
    page = Page(path)
    assert not page.tags & {'script', 'iframe', 'object', 'embed', 'form', 'base', 'svg'}
    for text in (
        NASTY,
        SAYS,
        NAME,
        f'Mind the {NAME}',
        f'free {SAYS}',
        'f3.png',
        'run <b>',
        '1 problem in the data',
    ):
        assert text in page.text, text
    assert (
        all(p['src'].startswith('data:image/') and len(p['alt']) > 40 for p in page.pictures)
        and len(page.pictures) > 10
    )
    assert any(NASTY in p['alt'] for p in page.pictures)
    assert (
        len(page.ids) == len(set(page.ids))
        and {h[1:] for h in page.links} <= set(page.ids)
        and all(h[0] == '#' for h in page.links)
    )
    assert page.meta['Content-Security-Policy'].startswith(
        "default-src 'none'; img-src data:; style-src 'sha256-"
    )
    assert len(page.source) < 3e6
    assert str(data.parent) not in page.source  # folders by their last name only
    again = cli('report', run, '--data', data, '--out', 'again.html', '--json')
    assert json.loads(again.out) == dict(report='again.html', bytes=len(page.source.encode()))
    assert (tmp_path / 'again.html').read_bytes() == path.read_bytes()


def test_in_a_browser(hostile, browser):
    for width in (900, 1400):
        page, asked, said = browser.new_page(viewport=dict(width=width, height=900)), [], []
        page.on('request', lambda r: asked.append(r.url.split(':')[0]))
        page.on('console', lambda m: said.append(m.text))
        page.on('pageerror', lambda e: said.append(str(e)))
        page.on('dialog', lambda d: (said.append('a dialog'), d.dismiss()))
        page.goto(hostile[2].as_uri())
        assert page.evaluate('[...document.images].filter(i => !i.complete || !i.naturalWidth).length') == 0
        assert (
            page.evaluate('document.documentElement.scrollWidth') <= width
        )  # nothing stands out to the right
        assert (
            page.evaluate('getComputedStyle(document.querySelector("h2")).borderTopStyle') == 'solid'
        )  # the policy lets the style through
        for link in page.locator('nav a').all():
            link.click()
            assert page.locator(link.get_attribute('href')).is_visible()
        assert page.locator('figure.card img').count() == 6 and page.get_by_text(SAYS).count() >= 1
        page.evaluate(
            'document.body.append(Object.assign(document.createElement("script"), {textContent: "alert(9)"}))'
        )
        page.wait_for_timeout(100)
        assert [s for s in said if 'Content Security Policy' not in s] == [] and len(said) == 1, (
            said
        )  # our own try was refused, and is all that was said
        assert asked.count('file') == 1 and set(asked) <= {'file', 'data'}
        page.close()


def test_with_less(cli, trained, tmp_path):
    def made(*argv, **kw):
        said = cli('report', trained.run, *argv, '--out', 'page.html', **kw)
        assert said.code == 0 and not said.err, said
        return Page(tmp_path / 'page.html')

    kept = made(PROJECT_ROOT=str(tmp_path))  # no data: what `train` kept of its test
    assert 'as kept by the evaluation data-test' in kept.text and 'Images and maps need the data' in kept.text
    own = made(
        PROJECT_ROOT=str(shutil.copytree(trained.data, tmp_path / 'home/datasets').parent)
    )  # its own data, found by their table
    assert 'split test' in own.text and any('and its map' in p['alt'] for p in own.pictures)
    other = write_split(tmp_path / 'other', 4, size=(128, 96))
    few = made('--data', other, '--clip', 'lite-clip')
    assert 'lite-clip' in few.text and any('and its map' in p['alt'] for p in few.pictures)
    write_table(
        other, [f'{n}.png,1' for n in ('r0', 'f1', 'r2', 'f3')], header='filename,MOS'
    )  # no sentences, and nothing to rank
    assert '4 without a sentence' in made('--data', other).text
    for p in (other / 'images').iterdir():
        p.write_bytes(b'torn')
    none = made('--data', other)
    assert 'no usable row is left' in none.text and 'f1.png' in none.text


def test_without_anything(cli, trained, tmp_path):
    run = shutil.copytree(
        trained.run, tmp_path / 'run', ignore=shutil.ignore_patterns('evaluations', '*.csv')
    )
    said = cli('report', run, PROJECT_ROOT=str(tmp_path))
    assert said.code == 0, said.err
    page = Page(run / 'report.html')
    assert (
        'No images with scores were given or found' in page.text
        and page.text.count('No images were judged') >= 3
    )
    for argv, want in (
        ((tmp_path / 'none',), 'none'),
        ((run, '--data', 'none'), 'there is no such folder'),
        ((run, '--data', run), 'holds no train/'),
        ((run, '--out', 'page.txt'), 'ends in .html'),
        ((run, '--out', tmp_path), 'ends in .html'),
    ):
        said = cli('report', *argv)
        assert said.code == 2 and want in said.err and len(said.err.splitlines()) == 1 and not said.out, (
            argv,
            said,
        )
