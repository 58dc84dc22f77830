"""A proxy before a real server that breaks one request in five, like networks and busy servers do."""

import base64
import hashlib
import http.client
import json
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

FAULTS = (  # each is a method of `Handler`
    'rate_limit',
    'server_error',
    'no_answer',
    'truncated',
    'damaged',
    'dropped',
    'lost',
)


class Proxy(ThreadingHTTPServer):
    """Forwards requests to a server on this machine, and breaks a share of them.

    `log` has one entry for each request: `jpeg` (the image that was sent), `image` (digest of its data URI),
    `fault` ('' for none), `key` (the Authorization header) and `answered` (whether the answer was sent).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, share: float = 0.2, seed: int = 0, delay: float = 4.0):
        super().__init__(('127.0.0.1', 0), Handler)
        self.upstream_port = port
        self.share = share  # of the requests that are broken
        self.delay = delay  # seconds until an unanswered connection closes
        self.log = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._count = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}/v1'

    def choose_fault(self) -> str:
        """The fault of the next request; '' for none. All faults occur in turn."""
        with self._lock:
            if self._random.random() >= self.share:
                return ''
            self._count += 1
            return FAULTS[self._count % len(FAULTS)]

    def handle_error(self, *args):
        pass

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Forwards or breaks one request."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        content = json.loads(body)['messages'][0]['content']
        image = next(part['image_url']['url'] for part in content if part['type'] == 'image_url')
        entry = SimpleNamespace(
            jpeg=base64.b64decode(image.split(',')[1]),
            image=hashlib.sha256(image.encode()).hexdigest(),
            fault=self.server.choose_fault(),
            key=self.headers.get('authorization', ''),
            answered=False,
        )
        self.server.log.append(entry)
        if entry.fault:
            getattr(self, entry.fault)(body)
        else:
            entry.answered = self.forward(body)

    # The request is forwarded, or one of the faults occurs

    def forward(self, body):
        status, raw = self._request(body)
        self._respond(status, raw)
        return status == 200

    def rate_limit(self, body):
        self._respond(429, self._error(), **{'retry-after': '0.2'})

    def server_error(self, body):
        self._respond(500, self._error())

    def dropped(self, body):
        self._hang_up()

    def no_answer(self, body):
        time.sleep(self.server.delay)
        self._hang_up()

    def lost(self, body):
        """The server answers, but the answer does not arrive."""
        self._request(body)
        self._hang_up()

    def truncated(self, body):
        """The connection breaks in the middle of the answer."""
        _, raw = self._request(body)
        self._respond(200, raw[: len(raw) // 2], length=len(raw))
        self._hang_up()

    def damaged(self, body):
        """The answer is no valid JSON."""
        _, raw = self._request(body)
        self._respond(200, raw[:-20])

    # Helpers

    def _request(self, body):
        connection = http.client.HTTPConnection('127.0.0.1', self.server.upstream_port, timeout=60)
        connection.request('POST', self.path, body, {'content-type': 'application/json'})
        response = connection.getresponse()
        return response.status, response.read()

    def _respond(self, status, raw, length=None, **headers):
        self.send_response(status)
        fixed = {'content-type': 'application/json', 'content-length': str(length or len(raw))}
        for name, value in (fixed | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _error(self):
        """An error message that repeats the key, as some services do."""
        message = f'refused for {self.headers.get("authorization")}'
        return json.dumps(dict(error=dict(message=message, code='x'))).encode()
