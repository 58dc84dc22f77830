"Descriptions from a real server with a real (random, tiny) model, through a proxy that breaks one request in five."

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_vlm
from faults import KINDS, Proxy
from PIL import Image
from system import environment, noise

pytest.importorskip('openai', reason='needs the extra describe: pip install "realness[describe]"')
KEY = 'sk-loopback/Geheim+4711'
WORDS = 20


@pytest.fixture(scope='session')
def vlm(tmp_path_factory):
    return tiny_vlm.save(tmp_path_factory.mktemp('vlm') / 'tiny')


@pytest.fixture(scope='session')
def server(vlm, tmp_path_factory):
    "`transformers serve` with that model; port and model name."
    pytest.importorskip('fastapi', reason='needs a server: pip install "transformers[serving]"')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    log, exe = tmp_path_factory.mktemp('server') / 'log', Path(sys.executable).with_name('transformers')
    with open(log, 'w') as f:
        p = subprocess.Popen(
            [exe, 'serve', '--host', '127.0.0.1', '--port', str(port), '--device', 'cpu', str(vlm)],
            stdout=f,
            stderr=f,
            env=environment(log.parent),
        )
    try:
        for _ in range(480):
            assert p.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=2)
                break
            except OSError:
                time.sleep(0.25)
        else:
            raise AssertionError(log.read_text())
        yield SimpleNamespace(port=port, model=str(vlm), log=log)
    finally:
        p.terminate()
        try:
            p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    "200 images of the demo data."
    from realness.demo import demo_data

    found, folder = (
        sorted((demo_data() / 'train/images').glob('*.png'))[:200],
        tmp_path_factory.mktemp('pictures'),
    )
    assert len(found) == 200
    for f in found:
        os.symlink(f, folder / f.name)
    return folder


@pytest.fixture
def few(tmp_path):
    (tmp_path / 'few').mkdir()
    for i in range(6):
        noise(i, (160, 120)).save(tmp_path / 'few' / f'{i}.png')
    return tmp_path / 'few'


def rows_of(path):
    "Whole rows by file name; every name once."
    if not path.is_file():
        return {}
    text = path.read_text(encoding='utf-8')
    rows = list(csv.DictReader(text[: text.rfind('\n') + 1].splitlines()))
    assert len({r['filename'] for r in rows}) == len(rows)
    return {r['filename']: r for r in rows}


def sent(folder, names):
    "The digests of what is sent for images."
    import base64
    import hashlib

    from realness.describe.transfer import SIDE, small_jpeg

    url = lambda n: 'data:image/jpeg;base64,' + base64.b64encode(small_jpeg(folder / n, SIDE)).decode()
    return {hashlib.sha256(url(n).encode()).hexdigest() for n in names}


def no_key(*folders):
    "The key, or half of it, in no file."
    for d in folders:
        for f in Path(d).rglob('*'):
            if f.is_file() and not f.is_symlink():
                assert b'Geheim' not in f.read_bytes(), f


