"""Downloads that are killed, interrupted, damaged or cut off, from a server on this machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from realness.config import TABLE, RealnessError
from realness.data import write_split
from realness.datasets import DatasetInfo
from realness.download import DownloadSettings, FetchError, check_reachable
from realness.fetch import fetch_raise
from realness.release import Release, SplitFacts, split_facts

SIZE = (64, 48)  # width and height of the images

# A process that fetches: arguments are a correct copy, the data folder and the address.
FETCH = """
import signal
import sys
from pathlib import Path

from realness.datasets import DatasetInfo
from realness.download import DownloadSettings
from realness.fetch import fetch_raise
from realness.release import Release, SplitFacts, split_facts

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background processes ignore Ctrl-C
full, out, url = sys.argv[1:]
splits = dict(train=split_facts(Path(full) / 'train', (64, 48)), test=SplitFacts(1, 1))
settings = DownloadSettings(workers=2, timeout=3, pause=0.01, progress=False)
fetch_raise(out, True, url, release=Release(DatasetInfo('noise'), (64, 48), splits), settings=settings)
"""


def write_noise(folder, names, seed):
    """A split of noise."""
    rng = np.random.default_rng(seed)
    images = {name: Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for name in names}
    rows = [(name, f'{rng.normal():.4f}', f'No, {name} is noise.') for name in names]
    return write_split(folder, rows, images)


class Server(ThreadingHTTPServer):
    """Serves a folder and records which files were sent completely.

    Every image but f1.png is delayed by `delay` seconds. Of a file in `cut`, only half is sent. `answers`
    maps a file name to the status codes and headers of its next answers.
    """

    daemon_threads = True

    def __init__(self, root):
        self.root = root
        self.sent = []
        self.delay = 0
        self.cut = set()
        self.answers = {}
        super().__init__(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'

    def sent_images(self):
        return [path for path in self.sent if path.endswith('.png')]


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def do_GET(self):
        server = self.server
        path = self.path[1:]
        name = path.rsplit('/', 1)[-1]
        if server.answers.get(name):
            self.send_headers(*server.answers[name].pop(0))
            return
        if server.delay and name.endswith('.png') and name != 'f1.png':
            time.sleep(server.delay)
        body = (server.root / path).read_bytes()
        self.send_headers(200, {'Content-Length': str(len(body))})
        if name in server.cut:
            self.wfile.write(body[: len(body) // 2])
        else:
            self.wfile.write(body)
            server.sent.append(path)

    def send_headers(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def noise(tmp_path, tmp_cache, monkeypatch):
    """A release of noise: its files, its server, and a folder to fetch into."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    full = tmp_path / 'full'
    train = write_noise(full / 'train', ['f1.png', 'f2.png', 'f3.png', 'r1.png'], seed=0)
    write_noise(full / 'test', ['f4.png', 'r2.png'], seed=1)
    splits = dict(train=split_facts(train, SIZE), test=SplitFacts(1, 1))
    server = Server(full)
    yield SimpleNamespace(
        full=full, release=Release(DatasetInfo('noise'), SIZE, splits), server=server, out=tmp_path / 'out'
    )
    server.shutdown()
    server.server_close()


def read_files(folder):
    """Relative path -> bytes of every file but dataset.json."""
    files = [path for path in folder.rglob('*') if path.is_file() and path.name != 'dataset.json']
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fetch(noise):
    """Fetch the release of noise from its server."""
    settings = DownloadSettings(pause=0.01, progress=False)
    url = noise.server.url
    return fetch_raise(noise.out, True, url, log=lambda line: None, release=noise.release, settings=settings)


def start_fetch(noise):
    """Start a download in another process and wait until it stalls after its first image."""
    noise.server.delay = 60
    argv = [sys.executable, '-c', FETCH, str(noise.full), str(noise.out), noise.server.url]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.time() + 60
    partial = noise.out / '.fetch-partial'
    while not list(partial.rglob('[fr]*.png')) and time.time() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    return process


