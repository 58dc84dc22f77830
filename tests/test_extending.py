"""The four extensions in CONTRIBUTING.md: an encoder, a head, a heatmap variant and a command."""

import numpy as np
import pytest
import torch
from system import noise, write_split
from torch import nn
from typer.testing import CliRunner

import realness as package
from realness.cli import app, command
from realness.encoder_registry import IMAGE_ENCODERS, ImageEncoderSpec
from realness.encoders import create_encoders
from realness.localization.heatmap import heatmap
from realness.localization.variants import VARIANTS, Variant
from realness.regression.feature_blocks import get_widths
from realness.regression.heads import HEADS, FittedHead, Head
from realness.regression.mlp_head import MLPHead


@pytest.fixture
def registered():
    """Register an entry and remove it after the test."""
    entries = []

    def register(registry, name, entry):
        entries.append((registry, name))
        return registry.register(name, entry)

    yield register
    for registry, name in entries:
        registry.unregister(name)


class MeanColour(nn.Module):
    """A network that averages each colour channel; the parameter stands for its weights."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return images.mean((2, 3)) * self.scale


def build_mean_colour(weights):
    return MeanColour()


def fit_linear(rows, config, folder, log):
    """Least squares on all feature blocks, as a linear network."""
    head = build_linear({'widths': get_widths(rows.blocks)})
    head.scaler.fit(rows.blocks)
    inputs = head.scaler(rows.blocks).double().numpy()
    inputs = np.column_stack([inputs, np.ones(len(inputs))])
    solution = np.linalg.lstsq(inputs, rows.mos, rcond=1e-2)[0]
    linear = head.layers[0]
    linear.weight.data = torch.tensor(solution[None, :-1], dtype=torch.float32)
    linear.bias.data = torch.tensor(solution[-1:], dtype=torch.float32)
    return FittedHead(head)


def build_linear(config):
    head = MLPHead(config['widths'], hidden=())
    head.kind = 'linear'
    return head


def test_an_encoder(registered, tmp_path, tmp_cache):
    spec = ImageEncoderSpec(
        build=build_mean_colour, width=3, licence='none', tag='v1', mean=(0.5,) * 3, std=(0.5,) * 3
    )
    registered(IMAGE_ENCODERS, 'mean-colour', spec)
    image_encoder, _ = create_encoders('mean-colour+lite')
    assert image_encoder(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    write_split(tmp_path / 'data/train', 12)
    run = package.train_run(
        tmp_path / 'data', tmp_path / 'run', package.RunConfig('mean-colour+lite'), log=None
    )
    assert isinstance(package.load(run)(noise(1)), float)


def test_a_head(registered, tmp_path, tmp_cache):
    registered(HEADS, 'linear', Head('least squares', fit=fit_linear, build=build_linear))
    write_split(tmp_path / 'data/train', 24)
    argv = ['train', '--data', str(tmp_path / 'data'), '--encoders', 'lite', '--head', 'linear']
    result = CliRunner().invoke(app, [*argv, '--out', str(tmp_path / 'run')])
    assert result.exit_code == 0, result.output
    metric = package.load(tmp_path / 'run')
    assert metric.model.heads['both'].config['kind'] == 'linear'
    assert metric(noise(1)) != metric(noise(2))


def test_a_head_is_offered_by_the_help(registered):
    registered(HEADS, 'linear', Head('least squares', fit=fit_linear, build=build_linear))
    with pytest.raises(package.RealnessError, match='svr, gp, mlp or linear'):
        package.RunConfig(head='unknown').check()


def test_a_variant(registered):
    registered(VARIANTS, 'coarse', Variant('large windows', windows=(256,), stride=128))
    coarse = heatmap(noise(3), 'Yes. The sky melts.', clip='lite-clip', variant='coarse', cache=None)
    assert (coarse.variant, coarse.windows, coarse.stride) == ('coarse', (256,), 128)
    assert np.ptp(coarse.array) > 0


def test_a_command():
    @app.command()
    @command
    def hello(name: str):
        """Greet someone."""
        print(f'Hello {name}')

    try:
        assert CliRunner().invoke(app, ['hello', 'Ada']).output == 'Hello Ada\n'
        assert 'Greet someone.' in CliRunner().invoke(app, ['--help']).output
    finally:
        app.registered_commands.pop()


PLUGIN = """
from realness.localization.variants import VARIANTS, Variant
from realness.regression.heads import HEADS, FittedHead, Head
from realness.regression.mlp_head import MLPHead
from realness.regression.feature_blocks import get_widths


def build_constant(config):
    head = MLPHead(config['widths'], hidden=())
    head.kind = 'constant'
    return head


def fit_constant(rows, config, folder, log):
    head = build_constant({'widths': get_widths(rows.blocks)})
    head.scaler.fit(rows.blocks)
    head.layers[0].weight.data.zero_()
    head.layers[0].bias.data.fill_(float(rows.mos.mean()))
    return FittedHead(head)


HEADS.register('constant', Head('the mean MOS', fit=fit_constant, build=build_constant))
VARIANTS.register('coarse', Variant('large windows', windows=(256,), stride=128))

from realness.cli import app, command  # after the choices, which the help of the commands lists


@app.command()
@command
def hello(name: str):
    "Greet someone."
    print(f'Hello {name}')
"""


@pytest.fixture
def plugin(tmp_path):
    """The name of a plugin in the current folder."""
    (tmp_path / 'my_plugin.py').write_text(PLUGIN)
    return 'my_plugin'


def test_a_plugin_is_used_by_the_command(realness, plugin, tmp_path):
    write_split(tmp_path / 'data/train', 24)
    settings = dict(cache=tmp_path / 'cache', REALNESS_PLUGINS=plugin)
    assert 'the mean MOS' in realness('train', '--help', **settings).out
    arguments = ('--data', 'data', '--encoders', 'lite', '--head', 'constant', '--out', 'run')
    trained = realness('train', *arguments, **settings)
    assert trained.code == 0, trained.err
    noise(1).save(tmp_path / 'a.png')
    assert realness('predict', 'run', 'a.png', **settings).code == 0
    coarse = realness('heatmap', 'a.png', '--clip', 'lite-clip', '--variant', 'coarse', **settings)
    assert coarse.code == 0, coarse.err
    assert realness('hello', 'Ada', **settings).out == 'Hello Ada\n'

    without = realness('predict', 'run', 'a.png', cache=tmp_path / 'cache')
    assert without.code == 2
    assert "the head 'constant' is not known here" in without.err


def test_a_broken_plugin_is_reported(realness):
    result = realness('predict', '--help', REALNESS_PLUGINS='no_such_module')
    assert (result.code, result.out) == (2, '')
    assert 'the plugin no_such_module cannot be imported' in result.err
