"Maps from the command line: files, order of arguments, errors, kills, memory, escaping."

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from system import environment, noise

LITE = ('--clip', 'lite-clip')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "A split with an odd sentence, and a tree with equal names."
    root = tmp_path_factory.mktemp('pictures')
    for name in ('a/x.png', 'b/x.png', 'datasets/test/images/f22.png', 'datasets/test/images/r1.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise(len(name), (160, 128)).save(root / name)
    (root / 'datasets/test/image_descriptions.csv').write_text(
        'filename,MOS,description\nf22.png,-1,"Yes. The <script>alert(1)</script> hand melts, and the sky is torn."\nr1.png,1,"No, all is natural."\n'
    )
    return root


def maps(folder):
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob('*.npy'))


def test_map_files(cli, pictures, tmp_path):
    said = cli(
        'heatmap',
        '--data',
        pictures / 'datasets/test/image_descriptions.csv',
        '--all',
        '--window',
        '64',
        '--window',
        '32',
        '--stride',
        '32',
        *LITE,
        '--out',
        tmp_path / 'o',
        '--clauses',
    )
    assert said.code == 0, said.err
    assert maps(tmp_path / 'o') == ['f22-clause1.npy', 'f22-clause2.npy', 'f22.npy', 'r1.npy']
    a, d = np.load(tmp_path / 'o/f22.npy'), json.loads((tmp_path / 'o/f22.json').read_text())
    assert a.shape == (128, 160) and a.dtype == np.float32
    assert (d['windows'], d['stride'], d['direction'], d['coverage']) == ([64, 32], 32, 'unrealism', 1.0)
    assert np.ptp(np.load(tmp_path / 'o/r1.npy')) == 0  # "No": calm by policy, and said
    assert 'calm by policy' in said.err
    page = (tmp_path / 'o/index.html').read_text()
    assert '<script>' not in page and page.count('<figure>') == 2
    with Image.open(tmp_path / 'o/f22.png') as im:
        assert min(im.size) > 200


def test_same_map_again(cli, pictures, tmp_path):
    run = lambda *more: json.loads(
        cli(
            'heatmap',
            pictures / 'a/x.png',
            '--text',
            'The cup melts.',
            *LITE,
            '--out',
            tmp_path / 'o',
            '--json',
            *more,
        ).out.splitlines()[0]
    )
    first, again, other = run(), run(), run('--stride', '64')
    assert [first['made'], again['made'], other['made']] == ['now', 'before', 'now']
    assert first['max'] == again['max']


def test_no_sentence_no_training(cli, pictures, tmp_path):
    "What the README promises: an image, nothing else."
    said = cli('heatmap', pictures / 'a/x.png', '--variant', 'learned', '--out', tmp_path / 'o')
    assert said.code == 0, said.err
    a = np.load(tmp_path / 'o/x.npy')
    assert a.shape == (128, 160) and a.min() >= 0 and a.max() <= 1
    said = cli('heatmap', pictures / 'a', pictures / 'b', *LITE, '--out', tmp_path / 'p')
    assert said.code == 0 and maps(tmp_path / 'p') == ['a/x.npy', 'b/x.npy']  # equal names do not collide


@pytest.mark.parametrize(
    'argv, says',
    [
        (['none.png', *LITE], 'there is no such file'),
        (['--all'], 'is not there; get data with'),
        ([], 'name files or folders'),
        (['a/x.png', '--window', 'wide', *LITE], 'is not a whole number'),
        (['a/x.png', '--window', '32', '--stride', '64', *LITE], 'would have no value'),
        (['a/x.png', '--variant', 'red', *LITE], 'choose dream, blend'),
        (['a/x.png', '--engine', 'steam', *LITE], 'choose exact, progressive or dense'),
        (['a/x.png', '--look', 'nice', *LITE], 'overlay, side or map'),
        (['a/x.png', '--clip', 'ViT-Z-1'], 'open_clip has no model'),
        (['a/x.png', '--clip', './nowhere'], 'there is no such folder'),
    ],
)
def test_bad_calls(cli, pictures, tmp_path, argv, says):
    said = cli('heatmap', *argv, '--out', tmp_path / 'o', cwd=pictures, PROJECT_ROOT=str(tmp_path))
    assert said.code in (1, 2) and says in said.err, said.err
    assert 'Traceback' not in said.err and not maps(tmp_path)


