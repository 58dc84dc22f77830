"""Descriptions from a real server with a real (random, tiny) model, through a proxy that breaks requests."""

import base64
import csv
import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_vlm
from browser import free_port, served
from conftest import shared_folder
from faults import FAULTS, Proxy
from PIL import Image
from system import environment, noise

from realness.describe.transfer import SIDE, small_jpeg

pytest.importorskip('openai', reason='needs the extra describe: pip install "realness[describe]"')
KEY = 'sk-loopback/Secret+4711'
KEY_PART = b'Secret'  # part of every encoding of the key
MAX_TOKENS = 20
STOPPED = 'stopped; run the same command again to resume'
N_IMAGES = 200
pytestmark = pytest.mark.xdist_group('vlm')  # one server for all tests of this file


@pytest.fixture(scope='session')
def vlm(tmp_path_factory):
    """A folder with the tiny vision-language model."""
    with shared_folder(tmp_path_factory, 'vlm') as folder:
        if not (folder / 'config.json').is_file():
            tiny_vlm.save(folder)
    return folder


@pytest.fixture(scope='session')
def server(vlm, tmp_path_factory):
    """`transformers serve` with the tiny model: `port`, `model` (its name) and `url`."""
    pytest.importorskip('fastapi', reason='needs a server: pip install "transformers[serving]"')
    port = free_port()
    address = f'http://127.0.0.1:{port}'
    folder = tmp_path_factory.mktemp('server')
    program = Path(sys.executable).with_name('transformers')
    command = [program, 'serve', '--host', '127.0.0.1', '--port', port, '--device', 'cpu', vlm]
    with served(command, f'{address}/health', folder, environment(folder)):
        yield SimpleNamespace(port=port, model=str(vlm), url=f'{address}/v1')


@pytest.fixture
def two_hundred_images(tmp_path):
    """200 images of the demo data."""
    from realness.demo import demo_data

    files = sorted((demo_data() / 'train/images').glob('*.png'))[:N_IMAGES]
    assert len(files) == N_IMAGES
    folder = tmp_path / 'many'
    folder.mkdir()
    for file in files:
        os.symlink(file, folder / file.name)
    return folder


@pytest.fixture
def six_images(tmp_path):
    """Six small images of noise, 0.png to 5.png."""
    folder = tmp_path / 'six'
    folder.mkdir()
    for i in range(6):
        noise(i, (160, 120)).save(folder / f'{i}.png')
    return folder


