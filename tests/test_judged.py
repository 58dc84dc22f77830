"""A run that was trained with judgements: from the table to scores, and to another model's ratings."""

import json

import numpy as np
import pandas as pd
import pytest
from system import write_split

N = 24


@pytest.fixture(scope='module')
def judged_data(tmp_path_factory):
    """A split with ratings in most rows; the cache is shared by the tests of this file."""
    folder = tmp_path_factory.mktemp('judged')
    write_split(folder / 'data/train', N)
    table = folder / 'data/train/image_descriptions.csv'
    rows = pd.read_csv(table)
    noise = np.random.default_rng(0).normal(0, 5, N)
    rows['rating'] = (50 + 20 * (rows.MOS - rows.MOS.mean()) / rows.MOS.std() + noise).clip(0, 100).round()
    rows['answer'] = np.where(rows.rating > 50, 'No', 'Yes')
    rows['regions'] = '[]'
    rows.loc[3, ['rating', 'answer', 'regions']] = None
    rows.to_csv(table, index=False)
    return folder


def read_lines(text):
    return {row['filename']: row for row in map(json.loads, text.splitlines())}


def check_regions(realness, run, data, settings):
    """Regions of a file replace those of the table; a file about other images is refused."""
    file = run.parent / 'regions.csv'
    command = ('evaluate', run, '--data', data, '--regions', file, '--json')
    file.write_text('filename,regions\nelsewhere.png,"[[0.1, 0.1, 0.5, 0.5]]"\n')
    refused = realness(*command, **settings)
    assert (refused.code, f'regions of elsewhere.png, but of none of the {N} images' in refused.err) == (
        2,
        True,
    )
    names = pd.read_csv(data / 'image_descriptions.csv').filename
    pd.DataFrame(dict(filename=names, regions='[[0.1, 0.1, 0.9, 0.9]]')).to_csv(file, index=False)
    marked, before = (realness(*options, **settings) for options in (command, (*command[:4], '--json')))
    models = [{row['model'] for row in json.loads(result.out)} for result in (marked, before)]
    assert 'CORE, image, description and judgement' in models[0]
    assert models[0] == models[1]


def test_the_life_of_a_judged_run(realness, judged_data):
    """Train, predict, evaluate and calibrate; an image without a rating is scored as without judgements."""
    settings = dict(cache=judged_data / 'cache')
    data, run, plain = (judged_data / name for name in ('data', 'run', 'plain'))
    trained = realness('train', '--encoders', 'lite', '--data', data, '--out', run, **settings)
    assert trained.code == 0, trained.err
    assert f'judgements of {N - 1} images: SROCC' in trained.out + trained.err

    rows = pd.read_csv(data / 'train/image_descriptions.csv')
    described = judged_data / 'described.csv'
    rows.to_csv(described, index=False)
    rows.drop(columns=['rating', 'answer', 'regions']).to_csv(
        data / 'train/image_descriptions.csv', index=False
    )
    assert realness('train', '--encoders', 'lite', '--data', data, '--out', plain, **settings).code == 0
    images = data / 'train/images'
    scores, before = (
        read_lines(realness('predict', folder, images, '--descriptions', described, '--json', **settings).out)
        for folder in (run, plain)
    )
    assert 'sources' not in next(iter(before.values()))
    unrated = rows.filename[3]
    assert scores[unrated]['sources'] == 'image+description'
    assert all(scores[unrated][name] == before[unrated][name] for name in ('mos', 'mos_lo', 'mos_hi'))
    rated = scores[rows.filename[4]]
    assert rated['sources'] == 'image+description+judgement'
    assert rated['judgement'].startswith('rating ')
    assert rated['mos_lo'] < rated['mos'] < rated['mos_hi']
    assert 0 <= rated['head_trust'] <= 1

    check_describe(realness, run, settings)

    described_test = data / 'train/image_descriptions.csv'
    rows.to_csv(described_test, index=False)
    evaluated = realness('evaluate', run, '--data', data / 'train', **settings)
    assert 'CORE, image, description and judgement' in evaluated.out, evaluated.err
    check_regions(realness, run, data / 'train', settings)

    new = judged_data / 'new'
    rows.assign(rating=10 + rows.rating / 2).to_csv(described, index=False)
    result = realness('calibrate', run, '--data', described, '--quantiles', '--out', new, **settings)
    assert result.code == 0, result.err
    again = read_lines(
        realness('predict', new, images, '--descriptions', described, '--json', **settings).out
    )
    shift = [abs(again[name]['mos'] - scores[name]['mos']) for name in rows.filename if name != unrated]
    assert np.median(shift) < 0.1
    assert again[unrated]['mos'] == scores[unrated]['mos']
    result = realness('calibrate', plain, '--data', described, '--out', judged_data / 'no', **settings)
    assert (result.code, 'was trained without judgements' in result.err) == (2, True)