def test_two_hundred_through_faults(started, server, pictures, tmp_path):
    out = tmp_path / 'd.csv'
    with Proxy(server.port, seed=1) as proxy:

        def describe():
            return started(
                '-m',
                'realness.cli',
                'describe',
                pictures,
                '--csv',
                out,
                '--base-url',
                proxy.url,
                '--model',
                server.model,
                '--max-tokens',
                WORDS,
                '--timeout',
                3,
                '--parallel',
                4,
                OPENAI_API_KEY=KEY,
                OPENAI_LOG='debug',
            )

        job = describe()
        assert job.until(lambda: len(rows_of(out)) >= 80), job.said()
        job.kill(signal.SIGKILL)
        kept, before = rows_of(out), len(proxy.log)
        assert 80 <= len(kept) < 200
        again = describe().end()
        assert again.code == 0, again.err
        rows, log = rows_of(out), list(proxy.log)
    assert len(rows) == 200 and sorted(rows) == sorted(p.name for p in pictures.iterdir())
    assert all(rows[n] == kept[n] for n in kept)  # nothing was lost, nothing changed
    assert not sent(pictures, kept) & {
        e.picture for e in log[before:]
    }  # nothing was asked twice after its answer was stored
    answered = [e.picture for e in log if e.answered]
    assert 200 <= len(answered) <= 200 + 4  # at most what was under way at the kill
    faults = [e.kind for e in log if e.kind]
    assert set(faults) == set(KINDS) and 0.1 < len(faults) / len(log) < 0.3, (len(faults), len(log))
    assert {r['status'] for r in rows.values()} <= {'ok', 'repaired', 'marked'} and all(
        r['MOS'] == '' for r in rows.values()
    )
    assert {e.key for e in log} == {f'Bearer {KEY}'}  # it was sent, and
    no_key(tmp_path)  # written nowhere, though the proxy sent it back
    about = json.loads((tmp_path / 'd.json').read_text())
    assert (
        about['rows'] == 200
        and about['prompt'].startswith('Is there anything unrealistic')
        and about['tokens_out'] == sum(int(r['tokens_out']) for r in rows.values())
    )
    assert '200 rows in' in again.out and f'{len(kept)}' not in again.err
    assert (
        started(
            '-m',
            'realness.cli',
            'describe',
            pictures,
            '--csv',
            out,
            '--base-url',
            'http://127.0.0.1:9/v1',
            '--model',
            server.model,
            OPENAI_API_KEY=KEY,
        )
        .end()
        .code
        == 0
    )


def test_answers_belong_to_their_pictures(server, vlm, few):
    from realness.describe.endpoints import Endpoint
    from realness.describe.local_model import LocalModel

    there, here = (
        Endpoint(f'http://127.0.0.1:{server.port}/v1', server.model, max_tokens=WORDS),
        LocalModel(str(vlm), 'cpu', max_tokens=WORDS),
    )
    from realness.describe.run import describe

    said = {r['filename']: r['said'] for r in describe([few], there).rows}
    assert len(set(said.values())) > 1  # it looks at them
    assert said == {
        r['filename']: r['said'] for r in describe([few], here).rows
    }  # and the local model says the same
    assert (
        [there(few / n, 'q').text.strip() for n in said]
        == [here(few / n, 'q').text.strip() for n in said]
        != list(said.values())
    )  # the question counts


def test_interrupted(started, server, few, tmp_path):
    for i in range(40):
        noise(50 + i, (160, 120)).save(few / f'x{i}.png')
    argv = [
        'describe',
        few,
        '--csv',
        tmp_path / 'd.csv',
        '--base-url',
        f'http://127.0.0.1:{server.port}/v1',
        '--model',
        server.model,
        '--max-tokens',
        WORDS,
    ]
    job = started('-m', 'realness.cli', *argv)
    assert job.until(lambda: len(rows_of(tmp_path / 'd.csv')) > 5), job.said()
    said = job.kill(signal.SIGINT)
    assert (said.code, said.err.strip().splitlines()[-1]) == (
        130,
        'stopped; run the same command again to resume',
    ), said.err
    assert 'Traceback' not in said.err
    have = len(rows_of(tmp_path / 'd.csv'))
    assert 5 < have < 46
    again = started('-m', 'realness.cli', *argv).end()
    assert again.code == 0 and f'{46 - have} answers' in again.out, again.out


