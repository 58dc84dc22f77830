"""The expert of the image-only head: its training, its files and its order of degraded copies."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import realness
from realness.config import RealnessError
from realness.degraded import degrade
from realness.native import NativeFeatures
from realness.photographs import photographs
from realness.regression.anchors import package_anchors
from realness.regression.feature_blocks import FeatureRows
from realness.regression.heads import build_head, fit_head
from realness.regression.modalities import OUTSIDE_BLOCKS
from realness.regression.robust_head import ExpertRecipe, RobustHead, fit_expert, fit_gate
from realness.regression.run_config import RunConfig
from realness.scene import scene_statistics

CONFIG = SimpleNamespace(head='svr', modality='image', seed=0)


@pytest.fixture(scope='module')
def rows():
    """Synthetic rows of which both image blocks are informative."""
    rng = np.random.default_rng(0)
    mos = rng.normal(size=80)
    native = package_anchors().native[:80].copy()
    native[:, :20] += 0.05 * mos[:, None]
    image = np.column_stack([mos + 0.2 * rng.normal(size=80), rng.normal(size=(80, 4))])
    return FeatureRows(dict(image=image, native=native, size=np.full((80, 2), 512.0)), mos)


def test_without_native_statistics_the_head_is_the_main_head(rows):
    plain = fit_head(rows.without(OUTSIDE_BLOCKS), CONFIG).head
    robust = fit_head(rows, CONFIG).head
    assert not isinstance(plain, RobustHead)
    assert torch.equal(plain(rows.blocks), robust.main(rows.blocks))
    assert torch.equal(plain(rows.blocks), robust(dict(image=rows.blocks['image'])))


def test_an_image_near_the_training_images_gets_the_prediction_of_the_main_head(rows):
    robust = fit_head(rows, CONFIG).head
    near = robust.gate(rows.blocks).numpy() == 0
    assert near.mean() > 0.8
    np.testing.assert_allclose(robust(rows.blocks)[near], robust.main(rows.blocks)[near], atol=1e-9)


def test_a_head_saved_without_a_scale_predicts_a_plain_mean(rows):
    robust = fit_head(rows, CONFIG).head
    config = json.loads(json.dumps(robust.config))
    config.pop('scale')
    loaded = build_head(config)
    loaded.load_state_dict(robust.state_dict())
    distant = dict(rows.blocks, size=np.full((80, 2), 4096.0))
    weight = robust.gate(distant)
    assert (weight >= 0.35).all()
    expected = (1 - weight) * robust.main(distant) + weight * robust.expert(distant)
    torch.testing.assert_close(loaded(distant), expected)


def test_a_gate_saved_without_options_has_its_full_weight_by_size_alone(rows):
    robust = fit_head(rows, CONFIG).head
    config = json.loads(json.dumps(robust.config))
    assert config['gate'].pop('size_weight') == 0.35
    assert not config['gate'].pop('resized')  # these rows have no block `scene`
    loaded = build_head(config)
    loaded.load_state_dict(robust.state_dict())
    distant = dict(rows.blocks, size=np.full((80, 2), 4096.0))
    torch.testing.assert_close(loaded.gate(distant), torch.full((80,), 0.7, dtype=torch.float64))
    assert torch.equal(loaded.gate(rows.blocks), robust.gate(rows.blocks))


def describe(images):
    """Statistics of images at their own size and at the size of the encoder."""
    scene = np.stack([scene_statistics(image.resize((512, 384))) for image in images])
    return NativeFeatures()(images) | dict(scene=scene)


def test_at_the_size_of_the_encoder_an_enlarged_image_is_about_as_near_as_the_image():
    images = [photograph.open().resize((512, 384)) for photograph in photographs()]
    blocks, enlarged = (describe(part) for part in (images, [image.resize((1024, 768)) for image in images]))
    farther = {}
    for resized in (False, True):
        gate = fit_gate(FeatureRows(blocks, np.zeros(len(images))), resized=resized)
        farther[resized] = gate.distance(enlarged).median() - gate.distance(blocks).median()
        weights = gate(enlarged)
        assert weights.min() >= 0.35 and weights.max() <= 0.7 + 1e-9
    assert farther[True] < 0.25 * farther[False]


def test_a_head_keeps_its_scale_when_it_is_saved(rows):
    robust = fit_head(rows, CONFIG).head
    loaded = build_head(json.loads(json.dumps(robust.config)))
    loaded.load_state_dict(robust.state_dict())
    distant = dict(rows.blocks, size=np.full((80, 2), 4096.0))
    assert torch.equal(loaded(distant), robust(distant))


def test_the_ranking_loss_puts_more_copies_of_the_anchors_below_their_originals(rows):
    anchors = package_anchors()
    order = np.lexsort((anchors.strength, anchors.source))  # each original before its copy
    shares = []
    for pair_weight in (0, 2):
        expert = fit_expert(rows, recipe=ExpertRecipe(pair_weight=pair_weight))
        predicted = expert(dict(native=anchors.native)).numpy()[order]
        shares.append((predicted[1::2] < predicted[::2]).mean())
    assert shares[1] > shares[0] + 0.01
    assert shares[1] > 0.9


def test_the_expert_ranks_degraded_copies_below_their_originals(rows):
    expert = fit_expert(rows)
    images = [photograph.open() for photograph in photographs()[:6]]
    copies = [degrade(image, 3).image for image in images]
    above, below = (expert(NativeFeatures()(part)).numpy() for part in (images, copies))
    assert (below < above).mean() > 0.7


@pytest.mark.parametrize('degraded', [-1, -120])
def test_a_negative_number_of_degraded_copies_is_refused(degraded):
    with pytest.raises(RealnessError, match=f'degraded is {degraded}; it must be at least 0'):
        RunConfig('lite', degraded=degraded).check()


@pytest.mark.slow
def test_degraded_0_trains_no_expert_and_the_same_main_head(trained, started):
    command = '-m realness.cli train --data data --encoders lite --head svr --seed 0 --degraded 0 --out plain'
    started(*command.split(), cwd=trained.root, cache=trained.cache).end()
    plain, robust = (realness.load(path).model for path in (trained.root / 'plain', trained.run))
    for modality, head in plain.heads.items():
        assert not isinstance(head, RobustHead)
        other = robust.heads[modality]
        state = getattr(other, 'main', other).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    assert isinstance(robust.heads['image'], RobustHead)
