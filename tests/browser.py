"""Helpers for tests in a real browser: Chromium through playwright, and servers on free ports.

Tests with a browser are skipped where playwright or Chromium is missing. With the environment variable CI set
they fail instead.
"""

import functools
import http.client
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM_NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
CHROMIUM_OPTIONS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
TIMEOUT = 1000 * int(os.environ.get('REALNESS_BROWSER_SECONDS', 60))  # milliseconds, for any wait on a page
LOCAL_URL = re.compile(r'^(?:https?|wss?)://(?:127\.0\.0\.1|localhost)[:/]|^(?:data|blob|about|file):')


# ---- a folder on a port


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        "Do not print requests."


@contextmanager
def served_folder(folder):
    "Serve a folder on a free port; yields its address, which ends in a slash."
    handler = functools.partial(_QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


# ---- the browser


def _skip_or_fail(problem):
    "Skip a test because the browser is missing; with CI set, fail."
    message = f'{problem}; on Debian: apt-get install chromium, and pip install playwright'
    if os.environ.get('CI'):
        pytest.fail(message)
    pytest.skip(message)


def find_chromium():
    "The path of Chromium: the variable REALNESS_CHROMIUM, else the first known name on PATH, else None."
    configured = os.environ.get('REALNESS_CHROMIUM')
    if configured:
        return configured
    paths = [shutil.which(name) for name in CHROMIUM_NAMES]
    return next((path for path in paths if path), None)


@contextmanager
def launched():
    "Start Chromium; skip the test, or with CI set fail, if there is none."
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _skip_or_fail('playwright is not installed')
    path = find_chromium()
    if not path:
        _skip_or_fail('Chromium was not found')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, width=1440, height=1050, scheme='light'):
    """Open a page that cannot reach other hosts. `scheme` is the colour scheme of the system, light or dark.

    `page.outside` lists the addresses on other hosts that the page asked for; they are blocked. `page.faults`
    lists its uncaught JavaScript errors.
    """
    context = browser.new_context(viewport={'width': width, 'height': height}, color_scheme=scheme)
    page = context.new_page()
    page.outside = []
    page.faults = []
    page.set_default_timeout(TIMEOUT)

    def block_other_hosts(route):
        if LOCAL_URL.match(route.request.url):
            route.continue_()
        else:
            page.outside.append(route.request.url)
            route.abort()

    page.route('**/*', block_other_hosts)
    page.on('pageerror', lambda error: page.faults.append(str(error)))
    try:
        yield page
    finally:
        context.close()


@pytest.fixture(scope='module')
def browser():
    "One Chromium for the tests of a file."
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser):
    "A page of its own for a test; see `opened`."
    with opened(browser) as page:
        yield page


# ---- accessibility

RUN_AXE = """async ([part, impacts]) => {
  const root = part ? document.querySelector(part) : document;
  const found = await axe.run(root, { resultTypes: ['violations'] });
  return found.violations
    .filter(rule => impacts.includes(rule.impact))
    .map(rule => `${rule.id}: ${rule.nodes.map(node => node.html.slice(0, 120)).slice(0, 3).join(' ')}`);
}"""


SERIOUS = ('serious', 'critical')


def accessibility_problems(page, part=None, impacts=('minor', 'moderate', *SERIOUS)):
    "Findings of axe-core on a page, or on the part that a selector names; skipped without axe-core."
    package = pytest.importorskip('axe_playwright_python', reason='needs axe-core: pip install -e ".[dev]"')
    page.evaluate((Path(package.__path__[0]) / 'axe.min.js').read_text(encoding='utf-8'))
    return page.evaluate(RUN_AXE, [part, list(impacts)])


def serious_problems(page, part=None):
    "The serious findings alone."
    return accessibility_problems(page, part, SERIOUS)


# ---- servers


def free_port():
    "A port on which no program of this machine listens."
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def wait_for(url, process, log, seconds=150):
    "Wait until a server answers; fail with the end of its log if it does not."
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return  # an error status is an answer as well
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f'{url} does not answer:\n{log.read_text(errors="replace")[-3000:]}')


def jupyter_env(folder, **variables):
    "An environment in which Jupyter stores its files in `folder` and ignores the settings of the machine."
    names = {
        'JUPYTER_CONFIG_DIR': 'config',
        'JUPYTER_DATA_DIR': 'data',
        'JUPYTER_RUNTIME_DIR': 'runtime',
        'JUPYTERLAB_SETTINGS_DIR': 'settings',
        'JUPYTERLAB_WORKSPACES_DIR': 'workspaces',
    }
    folders = {name: str(folder / part) for name, part in names.items()}
    return os.environ | folders | {'HF_HUB_OFFLINE': '1', 'OMP_WAIT_POLICY': 'passive'} | variables


def stop(process, seconds=20):
    "Terminate a process; kill it if it does not end in time."
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def served(command, url, folder, env=None):
    "Run a server in `folder` until the end of the block. Its output goes to `folder/log`."
    log = folder / 'log'
    with open(log, 'w') as output:
        process = subprocess.Popen(
            [str(argument) for argument in command],
            cwd=folder,
            env=env or jupyter_env(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for(url, process, log)
        yield process
    finally:
        stop(process)


def status(port, path, headers=None):
    "The status of the answer to a GET request, without following redirects."
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('GET', path, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def printed_address(log, seconds=30):
    "The address with a token that a server has printed in its log."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if address := re.search(r'http://127\.0\.0\.1:\d+/\?token=[\w-]+', log.read_text(errors='replace')):
            return address[0]
        time.sleep(0.1)
    raise AssertionError(f'no address with a token:\n{log.read_text(errors="replace")[-3000:]}')


# ---- JupyterLab


@contextmanager
def jupyterlab(notebooks, folder, **variables):
    "Run JupyterLab on a folder of notebooks; its own files go to `folder`. Yields its address."
    settings = folder / 'settings' / '@jupyterlab' / 'apputils-extension'
    settings.mkdir(parents=True)
    (settings / 'notification.jupyterlab-settings').write_text('{"fetchNews": "false"}')
    port = free_port()
    url = f'http://127.0.0.1:{port}'
    command = [
        sys.executable,
        '-m',
        'jupyterlab',
        '--no-browser',
        '--allow-root',
        '--ip=127.0.0.1',
        f'--port={port}',
        '--ServerApp.port_retries=0',
        '--IdentityProvider.token=',
        '--ServerApp.password=',
        '--ServerApp.disable_check_xsrf=True',
        '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
        f'--ServerApp.root_dir={notebooks}',
    ]
    with served(command, f'{url}/api/status', folder, jupyter_env(folder, **variables)):
        yield url


def run_notebook(page, url, name):
    "Open a notebook in JupyterLab and run all its cells."
    from playwright.sync_api import expect

    page.goto(f'{url}/lab/tree/{name}?reset')
    page.locator('.jp-NotebookPanel .jp-Cell').first.wait_for()
    expect(page.get_by_text(re.compile(r'^Python 3.*\| Idle$'))).to_be_visible(timeout=TIMEOUT)
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_text('Run All Cells', exact=True).click()


def copy_notebook(notebook, folder):
    "Copy a notebook to a folder of its own, because JupyterLab saves its outputs. Returns the copy."
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(notebook, folder))
