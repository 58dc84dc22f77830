"""Try to lose results of commands: kills, two processes at once, full disks, damaged caches, odd clocks.

    python -m tests.campaign --minutes 30 --out campaign.md

Each trial disturbs a command at a random moment, runs it again and compares its results with those of an
undisturbed run. The table says what was tried, how often, and what was lost. `tests/test_campaign.py` is a
short sample.
"""

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the other modules of the tests

from system import ForkServer, Job, Result, environment, write_split

TIMED = {
    'seconds',
    'seconds_per_image',
    'images_per_second',
    'started',
    'finished',
    'date',
    'made',
    'written',
}
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}

# Run a command whose files may have so many bytes each, as on a full disk: the argument before the command
FULL_DISK = """
import resource, runpy, sys
limit = int(sys.argv[1])
del sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module('realness.cli', run_name='__main__', alter_sys=True)
"""

# Run a command while the clock jumps by up to a day at each reading
ODD_CLOCK = """
import random, runpy, time
now, rng = time.time, random.Random(0)
time.time = lambda: now() + rng.uniform(-86400, 86400)
runpy.run_module('realness.cli', run_name='__main__', alter_sys=True)
"""

COMMANDS = {  # verb -> command; the working folder contains `FOLDERS` and nothing else
    'predict': 'predict run data/test/images --csv out/scores.csv',
    'heatmap': 'heatmap data/test/images/f1.png data/test/images/r2.png --variant learned --out out',
    'describe': 'describe data/test/images/f1.png data/test/images/r2.png --fallback --csv out/texts.csv',
    'evaluate': 'evaluate run --data data --out out',
    'report': 'report run --data data --out out/report.html',
    'export': 'export run --onnx out',
    'export hub': 'export run --hub out',
    'export space': 'export run --space out',
    'export localizer': 'export --localizer network --onnx out',
    'calibrate': 'calibrate judged-run --data judged/test --out out',
    'evaluate-maps': 'evaluate-maps judged/test/images --truth judged/test/image_descriptions.csv --out out',
    'explore': 'explore data/test --share-dir out',
    'train': 'train --data data --encoders lite --head svr --degraded 8 --seed 1 --out out',
    'train mlp': 'train --data data --encoders lite --head mlp --epochs 20 --degraded 0 --out out',
    'lab': 'lab data --out out --encoders lite --heads svr --modalities both --cv 3 --repeats 1 --seeds 1',
    'clip fit': 'clip fit --data data --crops 1 --out out',
    'localizer fit': 'localizer fit --photos data/train/images --kind smear --per 1 --out out',
    'data demo': 'data demo --out out --n-train 8 --n-test 4',
    'data check': 'data check data --suggest out/sources.csv',
    'data imagefolder': 'data imagefolder data --out out',
    'data spreadsheet': 'data spreadsheet data/train/image_descriptions.csv --out out/copy.csv',
}
FOLDERS = ('data', 'run', 'judged', 'judged-run')  # 20 and 8 images and a run; the same with ratings, regions
JUDGED = ('calibrate', 'evaluate-maps')  # commands that need judgements
TOLERANCE = 1e-5  # of numbers in tables
KINDS = ('kill', 'terminate', 'full_disk', 'unwritable', 'damaged_cache', 'odd_clock', 'two_at_once')
RESUMABLE = ('predict', 'train', 'train mlp', 'heatmap')  # that two processes may start at once


def _without_times(value):
    """A value of JSON without entries that differ between two runs."""
    if isinstance(value, dict):
        return {key: _without_times(part) for key, part in value.items() if key not in TIMED}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def _content(path: Path) -> bytes:
    """The bytes of a file, without the times in it."""
    if path.suffix == '.json':
        return json.dumps(_without_times(json.loads(path.read_text(encoding='utf-8')))).encode()
    if path.suffix == '.csv':
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table.drop(columns=[name for name in table if name in TIMED]).to_csv(index=False).encode()
    return path.read_bytes()


def results(folder: Path) -> dict[str, str]:
    """Name -> content of the files of a folder, without temporary files: CSV as it is, digests of others."""
    files = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith('.') for part in path.relative_to(folder).parts):
            content = _content(path)
            is_table = path.suffix == '.csv'
            files[name] = (
                content.decode() if is_table else hashlib.blake2b(content, digest_size=8).hexdigest()
            )
    return files


def is_same(expected: str, actual: str | None) -> bool:
    """Whether two contents of a file are the same; numbers of tables up to `TOLERANCE`.

    Sums depend in the last digit on where the memory of a process begins. Fitted curves and their bootstrap
    intervals enlarge that to a millionth.
    """
    if expected == actual:
        return True
    if actual is None or '\n' not in expected or '\n' not in actual:
        return False
    tables = [pd.read_csv(io.StringIO(text)) for text in (expected, actual)]
    try:
        pd.testing.assert_frame_equal(*tables, rtol=TOLERANCE, atol=TOLERANCE)
    except AssertionError:
        return False
    return True


class Trial(NamedTuple):
    """One disturbance of one command."""

    kind: str
    verb: str
    lost: str  # what is missing or wrong afterwards; '' for nothing


