"""The published training, compared with a plain restatement and with figures of the authors' program.

The figures were made with the authors' program (github.com/LOVISH007/REALM: utils.py of commit 81d6931,
core.py of fce46af, train.py of 0d2d49a) under torch 2.14, on the images and the table of `made_data` and with
the weights of `made_weight`. Its two downloads were replaced by `resnet50()` and by `BertModel(BertConfig())`
without dropout. The training ran in double precision (`torch.set_default_dtype`), because AdamW turns the
rounding errors of tiny gradients into whole steps.
"""

import json
import shutil
import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from published_models import PlainCORE, published_name
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms
from transformers import BertConfig

from realness.config import SEED, TABLE
from realness.device import seed_everything
from realness.encoders import ImageEncoder, TextEncoder
from realness.images import to_tensor
from realness.regression.learner import Learner, TrainingSettings
from realness.regression.predictor import load
from realness.regression.published_weights import import_published
from realness.regression.realism_dataset import RealismDataset, make_loader, published_transform
from realness.regression.regression_model import COREModel
from realness.regression.train import create_data_loaders, load_and_prepare_data, train_model

SIZES = [(512, 384), (640, 400), (300, 300)]
DESCRIPTIONS = [
    'No. The street looks natural.',
    'Somewhat. The hand has six fingers.',
    'Yes. The face is melted and the text is garbled.',
]
# Validation rows of the split, in order.
VALIDATION = ['m10.png', 'm9.png', 'm0.png']
# Images m0 to m2 with torch.manual_seed(0), (1) and (2): mean of each channel; pixel of row 200, column 300.
AUGMENTED = [
    ([0.523709, 0.514154, 0.489469], [0.009661242365837097, 0.7821007370948792, 0.29276537895202637]),
    ([0.548711, 0.541763, 0.532116], [1.0, 0.6833068132400513, 0.1830471158027649]),
    ([0.513631, 0.515429, 0.513907], [0.6264108419418335, 0.1654270887374878, 0.6238287091255188]),
]
# Token ids of the third description, without the padding.
IDS = [101, 2748, 1012, 1996, 2227, 2003, 12501, 1998, 1996, 3793, 2003, 11721, 15185, 3709, 1012, 102]
# Predictions of images m0 to m2 with the made weights.
PREDICTIONS = [-0.5263583, -0.5440497, -0.5705512]
# An epoch on m0 to m3 in batches of 2, in order and not augmented, with learning rate 1.1e-4: training loss,
# loss of m4 to m7, and the predictions of these four images afterwards.
TRAIN_LOSS, VALIDATION_LOSS = 2.497564753063, 2.171011698408
TRAINED = [1.2811790, 1.2813389, 1.2933290, 1.2810501]


def made_image(i):
    "Stripes that differ in every channel; the images have three sizes."
    width, height = SIZES[i % 3]
    y, x, channel = np.mgrid[0:height, 0:width, 0:3]
    values = x * (i + 1) // 3 + y * (channel + 2) // 2 + 60 * channel + 37 * i
    return Image.fromarray((values % 256).astype(np.uint8))


@pytest.fixture(scope='module')
def made_data(tmp_path_factory):
    "A data folder with 12 training images."
    folder = tmp_path_factory.mktemp('made')
    images = folder / 'train/images'
    images.mkdir(parents=True)
    rows = []
    for i in range(12):
        made_image(i).save(images / f'm{i}.png')
        rows.append((f'm{i}.png', round(i * 7 % 12 / 4 - 1.25, 2), DESCRIPTIONS[i % 3]))
    table = pd.DataFrame(rows, columns=['filename', 'MOS', 'description'])
    table.to_csv(folder / 'train' / TABLE, index=False)
    return SimpleNamespace(folder=folder, images=images, table=table)


def exact_pixels(x):
    "Values 0-1 in double precision, without the rounding to 32 bits."
    return (x.double() * 255).round() / 255


def made_weight(name, tensor):
    "Weights that depend on the name alone: normal for matrices, 1 for scales, 0 for biases."
    if tensor.dim() < 2:
        return torch.ones_like(tensor) if name.endswith('weight') else tensor
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(tuple(tensor.shape), dtype=np.float32)
    return torch.from_numpy(values / np.float32(np.prod(tensor.shape[1:]) ** 0.5))


def made_state(model):
    "The made weights of the parts of a `COREModel` that the published model has."
    state = {}
    for name, tensor in model.state_dict().items():
        published = published_name(name)
        if published:
            is_bias = tensor.dim() < 2 and name.endswith('bias')
            state[name] = torch.zeros_like(tensor) if is_bias else made_weight(published, tensor)
    return state


