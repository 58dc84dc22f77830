"""The report page: written by the command, opened in a browser, with hostile texts and with little data."""

import json
import os
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from browser import accessibility_problems, browser  # noqa: F401
from system import Job, environment, write_split, write_table

# a page that does not escape these texts would run them
FILE_NAME = '<script>alert(1)<script> & "q\'.png'  # a file name cannot contain a slash
DESCRIPTION = "Yes, the sky </td></table><script>alert(2)</script><img src=x onerror='alert(3)'> melts."
DATA_NAME = '</title><script>alert(4)</script><a href="javascript:alert(5)">x</a>'
FORBIDDEN_TAGS = {'script', 'iframe', 'object', 'embed', 'form', 'base', 'svg'}


class Page(HTMLParser):
    """The parts of a page that the tests check."""

    def __init__(self, path):
        super().__init__()
        self.tags = set()
        self.ids = []
        self.links = []
        self.images = []  # attributes of each image
        self.text = ''
        self.meta = {}
        self.source = path.read_text(encoding='utf-8')
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        scripts = [name for name in attributes if name.startswith('on') or name == 'style']
        assert not scripts, attributes
        self.tags.add(tag)
        if 'id' in attributes:
            self.ids.append(attributes['id'])
        if tag == 'a':
            self.links.append(attributes['href'])
        if tag == 'img':
            self.images.append(attributes)
        if tag == 'meta' and 'http-equiv' in attributes:
            self.meta[attributes['http-equiv']] = attributes['content']

    def handle_data(self, data):
        self.text += data


def add_hostile_row(split):
    """Give the first image of a split a hostile name and description, and a MOS far from its prediction."""
    table = split / 'image_descriptions.csv'
    rows = table.read_text(encoding='utf-8').splitlines()[1:]
    (split / 'images' / rows[0].split(',')[0]).rename(split / 'images' / FILE_NAME)
    quoted_name = '"' + FILE_NAME.replace('"', '""') + '"'
    rows[0] = f'{quoted_name},9.5,"{DESCRIPTION}"'
    write_table(split, rows)


