"""Fine-tuning with two processes of torchrun: the curve of one process, and an exact resumption."""

import json
import os
import re
import signal
from pathlib import Path

import pandas as pd
import pytest
from system import write_split

pytest.importorskip('accelerate')
pytestmark = pytest.mark.slow

SCRIPT = """
import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from realness.regression.learner import TrainingSettings
from realness.regression.parallel_learner import is_first_process, make_learner
from realness.regression.realism_dataset import make_loader


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x).squeeze(1)


torch.manual_seed(0)
features = torch.randn(153, 20)
mos = torch.tanh(features[:, 0]) + 0.5 * torch.randn(153)


def train(folder, epochs=6):
    torch.manual_seed(1)
    parts = [TensorDataset(features[rows], mos[rows]) for rows in (slice(0, 95), slice(95, 153))]
    loaders = [make_loader(part, 16, part is parts[0], num_workers=0, seed=3) for part in parts]
    settings = TrainingSettings(epochs=6, lr=0.01, accumulate=2, seed=3, folder=folder, device='cpu')
    network = Network()
    learner = make_learner(network, *loaders, settings)
    history = learner.fit(epochs)
    weights = [parameter.detach().flatten().tolist() for parameter in network.parameters()]
    return dict(kind=type(learner).__name__, history=history.to_dict('list'), weights=weights)


out = Path(sys.argv[1])
for argument in sys.argv[2:]:
    name, epochs = argument.split('=')
    result = train(out / name if is_first_process() else None, int(epochs))
    if is_first_process():
        (out / f'{name}.json').write_text(json.dumps(result))
"""


@pytest.fixture
def train(started, tmp_path):
    """Trains one after the other, with names and epochs such as 'a=6'; returns the last result."""
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)

    def run(processes, *trainings):
        launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', processes]
        command = [*(launch if processes > 1 else []), script, tmp_path, *trainings]
        variables = dict(PYTHONPATH=os.environ.get('PYTHONPATH', ''), OMP_NUM_THREADS='1')
        result = started(*command, fresh=True, **variables).end()
        assert result.code == 0, result.err
        return json.loads((tmp_path / f'{trainings[-1].split("=")[0]}.json').read_text())

    return run


def largest_difference(one, two):
    """Between two lists of numbers or of lists."""
    return max(
        abs(a - b) for left, right in zip(one, two, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_two_processes(train, tmp_path):
    one = train(1, 'one=6')
    two = train(2, 'resumed=3', 'two=6')
    assert [one['kind'], two['kind']] == ['Learner', 'ParallelLearner']
    assert largest_difference(one['history'].values(), two['history'].values()) < 1e-5
    assert largest_difference(one['weights'], two['weights']) < 1e-4
    assert [path.name for path in (tmp_path / 'two').iterdir()] == ['checkpoint-6']
    assert [path.name for path in (tmp_path / 'resumed').iterdir()] == ['checkpoint-3']
    assert train(2, 'resumed=6') == two


# small encoders without dropout and batch normalisation, which differ between processes
PLUGIN = """
import torch
from torch import nn

from realness.encoder_registry import IMAGE_ENCODERS, TEXT_ENCODERS, ImageEncoderSpec, TextEncoderSpec
from realness.pretrained import lite_text_folder


def build_image(weights):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 16, 16), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers)


def load_text():
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    network = BertModel(BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes))
    return AutoTokenizer.from_pretrained(str(lite_text_folder())), network


half = (0.5, 0.5, 0.5)
spec = ImageEncoderSpec(build=build_image, width=128, licence='none', tag='v1', mean=half, std=half)
IMAGE_ENCODERS.register('small', spec)
TEXT_ENCODERS.register('small', TextEncoderSpec(load_text, 'mean', 'none', 'v1'))
"""


@pytest.fixture
def tune(started, tmp_path):
    """Starts `realness train --tune` with a number of processes; returns the job."""
    (tmp_path / 'small_encoders.py').write_text(PLUGIN)
    write_split(tmp_path / 'data/train', 28, size=(64, 48))
    options = '--tune --head mlp --encoders small+small --epochs 3 --batch-size 4 --lr 0.001 --device cpu'

    def start(processes, out):
        launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', processes]
        command = [*(launch if processes > 1 else []), '-m', 'realness.cli', 'train', *options.split()]
        path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
        variables = dict(PYTHONPATH=path, OMP_NUM_THREADS='1', REALNESS_PLUGINS='small_encoders')
        data = ('--data', tmp_path / 'data', '--out', tmp_path / out)
        return started(*command, *data, fresh=processes > 1, **variables)

    return start


def find_child(parent):
    """A process that a process has started."""
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            if int(stat.read_text().rpartition(')')[2].split()[1]) == parent:
                return int(stat.parent.name)
        except OSError:
            continue


def has_checkpoint(folder):
    """Whether there is a complete checkpoint; the command replaces them meanwhile."""
    names = [name for _, folders, _ in os.walk(folder) for name in folders]
    return any(re.fullmatch(r'checkpoint-\d+', name) for name in names)


def test_command_killed(tune, tmp_path):
    """`realness train --tune` with two processes, killed after an epoch, ends as one process does."""
    one = tune(1, 'one').end()
    assert one.code == 0, one.err
    job = tune(2, 'two')
    assert job.until(lambda: has_checkpoint(tmp_path / 'two')), job.output()
    os.kill(find_child(job.pid), signal.SIGKILL)
    assert job.end().code != 0  # torchrun ends the other process
    assert not (tmp_path / 'two/config.json').exists()
    result = tune(2, 'two').end()
    assert result.code == 0, result.err
    assert 'Epoch 1 ' not in result.out  # it was not trained again
    curves = [pd.read_csv(tmp_path / out / 'history.csv') for out in ('one', 'two')]
    assert len(curves[0]) == 3
    pd.testing.assert_frame_equal(*curves, atol=1e-4, rtol=0)
