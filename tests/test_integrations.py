"""Adapters for other libraries, checked with what these libraries offer for it."""

import copy
import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from samples import find_sample, run_sample
from system import noise

from realness.config import RealnessError

pytestmark = pytest.mark.slow

N_BATCHES = 4
BATCH = 3


@pytest.fixture(scope='module')
def predictor(trained):
    from realness.regression.predictor import load

    return load(trained.run, 'cpu')


def make_batch(number):
    """(images, descriptions) of a batch."""
    images = [np.array(noise(BATCH * number + i, (96, 64))) for i in range(BATCH)]
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked, ['' if i else 'No. It is calm.' for i in range(BATCH)]


@pytest.fixture(scope='module')
def expected(predictor):
    """The predictions of each batch."""
    return [predictor(*make_batch(number)) for number in range(N_BATCHES)]


# torchmetrics: the checks of its own `MetricTester`, which is not part of the installed package


@pytest.fixture
def metric(predictor):
    pytest.importorskip('torchmetrics')
    from realness.integrations.torchmetrics import RealnessScore

    return RealnessScore(predictor)


def test_torchmetrics_values(metric, expected):
    """`forward` returns the value of the batch, and `compute` that of all batches."""
    for number in range(N_BATCHES):
        value = metric(*make_batch(number))
        assert value.item() == pytest.approx(expected[number].mean(), abs=1e-5)
    assert metric.compute().item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert metric.compute().shape == ()


def test_torchmetrics_facts(metric):
    """Class attributes cannot be changed; the state is not saved with a model; the metric has a hash."""
    for name in ('is_differentiable', 'higher_is_better'):
        with pytest.raises(RuntimeError, match="Can't change const"):
            setattr(metric, name, not getattr(metric, name))
    assert metric.state_dict() == {}
    assert not list(metric.parameters())
    assert isinstance(hash(metric), int)
    assert set(metric.metric_state) == {'score', 'n_images', 'n_outside'}


def test_torchmetrics_copies(metric, expected):
    """A copy has the state of the original, and is independent of it."""
    metric.update(*make_batch(0))
    copies = [metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))]
    metric.update(*make_batch(1))
    for one in copies:
        assert type(one) is type(metric) and one is not metric
        assert one.compute().item() == pytest.approx(expected[0].mean(), abs=1e-5)
        one.update(*make_batch(1))
        assert one.compute().item() == metric.compute().item()


def test_torchmetrics_reset(metric, expected):
    metric.update(*make_batch(0))
    metric.reset()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # compute before update
        assert metric.compute().isnan()
    metric.update(*make_batch(2))
    assert metric.compute().item() == pytest.approx(expected[2].mean(), abs=1e-5)


def test_torchmetrics_merge(metric, predictor, expected):
    from realness.integrations.torchmetrics import RealnessScore

    metrics = [RealnessScore(predictor) for _ in range(N_BATCHES)]
    for number, part in enumerate(metrics):
        part.update(*make_batch(number))
    for part in metrics:
        metric.merge_state(part)
    assert metric.compute().item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_torchmetrics_forward_needs_no_full_state(metric):
    """`full_state_update` is False: both ways to compute `forward` agree."""
    full = metric.clone()
    for number in range(2):
        fast = metric._forward_reduce_state_update(*make_batch(number))
        slow = full._forward_full_state_update(*make_batch(number))
        assert fast.item() == pytest.approx(slow.item(), abs=1e-6)
    assert metric.compute().item() == pytest.approx(full.compute().item(), abs=1e-6)


def test_torchmetrics_unreadable_image(metric):
    with pytest.raises(RealnessError, match='no such file'):
        metric.update([make_batch(0)[0][0], 'none.png'])
    assert metric.n_images == 0


DISTRIBUTED = """
import json, sys
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from test_integrations import N_BATCHES, make_batch
from realness.integrations.torchmetrics import RealnessScore

dist.init_process_group('gloo')
rank, n = dist.get_rank(), dist.get_world_size()
metric = RealnessScore(sys.argv[2], device='cpu')
for number in range(rank, N_BATCHES, n):
    metric.update(*make_batch(number))
alone = metric.n_images.item()
total = metric.compute().item()
metric.reset()
values = []
stepwise = RealnessScore(metric.predictor, dist_sync_on_step=True)
for number in range(rank, N_BATCHES, n):
    values.append(stepwise(*make_batch(number)).item())
with open(f'{sys.argv[3]}/{rank}.json', 'w') as file:
    json.dump(dict(alone=alone, total=total, values=values, n=n), file)
dist.destroy_process_group()
"""