def make_core(**bert):
    "A `COREModel` as the published preset makes it, with random weights; `bert`: arguments of `BertConfig`."
    image_encoder = ImageEncoder('resnet50', weights='random', normalize='none')
    return COREModel(image_encoder, TextEncoder('bert-base-uncased', weights='random', config=bert))


@pytest.fixture
def made_core():
    "A `COREModel` with the made weights and without dropout."
    model = make_core(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.load_state_dict(made_state(model), strict=False)
    return model


def copy_to_plain(core):
    "A `PlainCORE` with the weights of a `COREModel`."
    plain = PlainCORE(BertConfig())
    state = {published_name(name): tensor for name, tensor in core.state_dict().items()}
    plain.load_state_dict({name: tensor for name, tensor in state.items() if name})
    return plain


def published_images(made_data, i):
    "An image after the published steps that are not random."
    steps = transforms.Compose([transforms.Resize((384, 512)), transforms.ToTensor()])
    return steps(Image.open(made_data.images / f'm{i}.png').convert('RGB'))


# --- data ---


def test_the_split_row_for_row(made_data):
    train, validation, test = load_and_prepare_data(made_data.folder)
    as_read = pd.read_csv(made_data.folder / 'train' / TABLE)
    expected = train_test_split(as_read, test_size=0.20, random_state=42)
    for part, frame in zip((train, validation), expected, strict=True):
        assert part.filename.tolist() == frame.filename.tolist()
        assert part.MOS.tolist() == frame.MOS.tolist()
        assert part.description.tolist() == frame.description.tolist()
    assert validation.filename.tolist() == VALIDATION
    assert len(test) == 0


@pytest.mark.parametrize('i', range(3))
def test_images_are_resized_as_published(made_data, i):
    assert torch.equal(to_tensor(made_data.images / f'm{i}.png'), published_images(made_data, i))


@pytest.mark.parametrize('i', range(3))
def test_the_augmentation_gives_the_published_figures(made_data, i):
    torch.manual_seed(i)
    x = published_transform()(to_tensor(made_data.images / f'm{i}.png'))
    means, pixel = AUGMENTED[i]
    assert x.double().mean((1, 2)).tolist() == pytest.approx(means, abs=1e-6)
    assert x[:, 200, 300].tolist() == pytest.approx(pixel, abs=1e-6)


def test_the_augmentation_of_a_row_is_the_published_one(made_data):
    published = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
        ]
    )
    encoder = TextEncoder('bert-base-uncased', weights='random', config=dict(num_hidden_layers=1))
    dataset = RealismDataset(made_data.table, made_data.images, encoder, published_transform())
    for epoch, row in ((0, 0), (0, 1), (3, 5)):
        dataset.set_epoch(epoch)
        torch.manual_seed((SEED * 1_000_003 + epoch) * 1_000_003 + row)
        assert torch.equal(dataset[row][0], published(published_images(made_data, row)))


def test_token_ids(made_data):
    encoder = TextEncoder('bert-base-uncased', weights='random', config=dict(num_hidden_layers=1))
    _, ids, mask, mos = RealismDataset(made_data.table, made_data.images, encoder)[2]
    assert ids.tolist() == IDS + [0] * (128 - len(IDS))
    assert int(mask.sum()) == len(IDS)
    assert (mos.dtype, float(mos)) == (torch.float32, -0.75)


def test_the_loaders(made_data):
    frames = load_and_prepare_data(made_data.folder)
    test = frames[1].iloc[:2]
    loaders = create_data_loaders(*frames[:2], test, encoders='lite', preset='published')
    assert [loader.batch_size for loader in loaders] == [16, 16, 16]
    assert [loader.drop_last for loader in loaders] == [False, False, False]
    assert [loader.sampler.shuffle for loader in loaders] == [True, False, False]
    train, validation, test = (str(loader.dataset.transform) for loader in loaders)
    assert train == validation == str(published_transform())
    assert test == 'None'


# --- model and training ---


def test_the_model_is_the_published_architecture(made_data):
    seed_everything(0)
    core = make_core().eval()
    plain = copy_to_plain(core).eval()
    images = torch.stack([published_images(made_data, i) for i in range(2)])
    ids, mask = core.text_encoder.tokens(DESCRIPTIONS[:2])
    with torch.inference_mode():
        assert torch.allclose(core(images, ids, mask), plain(images, ids, mask), atol=1e-5)


def test_the_model_gives_the_published_predictions(made_data, made_core):
    loader = make_loader(RealismDataset(made_data.table[:3], made_data.images, made_core.text_encoder), 3)
    _, predictions = Learner(made_core, None, None, TrainingSettings(device='cpu')).predict(loader)
    assert predictions == pytest.approx(PREDICTIONS, abs=2e-5)