def check_describe(realness, run, settings):
    """Assert that `predict --describe` uses the rating of a new answer, without a table as well."""
    pytest.importorskip('openai', reason='needs the extra describe: pip install "realness[describe]"')
    from realness.demo import demo_data
    from realness.describe import ReplayServer

    image = demo_data() / 'test/images/f22.png'
    with ReplayServer([image]) as server:
        model = ['--base-url', server.url, '--model', server.model]
        result = realness('predict', run, image, '--describe', *model, '--json', **settings)
    assert result.code == 0, result.err
    row = json.loads(result.out)
    assert row['sources'] == 'image+description+judgement'
    assert row['judgement'].startswith('rating ')
    # The demo describes this image in the table beside it. That description was used.
    assert row['sentence_source'] == 'beside'


def test_check_names_bad_judgements(realness, tmp_path):
    write_split(tmp_path / 'data/train', 4, size=(64, 48))
    table = tmp_path / 'data/train/image_descriptions.csv'
    rows = pd.read_csv(table)
    rows['description'] = 'Yes. The noise is strong.'
    rows['answer'] = ['Yes', 'No', 'Yes', 'perhaps']
    rows['rating'] = ['50', '60', '120', '']
    rows['regions'] = ['[[0, 0, 1]]', '', '', '']
    rows.to_csv(table, index=False)
    result = realness('data', 'check', tmp_path / 'data', '--json', fresh=True)
    assert result.code == 1
    problems = json.loads(result.out)['train']['problems']
    reported = {problem['filename']: (problem['level'], problem['problem']) for problem in problems}
    names = rows.filename.tolist()
    assert 'box [0, 0, 1]' in reported[names[0]][1]
    assert reported[names[1]] == ('note', 'the answer is No, but the description begins with Yes')
    assert 'is not a number from 0 to 100' in reported[names[2]][1]
    assert "the answer 'perhaps' is unknown" in reported[names[3]][1]
    result = realness('train', '--encoders', 'lite', '--data', tmp_path / 'data', '--out', tmp_path / 'run')
    assert (result.code, 'is not a number from 0 to 100' in result.err) == (2, True)


@pytest.fixture(scope='module')
def judged_demo():
    """The demo data with recorded judgements."""
    from realness.demo import demo_data
    from realness.describe.judged_demo import add_judged

    return add_judged(demo_data())


def test_the_judged_demo_trains_predicts_and_maps(realness, judged_demo, tmp_path):
    """The commands find ratings and regions in the tables of the demo."""
    settings = dict(cache=tmp_path / 'cache')
    rows = pd.read_csv(judged_demo / 'test/image_descriptions.csv')
    data = tmp_path / 'data/train'
    (data / 'images').mkdir(parents=True)
    rows = rows.iloc[::3]  # 20 images
    for name in rows.filename:
        (data / 'images' / name).hardlink_to(judged_demo / 'test/images' / name)
    rows.to_csv(data / 'image_descriptions.csv', index=False)
    trained = realness(
        'train', '--encoders', 'lite', '--data', data.parent, '--out', tmp_path / 'run', **settings
    )
    assert trained.code == 0, trained.err
    assert 'judgements of 20 images: SROCC' in trained.out + trained.err

    image = judged_demo / 'test/images/f22.png'
    scored = realness('predict', tmp_path / 'run', image, '--json', **settings)
    assert read_lines(scored.out)['f22.png']['sources'] == 'image+description+judgement', scored.err
    mapped = realness('heatmap', image, '--variant', 'fused', '--out', tmp_path / 'maps', **settings)
    assert mapped.code == 0, mapped.err
    facts = json.loads((tmp_path / 'maps/f22.json').read_text())
    assert facts['regions']
