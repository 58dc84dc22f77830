"""Maps from the command line: files, order of arguments, errors, interruptions, memory and escaping."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from system import environment, noise

import realness

LITE = ('--clip', 'lite-clip')
TABLE = 'image_descriptions.csv'
DESCRIPTIONS = (
    'filename,MOS,description\n'
    'f22.png,-1,"Yes. The <script>alert(1)</script> hand melts, and the sky is torn."\n'
    'r1.png,1,"No, all is natural."\n'
)
PEAK_MB = 2500  # limit for the memory test; libraries and model take about 1,100 of it


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A data set with HTML in a description, and two folders that hold images of the same name."""
    root = tmp_path_factory.mktemp('images')
    split = 'datasets/test/images'
    for name in ('a/x.png', 'b/x.png', f'{split}/f22.png', f'{split}/r1.png'):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(len(name), (160, 128)).save(path)
    (root / 'datasets/test' / TABLE).write_text(DESCRIPTIONS)
    return root


def write_images(folder, n):
    """Write n images that take a while to map."""
    folder.mkdir()
    for seed in range(n):
        noise(seed, (320, 256)).save(folder / f'{seed}.png')
    return folder


def map_files(folder):
    """The maps in a folder, by their relative paths."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob('*.npy'))


# --- Files


def test_files_of_a_map(cli, images, tmp_path):
    sizes = ('--window', '64', '--window', '32', '--stride', '32')
    table = images / 'datasets/test' / TABLE
    result = cli('heatmap', '--data', table, '--all', *sizes, *LITE, '--clauses', '--out', tmp_path / 'out')
    assert result.code == 0, result.err
    assert map_files(tmp_path / 'out') == ['f22-clause1.npy', 'f22-clause2.npy', 'f22.npy', 'r1.npy']

    values = np.load(tmp_path / 'out/f22.npy')
    assert (values.shape, values.dtype) == ((128, 160), np.float32)
    facts = json.loads((tmp_path / 'out/f22.json').read_text())
    assert (facts['windows'], facts['stride']) == ([64, 32], 32)
    assert (facts['direction'], facts['coverage']) == ('unrealism', 1.0)
    with Image.open(tmp_path / 'out/f22.png') as figure:
        assert min(figure.size) > 200


def test_description_that_answers_no(cli, images, tmp_path):
    """Its map is flat, which a note explains."""
    image = images / 'datasets/test/images/r1.png'
    result = cli('heatmap', image, *LITE, '--out', tmp_path / 'out')
    assert result.code == 0, result.err
    assert np.ptp(np.load(tmp_path / 'out/r1.npy')) == 0
    assert 'real everywhere' in result.err


def test_index_page_escapes_descriptions(cli, images, tmp_path):
    result = cli('heatmap', images / 'datasets/test/images', *LITE, '--out', tmp_path / 'out')
    assert result.code == 0, result.err
    page = (tmp_path / 'out/index.html').read_text()
    assert '<script>' not in page
    assert page.count('<figure>') == 2


def test_equal_names_do_not_collide(cli, images, tmp_path):
    result = cli('heatmap', images / 'a', images / 'b', *LITE, '--out', tmp_path / 'out')
    assert result.code == 0, result.err
    assert map_files(tmp_path / 'out') == ['a/x.npy', 'b/x.npy']


def test_without_a_description_the_learned_localizer_makes_the_map(cli, images, tmp_path):
    """As in the README: only an image is given."""
    result = cli('heatmap', images / 'a/x.png', '--out', tmp_path / 'out')
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / 'out/x.json').read_text())
    assert facts['variant'] == 'learned'
    assert 0 <= facts['whole'] <= 1
    assert 'unreal as a whole' in (tmp_path / 'out/index.html').read_text()
    values = np.load(tmp_path / 'out/x.npy')
    assert values.shape == (128, 160)
    assert values.min() >= 0
    assert values.max() <= 1


def test_variant_by_description(cli, images, tmp_path):
    """With the trial model, a description sharpens the learned map; a window size asks for windows."""

    def variant(*options):
        result = cli('heatmap', images / 'a/x.png', *LITE, *options, '--out', tmp_path / 'out')
        assert result.code == 0, result.err
        return json.loads((tmp_path / 'out/x.json').read_text())['variant'], result.err

    assert variant('--text', 'The sky melts.')[0] == 'fused'
    assert variant('--text', 'The sky melts.', '--window', '64')[0] == 'dream'
    name, err = variant()
    assert name == 'learned'
    assert '--variant prompts' in err


# --- Localizers


def write_hub_cache(cache, files):
    """Write the files of the repository me/faces as the cache of the hub holds them."""
    folder = cache / 'models--me--faces'
    commit = 'a1b2c3d4' * 5
    shutil.copytree(files, folder / 'snapshots' / commit)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text(commit)


def test_localizer_by_name(cli, images, tmp_path):
    """A name in the package, a folder and a file give the same map."""
    files = Path(realness.__file__).parent / 'weights/localizer'
    models = set()
    for number, name in enumerate(('cells', files, files / 'localizer.json')):
        out = tmp_path / f'out{number}'
        result = cli('heatmap', images / 'a/x.png', '--localizer', name, '--out', out)
        assert result.code == 0, result.err
        models.add(json.loads((out / 'x.json').read_text())['model'])
    assert len(models) == 1


def find_in_new_process(name, cache, **variables):
    """The output of a process that finds a localizer, and the seconds that it takes."""
    code = (
        f'from realness.localization.localizer_source import find_localizer\nprint(find_localizer({name!r}))'
    )
    env = environment(cache, HF_HUB_CACHE=str(cache), **variables)
    start = time.time()
    result = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    return result.stdout + result.stderr, time.time() - start


def test_localizer_of_the_hub(tmp_path):
    """A repository that was downloaded before is found offline."""
    write_hub_cache(tmp_path, Path(realness.__file__).parent / 'weights/localizer')
    output, _ = find_in_new_process('me/faces', tmp_path)
    assert (Path(output.strip()) / 'localizer.json').is_file()


def test_unknown_repository_offline(tmp_path):
    """Without a connection, the error comes quickly and says what to do."""
    offline = dict.fromkeys(('HTTPS_PROXY', 'https_proxy'), 'http://127.0.0.1:9') | {'HF_HUB_OFFLINE': ''}
    output, seconds = find_in_new_process('me/none', tmp_path, **offline)
    for part in ('me/none', 'huggingface.co cannot be reached', 'name a folder'):
        assert part in output
    assert seconds < 30  # 3 for the connection, the rest for imports on a busy machine


# --- Finished maps


def test_finished_map_is_not_made_again(cli, images, tmp_path):
    def run(*options):
        arguments = (images / 'a/x.png', '--text', 'The cup melts.', *LITE, '--out', tmp_path / 'out')
        return json.loads(cli('heatmap', *arguments, '--json', *options).out.splitlines()[0])

    first, again, other = run(), run(), run('--stride', '64')
    assert [first['made'], again['made'], other['made']] == ['now', 'before', 'now']
    assert first['max'] == again['max']


@pytest.fixture
def long_job(started, trained, tmp_path):
    """Start a command that maps six images, and return its arguments and its process."""
    folder = write_images(tmp_path / 'in', 6)
    text = ('--text', 'The sky melts.')
    arguments = ('-m', 'realness.cli', 'heatmap', folder, *text, *LITE, '--stride', '16')
    arguments = (*arguments, '--out', tmp_path / 'out')
    job = started(*arguments, cache=trained.cache)
    assert job.until(lambda: (tmp_path / 'out/1.json').is_file())
    return arguments, job


def test_killed_batch_resumes(long_job, started, trained, tmp_path):
    """Finished maps stay whole, and the same command makes the rest."""
    arguments, job = long_job
    job.kill(signal.SIGKILL)
    finished = list((tmp_path / 'out').glob('*.json'))
    assert 0 < len(finished) < 6
    for path in (tmp_path / 'out').glob('*.npy'):
        assert np.load(path).shape == (256, 320)

    result = started(*arguments, '--json', cache=trained.cache).end()
    assert result.code == 0, result.err
    made = [json.loads(line)['made'] for line in result.out.splitlines()]
    assert len(made) == 6
    assert 'before' in made
    assert not list((tmp_path / 'out').glob('.*partial'))


def test_interrupted_batch_writes_its_index(long_job, tmp_path):
    _, job = long_job
    result = job.kill(signal.SIGINT)
    assert result.code == 130
    assert 'run the same command again to resume' in result.err
    assert (tmp_path / 'out/index.csv').is_file()


# --- Errors


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['none.png', *LITE], 'there is no such file'),
        (['--all'], 'get data with'),
        ([], 'name files or folders'),
        (['a/x.png', '--window', 'wide', *LITE], 'is not a whole number'),
        (['a/x.png', '--window', '32', '--stride', '64', *LITE], 'would have no value'),
        (['a/x.png', '--variant', 'red', *LITE], 'choose auto, dream'),
        (['a/x.png', '--engine', 'steam', *LITE], 'choose exact, progressive or dense'),
        (['a/x.png', '--look', 'nice', *LITE], 'overlay, side or map'),
        (['a/x.png', '--clip', 'ViT-Z-1'], 'open_clip has no model'),
        (['a/x.png', '--clip', './nowhere'], 'there is no such folder'),
    ],
)
def test_errors(cli, images, tmp_path, arguments, message):
    result = cli('heatmap', *arguments, '--out', tmp_path / 'out', cwd=images, PROJECT_ROOT=str(tmp_path))
    assert result.code in (1, 2)
    assert message in result.err
    assert 'Traceback' not in result.err
    assert not map_files(tmp_path)


def test_missing_weights_are_reported_quickly(cli, images, tmp_path):
    start = time.time()
    result = cli('heatmap', images / 'a/x.png', '--text', 'The sky melts.', '--out', tmp_path / 'out')
    assert result.code == 2
    assert 'ViT-B-32@openai are not on this machine' in result.err
    assert '--clip lite-clip' in result.err
    assert result.err.count('\n') == 1
    assert time.time() - start < 60


# --- Extensions


def test_variant_from_outside_the_package(started, trained, images, tmp_path):
    """A registered variant works on the command line."""
    code = """