@pytest.mark.slow
def test_import_of_best_model(made_data, tmp_path):
    "best_model.pth as the published program writes it, with random weights of the true shape."
    seed_everything(0)
    plain = PlainCORE(BertConfig()).eval()
    torch.save(plain.state_dict(), tmp_path / 'best_model.pth')
    import_published(tmp_path / 'best_model.pth').save_pretrained(tmp_path / 'run')
    predictor = load(tmp_path / 'run', 'cpu')
    with torch.inference_mode():
        tokens = predictor.model.text_encoder.tokens(DESCRIPTIONS[:1])
        expected = plain(published_images(made_data, 0)[None], *tokens).item()

    path = made_data.images / 'm0.png'
    described, alone = predictor.rows([path, path], [DESCRIPTIONS[0], ''])
    assert described['mos'] == pytest.approx(expected, abs=2e-5)
    assert 'm0.png: has no description, and this model has no head for the image alone' in alone['error']


def test_one_step_of_the_optimiser():
    "In double precision, because AdamW turns rounding errors of tiny gradients into whole steps."
    seed_everything(0)
    core = make_core().double()
    plain = copy_to_plain(core).double().train()
    ids, mask = core.text_encoder.tokens(DESCRIPTIONS)
    batch = torch.rand(3, 3, 64, 96, dtype=torch.float64), ids, mask, torch.tensor([0.5, -1.0, 0.0])
    Learner(core, [batch], [batch], TrainingSettings(lr=1.1e-4, device='cpu')).fit(1)

    optimiser = torch.optim.AdamW(plain.parameters(), lr=1.1e-4)
    seed_everything(SEED * 1_000_003 + 1)  # the same units are dropped
    nn.MSELoss()(plain(*batch[:3]).float(), batch[3]).backward()
    optimiser.step()
    for name, tensor in core.state_dict().items():
        if published_name(name):
            expected = plain.state_dict()[published_name(name)]
            assert torch.allclose(tensor, expected, rtol=0, atol=1e-9), name


def test_an_epoch_gives_the_published_losses(made_data, made_core):
    "In double precision, like the figures of the authors' program."
    parts = [
        RealismDataset(rows, made_data.images, made_core.text_encoder, exact_pixels)
        for rows in (made_data.table[:4], made_data.table[4:8])
    ]
    train, validation = (make_loader(part, 2) for part in parts)
    settings = TrainingSettings(lr=0.00011, half_precision=False, device='cpu')
    learner = Learner(made_core.double(), train, validation, settings)
    history = learner.fit(1)
    assert history.train_loss[0] == pytest.approx(TRAIN_LOSS, abs=1e-5)
    assert history.val_loss[0] == pytest.approx(VALIDATION_LOSS, abs=1e-5)
    assert learner.predict(validation)[1] == pytest.approx(TRAINED, abs=1e-5)


# --- the command ---


def test_the_published_preset_as_a_script(started, made_data, tmp_path):
    shutil.copytree(made_data.folder, tmp_path / 'datasets')
    command = '-m realness.regression.train --preset published --encoders lite --epochs 1 --batch-size 4'
    result = started(*command.split(), PROJECT_ROOT=str(tmp_path)).end()
    assert result.code == 0, result.err
    assert 'Preset published: the published training' in result.out
    config = json.loads((tmp_path / 'runs/core/config.json').read_text())
    image = config['encoders']['image']
    assert (image['normalize'], image['shape'], image['frozen']) == ('none', 'stretch', False)
    assert len(config['run']['id']) == 12


def test_help_describes_the_presets(started):
    result = started('-m', 'realness.regression.train', '--help').end()
    text = ' '.join(result.out.split())
    assert '--preset {published,ours}' in text
    assert 'default: published, but ours for the lite pair' in text


def test_encoders_without_a_name_are_trained_as_published():
    "The default of `train_model` is the published preset; the encoders are given with random weights."
    config = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    encoders = (
        ImageEncoder('resnet18', weights='random', normalize='none'),
        TextEncoder('bert-base-uncased', weights='random', config=config),
    )
    ids, mask = encoders[1].tokens(DESCRIPTIONS)
    batch = torch.rand(3, 3, 64, 96), ids, mask, torch.tensor([0.5, -1.0, 0.0])
    loader = DataLoader(TensorDataset(*batch), batch_size=3)
    model, *_ = train_model(loader, loader, num_epochs=1, encoders=encoders, device='cpu', log=None)
    assert (model.freeze_image, model.freeze_text, model.run) == (False, False, {})
