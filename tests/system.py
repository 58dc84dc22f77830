"""Run commands in processes of their own, and write small data sets of noise."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

# A server process that has imported the model libraries, but nothing of realness, and forks for each command.
# A command then starts at once instead of after ten seconds. It is still a process with imports of its own
# that can be killed. The server reads one JSON object a line and answers with one JSON value a line.
FORK_SERVER = r"""
import gc, json, os, runpy, signal, sys
import huggingface_hub, pandas, safetensors.torch, scipy.stats, sklearn.model_selection, sklearn.svm
import timm, torch, torchvision, transformers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
import matplotlib.pyplot
try:
    import openai
except ImportError:  # the extra describe is not installed
    pass

assert not any(name.split('.')[0] == 'realness' for name in sys.modules)


def redirect(files):
    'Read standard input from a file, and write standard output and standard error to files.'
    modes = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
    for number, (name, mode) in enumerate(zip(files, modes, strict=True)):
        os.dup2(os.open(name, mode), number)
    sys.stdin = open(0, encoding='utf-8', closefd=False)


def run(arguments):
    'Run `-c CODE ...` or `-m MODULE ...` as python does; returns the exit code.'
    sys.argv = [arguments[0], *arguments[2:]]
    sys.orig_argv = ['python', *arguments]
    try:
        if arguments[0] == '-c':
            exec(compile(arguments[1], '<string>', 'exec'), {'__name__': '__main__'})
        else:
            runpy.run_module(arguments[1], run_name='__main__', alter_sys=True)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def start(job):
    'Run a command in this process, which was forked for it.'
    signal.signal(signal.SIGINT, signal.default_int_handler)
    redirect(job['files'])
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    sys.path.insert(0, job['cwd'])
    code = run(job['arguments'])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # skip the clean-up of the libraries, which takes seconds


gc.collect()
gc.freeze()
print('ready', flush=True)
for line in iter(sys.stdin.readline, ''):
    job = json.loads(line)
    if 'poll' in job:
        pid, status = os.waitpid(job['poll'], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        start(job)
    print(pid, flush=True)
"""

PROJECT_VARIABLES = ('PROJECT_ROOT', 'REALNESS_ENCODERS', 'REALNESS_CACHE', 'REALNESS_PROGRESS')


def environment(cache: Path | str, **more: str) -> dict:
    """The environment variables of a command: its own cache, no model hub, no settings of the caller."""
    inherited = {name: value for name, value in os.environ.items() if name not in PROJECT_VARIABLES}
    fixed = dict(
        HF_HUB_OFFLINE='1',
        OMP_WAIT_POLICY='passive',
        REALNESS_CACHE=str(cache),
        MPLBACKEND='Agg',
        PYTHONIOENCODING='utf-8',
        COLUMNS='200',
    )
    return inherited | fixed | more


class Result(NamedTuple):
    """How a command ended."""

    code: int  # exit code; minus the signal that ended it
    out: str  # standard output
    err: str  # standard error


class ForkServer:
    """The process that forks for each command."""

    def __init__(self):
        env = environment(tempfile.gettempdir(), PYTHONWARNINGS='ignore')
        command = [sys.executable, '-c', FORK_SERVER]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True)
        assert self.process.stdout.readline() == 'ready\n'

    def request(self, job: dict):
        """Start a command, or poll a started one; returns the answer of the server."""
        self.process.stdin.write(json.dumps(job) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def _restore_interrupt():
    """Let SIGINT end a command although the shell that runs the tests in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Job:
    """A started command. Its output goes to files, so that nothing of it is lost when it is killed."""

    def __init__(
        self, arguments: list, cwd: Path, env: dict, stdin: str = '', server: ForkServer | None = None
    ):
        folder = Path(tempfile.mkdtemp(dir=cwd, prefix='.job-'))
        self.files = [folder / name for name in ('in', 'out', 'err')]
        for file, text in zip(self.files, (stdin, '', ''), strict=True):
            file.write_text(text, encoding='utf-8')
        self.server = server
        self.code = None
        if server:
            files = [str(file) for file in self.files]
            self.pid = server.request(dict(arguments=arguments, cwd=str(cwd), env=env, files=files))
        else:
            self.pid = self._start(arguments, cwd, env)

    def _start(self, arguments, cwd, env):
        read, write, write_errors = self.files
        with open(read) as stdin, open(write, 'w') as stdout, open(write_errors, 'w') as stderr:
            streams = dict(stdin=stdin, stdout=stdout, stderr=stderr, preexec_fn=_restore_interrupt)
            self.process = subprocess.Popen([sys.executable, *arguments], cwd=cwd, env=env, **streams)
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code, or None while the command runs."""
        if self.code is None:
            self.code = self.server.request(dict(poll=self.pid)) if self.server else self.process.poll()
        return self.code

    def until(self, condition: Callable, limit: float = 120) -> bool:
        """Wait until a condition holds; returns whether it did while the command still ran."""
        end = time.time() + limit
        while time.time() < end and self.poll() is None:
            if condition():
                return True
            time.sleep(0.02)
        return False

    def kill(self, signal_number: int) -> Result:
        """Send a signal to the running command and wait for its end."""
        assert self.poll() is None, self.output()
        os.kill(self.pid, signal_number)
        return self.end()

    def output(self) -> str:
        """Standard output and standard error so far."""
        return '\n'.join(file.read_text(encoding='utf-8') for file in self.files[1:])

    def end(self, limit: float = 240) -> Result:
        """Wait for the end of the command."""
        self.until(lambda: False, limit)
        assert self.code is not None, f'still running after {limit} s: {self.output()}'
        out, err = (file.read_text(encoding='utf-8') for file in self.files[1:])
        return Result(self.code, out, err)


def noise(seed: int, size: tuple = (512, 384)) -> Image.Image:
    """An image of coarse noise. The grain depends on the seed, so that a model sees differences."""
    rng = np.random.default_rng(seed)
    n = 4 + seed % 7 * 6
    pixels = rng.integers(0, 256, (n * 3, n * 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def write_table(
    split: Path, rows: list, header: str = 'filename,MOS,description', encoding: str = 'utf-8'
) -> None:
    """Write image_descriptions.csv with these lines."""
    split.mkdir(parents=True, exist_ok=True)
    text = '\n'.join([header, *rows, ''])
    (split / 'image_descriptions.csv').write_bytes(text.encode(encoding))


def write_split(split: Path, n: int, seed: int = 0, size: tuple = (512, 384)) -> Path:
    """Write a split of `n` images, named in turn as photographs (r*) and as generated images (f*)."""
    (split / 'images').mkdir(parents=True)
    rows = []
    for i in range(n):
        name = f'{"rf"[i % 2]}{i}.png'
        noise(seed + i, size).save(split / 'images' / name, compress_level=1)
        mos = (seed + i) % 7 / 3 - 1 + i / 100
        answer = ('No', 'Somewhat', 'Yes')[i % 3]
        rows.append(f'{name},{mos:.4f},"{answer}, image {seed + i} has light, sky and stones."')
    write_table(split, rows)
    return split


def add_groups(split: Path, column: str) -> None:
    """Add a column to the table of a split, with the groups a to e in turn."""
    table = pd.read_csv(split / 'image_descriptions.csv')
    table[column] = ['abcde'[i % 5] for i in range(len(table))]
    table.to_csv(split / 'image_descriptions.csv', index=False)
