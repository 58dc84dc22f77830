"What every test needs: no model hub, and a cache of its own."

import os

import pytest

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault(
    'OMP_WAIT_POLICY', 'passive'
)  # before torch: threads that spin while they wait slow a busy machine down


@pytest.fixture
def tmp_cache(tmp_path, monkeypatch):
    "An empty cache folder, used by everything that asks `realness.config.cache_dir`."
    path = tmp_path / 'cache'
    path.mkdir()
    monkeypatch.setenv('REALNESS_CACHE', str(path))
    return path


@pytest.fixture(scope='session')
def warm():
    "A process that forks for each command; None where there is no fork."
    from system import Warm

    if not hasattr(os, 'fork'):
        return (yield None)
    process = Warm()
    yield process
    process.close()


@pytest.fixture
def started(warm, tmp_path):
    "Starts a command in a process of its own: `started('-m', 'realness.cli', 'train', …)`."
    from system import Job, environment

    jobs = []

    def start(*argv, cache=None, cwd=None, stdin='', fresh=False, **env):
        argv, env = [str(a) for a in argv], environment(cache or tmp_path / 'cache', **env)
        jobs.append(Job(argv, cwd or tmp_path, env, stdin, None if fresh else warm))
        return jobs[-1]

    yield start
    for j in jobs:
        if j.poll() is None:
            os.kill(j.pid, 9)


@pytest.fixture
def cli(started, trained):
    "Runs `realness …` to its end, with the cache of the trained run; gives code, out, err."

    def run(*argv, **kw):
        return started('-m', 'realness.cli', *argv, **dict(dict(cache=trained.cache), **kw)).end()

    return run


@pytest.fixture(scope='session')
def trained(tmp_path_factory, warm):
    "A run trained once by the command line, its data and its cache."
    from types import SimpleNamespace

    from system import Job, environment, write_split

    root = tmp_path_factory.mktemp('trained')
    for split, n, seed in (('train', 20, 0), ('test', 8, 100)):
        write_split(root / 'data' / split, n, seed)
    argv = [
        '-m',
        'realness.cli',
        'train',
        '--data',
        'data',
        '--encoders',
        'lite',
        '--head',
        'svr',
        '--seed',
        '0',
        '--out',
        'run',
    ]
    said = Job(argv, root, environment(root / 'cache')).end()
    return SimpleNamespace(root=root, data=root / 'data', run=root / 'run', cache=root / 'cache', said=said)