def read_table(path) -> dict:
    """The complete rows of a growing table by file name; every name occurs once."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding='utf-8')
    complete = text[: text.rfind('\n') + 1]
    rows = list(csv.DictReader(complete.splitlines()))
    by_name = {row['filename']: row for row in rows}
    assert len(by_name) == len(rows)
    return by_name


def digests_as_sent(folder, names) -> set:
    """The digests of images as the proxy logs them."""
    digests = set()
    for name in names:
        data = base64.b64encode(small_jpeg(folder / name, SIDE)).decode()
        digests.add(hashlib.sha256(f'data:image/jpeg;base64,{data}'.encode()).hexdigest())
    return digests


def assert_no_key(folder):
    """Assert that no file in a folder contains the key."""
    for file in Path(folder).rglob('*'):
        if file.is_file() and not file.is_symlink():
            assert KEY_PART not in file.read_bytes(), file


def test_two_hundred_through_faults(started, server, two_hundred_images, tmp_path):
    """After a kill and a second start, nothing is lost, no image is sent twice, no key is written."""
    table = tmp_path / 'd.csv'

    def describe(url):
        options = ['--csv', table, '--base-url', url, '--model', server.model, '--max-tokens', MAX_TOKENS]
        more = ['--timeout', 3, '--parallel', 4, '--ask', 'sentence']
        variables = dict(OPENAI_API_KEY=KEY, OPENAI_LOG='debug')
        return started('-m', 'realness.cli', 'describe', two_hundred_images, *options, *more, **variables)

    with Proxy(server.port, seed=1) as proxy:
        job = describe(proxy.url)
        assert job.until(lambda: len(read_table(table)) >= 80), job.output()
        job.kill(signal.SIGKILL)
        first_rows = read_table(table)
        n_first = len(proxy.log)
        assert 80 <= len(first_rows) < N_IMAGES
        resumed = describe(proxy.url).end()
        assert resumed.code == 0, resumed.err
        rows = read_table(table)
        log = list(proxy.log)

    # Every image has one row, and no row of the killed run was lost or changed.
    assert sorted(rows) == sorted(path.name for path in two_hundred_images.iterdir())
    assert all(rows[name] == row for name, row in first_rows.items())
    # No image was sent again after its answer was stored.
    assert not digests_as_sent(two_hundred_images, first_rows) & {entry.image for entry in log[n_first:]}
    # At most the four pending requests were answered twice.
    assert N_IMAGES <= sum(entry.answered for entry in log) <= N_IMAGES + 4
    # All faults occurred.
    faults = [entry.fault for entry in log if entry.fault]
    assert set(faults) == set(FAULTS)
    assert 0.1 < len(faults) / len(log) < 0.3
    # The rows are in the format of the data.
    assert {row['status'] for row in rows.values()} <= {'ok', 'repaired', 'marked'}
    assert all(row['MOS'] == '' for row in rows.values())
    # The key was sent to the server, and written nowhere, although the proxy sent it back.
    assert {entry.key for entry in log} == {f'Bearer {KEY}'}
    assert_no_key(tmp_path)

    record = json.loads(table.with_suffix('.json').read_text())
    assert record['rows'] == N_IMAGES
    assert record['prompt'].startswith('Is there anything unrealistic')
    assert record['tokens_out'] == sum(int(row['tokens_out']) for row in rows.values())
    assert f'{N_IMAGES} rows in' in resumed.out
    # A complete table needs no server.
    assert describe('http://127.0.0.1:9/v1').end().code == 0


def test_answers_depend_on_image_and_prompt(server, vlm, six_images):
    """The server and the local model give the same answers, which depend on image and prompt."""
    from realness.describe import Endpoint, LocalModel, describe

    endpoint = Endpoint(server.url, server.model, max_tokens=MAX_TOKENS)
    local = LocalModel(str(vlm), 'cpu', max_tokens=MAX_TOKENS)
    remote_answers = {row['filename']: row['said'] for row in describe([six_images], endpoint).rows}
    local_answers = {row['filename']: row['said'] for row in describe([six_images], local).rows}
    assert remote_answers == local_answers
    assert len(set(remote_answers.values())) > 1
    other = [endpoint(six_images / name, 'q').text.strip() for name in remote_answers]
    assert other == [local(six_images / name, 'q').text.strip() for name in remote_answers]
    assert other != list(remote_answers.values())


def test_a_server_that_ignores_response_format(realness, server, six_images, tmp_path):
    """`transformers serve` accepts the schema and ignores it. The run says how many answers were JSON."""
    table = tmp_path / 'd.csv'
    options = ('--csv', table, '--base-url', server.url, '--model', server.model, '--max-tokens', MAX_TOKENS)
    result = realness('describe', six_images, *options)
    assert result.code == 0, result.err
    assert 'note: answers by json_schema: 0 of 6 answers were bare JSON' in result.out
    record = json.loads(table.with_suffix('.json').read_text())
    assert [record[name] for name in ('ask', 'answer_format', 'json_answers')] == [
        'judgement',
        'json_schema',
        0,
    ]
    assert {row['regions'] for row in read_table(table).values()} == {''}


def test_ctrl_c(started, server, six_images, tmp_path):
    """The table holds all answers, and the same command describes the remaining images."""
    for i in range(40):
        noise(50 + i, (160, 120)).save(six_images / f'x{i}.png')
    table = tmp_path / 'd.csv'
    options = ['--base-url', server.url, '--model', server.model, '--max-tokens', MAX_TOKENS]
    command = ['-m', 'realness.cli', 'describe', six_images, '--csv', table, *options]
    job = started(*command)
    assert job.until(lambda: len(read_table(table)) > 5), job.output()
    result = job.kill(signal.SIGINT)
    assert result.code == 130
    assert result.err.strip().splitlines()[-1] == STOPPED
    assert 'Traceback' not in result.err
    n_described = len(read_table(table))
    assert 5 < n_described < 46
    resumed = started(*command).end()
    assert resumed.code == 0
    assert f'{46 - n_described} answers' in resumed.out


def test_ctrl_c_before_any_answer(started, six_images, tmp_path):
    """A server that accepts requests and never answers: the second Ctrl-C ends the command at once."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        silent.settimeout(60)
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/v1'
        options = ['--csv', tmp_path / 'd.csv', '--base-url', url, '--model', 'm', '--timeout', 100]
        job = started('-m', 'realness.cli', 'describe', six_images, *options)
        connection, _ = silent.accept()
        for _ in range(5):  # Python loses an interrupt that is raised in a weakref callback
            os.kill(job.pid, signal.SIGINT)
            if job.until(lambda: 'press Ctrl-C again' in job.output(), 10):
                break
        assert 'press Ctrl-C again' in job.output(), job.output()
        start = time.time()
        result = job.kill(signal.SIGINT)
        connection.close()
    assert time.time() - start < 15  # less than the 20 s for pending answers
    assert result.code == 130
    assert result.err.strip().splitlines()[-1] == STOPPED
    assert 'Traceback' not in result.err
    assert read_table(tmp_path / 'd.csv') == {}