def test_torchmetrics_two_processes(started, trained, expected, tmp_path):
    """Each process has half of the batches; both have the result of one process."""
    import json

    pytest.importorskip('torchmetrics')
    script = tmp_path / 'script.py'
    script.write_text(DISTRIBUTED)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2]
    folder = os.path.dirname(__file__)
    variables = dict(PYTHONPATH=os.environ.get('PYTHONPATH', ''), OMP_NUM_THREADS='1')
    result = started(*launch, script, folder, trained.run, tmp_path, fresh=True, **variables).end()
    assert result.code == 0, result.err
    for rank in range(2):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert (found['n'], found['alone']) == (2, N_BATCHES // 2 * BATCH)
        assert found['total'] == pytest.approx(np.mean(expected), abs=1e-5)
        steps = [np.mean(expected[first : first + 2]) for first in range(0, N_BATCHES, 2)]
        assert found['values'] == pytest.approx(steps, abs=1e-5)


# Lightning, where it is installed


@pytest.fixture
def beside_run(trained, tmp_path, monkeypatch):
    """The working folder, in which samples find the trained run as `run`."""
    (tmp_path / 'run').symlink_to(trained.run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lightning_logs_the_metric(beside_run, expected):
    """The sample in the documentation, as parts of a module."""
    lightning = pytest.importorskip('pytorch_lightning', reason='pip install pytorch-lightning')
    from realness.integrations.torchmetrics import RealnessScore

    sample = find_sample('howto/other_libraries.ipynb', 'self.log')
    in_init, in_step = sample.split('\n\n')
    assert 'in __init__' in in_init and 'in validation_step' in in_step

    class Generator(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            run_sample(in_init, dict(self=self, RealnessScore=RealnessScore))

        def validation_step(self, batch, number):
            images, prompts = make_batch(number)
            run_sample(in_step, dict(self=self, images=images, prompts=prompts))

    settings = dict(accelerator='cpu', logger=False, default_root_dir=beside_run, enable_progress_bar=False)
    trainer = lightning.Trainer(**settings, enable_checkpointing=False, enable_model_summary=False)
    batches = torch.utils.data.DataLoader(range(N_BATCHES))
    [logged] = trainer.validate(Generator(), batches, verbose=False)
    assert logged == dict(realness=pytest.approx(np.mean(expected), abs=1e-5))


# scikit-learn


def test_sklearn_checks_of_estimators():
    """Every check of scikit-learn, for both solvers; a failure raises."""
    from sklearn.utils.estimator_checks import check_estimator

    from realness.integrations import KernelRegressor

    for solver in ('svr', 'gp'):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            results = check_estimator(KernelRegressor(solver))
        skipped = [result['check_name'] for result in results if result['status'] != 'passed']
        assert len(results) > 40 and skipped in ([], ['check_array_api_input'])


# pyiqa, where it is installed


@pytest.fixture
def pyiqa():
    return pytest.importorskip(
        'pyiqa', reason='its licence does not allow to depend on it; pip install pyiqa'
    )


def test_pyiqa_metric(pyiqa, trained, predictor):
    from realness.integrations.pyiqa import create_metric

    metric = create_metric(trained.run, device='cpu')
    images, descriptions = make_batch(0)
    images = images.float() / 255
    assert metric(images).tolist() == pytest.approx(predictor(images).tolist(), abs=1e-5)
    described = metric(images, descriptions=descriptions)
    assert described.tolist() == pytest.approx(predictor(images, descriptions).tolist(), abs=1e-5)
    low, high = map(float, metric.score_range.replace('~', '').split(','))
    assert metric.lower_better is False and low < high
    file = trained.data / 'test/images/f1.png'
    assert metric(str(file)).item() == pytest.approx(predictor(file), abs=1e-5)


def test_pyiqa_finds_it_by_name(pyiqa, trained, predictor):
    from realness.integrations.pyiqa import register

    register()
    register()
    assert 'realness' in pyiqa.list_models(metric_mode='NR')
    metric = pyiqa.create_metric('realness', device='cpu', run=str(trained.run))
    images = make_batch(1)[0].float() / 255
    assert metric(images).tolist() == pytest.approx(predictor(images).tolist(), abs=1e-5)


@pytest.mark.parametrize('page', ['howto/other_libraries.ipynb', '583_integrations_pyiqa.ipynb'])
def test_pyiqa_samples(pyiqa, predictor, beside_run, page):
    """The samples in the documentation."""
    noise(0).save(beside_run / 'image.png')
    batch = make_batch(0)[0][:2].float() / 255
    sample = find_sample(page, 'metric.lower_better')
    one, several, (lower_better, score_range) = run_sample(sample, dict(batch=batch))
    assert one.item() == pytest.approx(predictor('image.png'), abs=1e-5)
    assert several.tolist() == pytest.approx(predictor(batch, ['No. It is calm.', '']).tolist(), abs=1e-5)
    low, high = map(float, score_range.replace('~', '').split(','))
    assert lower_better is False and low < one.item() < high


def test_pyiqa_grey_images(pyiqa, trained):
    from realness.integrations.pyiqa import create_metric

    metric = create_metric(trained.run, device='cpu')
    grey = make_batch(0)[0].float()[:, :1] / 255
    assert metric(grey).tolist() == metric(grey.repeat(1, 3, 1, 1)).tolist()


# tools in which people mark regions


@pytest.fixture
def findings(tmp_path):
    """Two images: one with a score, a box, an outline and a map, one without any."""
    import pandas as pd

    from realness.integrations.annotation import Findings
    from realness.localization.heatmap_object import Heatmap
    from realness.localization.map_index import map_row, write_index
    from realness.regions import Region, regions_to_cell

    (tmp_path / 'images').mkdir()
    for i in range(2):
        noise(i, (200, 100)).save(tmp_path / f'images/{i}.png')
    box = Region(0.25, 0.5, 0.4, 0.75, 'six fingers', 3)
    outline = Region(0.1, 0.1, 0.3, 0.35, 'melts', 1, outline=((0.1, 0.1, 0.3, 0.1, 0.2, 0.35),))
    cell = regions_to_cell([box, outline])
    pd.DataFrame(dict(filename=['0.png'], regions=[cell])).to_csv(tmp_path / 'regions.csv', index=False)
    scores = dict(path=['0.png'], mos=[0.4], mos_lo=[-0.2], mos_hi=[0.9], run=['run 1'])
    pd.DataFrame(scores).to_csv(tmp_path / 'scores.csv', index=False)
    values = np.linspace(0, 2, 200) * np.ones((100, 1))
    heatmap = Heatmap(values, 'made up', 'unrealism', lo=0, hi=4, source='0.png')
    heatmap.save(tmp_path / 'maps')
    write_index([map_row('0.png', heatmap, map='0.png')], tmp_path / 'maps')
    tables = [tmp_path / name for name in ('scores.csv', 'regions.csv', 'maps')]
    return Findings.collect([tmp_path / 'images'], *tables)


def test_label_studio_accepts_tasks(findings, tmp_path):
    """The validator of Label Studio's own package finds no error in the interface and the tasks."""
    import json

    sdk = pytest.importorskip('label_studio_sdk.label_interface', reason='pip install label-studio-sdk')
    from label_studio_sdk.label_interface.objects import TaskValue

    from realness.integrations.annotation import LABEL_CONFIG

    interface = sdk.LabelInterface(LABEL_CONFIG)
    interface.validate()
    findings.write_label_studio(tmp_path / 'tasks.json')
    tasks = json.loads((tmp_path / 'tasks.json').read_text())
    for task in tasks:
        TaskValue.model_validate(task)
        assert {'image', 'map', 'note'} <= set(task['data'])
    [prediction] = tasks[0]['predictions']
    assert interface.validate_prediction(prediction, return_errors=True) == []
    kinds = [result['type'] for result in prediction['result']]
    assert kinds == ['rectanglelabels', 'textarea', 'polygonlabels', 'textarea']
    assert 'predictions' not in tasks[1]


def test_label_studio_regions_come_back(findings, tmp_path):
    import json

    from realness.integrations.annotation import read_label_studio
    from realness.regions import find_regions

    findings.write_label_studio(tmp_path / 'tasks.json')
    [task, _] = json.loads((tmp_path / 'tasks.json').read_text())
    cancelled = dict(was_cancelled=True, result=[])
    export = [dict(data=task['data'], annotations=[*task['predictions'], cancelled])]
    (tmp_path / 'export.json').write_text(json.dumps(export))
    marked = read_label_studio(tmp_path / 'export.json')
    assert find_regions(marked, '0.png') == findings.images[0].regions


@pytest.fixture
def fiftyone(monkeypatch):
    """FiftyOne with a list in place of the data set, because that needs a database."""
    module = pytest.importorskip('fiftyone', reason='pip install fiftyone')

    class Dataset(list):
        def __init__(self, name):
            self.name = name

        add_samples = list.extend

    monkeypatch.setattr(module, 'Dataset', Dataset)
    return module


def check_marked(marked, findings):
    """The regions that `read_fiftyone` returns are those of the first image."""
    [regions] = marked.values()
    for one, other in zip(regions, findings.images[0].regions, strict=True):
        assert (one.label, one.severity) == (other.label, other.severity)
        assert one.box == pytest.approx(other.box)


def test_fiftyone_samples(findings, fiftyone, tmp_path):
    """Scores, boxes and maps are fields of real samples, and boxes come back as regions."""
    from realness.integrations.annotation import read_fiftyone

    dataset = findings.to_fiftyone('mine', folder=tmp_path / 'grey')
    first, second = dataset
    assert first['mos'] == 0.4 and first['run'] == 'run 1' and dataset.name == 'mine'
    assert isinstance(first['unreal_map'], fiftyone.Heatmap)
    assert first['unreal_map'].get_map().shape == (100, 200)
    assert 'unreal_regions' not in second.field_names
    check_marked(read_fiftyone(dataset), findings)


def test_fiftyone_in_the_documentation(findings, fiftyone, tmp_path, monkeypatch):
    """The sample in the documentation; the app, which needs the database, only gets the data set."""
    opened = []
    monkeypatch.setattr(fiftyone, 'launch_app', opened.append)
    monkeypatch.chdir(tmp_path)
    names = dict(findings=findings)
    run_sample(find_sample('howto/other_libraries.ipynb', 'launch_app'), names)
    assert opened == [names['dataset']] and names['dataset'].name == 'my images'
    assert names['dataset'][0]['unreal_map'].map_path == str(tmp_path / 'maps/grey/0.png')
    check_marked(names['regions'], findings)
