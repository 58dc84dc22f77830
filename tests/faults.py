"A proxy on loopback that stands before a real server and does to one request in five what networks and busy services do."

import hashlib
import http.client
import json
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

KINDS = ('limit', 'error', 'late', 'truncated', 'torn', 'dropped', 'lost')


class Proxy(ThreadingHTTPServer):
    "`log` has one entry for each request: image (digest of what was sent), what became of it, the Authorization header."

    daemon_threads, request_queue_size = True, 64

    def __init__(self, port, share=0.2, seed=0, late=4.0):
        super().__init__(('127.0.0.1', 0), Handler)
        self.upstream, self.share, self.late = port, share, late
        self.chance, self.lock, self.log, self.turn = random.Random(seed), threading.Lock(), [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}/v1'

    def draw(self):
        "What to do with the next request; every kind in its turn."
        with self.lock:
            if self.chance.random() >= self.share:
                return ''
            self.turn += 1
            return KINDS[self.turn % len(KINDS)]

    def handle_error(self, *a):
        pass

    def __exit__(self, *a):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *a):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        picture = next(
            c['image_url']['url']
            for c in json.loads(body)['messages'][0]['content']
            if c['type'] == 'image_url'
        )
        entry = SimpleNamespace(
            picture=hashlib.sha256(picture.encode()).hexdigest(),
            kind=self.server.draw(),
            key=self.headers.get('authorization', ''),
            answered=False,
        )
        self.server.log.append(entry)
        getattr(self, entry.kind or 'forward')(body, entry)

    def ask(self, body):
        c = http.client.HTTPConnection('127.0.0.1', self.server.upstream, timeout=60)
        c.request('POST', self.path, body, {'content-type': 'application/json'})
        r = c.getresponse()
        return r.status, r.read()

    def say(self, status, raw, length=None, **headers):
        self.send_response(status)
        for k, v in {
            'content-type': 'application/json',
            'content-length': str(length or len(raw)),
            **headers,
        }.items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(raw)

    def forward(self, body, entry):
        status, raw = self.ask(body)
        self.say(status, raw)
        entry.answered = status == 200

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def echo(self):
        return json.dumps(
            dict(error=dict(message=f'refused for {self.headers.get("authorization")}', code='x'))
        ).encode()

    def limit(self, body, entry):
        self.say(429, self.echo(), **{'retry-after': '0.2'})

    def error(self, body, entry):
        self.say(500, self.echo())

    def dropped(self, body, entry):
        self.hang_up()

    def late(self, body, entry):
        time.sleep(self.server.late)
        self.hang_up()

    def lost(self, body, entry):  # answered, and lost on the way
        self.ask(body)
        self.hang_up()

    def truncated(self, body, entry):
        raw = self.ask(body)[1]
        self.say(200, raw[: len(raw) // 2], len(raw))
        self.hang_up()

    def torn(self, body, entry):
        self.say(200, self.ask(body)[1][:-20])
