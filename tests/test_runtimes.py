"""Other runtimes than torch score images and make maps with the same result."""

import json

import numpy as np
import pytest

pytest.importorskip('onnx', reason='the extra onnx is not installed')
pytest.importorskip('onnxruntime', reason='the extra onnx is not installed')

from realness.config import RealnessError, cache_dir
from realness.localization.heatmap import heatmap
from realness.regression.export import check_images, export_run
from realness.regression.predict import predict
from realness.regression.predictor import load
from realness.runtimes import RUNTIMES, Runtime, open_onnx

TEXT = 'Yes. The shapes are warped.'


@pytest.fixture(scope='module')
def exported(trained, tmp_path_factory):
    """An exported run, and the content of model.json."""
    folder = tmp_path_factory.mktemp('exported') / 'run'
    return folder, export_run(trained.run, folder)


def test_onnx_gives_the_scores_of_torch(trained):
    images = check_images(4)
    plain, quick = load(trained.run, 'cpu'), load(trained.run, 'cpu', runtime='onnx')
    for text in (None, TEXT):
        np.testing.assert_allclose(quick(images, text), plain(images, text), atol=1e-5)
    assert quick.run_id == f'{plain.run_id}@onnx'


def test_a_table_names_the_runtime_and_is_not_mixed(trained, tmp_path):
    image = tmp_path / 'a.png'
    check_images(1)[0].save(image)
    table = tmp_path / 'scores.csv'
    predict(load(trained.run, 'cpu', runtime='onnx'), [image], table)
    assert '@onnx' in table.read_text()
    with pytest.raises(RealnessError, match='@onnx'):
        predict(load(trained.run, 'cpu'), [image], table)


def open_inexact(path, threads):
    """A runtime whose results are a thousandth too large."""
    compute = open_onnx(path, threads)
    return lambda arrays: [array * np.float32(1.001) for array in compute(arrays)]


def test_an_inexact_runtime_is_refused(trained):
    RUNTIMES['inexact'] = Runtime(open_inexact, 'for this test', 'onnxruntime', 'onnx')
    try:
        with pytest.raises(RealnessError, match=r'deviates from torch by 0.001 .* use --runtime torch'):
            load(trained.run, 'cpu', runtime='inexact')
        verdicts = list(cache_dir('runtimes').glob('*-inexact.json'))
        assert json.loads(verdicts[0].read_text())['error'] > 1e-4
    finally:
        RUNTIMES.unregister('inexact')
        for path in cache_dir('runtimes').glob('*-inexact.json'):
            path.unlink()


def test_maps_of_onnx_are_those_of_torch():
    image = check_images(1)[0]
    options = dict(clip='lite-clip', windows=(128,), stride=64, cache=None)
    plain = heatmap(image, TEXT, device='cpu', **options)
    quick = heatmap(image, TEXT, device='cpu', runtime='onnx', **options)
    np.testing.assert_allclose(quick.array, plain.array, atol=1e-3)  # stored in half precision


def test_an_exported_run_scores_without_torch(trained, exported, tmp_path, started):
    folder, facts = exported
    assert facts['largest_difference'] < 1e-5
    image = tmp_path / 'a.png'
    check_images(2)[1].save(image)
    code = (
        'import json, sys\n'
        'sys.modules["torch"] = None  # an import fails\n'
        'from realness.regression.onnx_scorer import OnnxScorer\n'
        f'scorer = OnnxScorer({str(folder)!r})\n'
        f'print(json.dumps([scorer.score({str(image)!r}, text) for text in (None, {TEXT!r})]))\n'
    )
    result = started('-c', code, fresh=True).end()
    assert result.code == 0, result.err
    rows = json.loads(result.out.splitlines()[-1])
    metric = load(trained.run, 'cpu')
    for row, text in zip(rows, (None, TEXT), strict=True):
        expected = metric.rows(str(image), text)[0]
        for name in ('mos', 'mos_lo', 'mos_hi'):
            assert row[name] == pytest.approx(expected[name], abs=1e-5)


def test_a_cached_graph_needs_no_network_of_torch(trained, tmp_path, started):
    load(trained.run, 'cpu', runtime='onnx')  # writes the graphs
    image = tmp_path / 'a.png'
    check_images(1)[0].save(image)
    code = (
        'import json, sys\n'
        'from realness.regression.predictor import load\n'
        f'metric = load({str(trained.run)!r}, "cpu", runtime="onnx")\n'
        f'scores = [metric({str(image)!r}, text) for text in (None, {TEXT!r})]\n'
        'heavy = {"transformers", "timm", "torchvision", "torch._dynamo", "sklearn"} & set(sys.modules)\n'
        'deferred = [metric.model.image_encoder.is_deferred, metric.model.text_encoder.is_deferred]\n'
        'print(json.dumps([sorted(heavy), deferred]))\n'
    )
    result = started('-c', code, cache=cache_dir(), fresh=True).end()
    assert result.code == 0, result.err
    assert json.loads(result.out.splitlines()[-1]) == [[], [True, True]]


def test_the_tower_of_a_vision_transformer_becomes_a_graph(tmp_cache):
    """Attention is recorded as operations that every runtime has."""
    from realness.localization.clip import load_clip

    size = load_clip('ViT-S-32-alt@random', 'cpu', 'onnx').size
    assert size == 224


def test_commands_take_the_runtime(trained, tmp_path, started):
    image = tmp_path / 'a.png'
    check_images(1)[0].save(image)
    arguments = ('predict', trained.run, image, '--runtime', 'auto', '--device', 'cpu', '--json')
    result = started('-m', 'realness.cli', *arguments).end()
    assert result.code == 0, result.err
    assert json.loads(result.out)['run'].endswith('@onnx')
