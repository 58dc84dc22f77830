"""Scoring with Ray: the numbers of one process, and nothing lost or repeated after a kill.

Ray does not start beside JupyterLab, so these tests are skipped in the environment of the other tests.
CI runs them in a second environment; CONTRIBUTING.md has the command.
"""

import base64
import hashlib
import io
import json
import os
import signal
import tarfile
import threading
from collections import Counter
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image

from realness.describe.replay import JsonHandler

pytest.importorskip('ray')
pytestmark = pytest.mark.slow

N_IMAGES = 300
NUMBERS = ['mos', 'mos_100', 'mos_lo', 'mos_hi', 'domain_score', 'out_of_domain']
TEXTS = ['filename', 'digest', 'run', 'sentence_source', 'description', 'modality', 'error']


@pytest.fixture(scope='module')
def scored(trained, tmp_path_factory):
    """300 images, two of them damaged, and their scores from one process."""
    from system import noise

    from realness.regression.predict import load, predict

    root = tmp_path_factory.mktemp('ray')
    for i in range(N_IMAGES):
        noise(i, size=(160, 120)).save(root / f'{i:03d}.png', compress_level=1)
    (root / '007.png').write_text('not an image')
    (root / '008.png').write_bytes((root / '009.png').read_bytes()[:500])
    rows = predict(load(trained.run, 'cpu'), [root])
    return SimpleNamespace(images=root, rows=pd.DataFrame(rows).set_index('path').sort_index())


@pytest.fixture
def launch(started, trained, tmp_path):
    """Starts a command with two workers of Ray, and returns the job; the results are in `out`."""

    def run(*arguments):
        command = ['-m', 'realness.cli', *arguments, '--ray', '--ray-workers', '2', '--device', 'cpu']
        variables = dict(PYTHONPATH=os.environ.get('PYTHONPATH', ''), OMP_NUM_THREADS='1')
        return started(*command, '--out', tmp_path / 'out', cache=trained.cache, fresh=True, **variables)

    return run


@pytest.fixture
def start(launch, trained):
    """Starts `realness predict RUN ... --ray`, and returns the job."""
    return lambda *images: launch('predict', trained.run, *images)


def check_rows(folder: Path, expected: pd.DataFrame):
    """Each image has one row with the numbers of one process."""
    rows = pd.read_parquet(folder)
    assert rows.path.is_unique
    rows = rows.set_index('path').sort_index()
    assert rows.index.tolist() == expected.index.tolist()
    difference = (rows[NUMBERS].astype(float) - expected[NUMBERS].astype(float)).abs()
    assert difference.max().max() <= 1e-6
    assert rows[NUMBERS].isna().equals(expected[NUMBERS].isna())
    for column in TEXTS:
        assert rows[column].tolist() == expected[column].tolist(), column


