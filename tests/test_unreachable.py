"""Missing weights and unreachable hosts are named at once: no retries, no waiting, little computing."""

import json

import pytest
from system import write_split

pytestmark = pytest.mark.slow

OFFLINE = """
import json, os, resource, socket, sys, time
os.environ.pop('HF_HUB_OFFLINE', None)
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
COMMANDS = {
    'heatmap data/train/images/r0.png --clip ViT-B-32@openai --text hello --out out': 'ViT-B-32@openai',
    'heatmap data/train/images/r0.png --variant learned --localizer some/repo --out out': 'some/repo',
    'train --data data --encoders resnet50+lite --head svr --out out': 'resnet50',
    'train --data data --encoders lite+bert --head svr --out out': 'bert',
    'describe data/train/images --base-url https://no.example/v1 --model m --parallel 1': 'no.example',
}


@pytest.mark.parametrize(('command', 'name'), COMMANDS.items())
def test_unreachable_weights_are_named_at_once(started, tmp_path, command, name):
    pytest.importorskip('resource', reason='measures processor time, on Unix')
    write_split(tmp_path / 'data/train', 4, size=(64, 48))
    write_split(tmp_path / 'data/test', 2, size=(64, 48))
    homes = dict(HF_HOME=str(tmp_path / 'hub'), TORCH_HOME=str(tmp_path / 'hub'), OPENAI_API_KEY='none')
    result = started('-c', OFFLINE, *command.split(), fresh=True, **homes).end()
    facts = json.loads(result.out.splitlines()[-1])
    assert facts['code'] == 2, result
    assert result.err.strip().splitlines()[-1].startswith('error: ')
    assert name in result.err
    assert facts['waited'] == 0
    assert len(facts['hosts']) <= 3  # no retries
    assert facts['seconds'] < 15  # 2 to 5 on the machines of the developers, mostly for imports
    assert not (tmp_path / 'out').exists()
