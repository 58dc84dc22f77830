"The model with ResNet-50 and BERT in full size and with random weights; an encoder from outside the package."

import os
import time

import pandas as pd
import pytest
import torch
from system import noise, write_split
from torch.nn.functional import mse_loss

from realness.data import load_split
from realness.device import seed_everything
from realness.encoders import ImageEncoder, TextEncoder
from realness.images import to_tensor
from realness.regression.learner import Learner, TrainingSettings
from realness.regression.realism_dataset import RealismDataset, make_loader, train_transform
from realness.regression.regression_model import COREModel

SMALL_BERT = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=128,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def random_pair(bert=None):
    "ResNet-50 and BERT with random weights; `bert` holds arguments of `BertConfig`."
    text_encoder = TextEncoder('bert-base-uncased', weights='random', config=bert)
    return ImageEncoder('resnet50', weights='random'), text_encoder


def copy_state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def has_changed(module, before):
    "Whether any parameter or buffer differs, the running means of batch normalisation included."
    return any(not torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def input_widths(head):
    return [layer.in_features for layer in head.layers if hasattr(layer, 'in_features')]


@pytest.fixture(scope='module')
def full_model():
    "The model in its real size, made once for this file."
    seed_everything(0)
    return COREModel(*random_pair())


@pytest.fixture(scope='module')
def batch():
    "Eight small images, their descriptions and MOS."
    images = torch.stack([to_tensor(noise(seed), (64, 96)) for seed in range(8)])
    descriptions = [f'{("No", "Yes")[i % 2]}, image {i}' for i in range(8)]
    return images, descriptions, torch.linspace(-1.5, 1.5, 8)


def test_shapes(full_model):
    images = torch.rand(2, 3, 384, 512)
    ids, mask = full_model.text_encoder.tokens(['No, the hand has six fingers.', 'Yes.'])
    assert ids.shape == mask.shape == (2, 128)
    with torch.inference_mode():
        features = full_model.eval().features(images, ids, mask)
        assert {name: tuple(block.shape) for name, block in features.items()} == dict(
            image=(2, 2048), text=(2, 768)
        )
        assert full_model(images, ids, mask).shape == full_model(images).shape == (2,)
    assert input_widths(full_model.heads['both']) == [2816, 529]
    assert input_widths(full_model.heads['image']) == [2048, 529]


def test_sizes_of_the_encoders(full_model):
    encoders = full_model.image_encoder, full_model.text_encoder
    image, text = (sum(parameter.numel() for parameter in encoder.parameters()) for encoder in encoders)
    assert 23e6 < image < 26e6
    assert 109e6 < text < 110e6


@pytest.mark.parametrize(
    ('frozen', 'unchanged'),
    [('image', {'image'}), ('text', {'text'}), ('both', {'image', 'text'}), ('none', set())],
)
def test_frozen_encoders_do_not_change(batch, frozen, unchanged):
    seed_everything(0)
    options = dict(freeze_image=frozen in ('image', 'both'), freeze_text=frozen in ('text', 'both'))
    model = COREModel(*random_pair(SMALL_BERT), **options).train()
    parts = dict(image=model.image_encoder, text=model.text_encoder, head=model.heads['both'])
    before = {name: copy_state(part) for name, part in parts.items()}
    images, descriptions, mos = batch
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    tokens = model.text_encoder.tokens(descriptions[:4], pad=False)
    mse_loss(model(images[:4], *tokens), mos[:4]).backward()
    optimizer.step()
    assert {name for name, part in parts.items() if not has_changed(part, before[name])} == unchanged


def test_overfits_eight_images(batch):
    seed_everything(0)
    model = COREModel(*random_pair(SMALL_BERT)).train()
    images, descriptions, mos = batch
    tokens = model.text_encoder.tokens(descriptions, pad=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    while len(losses) < 60 and (not losses or losses[-1] >= 0.02):
        loss = mse_loss(model(images, *tokens), mos)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5 and losses[-1] < 0.02, losses


def test_one_epoch_of_fine_tuning(full_model, tmp_path):
    """Fine-tune ResNet-50 and BERT-base on 8 images of 512 x 384 pixels, in two steps.

    It takes half a minute on two cores; with REALNESS_LONG=1 it uses 32 images.
    """
    n = 32 if os.environ.get('REALNESS_LONG') else 8
    df = load_split(write_split(tmp_path / 'train', n + 4, size=(512, 384)))
    tokenizer = full_model.text_encoder
    train = RealismDataset(df[:n].reset_index(drop=True), tokenizer=tokenizer, transform=train_transform())
    validation = RealismDataset(df[n:].reset_index(drop=True), tokenizer=tokenizer)
    encoders = full_model.image_encoder, full_model.text_encoder
    before = [copy_state(encoder) for encoder in encoders]
    start = time.time()
    settings = TrainingSettings(accumulate=4)
    learner = Learner(full_model, make_loader(train, 4, True), make_loader(validation, 4), settings)
    history = learner.fit(1)
    seconds = time.time() - start
    assert isinstance(history, pd.DataFrame) and len(history) == 1 and history.notna().all(axis=None)
    assert full_model(torch.rand(1, 3, 384, 512)).isfinite()
    assert all(has_changed(*pair) for pair in zip(encoders, before, strict=True))
    assert seconds < 600


OUTSIDE = """
from torch import nn
from realness.cli import main
from realness.encoders import IMAGE_ENCODERS, ImageEncoderSpec

def build_cells(weights):
    "The mean brightness of four by four cells."
    brightness = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(brightness.weight, 1 / 3)
    return nn.Sequential(brightness, nn.AdaptiveAvgPool2d(4), nn.Flatten())

cells = ImageEncoderSpec(build_cells, 16, 'MIT', 'v1', mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGE_ENCODERS.register('cells', cells)
main()
"""


def test_an_encoder_from_outside_trains_and_predicts(started, trained, tmp_path):
    "One registered entry works on the command line: --encoders, training, saving, loading, predicting."
    train = ('train', '--data', trained.data, '--encoders', 'cells+lite', '--out', tmp_path / 'run')
    job = started('-c', OUTSIDE, *train, cache=trained.cache).end()
    assert job.code == 0, job.err
    image = next((trained.data / 'test/images').iterdir())
    job = started('-c', OUTSIDE, 'predict', tmp_path / 'run', image, cache=trained.cache).end()
    assert job.code == 0, job.err
    job = started('-m', 'realness.cli', 'predict', tmp_path / 'run', image, cache=trained.cache).end()
    assert job.code != 0 and 'no image encoder called cells' in job.err