def end_process(process, signal_number):
    """Send a signal until the process ends; return its output.

    Python loses a KeyboardInterrupt that is raised in a weakref callback, so one signal may not be enough.
    """
    for _ in range(5):
        process.send_signal(signal_number)
        try:
            return process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            pass
    return process.communicate(timeout=20)[0]


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGINT])
def test_killed_download_resumes(noise, signal_number):
    server = noise.server
    process = start_fetch(noise)
    sent_before = server.sent_images()
    output = end_process(process, signal_number)
    if signal_number == signal.SIGINT:
        assert 'stopped; 1 image stored in' in output, output
        assert 'the same call resumes' in output, output
    assert len(sent_before) == 1
    assert not (noise.out / 'train').exists()

    # a kill in the middle of a write leaves such a file
    (noise.out / '.fetch-partial/train/images/.f2.png.123.partial').write_bytes(b'half')
    server.delay = 0
    server.sent.clear()
    fetch(noise)
    assert read_files(noise.out) == read_files(noise.full)
    assert not set(sent_before) & set(server.sent)  # what had arrived is not requested again
    assert len(server.sent_images()) == 5

    server.sent.clear()
    fetch(noise)
    assert server.sent == []


def test_damaged_file_is_fetched_again(noise):
    server = noise.server
    server.answers = {'r1.png': [(404, {})]}
    with pytest.raises(RealnessError, match=r'r1\.png'):
        fetch(noise)
    damaged = noise.out / '.fetch-partial/train/images/f1.png'
    damaged.write_bytes(damaged.read_bytes()[:999])
    server.sent.clear()
    fetch(noise)
    assert {'train/images/f1.png', 'train/images/r1.png'} <= set(server.sent)
    assert 'train/images/f2.png' not in server.sent
    assert read_files(noise.out) == read_files(noise.full)


def test_file_that_stays_cut_is_named(noise):
    noise.server.cut = {'f3.png'}
    with pytest.raises(FetchError, match=r'f3.png: \d+ of \d+ bytes arrived'):
        fetch(noise)


def test_waiting_time_of_the_server_is_used(noise):
    noise.server.answers = {TABLE: [(429, {'Retry-After': '1'})]}
    start = time.time()
    fetch(noise)
    assert 1 <= time.time() - start < 20


def test_wrong_pixels_are_never_put_in_place(noise):
    images = noise.full / 'train/images'
    (images / 'f1.png').write_bytes((images / 'f2.png').read_bytes())
    with pytest.raises(FetchError, match='the pixels are not those of the release'):
        fetch(noise)
    assert not (noise.out / 'train').exists()
    assert not (noise.out / 'dataset.json').exists()


def test_wrong_table_stops_before_the_images(noise):
    table = noise.full / 'train' / TABLE
    table.write_text(table.read_text().replace('f1.png', '../../f1.png'))
    with pytest.raises(RealnessError, match='the name leaves the image folder'):
        fetch(noise)
    assert noise.server.sent_images() == []


def test_one_process_at_a_time(noise):
    process = start_fetch(noise)
    with pytest.raises(RealnessError, match='another process is fetching'):
        fetch(noise)
    process.kill()
    process.communicate()


def test_silent_host_is_reported_within_seconds():
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/x'
        start = time.time()
        with pytest.raises(FetchError, match=r'cannot be reached .*--from PATH'):
            check_reachable(url, timeout=1)
        assert time.time() - start < 10


def test_import_is_light():
    code = (
        'import sys, realness.fetch; '
        "print([name for name in ('torch', 'tqdm', 'filelock', 'requests') if name in sys.modules])"
    )
    argv = [sys.executable, '-c', code]
    loaded = subprocess.check_output(argv, text=True, cwd=Path.home(), env=os.environ)
    assert loaded.strip() == '[]'