def test_missing_clip_is_said_quickly(cli, pictures, tmp_path):
    began = time.time()
    said = cli('heatmap', pictures / 'a/x.png', '--out', tmp_path / 'o')
    assert (
        said.code == 2
        and 'ViT-B-32@openai are not on this machine' in said.err
        and '--clip lite-clip' in said.err
    )
    assert time.time() - began < 60 and said.err.count('\n') == 1


def test_kill_and_go_on(started, trained, tmp_path):
    "Killed in the middle: finished maps stay whole, the rest is made by the same command."
    for i in range(6):
        (tmp_path / 'in').mkdir(exist_ok=True), noise(i, (320, 256)).save(tmp_path / f'in/{i}.png')
    argv = (
        '-m',
        'realness.cli',
        'heatmap',
        tmp_path / 'in',
        '--text',
        'The sky melts.',
        *LITE,
        '--stride',
        '16',
        '--out',
        tmp_path / 'o',
    )
    job = started(*argv, cache=trained.cache)
    assert job.until(lambda: (tmp_path / 'o/1.json').is_file())
    job.kill(signal.SIGKILL)
    done = [p for p in (tmp_path / 'o').glob('*.json')]
    assert 0 < len(done) < 6
    for p in (tmp_path / 'o').glob('*.npy'):
        assert np.load(p).shape == (256, 320)
    said = started(*argv, '--json', cache=trained.cache).end()
    made = [json.loads(l)['made'] for l in said.out.splitlines()]
    assert (
        said.code == 0
        and len(made) == 6
        and 'before' in made
        and not list((tmp_path / 'o').glob('.*partial'))
    )


def test_ctrl_c(started, trained, tmp_path):
    for i in range(4):
        (tmp_path / 'in').mkdir(exist_ok=True), noise(i + 20, (320, 256)).save(tmp_path / f'in/{i}.png')
    job = started(
        '-m',
        'realness.cli',
        'heatmap',
        tmp_path / 'in',
        '--text',
        'The sky melts.',
        *LITE,
        '--stride',
        '16',
        '--out',
        tmp_path / 'o',
        cache=trained.cache,
    )
    assert job.until(lambda: (tmp_path / 'o/1.json').is_file())
    said = job.kill(signal.SIGINT)
    assert (
        said.code == 130
        and 'run the same command again to resume' in said.err
        and (tmp_path / 'o/index.csv').is_file()
    )


def test_script(pictures, trained):
    "generate_heatmaps.sh, as its users call it."
    script = Path(__file__).parent.parent / 'generate_heatmaps.sh'
    if os.name == 'nt' or not script.is_file():
        pytest.skip('needs bash and the repository')
    env = environment(
        trained.cache,
        PROJECT_ROOT=str(pictures),
        REALNESS_CLIP='lite-clip',
        VIRTUAL_ENV='x',
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )
    call = lambda *a: subprocess.run([script, *a], env=env, capture_output=True, text=True)
    assert call().returncode == 0 and maps(pictures / 'heatmaps') == ['f22.npy']
    said = call('r1.png', '--window', '128', '--stride', '64', 'f22.png')
    assert said.returncode == 0, said.stderr
    assert json.loads((pictures / 'heatmaps/f22.json').read_text())['windows'] == [128]
    said = call('f23.png')
    assert said.returncode == 2 and 'f23.png: there is no such file' in said.stderr


PEAK_MB = 2500  # of the process; about 1,100 of it are the libraries and the model


def test_a_large_picture_in_bounded_memory(started, tmp_path):
    "4,000 x 3,000 pixels, thousands of windows: the peak is stated, and stays far below all 11,000 windows at once (6.8 GB)."
    if not os.path.exists('/proc/self/status'):
        pytest.skip('peak memory is read from /proc')
    noise(3, (4000, 3000)).save(tmp_path / 'large.jpg', quality=60)
    code = (
        'from realness.localization.heatmap import heatmap\n'
        f'm = heatmap({str(tmp_path / "large.jpg")!r}, "The sky melts.", "lite-clip", windows=128, stride=32, engine="progressive", tolerance=1)\n'
        'assert m.array.shape == (3000, 4000)\nprint(next(int(l.split()[1])//1024 for l in open("/proc/self/status") if l.startswith("VmHWM")))'
    )  # ru_maxrss would count the parent\'s
    said = started('-c', code, fresh=True).end(400)
    assert said.code == 0, said.err
    assert int(said.out) < PEAK_MB, f'{said.out.strip()} MB'
