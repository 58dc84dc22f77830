"""Fine-tuning with two processes of torchrun: the curve of one process, and an exact resumption."""

import json
import os

import pytest

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
features = torch.randn(154, 20)
mos = torch.tanh(features[:, 0]) + 0.5 * torch.randn(154)


def train(folder, epochs=6):
    torch.manual_seed(1)
    parts = [TensorDataset(features[rows], mos[rows]) for rows in (slice(0, 96), slice(96, 154))]
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
