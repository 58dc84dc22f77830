"""Structured answers from a server that replays recorded ones, through a proxy that breaks requests."""

import base64
import csv
import io
import json
import os
import shutil
import signal
from collections import Counter

import pytest
from faults import Proxy
from PIL import Image

from realness.config import RealnessError

pytest.importorskip('openai', reason='needs the extra describe: pip install "realness[describe]"')
VOTES = 3
N_IMAGES = 8
OLD_COLUMNS = 11  # of tables with sentences only


def read_rows(path) -> list:
    """The complete rows of a growing table."""
    if not path.is_file():
        return []
    text = path.read_text(encoding='utf-8')
    return list(csv.DictReader(text[: text.rfind('\n') + 1].splitlines()))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Eight demo images that have three recorded answers each."""
    from realness.demo import demo_data
    from realness.describe.recorded import read_records

    counts = Counter(record.filename for record in read_records())
    names = sorted(name for name, n in counts.items() if n == VOTES)[:N_IMAGES]
    folder = tmp_path_factory.mktemp('recorded') / 'images'
    folder.mkdir()
    for name in names:
        os.symlink(demo_data() / name, folder / name.rpartition('/')[2])
    assert len(names) == N_IMAGES
    return folder


@pytest.fixture(scope='module')
def server(images):
    from realness.describe.replay import ReplayServer

    with ReplayServer([images]) as server:
        yield server


def options_for(server, url=None):
    return ['--base-url', url or server.url, '--model', server.model]


def test_votes_through_faults_and_a_kill(started, server, images, tmp_path):
    """After a kill and a second start every image has three votes, and no stored vote is requested again."""
    table = tmp_path / 'd.csv'
    parts = tmp_path / 'd.parts.csv'

    def describe(url):
        options = ['--csv', table, '--votes', VOTES, '--timeout', 3, '--parallel', 4]
        return started('-m', 'realness.cli', 'describe', images, *options, *options_for(server, url))

    with Proxy(server.server_port, seed=2, delay=0.5) as proxy:
        job = describe(proxy.url)
        assert job.until(lambda: len(read_rows(parts)) >= 6), job.output()
        job.kill(signal.SIGKILL)
        first_parts = read_rows(parts)
        n_first = sum(entry.answered for entry in proxy.log)
        resumed = describe(proxy.url).end()
        assert resumed.code == 0, resumed.err
        n_answered = sum(entry.answered for entry in proxy.log)

    rows = read_rows(table)
    by_key = {row['part']: row for row in read_rows(parts)}
    assert len(rows) == N_IMAGES
    assert len(by_key) == N_IMAGES * VOTES
    assert all(by_key[row['part']] == row for row in first_parts)
    # At most the four pending requests of the killed run were answered twice.
    assert n_answered - n_first <= N_IMAGES * VOTES - len(first_parts)
    assert n_answered <= N_IMAGES * VOTES + 4
    assert all(row['answer'] and row['rating'] and row['rating_sd'] and row['regions'] for row in rows)
    record = json.loads(table.with_suffix('.json').read_text())
    assert [record[name] for name in ('votes', 'temperature', 'boxes')] == [VOTES, 0.7, 'thousandths']
    # A complete table needs no server.
    assert describe('http://127.0.0.1:9/v1').end().code == 0


def test_the_request_and_the_regions(realness, server, images, tmp_path):
    """The request has the schema and an enlarged image; table and COCO file have the same regions."""
    from realness.regions import read_regions

    table, coco = tmp_path / 'd.csv', tmp_path / 'boxes.json'
    n_before = len(server.requests)
    result = realness('describe', images, '--csv', table, '--coco', coco, *options_for(server))
    assert result.code == 0, result.err
    assert f'regions of {N_IMAGES} images in' in result.err
    assert len(server.requests) - n_before == N_IMAGES
    check_request(server.requests[-1])
    from_table, from_coco = read_regions(table), read_regions(coco)
    assert set(from_table) == set(from_coco)
    assert any(from_table.values())
    for name, regions in from_table.items():
        for region, other in zip(regions, from_coco[name], strict=True):
            assert max(abs(a - b) for a, b in zip(region.box, other.box, strict=True)) < 1e-3
            assert region.severity == other.severity


def check_request(body):
    """Assert that a request asks for a judgement of an enlarged image."""
    assert body['response_format']['json_schema']['strict'] is True
    picture, text = body['messages'][0]['content']
    jpeg = base64.b64decode(picture['image_url']['url'].split(',')[1])
    assert max(Image.open(io.BytesIO(jpeg)).size) == 768
    assert 'thousandths of the width' in text['text']


def test_a_map_of_the_regions(realness, server, images, tmp_path):
    """`heatmap --describe` draws the regions of the answers; a description in the table remains."""
    image = min(images.iterdir())
    table = tmp_path / 'own.csv'
    table.write_text(f'filename,description\n{image.name},No. It is mine.\n')
    maps = tmp_path / 'maps'
    options = ['--data', table, '--variant', 'fused', '--describe', *options_for(server), '--json']
    result = realness('heatmap', image, '--out', maps, *options)
    assert result.code == 0, result.err
    row = json.loads(result.out)
    assert row['notes'] == ''  # made from regions
    assert row['sentence_source'] == 'csv'
    regions = json.loads(read_rows(maps / 'descriptions.csv')[0]['regions'])
    marked = json.loads((maps / f'{image.stem}.json').read_text())['marked']
    boxes = [[region[name] for name in ('x0', 'y0', 'x1', 'y1')] for region in marked]
    assert boxes == [region['box'] for region in regions]


def test_a_table_of_sentences_is_continued(realness, server, images, tmp_path):
    """A table without the columns of judgements is continued with the question that it was begun with."""
    from realness.describe import Endpoint, describe

    table = tmp_path / 'd.csv'
    model = Endpoint(server.url, server.model)
    describe([images], model, table, ask='sentence', limit=5)
    rows = list(csv.reader(table.read_text().splitlines()))
    table.write_text(''.join(','.join(f'"{cell}"' for cell in row[:OLD_COLUMNS]) + '\n' for row in rows))
    table.with_suffix('.json').unlink()
    result = realness('describe', images, '--csv', table, *options_for(server))
    assert result.code == 0, result.err
    assert 'was begun with --ask sentence and is continued with it' in result.out
    assert f'{N_IMAGES - 5} answers' in result.out
    assert {row['status'] for row in read_rows(table)} == {'ok'}
    with pytest.raises(RealnessError, match=r'ask .*--overwrite'):
        describe([images], model, table, ask='judgement')


def test_the_replay_command(started, realness, images, tmp_path):
    """`python -m realness.describe.replay` prints an address that `realness describe` can use."""
    one = tmp_path / 'one'
    one.mkdir()
    shutil.copy(next(images.iterdir()).resolve(), one)
    job = started('-m', 'realness.describe.replay', images, '--port', 0, fresh=True)
    assert job.until(lambda: 'stop with Ctrl-C' in job.output(), 60), job.output()
    url, _, rest = job.output().strip().splitlines()[-1].partition(' ')
    model = rest.split(' as ')[1].split(';')[0]
    assert realness('describe', one, '--base-url', url, '--model', model).code == 0
    job.kill(signal.SIGINT)
