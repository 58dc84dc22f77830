"Commands run as processes of their own, and small data of noise: what the system tests share."

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

# A process that has imported the model libraries, but nothing of realness, and forks for each command: a command then
# starts in a moment instead of ten seconds, and is still a process with its own imports, that can be killed.
WARM = """
import gc, json, os, runpy, signal, sys, traceback
import huggingface_hub, pandas, safetensors.torch, scipy.stats, sklearn.model_selection, sklearn.svm, timm, torch, torchvision, transformers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
import matplotlib.pyplot
assert not any(m.split('.')[0] == 'realness' for m in sys.modules)
gc.collect()
gc.freeze()
print('ready', flush=True)
for line in iter(sys.stdin.readline, ''):
    job = json.loads(line)
    if 'wait' in job:
        pid, status = os.waitpid(job['wait'], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for fd, (name, how) in enumerate(zip(job['files'], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))): os.dup2(os.open(name, how), fd)
    sys.stdin = open(0, encoding='utf-8', closefd=False)
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    sys.path.insert(0, job['cwd'])
    sys.argv, code = ['-c', *job['argv'][2:]], 0
    try:
        if job['argv'][0] == '-c': exec(compile(job['argv'][1], '<string>', 'exec'), {'__name__': '__main__'})
        else: runpy.run_module(job['argv'][1], run_name='__main__', alter_sys=True)
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
        if e.code is not None and not isinstance(e.code, int): print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking the libraries down takes seconds
"""


def environment(cache, **more):
    "The variables of a command: a cache of its own, no model hub, nothing of the caller's realness."
    mine = ('PROJECT_ROOT', 'REALNESS_ENCODERS', 'REALNESS_CACHE', 'REALNESS_PROGRESS')
    env = {k: v for k, v in os.environ.items() if k not in mine}
    return (
        env
        | dict(
            HF_HUB_OFFLINE='1',
            OMP_WAIT_POLICY='passive',
            REALNESS_CACHE=str(cache),
            MPLBACKEND='Agg',
            PYTHONIOENCODING='utf-8',
            COLUMNS='200',
        )
        | more
    )


class Job:
    "A started command; its output goes to files, so that none of it is lost with a kill."

    def __init__(self, argv, cwd, env, stdin='', warm=None):
        self.dir = Path(tempfile.mkdtemp(dir=cwd, prefix='.job-'))
        self.files = [self.dir / n for n in ('in', 'out', 'err')]
        for f, text in zip(self.files, (stdin, '', '')):
            f.write_text(text, encoding='utf-8')
        self.warm = warm
        if warm:
            self.pid = warm.ask(dict(argv=argv, cwd=str(cwd), env=env, files=[str(f) for f in self.files]))
        else:
            with open(self.files[0]) as i, open(self.files[1], 'w') as o, open(self.files[2], 'w') as e:
                self.process = subprocess.Popen(
                    [sys.executable, *argv], cwd=cwd, env=env, stdin=i, stdout=o, stderr=e
                )
            self.pid = self.process.pid
        self.code = None

    def poll(self):
        "The exit code (minus the signal that ended it), or None while it runs."
        if self.code is None:
            self.code = self.warm.ask(dict(wait=self.pid)) if self.warm else self.process.poll()
        return self.code

    def until(self, done, limit=120):
        "Wait for `done()` and return whether it came while the command still ran."
        end = time.time() + limit
        while time.time() < end and self.poll() is None:
            if done():
                return True
            time.sleep(0.02)
        return False

    def kill(self, how):
        assert self.poll() is None, self.said()
        os.kill(self.pid, how)
        return self.end()

    def said(self):
        return '\n'.join(f.read_text(encoding='utf-8') for f in self.files[1:])

    def end(self, limit=240):
        self.until(lambda: False, limit)
        assert self.code is not None, f'still running after {limit} s: {self.said()}'
        return SimpleNamespace(
            code=self.code,
            out=self.files[1].read_text(encoding='utf-8'),
            err=self.files[2].read_text(encoding='utf-8'),
        )


class Warm:
    "The forking process."

    def __init__(self):
        env = environment(tempfile.gettempdir(), PYTHONWARNINGS='ignore')
        self.process = subprocess.Popen(
            [sys.executable, '-c', WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
        )
        assert self.process.stdout.readline() == 'ready\n'

    def ask(self, job):
        self.process.stdin.write(json.dumps(job) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def noise(seed, size=(512, 384)):
    "An image of coarse noise; smoother with a higher seed, so that there is something to see."
    rng = np.random.default_rng(seed)
    n = 4 + seed % 7 * 6
    return Image.fromarray(rng.integers(0, 256, (n * 3, n * 4, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )


def write_table(split, rows, header='filename,MOS,description', encoding='utf-8'):
    split.mkdir(parents=True, exist_ok=True)
    (split / 'image_descriptions.csv').write_bytes('\n'.join([header, *rows, '']).encode(encoding))


def write_split(split, n, seed=0, size=(512, 384)):
    "A split of `n` images, half of them called photographs."
    (split / 'images').mkdir(parents=True)
    rows = []
    for i in range(n):
        name = f'{"rf"[i % 2]}{i}.png'
        noise(seed + i, size).save(split / 'images' / name, compress_level=1)
        mos, answer = (seed + i) % 7 / 3 - 1 + i / 100, ('No', 'Somewhat', 'Yes')[i % 3]
        rows.append(f'{name},{mos:.4f},"{answer}, image {seed + i} has light, sky and stones."')
    write_table(split, rows)
    return split
