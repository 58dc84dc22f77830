"""Nothing runs code from data, leaves its folder, or shows a text as markup. SECURITY.md has the rules."""

import ast
import csv
import io
import pickle
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import realness
from realness.archives import opened_folder
from realness.config import RealnessError
from realness.describe.endpoints import Endpoint
from realness.describe.transfer import check_url
from realness.explorer.markup import error_html, escape, warning_html
from realness.localization.map_index import write_index
from realness.regression.learner import _load_state
from realness.regression.published_weights import _read_published
from realness.spreadsheet import STARTS_FORMULA, copy_for_spreadsheet, is_number

PACKAGE = Path(realness.__file__).parent
TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=30)
MARKUP = '<script>alert(1)</script>"\'><img src=x onerror=alert(2)>&'


def calls(tree):
    """The calls in a module: (dotted name, its keywords)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def modules():
    for path in sorted(PACKAGE.rglob('*.py')):
        if path.name != '_modidx.py':
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding='utf-8'))


# ---- No code from data


def test_nothing_unpickles():
    forbidden = {'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'pd.read_pickle', 'marshal.loads'}
    forbidden |= {'joblib.load', 'dill.load', 'dill.loads', 'shelve.open', 'eval', 'exec', 'os.system'}
    for name, tree in modules():
        for function, keywords in calls(tree):
            where = f'{name}: {function}'
            assert function not in forbidden, where
            assert 'trust_remote_code' not in keywords, where
            assert getattr(keywords.get('shell'), 'value', False) is False, where
            if function == 'torch.load':
                assert keywords['weights_only'].value is True, where
            assert getattr(keywords.get('allow_pickle'), 'value', False) is False, where


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('read', [_read_published, lambda path: _load_state(path, 'cpu')])
@pytest.mark.parametrize('save', [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_file_of_weights_runs_nothing(tmp_path, read, save):
    path = tmp_path / 'best_model.pth'
    save({'weight': Payload(tmp_path / 'ran')}, path)
    with pytest.raises(RealnessError, match=r'best_model\.pth'):
        read(path)
    assert not (tmp_path / 'ran').exists()


# ---- Files stay in their folder

PARTS = st.sampled_from(
    ['..', '.', 'a', 'train', 'images', 'f1.png', 'CON', 'nul.png', 'C:', '~', '', 'a\0b']
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(['/', '\\']).map(lambda slash: slash.join(parts))
)


def write_zip(path, names):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b'x')


def write_tar(path, names):
    with tarfile.open(path, 'w:gz') as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b'x'))


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True), write=st.sampled_from([write_zip, write_tar])
)
def test_an_archive_stays_in_its_folder(names, write):
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        target = root / 'one/two/three'
        write(root / 'archive', names)
        try:
            with opened_folder(root / 'archive', target) as folder:
                for path in folder.rglob('*'):
                    assert path.resolve().is_relative_to(folder)
                    assert path.is_dir() or path.suffix in ('.png', '.webp', '.csv')
                read = [name.split('\0')[0] for name in names]  # as the modules of Python read a name
                assert not any('..' in name.replace('\\', '/').split('/') for name in read)
        except RealnessError:
            pass
        outside = {path.name for path in root.rglob('*') if not path.is_relative_to(target)}
        assert outside <= {'archive', 'one', 'two'}


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_an_archive_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as archive:
        member = tarfile.TarInfo('f1.png')
        member.type = kind
        member.linkname = '/etc/hostname'
        archive.addfile(member)
    with (
        pytest.raises(RealnessError, match='only files and folders are allowed'),
        opened_folder(tmp_path / 'a.tar.gz', tmp_path / 'out'),
    ):
        pass
    assert not (tmp_path / 'out').exists()


# ---- Text stays text


@settings(deadline=None)
@given(TEXTS)
def test_escaped_text_has_no_markup(text):
    for html in (escape(text), error_html(text), warning_html([text])):
        inner = html.removeprefix('<div class="rl-error" role="alert">').removeprefix(
            '<div class="rl-warning">'
        )
        assert not set(inner.removesuffix('</div>')) & set('<>"')


def test_the_page_of_maps_shows_names_as_text(tmp_path):
    row = dict(path=f'/x/{MARKUP}.png', map=f'{MARKUP}.png', mean=0.1, max=0.2, direction='low', whole='')
    rows = [
        row | dict(notes=MARKUP, error=''),
        row | dict(path='/x/b.png', map='', notes='', error=f'b.png: {MARKUP}'),
    ]
    write_index(rows, tmp_path)
    page = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert '<script' not in page and '<img src=x' not in page.lower()
    assert page.count('&lt;script&gt;') >= 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_no_cell_of_a_spreadsheet_runs(rows):
    with tempfile.TemporaryDirectory() as root:
        table, out = Path(root, 'table.csv'), Path(root, 'out.csv')
        with table.open('w', encoding='utf-8', newline='') as file:
            csv.writer(file).writerows(rows)
        try:
            copy_for_spreadsheet(table, out)
        except RealnessError:  # a text that CSV cannot hold
            return
        with out.open(encoding='utf-8-sig', newline='') as file:
            cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(STARTS_FORMULA) and not is_number(cell)]


# ---- Requests


@pytest.mark.parametrize('host', ['169.254.169.254', '2852039166', '[fe80::1]', '[::ffff:169.254.169.254]'])
def test_no_link_local_address_is_an_endpoint(host):
    with pytest.raises(RealnessError, match='link-local address'):
        check_url(f'https://{host}/v1')


def test_a_name_that_leads_to_a_link_local_address_is_not_asked(monkeypatch):
    pytest.importorskip('openai')
    found = [(2, 1, 6, '', ('169.254.169.254', 0))]
    monkeypatch.setenv('OPENAI_API_KEY', 'none')
    endpoint = Endpoint('https://models.example/v1', 'model')
    monkeypatch.setattr(
        'realness.describe.transfer.socket', SimpleNamespace(getaddrinfo=lambda *a, **k: found)
    )
    with pytest.raises(RealnessError, match='models\\.example: leads to a link-local') as caught:
        endpoint(noise_image(), 'Is it real?')
    assert type(caught.value) is RealnessError  # which is not retried


def noise_image():
    from system import noise

    return noise(1, (64, 48))
