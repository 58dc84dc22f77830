"The full pair, ResNet-50 and BERT, at its real shape with random weights."

import os
import time

import pandas as pd
import pytest
import torch
from system import noise, write_split

from realness.data import load_split
from realness.device import seed_everything
from realness.encoders import ImageEncoder, TextEncoder
from realness.regression.learner import Learner, TrainingSettings
from realness.regression.realism_dataset import RealismDataset, make_loader, train_transform
from realness.regression.regression_model import COREModel

SMALL = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=128,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def pair(config=None):
    return ImageEncoder('resnet50', weights='random'), TextEncoder(
        'bert-base-uncased', weights='random', config=config
    )


def state(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def changed(module, before):
    return [k for k, v in module.state_dict().items() if not torch.equal(v, before[k])]


@pytest.fixture(scope='module')
def full():
    "The model, made once for this file."
    seed_everything(0)
    return COREModel(*pair())


@pytest.fixture(scope='module')
def batch():
    "Eight small images, sentences and MOS."
    from realness.images import to_tensor

    x = torch.stack([to_tensor(noise(i), (64, 96)) for i in range(8)])
    return x, [f'{("No", "Yes")[i % 2]}, image {i}' for i in range(8)], torch.linspace(-1.5, 1.5, 8)


def test_shapes(full):
    x = torch.rand(2, 3, 384, 512)
    ids, mask = full.text_encoder.tokens(['No, the hand has six fingers.', 'Yes.'])
    assert ids.shape == mask.shape == (2, 128)
    with torch.inference_mode():
        f = full.eval().features(x, ids, mask)
        assert {k: tuple(v.shape) for k, v in f.items()} == dict(image=(2, 2048), text=(2, 768))
        assert full(x, ids, mask).shape == full(x).shape == (2,)
    assert [l.in_features for l in full.heads['both'].layers if hasattr(l, 'in_features')] == [2816, 529]
    assert [l.in_features for l in full.heads['image'].layers if hasattr(l, 'in_features')] == [2048, 529]
    image, text = (sum(p.numel() for p in e.parameters()) for e in (full.image_encoder, full.text_encoder))
    assert 23e6 < image < 26e6 and 109e6 < text < 110e6


@pytest.mark.parametrize('frozen', ['image', 'text', 'both', 'none'])
def test_freezing_freezes(batch, frozen):
    seed_everything(0)
    model = COREModel(
        *pair(SMALL), freeze_image=frozen in ('image', 'both'), freeze_text=frozen in ('text', 'both')
    ).train()
    parts = dict(image=model.image_encoder, text=model.text_encoder, head=model.heads['both'])
    before = {k: state(m) for k, m in parts.items()}
    x, said, mos = batch
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    torch.nn.functional.mse_loss(
        model(x[:4], *model.text_encoder.tokens(said[:4], pad=False)), mos[:4]
    ).backward()
    opt.step()
    still = {
        k for k, m in parts.items() if not changed(m, before[k])
    }  # running means of a frozen encoder count too
    assert still == {'image': {'image'}, 'text': {'text'}, 'both': {'image', 'text'}, 'none': set()}[frozen]


def test_overfits_eight(batch):
    seed_everything(0)
    model = COREModel(*pair(SMALL)).train()
    x, said, mos = batch
    tokens = model.text_encoder.tokens(said, pad=False)
    opt, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(60):
        loss = torch.nn.functional.mse_loss(model(x, *tokens), mos)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if losses[-1] < 0.02:
            break
    assert losses[0] > 0.5 and losses[-1] < 0.02, losses


def test_one_epoch_of_fine_tuning(full, tmp_path):
    "8 images of 512x384 through ResNet-50 and BERT-base and back, two steps; half a minute on two cores (REALNESS_LONG=1: 32 images)."
    n = 32 if os.environ.get('REALNESS_LONG') else 8
    df = load_split(write_split(tmp_path / 'train', n + 4, size=(512, 384)))
    sets = [
        RealismDataset(d.reset_index(drop=True), tokenizer=full.text_encoder, transform=t)
        for d, t in ((df[:n], train_transform()), (df[n:], None))
    ]
    before, t = (
        {k: state(m) for k, m in dict(image=full.image_encoder, text=full.text_encoder).items()},
        time.time(),
    )
    settings = TrainingSettings(accumulate=4)
    learner = Learner(full, make_loader(sets[0], 4, True), make_loader(sets[1], 4), settings)
    history = learner.fit(1)
    took = time.time() - t
    print(f'{took:.0f} s')
    assert isinstance(history, pd.DataFrame) and len(history) == 1 and history.notna().all(axis=None)
    assert full(torch.rand(1, 3, 384, 512)).isfinite()
    assert changed(full.image_encoder, before['image']) and changed(full.text_encoder, before['text'])
    assert took < 600