class Campaign:
    """A folder with data, a run and a cache, and the results of undisturbed commands."""

    def __init__(self, folder: Path, seed: int = 0, verbs: tuple = tuple(COMMANDS), server=None):
        self.folder = Path(folder)
        self.rng = random.Random(seed)
        self.verbs = verbs
        self.server = server or (ForkServer() if hasattr(os, 'fork') else None)
        self.trials = []
        self.references = {}  # verb -> results
        self.seconds = {}  # verb -> seconds with a filled cache
        self.count = 0
        self.only = ()  # names of disturbances; empty: all
        self.out = None  # path of the table, written after each trial

    def close(self):
        if self.server:
            self.server.close()

    def prepare(self, data: Path | None = None, run: Path | None = None, cache: Path | None = None):
        """Copy data, run and cache into the folder, or make them."""
        if data is None:
            write_split(self.folder / 'data/train', 20, seed=0)
            write_split(self.folder / 'data/test', 8, seed=100)
            self.cache = self.folder / 'cache'
            self._train('--data data --out run')
        else:
            shutil.copytree(data, self.folder / 'data')
            shutil.copytree(run, self.folder / 'run')
            self.cache = shutil.copytree(cache, self.folder / 'cache')
        if set(self.verbs) & set(JUDGED):
            self._prepare_judged()

    def _prepare_judged(self):
        """The same images with ratings and regions, and a run that was trained with them."""
        shutil.copytree(self.folder / 'data', self.folder / 'judged')
        for path in (self.folder / 'judged').rglob('image_descriptions.csv'):
            table = pd.read_csv(path)
            table['rating'] = 40 + 20 * table.MOS
            table['regions'] = '[{"box": [0.1, 0.2, 0.5, 0.7], "severity": 2}]'
            table.to_csv(path, index=False)
        self._train('--data judged --degraded 0 --out judged-run')

    def _train(self, options: str):
        """Train a run in the folder of the campaign."""
        command = f'-m realness.cli train --encoders lite --head svr --seed 0 {options}'
        ended = self._start(self.folder, command.split()).end(600)
        assert ended.code == 0, ended.err

    def _start(self, work: Path, arguments: list, cache: Path | None = None) -> Job:
        return Job([str(part) for part in arguments], work, environment(cache or self.cache), '', self.server)

    def _new_folder(self) -> Path:
        self.count += 1
        work = self.folder / f'work/{self.count}'
        work.mkdir(parents=True)
        for name in FOLDERS:
            (work / name).symlink_to(self.folder / name)
        return work

    def _command(self, verb: str, code: tuple = ('-m', 'realness.cli')) -> list:
        return [*code, *COMMANDS[verb].split()]

    def reference(self, verb: str) -> dict:
        """The results of an undisturbed command, which also fills the cache."""
        if verb not in self.references:
            work = self._new_folder()
            ended = self._start(work, self._command(verb)).end(600)
            assert ended.code == 0, f'{verb}: {ended.err}'
            self.references[verb] = results(work / 'out')
            shutil.rmtree(work)
        return self.references[verb]

    def duration(self, verb: str) -> float:
        """Seconds of an undisturbed command with a filled cache."""
        self.reference(verb)
        if verb not in self.seconds:
            work = self._new_folder()
            start = time.monotonic()
            problem = self._finish(work, verb)
            assert not problem, f'two undisturbed runs: {problem}'
            self.seconds[verb] = time.monotonic() - start
            shutil.rmtree(work)
        return self.seconds[verb]

    def _compare(self, work: Path, verb: str) -> str:
        """What differs from the undisturbed results, and leftovers; '' for nothing."""
        expected = self.reference(verb)
        actual = results(work / 'out')
        differing = [name for name in expected if not is_same(expected[name], actual.get(name))]
        extra = sorted(set(actual) - set(expected))
        parts = [
            f'{noun}: {names[:3]}' for noun, names in dict(differs=differing, extra=extra).items() if names
        ]
        return '; '.join(parts)

    def _finish(self, work: Path, verb: str, cache: Path | None = None) -> str:
        """Run the command again without a disturbance, and compare."""
        ended = self._start(work, self._command(verb), cache).end(600)
        problem = self._compare(work, verb)
        if ended.code and problem:  # a complete folder may be refused
            return f'the next run ended with {ended.code}: {ended.err[-200:]}'
        return problem

    # ---- Disturbances: each returns what was lost

    def _interrupt(self, verb: str, number: int) -> str:
        seconds = self.duration(verb)
        work = self._new_folder()
        job = self._start(work, self._command(verb))
        end = time.monotonic() + self.rng.uniform(0, seconds)
        while time.monotonic() < end and job.poll() is None:
            time.sleep(0.01)
        if job.poll() is not None:  # too late: the command was quicker than the undisturbed one
            assert job.end().code == 0, job.end().err
            shutil.rmtree(work)
            return self._interrupt(verb, number)
        problem = self._check_end(job.kill(number), number)
        return problem or self._finish(work, verb)

    def _check_end(self, ended: Result, number: int) -> str:
        if ended.code not in (0, CODES[number], -number):
            return f'code {ended.code} after signal {number}: {ended.err[-200:]}'
        is_early = 'KeyboardInterrupt' in ended.err and 'runpy' in ended.err and 'realness' not in ended.err
        if 'Traceback' in ended.err and number != signal.SIGKILL and not is_early:
            return f'a traceback after signal {number}: {ended.err[-200:]}'
        return ''

    def kill(self, verb: str) -> str:
        """SIGKILL at a random moment."""
        return self._interrupt(verb, signal.SIGKILL)

    def terminate(self, verb: str) -> str:
        """SIGTERM at a random moment."""
        return self._interrupt(verb, signal.SIGTERM)

    def two_at_once(self, verb: str) -> str:
        """Two processes with the same output; one of them may refuse."""
        work = self._new_folder()
        jobs = [self._start(work, self._command(verb)) for _ in range(2)]
        ended = [job.end(600) for job in jobs]
        for each in ended:
            if each.code not in (0, 2) or 'Traceback' in each.err:
                return f'code {each.code}: {each.err[-200:]}'
        return self._finish(work, verb)

    def full_disk(self, verb: str) -> str:
        """No file can grow over a random size, neither the results nor the cache."""
        work = self._new_folder()
        limit = int(2 ** self.rng.uniform(13, 19))
        ended = self._start(work, self._command(verb, ('-c', FULL_DISK, limit))).end(600)
        if ended.code not in (0, 1, 2) or 'Traceback' in ended.err:
            return f'code {ended.code} with files of at most {limit} bytes: {ended.err[-200:]}'
        return self._finish(work, verb)

    def unwritable(self, verb: str) -> str:
        """The output lies in a place where nothing can be written."""
        work = self._new_folder()
        (work / 'out').write_text('a file')
        ended = self._start(work, self._command(verb)).end(600)
        if ended.code != 2 or 'Traceback' in ended.err or (work / 'out').read_text() != 'a file':
            return f'code {ended.code}: {ended.err[-200:]}'
        (work / 'out').unlink()
        return self._finish(work, verb)

    def damaged_cache(self, verb: str) -> str:
        """The cache is cut, or noise."""
        work = self._new_folder()
        cache = shutil.copytree(self.cache, work / '.cache')
        for path in cache.glob('*.db'):
            raw = path.read_bytes()
            is_cut = self.rng.random() < 0.5
            path.write_bytes(raw[: self.rng.randrange(len(raw))] if is_cut else self.rng.randbytes(len(raw)))
        return self._finish(work, verb, cache)

    def odd_clock(self, verb: str) -> str:
        """The clock jumps."""
        work = self._new_folder()
        ended = self._start(work, self._command(verb, ('-c', ODD_CLOCK))).end(600)
        return f'code {ended.code}: {ended.err[-200:]}' if ended.code else self._compare(work, verb)

    # ---- The campaign

    def kinds(self, verb: str) -> list:
        kinds = [self.kill, self.kill, self.kill, self.terminate, self.full_disk, self.unwritable]
        kinds += [self.damaged_cache, self.odd_clock]
        kinds += [self.two_at_once] * (verb in RESUMABLE)
        return [kind for kind in kinds if not self.only or kind.__name__ in self.only]

    def one(self, verb: str, kind: Callable) -> Trial:
        """One trial; the folder of a successful one is removed."""
        first = self.count + 1  # of the folders of this trial
        try:
            lost = kind(verb)
        except (AssertionError, OSError, ValueError) as error:
            lost = f'{type(error).__name__}: {str(error)[:200]}'
        trial = Trial(kind.__name__.replace('_', ' '), verb, lost)
        self.trials.append(trial)
        if lost:
            print(f'lost: {trial}', flush=True)
        else:
            for number in range(first, self.count + 1):
                shutil.rmtree(self.folder / f'work/{number}', ignore_errors=True)
        return trial

    def run(self, seconds: float, rounds: int | None = None):
        """Random trials for so many seconds or rounds; a round has each disturbance once, and three kills."""
        end = time.monotonic() + seconds
        for _ in range(rounds) if rounds else itertools.count():
            plan = [(verb, kind) for verb in self.verbs for kind in self.kinds(verb)]
            self.rng.shuffle(plan)
            for verb, kind in plan:
                if time.monotonic() > end:
                    return
                self.one(verb, kind)
                if self.out:
                    self.out.write_text(self.table() + '\n', encoding='utf-8')

    def table(self) -> str:
        """What was tried, how often, and what was lost, as Markdown."""
        tried = Counter((trial.kind, trial.verb) for trial in self.trials)
        lost = Counter((trial.kind, trial.verb) for trial in self.trials if trial.lost)
        lines = ['| disturbance | command | tried | lost |', '|---|---|---|---|']
        lines += [
            f'| {kind} | {verb} | {n} | {lost[kind, verb]} |' for (kind, verb), n in sorted(tried.items())
        ]
        lines += [f'| **all** | | **{len(self.trials)}** | **{sum(lost.values())}** |']
        return '\n'.join(lines)
