"A download that is killed, interrupted, tampered with or cut off; a server on the loopback plays the public one, the data are noise."

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from realness.config import RealnessError
from realness.data import TABLE
from realness.fetch import FetchError, Net, _fake, check_reachable, fetch_raise

CALL = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)   # a shell that starts tests in the background has them ignore it
from pathlib import Path
from realness.fetch import Net, _fake, fetch_raise
import tempfile
release = _fake(Path(tempfile.mkdtemp())/'again')
fetch_raise(sys.argv[1], True, sys.argv[2], release=release, net=Net(workers=2, timeout=3, pause=.01, progress=False))
"""


class Server(ThreadingHTTPServer):
    "Serves a folder; counts the bodies sent whole; `slow` seconds for every image but the first, `short` names are cut in half."

    daemon_threads = True

    def __init__(self, root):
        self.root, self.sent, self.slow, self.short, self.say = root, [], 0, set(), {}
        super().__init__(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def do_GET(self):
        s, name = self.server, self.path.rsplit('/', 1)[-1]
        if s.say.get(name):
            code, head = s.say[name].pop(0)
            self.send_response(code)
            for h in head.items():
                self.send_header(*h)
            return self.end_headers()
        if s.slow and name.endswith('.png') and name != 'f1.png':
            time.sleep(s.slow)
        body = (s.root / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if name in s.short else body)
        if name not in s.short:
            s.sent.append(self.path[1:])

    def log_message(self, *args):
        pass


@pytest.fixture
def noise(tmp_path, tmp_cache, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    full = tmp_path / 'full'
    release = _fake(full)
    server = Server(full)
    yield full, release, server, tmp_path / 'out'
    server.shutdown()
    server.server_close()


def files(d):
    return {
        p.relative_to(d).as_posix(): p.read_bytes()
        for p in d.rglob('*')
        if p.is_file() and p.name != 'dataset.json'
    }


def fetch(noise, **kw):
    full, release, server, out = noise
    return fetch_raise(
        out,
        True,
        server.url,
        log=lambda s: None,
        release=release,
        net=Net(**{'pause': 0.01, 'progress': False} | kw),
    )


def started(noise):
    "A download in another process, stalled after its first image."
    full, release, server, out = noise
    server.slow = 60
    p = subprocess.Popen(
        [sys.executable, '-c', CALL, str(out), server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.time() + 60
    while len(list((out / '.fetch-partial').rglob('[fr]*.png'))) < 1 and time.time() < end:
        time.sleep(0.05)
    assert p.poll() is None
    return p


def ended(p, how):
    "What a process has said when it was told to stop; told again where Python lost the signal (one that falls into a weakref callback is only printed)."
    for _ in range(5):
        p.send_signal(how)
        try:
            return p.communicate(timeout=7)[0]
        except subprocess.TimeoutExpired:
            pass
    return p.communicate(timeout=5)[0]


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_and_resumed(noise, how):
    full, release, server, out = noise
    p = started(noise)
    before = [n for n in server.sent if n.endswith('.png')]
    said = ended(p, how)
    if how == signal.SIGINT:
        assert 'stopped; 1 image kept in' in said and 'the same call goes on' in said, said
    assert len(before) == 1 and not (out / 'train').exists()
    (out / '.fetch-partial/train/images/.f2.png.123.partial').write_bytes(
        b'half'
    )  # what a kill in the middle of a write leaves
    server.slow, server.sent[:] = 0, []
    fetch(noise)
    assert files(out) == files(full)  # whole, and nothing beside it
    assert not set(before) & set(server.sent)  # nothing that was whole came twice
    assert len([n for n in server.sent if n.endswith('.png')]) == 5
    server.sent.clear()
    fetch(noise)
    assert server.sent == []


def test_damaged_on_disk_is_fetched_again(noise):
    full, release, server, out = noise
    server.say = {'r1.png': [(404, {})]}
    with pytest.raises(RealnessError, match='r1.png'):
        fetch(noise)
    half = out / '.fetch-partial/train/images/f1.png'
    half.write_bytes(half.read_bytes()[:999])
    server.sent.clear()
    fetch(noise)
    assert {'train/images/f1.png', 'train/images/r1.png'} <= set(
        server.sent
    ) and 'train/images/f2.png' not in server.sent
    assert files(out) == files(full)


def test_always_torn_is_named(noise):
    full, release, server, out = noise
    server.short = {'f3.png'}
    with pytest.raises(FetchError, match=r'f3.png: \d+ of \d+ bytes arrived'):
        fetch(noise)


def test_server_says_when(noise):
    full, release, server, out = noise
    server.say = {TABLE: [(429, {'Retry-After': '1'})]}
    t = time.time()
    fetch(noise)
    assert 1 <= time.time() - t < 20


def test_wrong_pixels_never_get_the_name(noise):
    full, release, server, out = noise
    (full / 'train/images/f1.png').write_bytes((full / 'train/images/f2.png').read_bytes())
    with pytest.raises(FetchError, match='the pixels are not those of the release'):
        fetch(noise)
    assert not (out / 'train').exists() and not (out / 'dataset.json').exists()


def test_wrong_table_ends_it_before_pictures(noise):
    full, release, server, out = noise
    t = full / 'train' / TABLE
    t.write_text(t.read_text().replace('f1.png', '../../f1.png'))
    with pytest.raises(RealnessError, match='the name leaves the image folder'):
        fetch(noise)
    assert not [n for n in server.sent if n.endswith('.png')]


def test_one_at_a_time(noise):
    p = started(noise)
    with pytest.raises(RealnessError, match='another process is fetching'):
        fetch(noise)
    p.kill()
    p.communicate()


def test_silent_host_is_said_within_seconds():
    import socket

    with socket.socket() as s:  # listens and never answers
        s.bind(('127.0.0.1', 0))
        s.listen()
        t = time.time()
        url = f'http://127.0.0.1:{s.getsockname()[1]}/x'
        with pytest.raises(FetchError, match='cannot be reached .*--from PATH'):
            check_reachable(url, limit=1)
        assert time.time() - t < 3


def test_import_is_light():
    code = "import sys, realness.fetch; print([m for m in ('torch', 'tqdm', 'filelock', 'requests') if m in sys.modules])"
    assert (
        subprocess.check_output(
            [sys.executable, '-c', code], text=True, cwd=Path.home(), env=os.environ
        ).strip()
        == '[]'
    )