@pytest.fixture(scope='module')
def hostile(trained, fork_server, tmp_path_factory):
    """A report with hostile names and texts: `data`, `run`, `page` and the `result` of the command."""
    root = tmp_path_factory.mktemp('hostile')
    data = shutil.copytree(trained.data, root / 'data')
    run = shutil.copytree(trained.run, root / 'run <b>')
    add_hostile_row(data / 'test')
    (data / 'test/images/f3.png').write_bytes(b'damaged')
    about = {'name': DATA_NAME, 'licence': f'free {DESCRIPTION}', 'human': False, 'note': f'See {DATA_NAME}'}
    (data / 'dataset.json').write_text(json.dumps(about), encoding='utf-8')
    config = json.loads((run / 'config.json').read_text(encoding='utf-8'))
    config['data'].update(about)
    (run / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    page = root / 'deep/page.html'
    command = ['-m', 'realness.cli', 'report', str(run), '--data', str(data), '--out', 'deep/page.html']
    result = Job(command, root, environment(trained.cache), server=fork_server).end()
    return SimpleNamespace(data=data, run=run, page=page, result=result)


def test_hostile_texts_are_shown_as_text(hostile):
    result = hostile.result
    assert result.code == 0, result
    assert 'The report is in deep/page.html' in result.out
    assert not result.err
    assert os.listdir(hostile.page.parent) == ['page.html']  # no temporary file is left
    page = Page(hostile.page)
    assert not page.tags & FORBIDDEN_TAGS
    for text in (FILE_NAME, DESCRIPTION, DATA_NAME, f'See {DATA_NAME}', f'free {DESCRIPTION}', 'run <b>'):
        assert text in page.text, text
    assert 'f3.png' in page.text
    assert '1 problem in the data' in page.text
    assert str(hostile.data.parent) not in page.source  # folders are named by their last part only


def test_page_is_self_contained(hostile):
    page = Page(hostile.page)
    assert len(page.images) > 10
    for image in page.images:
        assert image['src'].startswith('data:image/')
        assert len(image['alt']) > 40
    assert any(FILE_NAME in image['alt'] for image in page.images)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith('#') for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    policy = page.meta['Content-Security-Policy']
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert len(page.source) < 3e6


def test_same_page_each_time(hostile, cli, tmp_path):
    page = hostile.page.read_bytes()
    again = cli('report', hostile.run, '--data', hostile.data, '--out', 'again.html', '--json')
    assert json.loads(again.out) == {'report': 'again.html', 'bytes': len(page)}
    assert (tmp_path / 'again.html').read_bytes() == page


@pytest.mark.parametrize('width', [900, 1400])
def test_in_a_browser(hostile, browser, width):
    page = browser.new_page(viewport={'width': width, 'height': 900})
    requests = []
    messages = []

    def dismiss(dialog):
        messages.append('a dialog')
        dialog.dismiss()

    page.on('request', lambda request: requests.append(request.url.split(':')[0]))
    page.on('console', lambda message: messages.append(message.text))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('dialog', dismiss)
    page.goto(hostile.page.as_uri())

    broken_images = '[...document.images].filter(i => !i.complete || !i.naturalWidth).length'
    assert page.evaluate(broken_images) == 0
    assert page.evaluate('document.documentElement.scrollWidth') <= width  # nothing sticks out
    style = 'getComputedStyle(document.querySelector("h2")).borderTopStyle'
    assert page.evaluate(style) == 'solid'  # the policy allows the style sheet
    for link in page.locator('nav a').all():
        link.click()
        assert page.locator(link.get_attribute('href')).is_visible()
    assert page.locator('figure.card img').count() == 6
    assert page.get_by_text(DESCRIPTION).count() >= 1

    for scheme, background in (('light', 'rgb(255, 255, 255)'), ('dark', 'rgb(22, 25, 29)')):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == background
        assert accessibility_problems(page) == []
    page.set_viewport_size({'width': 390, 'height': 800})
    assert accessibility_problems(page) == []
    messages.clear()

    script = 'Object.assign(document.createElement("script"), {textContent: "alert(9)"})'
    page.evaluate(f'document.body.append({script})')
    page.wait_for_timeout(100)
    assert len(messages) == 1, messages  # only the script of this test was refused
    assert 'Content Security Policy' in messages[0]
    assert requests.count('file') == 1
    assert set(requests) <= {'file', 'data'}
    page.close()


@pytest.fixture
def make_report(cli, trained, tmp_path):
    """Writes a report of the trained run and returns its page."""

    def run_command(*options, **variables):
        result = cli('report', trained.run, *options, '--out', 'page.html', **variables)
        assert result.code == 0, result
        assert not result.err, result
        return Page(tmp_path / 'page.html')

    return run_command


def test_without_data(make_report, tmp_path):
    page = make_report(PROJECT_ROOT=str(tmp_path))
    assert 'of the stored evaluation data-test' in page.text  # `train` evaluated its test split
    assert 'Images and maps need the data' in page.text


def test_training_data_are_found(make_report, trained, tmp_path):
    project = shutil.copytree(trained.data, tmp_path / 'project/datasets').parent
    page = make_report(PROJECT_ROOT=str(project))
    assert 'split test' in page.text
    assert any('and its map' in image['alt'] for image in page.images)


def test_other_data(make_report, tmp_path):
    split = write_split(tmp_path / 'other', 4, size=(128, 96))
    page = make_report('--data', split, '--clip', 'lite-clip')
    assert 'lite-clip' in page.text
    assert any('and its map' in image['alt'] for image in page.images)

    equal_mos = [f'{name}.png,1' for name in ('r0', 'f1', 'r2', 'f3')]
    write_table(split, equal_mos, header='filename,MOS')
    assert '4 without a description' in make_report('--data', split).text

    for image in (split / 'images').iterdir():
        image.write_bytes(b'damaged')
    page = make_report('--data', split)
    assert 'no usable row is left' in page.text
    assert 'f1.png' in page.text


def test_without_anything(cli, trained, tmp_path):
    nothing = shutil.ignore_patterns('evaluations', '*.csv')
    run = shutil.copytree(trained.run, tmp_path / 'run', ignore=nothing)
    result = cli('report', run, PROJECT_ROOT=str(tmp_path))
    assert result.code == 0, result.err
    page = Page(run / 'report.html')
    assert 'No images with MOS were given or found' in page.text
    assert page.text.count('No images were evaluated') >= 3


def test_bad_arguments(cli, trained, tmp_path):
    run = trained.run
    errors = {
        'none': (tmp_path / 'none',),
        'no such folder': (run, '--data', 'none'),
        'holds no train/': (run, '--data', run),
        'page.txt: not a name for the page': (run, '--out', 'page.txt'),
        'must end in .html': (run, '--out', tmp_path),
    }
    for message, arguments in errors.items():
        result = cli('report', *arguments)
        assert result.code == 2, result
        assert message in result.err
        assert len(result.err.splitlines()) == 1
        assert not result.out