def test_secrets_stay_here(started, few, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = 'GEHEIM CAMERA'
    noise(3, (1200, 900)).save(few / 'place.jpg', exif=exif, comment=b'GEHEIM PLACE')
    with Proxy(9, share=1.0, late=0.1) as proxy:
        argv = [
            'describe',
            few,
            '--csv',
            'd.csv',
            '--base-url',
            proxy.url,
            '--model',
            'm',
            '--retries',
            0,
            '--timeout',
            2,
        ]
        r = started('-m', 'realness.cli', *argv, OPENAI_API_KEY=KEY).end()
        assert r.code == 1 and 'warning: ' in r.err and 'Traceback' not in r.err, r.err
        assert proxy.log and {e.key for e in proxy.log} == {f'Bearer {KEY}'}
    no_key(tmp_path)
    assert {r['status'] for r in rows_of(tmp_path / 'd.csv').values()} == {'error'}
    for url, word in (
        ('http://192.0.2.1/v1', '--allow-http'),
        (f'https://me:{KEY}@a.example/v1', 'environment variable'),
        ('https://a.example/v1', 'needs a key'),
    ):
        r = started('-m', 'realness.cli', 'describe', few, '--base-url', url, '--model', 'm').end()
        assert r.code == 2 and word in r.err and 'Geheim' not in r.err and r.err.count('\n') == 1, r.err


def test_on_the_fly(cli, trained, few, tmp_path):
    (tmp_path / 'mine.csv').write_text('filename,description\n0.png,"No. It is mine, and looks natural."\n')
    argv = [
        'predict',
        trained.run,
        few,
        '--csv',
        tmp_path / 'o.csv',
        '--descriptions',
        tmp_path / 'mine.csv',
        '--describe',
        '--fallback',
    ]
    first = cli(*argv)
    assert first.code == 0 and 'note: 5 scores use descriptions of the fallback' in first.err, first.err
    rows = list(csv.DictReader((tmp_path / 'o.csv').open(encoding='utf-8')))
    assert [r['sentence_source'] for r in rows] == ['csv'] + ['fallback'] * 5 and {
        r['modality'] for r in rows
    } == {'both'}
    again = cli(*argv)
    assert '0 answers' in again.err and (tmp_path / 'o.descriptions.csv').is_file(), again.err
    r = cli('predict', trained.run, few, '--descriptions', tmp_path / 'o.descriptions.csv', '--json')
    assert [json.loads(s)['sentence_source'] for s in r.out.splitlines()] == ['none'] + ['fallback'] * 5
    r = cli(
        'heatmap',
        few / '1.png',
        '--clip',
        'lite-clip',
        '--window',
        64,
        '--describe',
        '--fallback',
        '--out',
        tmp_path / 'maps',
        '--json',
    )
    assert r.code == 0 and json.loads(r.out)['sentence_source'] == 'fallback', r.err
    assert cli('predict', trained.run, few, '--fallback').code == 2
    assert 'choose who describes' in cli('predict', trained.run, few, '--describe').err


def test_plan_asks_nothing(cli, few, tmp_path):
    r = cli(
        'describe',
        few,
        '--csv',
        tmp_path / 'd.csv',
        '--base-url',
        'http://127.0.0.1:9/v1',
        '--model',
        'm',
        '--dry-run',
    )
    assert r.code == 0 and '6 requests' in r.out and not (tmp_path / 'd.csv').exists(), r.out


def test_stopped_while_nothing_answers(started, few, tmp_path):
    "A server that takes questions and never answers holds nobody: the second Ctrl-C ends at once."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        job = started(
            '-m',
            'realness.cli',
            'describe',
            few,
            '--csv',
            tmp_path / 'd.csv',
            '--base-url',
            f'http://127.0.0.1:{s.getsockname()[1]}/v1',
            '--model',
            'm',
            '--timeout',
            100,
        )
        s.settimeout(60)
        taken = s.accept()[0]  # a question has come
        os.kill(job.pid, signal.SIGINT)
        assert job.until(lambda: 'Ctrl-C again' in job.said(), 10), job.said()
        began = time.time()
        said = job.kill(signal.SIGINT)
        taken.close()
    assert (said.code, said.err.strip().splitlines()[-1]) == (
        130,
        'stopped; run the same command again to resume',
    ) and time.time() - began < 10, said.err
    assert 'Traceback' not in said.err and rows_of(tmp_path / 'd.csv') == {}