def workers_of(pid: int) -> list:
    """The processes of the Ray workers that a command started."""
    parents, names = {}, {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parents[int(folder.name)] = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            names[int(folder.name)] = (folder / 'cmdline').read_text()
        except (OSError, ValueError):
            continue

    def belongs(process):
        while process in parents and process != pid:
            process = parents[process]
        return process == pid

    return [p for p, name in names.items() if name.startswith('ray::') and 'MapWorker' in name and belongs(p)]


def count_parts(folder: Path) -> int:
    return len(list(folder.glob('part-*.parquet')))


def test_same_numbers(start, scored, tmp_path):
    result = start(scored.images).end()
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == f'{N_IMAGES} rows in {tmp_path / "out"}, 2 with an error'
    check_rows(tmp_path / 'out', scored.rows)


def test_driver_killed(start, scored, tmp_path):
    job = start(scored.images)
    assert job.until(lambda: count_parts(tmp_path / 'out') >= 2), job.output()
    job.kill(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('part-*')}
    done = sum(len(pd.read_parquet(path)) for path in before)
    assert 0 < done < N_IMAGES
    result = start(scored.images).end()
    assert result.code == 0, result.err
    check_rows(tmp_path / 'out', scored.rows)


def test_worker_killed(start, scored, tmp_path):
    job = start(scored.images)
    assert job.until(lambda: count_parts(tmp_path / 'out') >= 1), job.output()
    [process, *_] = workers_of(job.pid)
    os.kill(process, signal.SIGKILL)
    result = job.end()
    assert result.code == 0, result.err
    check_rows(tmp_path / 'out', scored.rows)


def test_table_archive_and_url(start, scored, tmp_path):
    names = scored.rows.index[:10].tolist()
    table = tmp_path / 'table.parquet'
    paths = [str(scored.images / name) for name in names[:3]]
    pd.DataFrame(dict(path=paths, description=['', 'No. It is calm.', None])).to_parquet(table)
    with tarfile.open(tmp_path / 'shard-00.tar', 'w') as archive:
        for name in names[3:6]:
            archive.add(scored.images / name, name)
    url = f'file://{scored.images}/{names[9]}'
    result = start(table, tmp_path / 'shard-{00..00}.tar', url).end()
    assert result.code == 0, result.err
    rows = pd.read_parquet(tmp_path / 'out').set_index('filename')
    assert sorted(rows.index) == sorted([*names[:6], names[9]])
    assert rows.modality[names[1]] == 'both'
    same = [name for name in rows.index if name != names[1]]
    assert (rows.mos[same] - scored.rows.mos[same]).abs().max() <= 1e-6


def test_maps(launch, scored, tmp_path):
    """The maps of one machine, after a kill of a worker and of the command."""
    from realness.localization.cluster_maps import MapFolder
    from realness.localization.heatmap import heatmap

    folder = tmp_path / 'images'
    folder.mkdir()
    for name in scored.rows.index[:40]:
        (folder / name).symlink_to(scored.images / name)
    job = launch('heatmap', folder, '--variant', 'learned')
    assert job.until(lambda: count_parts(tmp_path / 'out') >= 1), job.output()
    [process, *_] = workers_of(job.pid)
    os.kill(process, signal.SIGKILL)
    assert job.until(lambda: count_parts(tmp_path / 'out') >= 3), job.output()
    job.kill(signal.SIGKILL)
    assert 0 < len(MapFolder(tmp_path / 'out')) < 40

    result = launch('heatmap', folder, '--variant', 'learned').end()
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == f'40 rows in {tmp_path / "out"}, 2 with an error'
    maps = MapFolder(tmp_path / 'out')
    assert maps.index.path.tolist() == sorted(path.name for path in folder.iterdir())
    assert maps.index.path[maps.index.error != ''].tolist() == ['007.png', '008.png']
    for path in ('000.png', '039.png'):
        alone = heatmap(folder / path, variant='learned', device='cpu')
        row = maps.index.set_index('path').loc[path]
        assert abs(row['mean'] - alone.mean()) <= 1e-6
        assert abs(maps[path].array - alone.array).max() <= 1e-3


def test_descriptions(launch, scored, tmp_path):
    """A server that cannot be reached gives rows with an error; nothing hangs."""
    server = ('--base-url', 'http://127.0.0.1:9/v1', '--model', 'none', '--retries', '0')
    names = [scored.images / name for name in scored.rows.index[:20]]
    job = launch('describe', *names, *server)
    result = job.end()
    assert result.code == 1, result.err
    rows = pd.read_parquet(tmp_path / 'out')
    assert sorted(rows.filename) == scored.rows.index[:20].tolist()
    assert rows.error.str.contains('the connection failed|not an image|truncated').all()


class DescribingServer(ThreadingHTTPServer):
    """Describes images by their brightness. While `busy`, it refuses about a third of them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), DescribingHandler)
        self.busy = True
        self.asked = Counter()  # answered images, by the digest of what was sent
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, body):
        """(status, body) of the response."""
        [url] = [part['image_url']['url'] for part in body['messages'][0]['content'] if 'image_url' in part]
        jpeg = base64.b64decode(url.split(',', 1)[1])
        digest = hashlib.sha256(jpeg).hexdigest()
        if self.busy and int(digest, 16) % 3 == 0:
            return 503, dict(error=dict(message='busy'))
        self.asked[digest] += 1
        with Image.open(io.BytesIO(jpeg)) as image:
            grey = image.convert('L').resize((1, 1)).getpixel((0, 0))
        text = json.dumps(dict(answer='Yes', description=f'The mean is {grey}.', rating=50, regions=[]))
        choice = dict(index=0, finish_reason='stop', message=dict(role='assistant', content=text))
        usage = dict(prompt_tokens=100, completion_tokens=20, total_tokens=120)
        return 200, dict(
            id='1', object='chat.completion', created=0, model='m', choices=[choice], usage=usage
        )


class DescribingHandler(JsonHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['content-length'])))
        self.respond(*self.server.answer(body))


@pytest.fixture
def describing():
    server = DescribingServer()
    yield server
    server.shutdown()


def test_descriptions_from_a_server(launch, scored, tmp_path, describing):
    """Refused images are rows with an error; the same command asks for them alone, as one machine does."""
    from realness.describe.endpoints import Endpoint
    from realness.describe.run import describe

    paths = [scored.images / name for name in scored.rows.index[:40]]
    address = f'http://127.0.0.1:{describing.server_port}/v1'
    command = ('describe', *paths, '--base-url', address, '--model', 'm', '--retries', '0')
    result = launch(*command).end()
    assert result.code == 0, result.err
    rows = pd.read_parquet(tmp_path / 'out').set_index('filename').sort_index()
    refused = rows.index[rows.error.str.contains('busy|503')].tolist()
    damaged = ['007.png', '008.png']
    assert len(rows) == 40 and 5 < len(refused) < 25
    assert rows.index[rows.error != ''].tolist() == sorted([*refused, *damaged])
    assert f'40 rows in {tmp_path / "out"}, {len(refused) + 2} with an error' in result.out
    assert describing.asked.total() == 38 - len(refused)

    describing.busy = False
    result = launch(*command).end()
    assert result.code == 0, result.err
    rows = pd.read_parquet(tmp_path / 'out').set_index('filename').sort_index()
    assert rows.index[rows.error != ''].tolist() == damaged
    assert set(describing.asked.values()) == {1}  # nothing was asked twice
    assert rows.tokens_in.sum() == 100 * 38

    alone = describe(paths[:6], Endpoint(address, 'm')).rows
    for row in alone:
        assert rows.loc[Path(row['filename']).name, 'description'] == row['description']