def test_a_server_that_always_fails(realness, six_images, tmp_path):
    """Every image gets a row with an error. No metadata is sent, and the key is in no file."""
    exif = Image.Exif()
    exif[0x010F] = 'PRIVATE CAMERA'
    noise(3, (1200, 900)).save(six_images / 'place.jpg', exif=exif, comment=b'PRIVATE PLACE')
    with Proxy(9, share=1.0, delay=0.1) as proxy:
        options = ('--csv', 'd.csv', '--base-url', proxy.url, '--model', 'm', '--retries', 0, '--timeout', 2)
        result = realness('describe', six_images, *options, OPENAI_API_KEY=KEY)
        assert result.code == 1
        assert 'warning: ' in result.err
        assert 'Traceback' not in result.err
        assert {entry.key for entry in proxy.log} == {f'Bearer {KEY}'}
        assert len(proxy.log) == 7
        assert not any(b'PRIVATE' in entry.jpeg for entry in proxy.log)
    assert_no_key(tmp_path)
    assert {row['status'] for row in read_table(tmp_path / 'd.csv').values()} == {'error'}


@pytest.mark.parametrize(
    ('url', 'message'),
    [
        ('http://192.0.2.1/v1', '--allow-http'),
        (f'https://me:{KEY}@a.example/v1', 'environment variable'),
        ('https://a.example/v1', 'needs a key'),
    ],
    ids=['http', 'password', 'no key'],
)
def test_unsafe_addresses(realness, six_images, url, message):
    result = realness('describe', six_images, '--base-url', url, '--model', 'm')
    assert result.code == 2
    assert message in result.err
    assert KEY_PART.decode() not in result.err
    assert result.err.count('\n') == 1


def test_predict_with_describe(cli, trained, six_images, tmp_path):
    descriptions = tmp_path / 'own.csv'
    descriptions.write_text('filename,description\n0.png,"No. It is mine, and looks natural."\n')
    table = tmp_path / 'o.csv'
    options = ('--csv', table, '--descriptions', descriptions, '--describe', '--fallback')
    result = cli('predict', trained.run, six_images, *options)
    assert result.code == 0, result.err
    assert 'note: 5 scores use descriptions of the fallback' in result.err
    rows = read_table(table).values()
    assert [row['sentence_source'] for row in rows] == ['csv', *['fallback'] * 5]
    assert {row['modality'] for row in rows} == {'both'}
    again = cli('predict', trained.run, six_images, *options)
    assert '0 answers' in again.err
    stored = tmp_path / 'o.descriptions.csv'
    result = cli('predict', trained.run, six_images, '--descriptions', stored, '--json')
    sources = [json.loads(line)['sentence_source'] for line in result.out.splitlines()]
    assert sources == ['none', *['fallback'] * 5]


def test_heatmap_with_describe(cli, six_images, tmp_path):
    options = ('--clip', 'lite-clip', '--window', 64, '--out', tmp_path / 'maps', '--json')
    result = cli('heatmap', six_images / '1.png', *options, '--describe', '--fallback')
    assert result.code == 0, result.err
    assert json.loads(result.out)['sentence_source'] == 'fallback'


def test_describe_options_that_exclude_each_other(cli, trained, six_images):
    assert cli('predict', trained.run, six_images, '--fallback').code == 2
    result = cli('predict', trained.run, six_images, '--describe')
    assert result.code == 2
    assert 'choose a model that describes the images' in result.err


def test_a_dry_run_sends_nothing(realness, six_images, tmp_path):
    table = tmp_path / 'd.csv'
    options = ('--csv', table, '--base-url', 'http://127.0.0.1:9/v1', '--model', 'm', '--dry-run')
    result = realness('describe', six_images, *options)
    assert result.code == 0
    assert '6 requests' in result.out
    assert not table.exists()
