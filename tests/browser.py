"""What tests in a real browser share: Chromium by playwright, JupyterLab and Voila on ports of their own.

Where playwright or a Chromium is missing the tests are skipped and say so; with CI set they fail instead.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ARGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
SLOW = 1000 * int(
    os.environ.get('REALNESS_BROWSER_SECONDS', 60)
)  # the longest wait for anything, milliseconds


def _missing(what):
    say = f'{what}; on Debian: apt-get install chromium, and pip install playwright'
    return pytest.fail(say) if os.environ.get('CI') else pytest.skip(say)


def find_chromium():
    "The browser's program: `REALNESS_CHROMIUM`, else the first of Debian's and Google's names."
    return os.environ.get('REALNESS_CHROMIUM') or next((p for n in NAMES if (p := shutil.which(n))), None)


@contextmanager
def launched():
    "A browser; skips, or with CI set fails, where there is none."
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing('playwright is not installed')
    path = find_chromium()
    if not path:
        _missing('no Chromium was found')
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=path, args=ARGS)
        try:
            yield b
        finally:
            b.close()


@pytest.fixture(scope='module')
def browser():
    "Chromium, one for the tests of a file."
    with launched() as b:
        yield b


@pytest.fixture
def page(browser):
    "A fresh page that lets nothing out: `.outside` lists what was asked of other hosts (and refused), `.faults` the page's errors."
    with opened(browser) as pg:
        yield pg


@contextmanager
def opened(browser, width=1440, height=1050):
    "A page with `.outside` and `.faults`."
    context = browser.new_context(viewport=dict(width=width, height=height))
    pg = context.new_page()
    pg.outside, pg.faults = [], []
    pg.set_default_timeout(SLOW)
    here = re.compile(r'^(?:https?|wss?)://(?:127\.0\.0\.1|localhost)[:/]|^(?:data|blob|about|file):')

    def route(r):
        if here.match(r.request.url):
            return r.continue_()
        pg.outside.append(r.request.url)
        r.abort()

    pg.route('**/*', route)
    pg.on('pageerror', lambda e: pg.faults.append(str(e)))
    try:
        yield pg
    finally:
        context.close()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(url, process, log, seconds=90):
    "Until a server answers; its log where it does not."
    end = time.time() + seconds
    while time.time() < end and process.poll() is None:
        try:
            return urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f'{url} does not answer:\n{log.read_text(errors="replace")[-3000:]}')


def jupyter_env(tmp, **env):
    "An environment whose Jupyter knows nothing of this machine's settings."
    d = {
        f'JUPYTER_{k}': str(tmp / v)
        for k, v in dict(
            CONFIG_DIR='config', DATA_DIR='data', RUNTIME_DIR='runtime', PREFER_ENV_PATH=''
        ).items()
        if v
    }
    return dict(
        os.environ,
        **d,
        JUPYTERLAB_SETTINGS_DIR=str(tmp / 'settings'),
        JUPYTERLAB_WORKSPACES_DIR=str(tmp / 'workspaces'),
        HF_HUB_OFFLINE='1',
        OMP_WAIT_POLICY='passive',
        **env,
    )


@contextmanager
def served(argv, url, tmp, env=None, cwd=None):
    "A server process; ends with the block, whatever happened."
    log = tmp / 'log'
    with open(log, 'w') as f:
        p = subprocess.Popen(
            [str(a) for a in argv],
            cwd=cwd or tmp,
            env=env or jupyter_env(tmp),
            stdout=f,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for(url, p, log)
        yield p
    finally:
        if p.poll() is None:
            p.terminate()
        try:
            p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


@contextmanager
def jupyterlab(work, tmp, **env):
    "JupyterLab on a folder; yields its address."
    quiet = tmp / 'settings' / '@jupyterlab' / 'apputils-extension'
    quiet.mkdir(parents=True)
    (quiet / 'notification.jupyterlab-settings').write_text('{"fetchNews": "false"}')
    port = free_port()
    url = f'http://127.0.0.1:{port}'
    argv = [
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
        f'--ServerApp.root_dir={work}',
    ]
    with served(argv, f'{url}/api/status', tmp, jupyter_env(tmp, **env)):
        yield url


def run_notebook(page, url, name):
    "Open a notebook in JupyterLab and run all its cells."
    from playwright.sync_api import expect

    page.goto(f'{url}/lab/tree/{name}?reset')
    page.locator('.jp-NotebookPanel .jp-Cell').first.wait_for()
    expect(page.get_by_text(re.compile(r'^Python 3.*\| Idle$'))).to_be_visible(timeout=SLOW)
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_text('Run All Cells', exact=True).click()


def copied(src, work):
    "A copy of a notebook in a folder of its own: JupyterLab saves what it runs."
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(src, work / Path(src).name)
    return work
