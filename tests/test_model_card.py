"""The model card of a real run, read as the Hugging Face Hub reads it."""

import json

import pandas as pd
import pytest
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from realness.regression.model_card import METRICS


@pytest.fixture
def folder(trained, cli, tmp_path):
    "The folder that `realness export --hub` writes."
    result = cli('export', trained.run, '--hub', 'model')
    assert result.code == 0, result.err
    assert 'hf upload YOU/NAME' in result.out
    return tmp_path / 'model'


def test_header_is_complete(folder):
    "Everything that the documentation of the Hub asks for is in the header, and it survives a round trip."
    header = metadata_load(folder / 'README.md')
    assert {'language', 'license', 'library_name', 'pipeline_tag', 'tags', 'metrics', 'model-index'} <= {
        *header
    }
    again = ModelCardData(**header, ignore_metadata_errors=False)
    assert again.to_dict() == header
    metadata_save(folder / 'again.md', header)
    assert metadata_load(folder / 'again.md') == header


def test_results_are_those_of_the_evaluation(trained, folder):
    "The card shows each correlation of the evaluation with n and interval."
    card = ModelCard.load(folder / 'README.md')
    name, results = model_index_to_eval_results(card.data.to_dict()['model-index'])
    assert eval_results_to_model_index(name, results) == card.data.to_dict()['model-index']
    table = pd.read_csv(trained.run / 'evaluations/data-test/table.csv')
    table = table[table.metric.isin(METRICS) & (table.fitted == 'unfitted') & (table.part == 'all')]
    for row in table[table.model.str.startswith('CORE')].itertuples():
        label, metric = METRICS[row.metric]
        start = f'{label}, {row.model.removeprefix("CORE, ")} (n = {row.n}'
        [result] = [r for r in results if r.metric_name.startswith(start)]
        assert (result.metric_type, result.metric_value) == (metric, round(row.value, 3))
        assert f'{row.lo:.3f} to {row.hi:.3f}' in result.metric_name
    for row in table.dropna(subset='value').itertuples():  # baselines stand in the text
        assert f'| {row.value:.3f} [{row.lo:.3f}, {row.hi:.3f}] | {row.n} |' in card.text


def test_nothing_private_is_published(trained, folder, cli):
    "The folder has no table and no name of a training image, and it scores as the run."
    names = pd.read_csv(trained.run / 'rows.csv').filename
    assert not list(folder.rglob('*.csv'))
    text = ''.join(path.read_text() for path in folder.rglob('*') if path.suffix in ('.md', '.json'))
    assert not [name for name in names if f'"{name}"' in text]
    image = next((trained.data / 'test/images').iterdir())
    scores = [json.loads(cli('predict', run, image, '--json').out)['mos'] for run in (trained.run, folder)]
    assert scores[0] == scores[1]
