"""Fixtures that several test files share.

Tests may run in parallel (`pytest -n 2`). One worker makes an expensive fixture, in a folder that all
workers share; the others wait for it.
"""

import gc
import json
import os
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from filelock import FileLock

# huggingface_hub and torch read these variables when they are imported
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # waiting threads do not occupy a core


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: takes seconds; leave these out with -m "not slow"')


@contextmanager
def shared_folder(tmp_path_factory, name: str):
    """A folder that all workers share, locked while it is filled."""
    base = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        base = base.parent
    with FileLock(base / f'{name}.lock'):
        yield base / name


@pytest.fixture(scope='module', autouse=True)
def freed_memory():
    """After each file of tests, forget its CLIP models and return freed memory: workers grew to 11 GB."""
    yield
    clip = sys.modules.get('realness.localization.clip')
    if clip:
        clip._load_once.cache_clear()
    if 'torch' in sys.modules:
        from realness.freed_memory import return_freed_memory

        gc.collect()
        return_freed_memory()


@pytest.fixture
def tmp_cache(tmp_path, monkeypatch):
    """An empty cache folder; everything that calls `realness.config.cache_dir` uses it."""
    path = tmp_path / 'cache'
    path.mkdir()
    monkeypatch.setenv('REALNESS_CACHE', str(path))
    return path


@pytest.fixture(scope='session')
def fork_server():
    """The process that forks for each command; None on systems without fork."""
    from system import ForkServer

    if not hasattr(os, 'fork'):
        yield None
        return
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def started(fork_server, tmp_path):
    """Starts Python with arguments in a process of its own: `started('-m', 'realness.cli', 'train', ...)`.

    `cache` and `cwd` are folders, `stdin` is a text, `fresh` starts a new interpreter instead of forking, and
    further keywords are environment variables. Returns a `Job`; it is killed if it outlives the test.
    """
    from system import Job, environment

    jobs = []

    def start(*arguments, cache=None, cwd=None, stdin='', fresh=False, **variables):
        arguments = [str(argument) for argument in arguments]
        env = environment(cache or tmp_path / 'cache', **variables)
        jobs.append(Job(arguments, cwd or tmp_path, env, stdin, None if fresh else fork_server))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.poll() is None:
            os.kill(job.pid, 9)


@pytest.fixture
def realness(started):
    """Runs `realness ...` with an empty cache and the keywords of `started`. Returns a `Result`."""

    def run(*arguments, **settings):
        return started('-m', 'realness.cli', *arguments, **settings).end()

    return run


@pytest.fixture
def realness_here(tmp_path, monkeypatch):
    """Runs `realness ...` in this process, where nothing depends on a process of its own. Returns a `Result`.

    Libraries are imported once for all calls; the command has its own cache and working folder.
    """
    from system import Result
    from typer.testing import CliRunner

    from realness.cli import app

    def run(*arguments, cache=None):
        monkeypatch.setenv('REALNESS_CACHE', str(cache or tmp_path / 'cache'))
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return Result(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def cli(realness, trained):
    """Runs `realness ...` with the cache of the trained run. Returns a `Result`."""

    def run(*arguments, **settings):
        return realness(*arguments, **dict(cache=trained.cache) | settings)

    return run


@pytest.fixture(scope='session')
def trained(tmp_path_factory, fork_server):
    """A run that `realness train` made: `root`, `data`, `run`, `cache`, and the `result` of the command."""
    from system import Job, Result, environment, write_split

    with shared_folder(tmp_path_factory, 'trained') as root:
        record = root / 'result.json'
        if not record.is_file():
            write_split(root / 'data/train', 20, seed=0)
            write_split(root / 'data/test', 8, seed=100)
            command = '-m realness.cli train --data data --encoders lite --head svr --seed 0 --out run'
            result = Job(command.split(), root, environment(root / 'cache'), server=fork_server).end()
            record.write_text(json.dumps(result), encoding='utf-8')
    result = Result(*json.loads(record.read_text(encoding='utf-8')))
    return SimpleNamespace(
        root=root, data=root / 'data', run=root / 'run', cache=root / 'cache', result=result
    )
