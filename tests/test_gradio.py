"""The app for one image, and the folder of a Space, in a real browser; skipped without Gradio."""

import re
import sys

import pytest
from browser import TIMEOUT, browser, free_port, page, printed_address, served, status  # noqa: F401, fixtures
from playwright.sync_api import expect

from realness.space import write_space

pytest.importorskip('gradio', reason='needs gradio: pip install "realness[app]"')

pytestmark = pytest.mark.slow


def try_app(page, url, image):
    "Open the app, choose an image and check its score and map."
    page.goto(url)
    page.locator('input[type=file]').first.set_input_files(image)
    expect(page.get_by_text(re.compile(r'Predicted MOS: -?\d'))).to_be_visible(timeout=TIMEOUT)
    expect(page.get_by_text('90 % prediction interval')).to_be_visible()
    expect(page.locator('img').nth(1)).to_be_visible()
    assert page.faults == []
    assert page.outside == []


def test_app(page, trained, tmp_path):
    "`realness app RUN` scores and maps an image on this machine."
    port = free_port()
    command = [sys.executable, '-m', 'realness.cli', 'app', trained.run, '--port', port, '--no-browser']
    with served(command, f'http://127.0.0.1:{port}/', tmp_path):
        url = printed_address(tmp_path / 'log')
        try_app(page, url, trained.data / 'test/images/f1.png')
        assert 'token' not in page.url
        page.reload()
        try_example(page)
        check_refusals(port, page.context.cookies())


def try_example(page):
    "Choose an example with a description; both are filled in, and its map is shown."
    pytest.importorskip('skimage', reason='examples need the extra demo')
    page.get_by_text("Lines on the cat's face").click()
    expect(page.get_by_label('Description')).to_have_value(re.compile("^Yes. Lines on the cat's face"))
    expect(page.get_by_text(re.compile(r'Predicted MOS: -?\d'))).to_be_visible(timeout=TIMEOUT)
    assert page.faults == []


def check_refusals(port, cookies):
    "Without the token, and from another origin, there is no page; a program sends the token in a header."
    cookie = '; '.join(f'{each["name"]}={each["value"]}' for each in cookies)
    token = cookies[0]['value']
    assert [each['sameSite'] for each in cookies] == ['Strict']
    for path in ('/', '/config', '/gradio_api/info', '/?token=wrong'):
        assert status(port, path) == 401
    assert status(port, '/config', {'Cookie': cookie}) == 200
    assert status(port, '/config', {'Authorization': f'Bearer {token}'}) == 200
    for origin in ('http://other.example', 'http://127.0.0.1:1', 'null'):
        assert status(port, '/config', {'Cookie': cookie, 'Origin': origin}) == 401


def test_space(page, trained, tmp_path, monkeypatch):
    "The folder of a Space runs by itself."
    space, port = write_space(trained.run, tmp_path / 'space'), free_port()
    monkeypatch.setenv('GRADIO_SERVER_PORT', str(port))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with served([sys.executable, space / 'app.py'], f'http://127.0.0.1:{port}/', tmp_path):
        page.goto(f'http://127.0.0.1:{port}/')
        expect(page.get_by_role('button', name='Score and map')).to_be_visible()
        try_example(page)