from realness.cli import main
from realness.localization.variants import VARIANTS, Variant
VARIANTS.register('large', Variant('an example', windows=(128,), stride=64))
main()
"""
    options = ('--variant', 'large', *LITE, '--out', tmp_path / 'out')
    result = started('-c', code, 'heatmap', images / 'a/x.png', *options, cache=trained.cache).end()
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / 'out/x.json').read_text())
    assert (facts['variant'], facts['windows']) == ('large', [128])


# --- The script of the published method


def test_script(images, trained):
    script = Path(__file__).parent.parent / 'generate_heatmaps.sh'
    if os.name == 'nt' or not script.is_file():
        pytest.skip('needs bash and the repository')
    variables = environment(
        trained.cache,
        PROJECT_ROOT=str(images),
        REALNESS_CLIP='lite-clip',
        VIRTUAL_ENV='x',
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )

    def run(*arguments):
        return subprocess.run([script, *arguments], env=variables, capture_output=True, text=True)

    assert run().returncode == 0
    assert map_files(images / 'heatmaps') == ['f22.npy']
    result = run('r1.png', '--window', '128', '--stride', '64', 'f22.png')
    assert result.returncode == 0, result.stderr
    assert json.loads((images / 'heatmaps/f22.json').read_text())['windows'] == [128]
    result = run('f23.png')
    assert result.returncode == 2
    assert 'f23.png: there is no such file' in result.stderr
    result = run('--published', 'r1.png', '--stride', '32')
    assert result.returncode == 0, result.stderr
    assert 'r1.png: published map (variant code, lite-clip' in result.stdout
    assert [path.name for path in (images / 'localization/heatmaps').iterdir()] == ['heatmap_r1.png']


# --- Memory


def test_memory_of_a_large_image(started, tmp_path):
    """12 megapixels and thousands of windows: all 11,000 windows at once would take 6.8 GB."""
    if not os.path.exists('/proc/self/status'):
        pytest.skip('peak memory is read from /proc')
    path = tmp_path / 'large.jpg'
    noise(3, (4000, 3000)).save(path, quality=60)
    code = f"""
from pathlib import Path
from realness.localization.heatmap import heatmap
options = dict(windows=128, stride=32, engine='progressive', tolerance=1)
result = heatmap({str(path)!r}, 'The sky melts.', 'lite-clip', **options)
assert result.array.shape == (3000, 4000)
status = Path('/proc/self/status').read_text()
peak = next(line for line in status.splitlines() if line.startswith('VmHWM'))
print(int(peak.split()[1]) // 1024)
"""
    result = started('-c', code, fresh=True).end(400)
    assert result.code == 0, result.err
    assert int(result.out) < PEAK_MB
