"""CLIP checkpoints: the same weights give the same cosines in every layout and under every name, or an error.

The reference is the model of transformers with the same random weights, which none of the code under test
has touched, and for archives like OpenAI's the loader of open_clip.
"""

import json
import shutil
import warnings

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch.nn.functional import normalize
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
)

from realness.config import RealnessError
from realness.localization.clip import load_clip
from realness.localization.clip_checkpoint import read_checkpoint
from realness.localization.cut_windows import image_tensor
from realness.localization.embed import embed_corners
from realness.localization.windows import Grid
from realness.photographs import photographs

TEXTS = ["Yes. The sky melts, and the dog isn't real!", 'a cup of coffee', 'No.']
ARCHITECTURE = {
    'embed_dim': 32,
    'vision_cfg': {'image_size': 64, 'layers': 2, 'width': 64, 'patch_size': 16},
    'text_cfg': {'context_length': 77, 'vocab_size': 49408, 'width': 64, 'heads': 1, 'layers': 2},
}
TOWER = {'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 1, 'intermediate_size': 256}


# --- Models and files


@pytest.fixture(scope='module', autouse=True)
def tiny_architecture(tmp_path_factory):
    """The architectures `tiny` and `tiny-quickgelu` of open_clip."""
    folder = tmp_path_factory.mktemp('architectures')
    (folder / 'tiny.json').write_text(json.dumps(ARCHITECTURE))
    (folder / 'tiny-quickgelu.json').write_text(json.dumps({**ARCHITECTURE, 'quick_gelu': True}))
    open_clip.add_model_config(folder)


def random_model(config):
    """A model of transformers with random weights and biases, large enough to tell activations apart."""
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('bias'):
                parameter.normal_(std=0.05)
            elif parameter.ndim == 2 and 'embedding' not in name:
                parameter.mul_(2)
    return model


@pytest.fixture(scope='module')
def tiny():
    """A tiny model of transformers with QuickGELU."""
    vision = {**TOWER, 'image_size': 64, 'patch_size': 16}
    return random_model(CLIPConfig(text_config=TOWER, vision_config=vision, projection_dim=32))


@pytest.fixture(scope='module')
def state(tiny, tmp_path_factory):
    """Its weights under the names of open_clip."""
    folder = tmp_path_factory.mktemp('state')
    tiny.save_pretrained(folder)
    return {k: v.contiguous() for k, v in read_checkpoint(folder / 'model.safetensors').weights.items()}


def open_clip_model(state, name='tiny-quickgelu'):
    model = open_clip.create_model(name)
    model.load_state_dict(state)
    return model.eval()


def save_archive(model, path, size=64):
    """Trace a model and save it as OpenAI did: with three numbers among the tensors."""
    for name, number in {'input_resolution': size, 'context_length': 77, 'vocab_size': 49408}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(number))
    model.attn_mask = model._buffers.pop('attn_mask')  # a constant, not one of the tensors
    dtype = model.visual.conv1.weight.dtype
    example = {
        'encode_image': torch.zeros(1, 3, size, size, dtype=dtype),
        'encode_text': torch.ones(1, 77, dtype=torch.long),
    }
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace_module(model, example, check_trace=False).save(path)


def tokenizer():
    """The tokenizer of transformers with the vocabulary of CLIP, which open_clip contains."""
    simple = SimpleTokenizer()
    vocabulary = dict(simple.encoder)
    vocabulary['<|startoftext|>'] = vocabulary.pop('<start_of_text>')
    vocabulary['<|endoftext|>'] = vocabulary.pop('<end_of_text>')
    return CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks))


# --- Cosines


def photo():
    return next(p for p in photographs() if p.name == 'coffee').open().resize((512, 384))


CORNERS = Grid(384, 512, window=64, stride=64).corners()[::4]


def cosines(clip):
    """Cosines of windows of 64 pixels with texts, as a heatmap computes them."""
    windows = embed_corners(image_tensor(photo()), clip, 64, CORNERS)
    return windows @ clip.encode_text(TEXTS).numpy().T


def reference_cosines(model, processor_class=CLIPImageProcessorPil):
    """The same cosines as the published program computes them, with transformers alone."""
    size = model.config.vision_config.image_size
    processor = processor_class(size={'shortest_edge': size}, crop_size=size, resample=3, do_convert_rgb=True)
    tokenize = tokenizer()
    crops = [photo().crop((x, y, x + 64, y + 64)) for y, x in CORNERS.tolist()]
    pixels = processor(images=crops, return_tensors='pt')['pixel_values']
    with torch.inference_mode():
        windows = normalize(model.get_image_features(pixels).pooler_output, dim=-1)
        texts = []
        for text in TEXTS:
            tokens = tokenize([text], return_tensors='pt', padding=True, truncation=True)
            texts.append(normalize(model.get_text_features(**tokens).pooler_output, dim=-1))
    return (windows @ torch.cat(texts).T).numpy()


def assert_same(clip, expected):
    np.testing.assert_allclose(cosines(clip), expected, atol=1e-5)


def load(name):
    return load_clip(name, device='cpu')


# --- Layouts that record the activation


def write_archive(folder, name, tiny, state):
    save_archive(open_clip_model(state), folder / name)


def write_archive_weights(folder, name, tiny, state):
    numbers = dict.fromkeys(('input_resolution', 'context_length', 'vocab_size'), torch.tensor(64))
    torch.save({**state, **numbers}, folder / name)


def write_noted(folder, name, tiny, state):
    torch.save({'state_dict': state, 'epoch': 3, 'quick_gelu': True}, folder / name)


def write_metadata(folder, name, tiny, state):
    save_file(state, folder / f'{name}.safetensors', metadata={'quick_gelu': 'true'})


def write_open_clip_folder(folder, name, tiny, state):
    torch.save(state, folder / name)
    config = {'model_cfg': {**ARCHITECTURE, 'quick_gelu': True}, 'preprocess_cfg': {}}
    (folder / 'open_clip_config.json').write_text(json.dumps(config))


def write_transformers_folder(folder, name, tiny, state):
    tiny.save_pretrained(folder)
    (folder / 'model.safetensors').rename(folder / f'{name}.safetensors')


def write_old_transformers_folder(folder, name, tiny, state):
    tiny.config.save_pretrained(folder)
    torch.save(tiny.state_dict(), folder / name)


RECORDED = (
    write_archive,
    write_archive_weights,
    write_noted,
    write_metadata,
    write_open_clip_folder,
    write_transformers_folder,
    write_old_transformers_folder,
)


@pytest.mark.parametrize('name', ['openai.pt', 'laion2b.bin'])
@pytest.mark.parametrize('write', RECORDED)
def test_recorded_activations(write, name, tiny, state, tmp_path):
    """The plain name and `-quickgelu` give the cosines of transformers; `-gelu` is refused."""
    write(tmp_path, name, tiny, state)
    path = next(tmp_path.glob(f'{name}*'))
    expected = reference_cosines(tiny)
    plain, explicit = load(f'tiny@{path}'), load(f'tiny-quickgelu@{path}')
    assert_same(plain, expected)
    assert_same(explicit, expected)
    assert plain.fingerprint() == explicit.fingerprint()
    with pytest.raises(RealnessError, match=f'records QuickGELU; name it tiny-quickgelu@{path}'):
        load(f'tiny-gelu@{path}')


def test_a_folder_of_open_clip(tiny, state, tmp_path):
    write_open_clip_folder(tmp_path, 'open_clip_pytorch_model.bin', tiny, state)
    assert_same(load(str(tmp_path)), reference_cosines(tiny))


def test_a_published_file_is_recognised_by_its_digest(tiny, state, tmp_path, monkeypatch):
    import hashlib

    torch.save(state, tmp_path / 'renamed.pt')
    digest = hashlib.sha256((tmp_path / 'renamed.pt').read_bytes()).hexdigest()
    settings = {'url': f'https://example.org/tiny-{digest[:8]}.pt', 'quick_gelu': True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', {'v1': settings})
    assert_same(load(f'tiny@{tmp_path}/renamed.pt'), reference_cosines(tiny))
    with pytest.raises(RealnessError, match='the published file tiny@v1 records QuickGELU'):
        load(f'tiny-gelu@{tmp_path}/renamed.pt')


def test_gelu_is_recorded_too(tiny, state, tmp_path):
    """The same weights with GELU have other cosines and another fingerprint."""
    save_archive(open_clip_model(state, 'tiny'), tmp_path / 'openai.pt')
    exact = load(f'tiny@{tmp_path}/openai.pt')
    torch.save(state, tmp_path / 'weights.pt')
    quick = load(f'tiny-quickgelu@{tmp_path}/weights.pt')
    assert abs(cosines(exact) - cosines(quick)).max() > 1e-4
    assert exact.fingerprint() != quick.fingerprint()
    assert_same(load(f'tiny-gelu@{tmp_path}/weights.pt'), cosines(exact))


def test_pixel_statistics_of_a_configuration(tiny, state, tmp_path):
    write_open_clip_folder(tmp_path, 'mine.pt', tiny, state)
    config = json.loads((tmp_path / 'open_clip_config.json').read_text())
    config['preprocess_cfg'] = {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25]}
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(config))
    clip = load(f'tiny@{tmp_path}/mine.pt')
    assert clip.mean.flatten().tolist() == [0.5] * 3
    assert clip.std.flatten().tolist() == [0.25] * 3


# --- Files that record nothing


@pytest.mark.parametrize('name', ['openai.pt', 'vit_b_32-quickgelu.pt', 'mine.safetensors'])
def test_unknown_activations_are_asked_for(name, tiny, state, tmp_path):
    """The name of the file decides nothing; the message names both spellings, and both work."""
    path = tmp_path / name
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    with pytest.raises(RealnessError) as error:
        load(f'tiny@{path}')
    message = str(error.value)
    assert f'tiny-quickgelu@{path}' in message
    assert f'tiny-gelu@{path}' in message
    assert '\n' not in message
    assert_same(load(f'tiny-quickgelu@{path}'), reference_cosines(tiny))
    assert load(f'tiny-gelu@{path}').activation == 'gelu'


def test_a_configuration_of_another_model_is_ignored(tiny, state, tmp_path):
    write_open_clip_folder(tmp_path, 'mine.pt', tiny, state)
    config = {'model_cfg': open_clip.get_model_config('ViT-B-32')}
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(config))
    with pytest.raises(RealnessError, match='name it tiny-quickgelu@'):
        load(f'tiny@{tmp_path}/mine.pt')


def test_transformers_weights_without_their_configuration(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / 'complete')
    shutil.copy(tmp_path / 'complete/model.safetensors', tmp_path)
    with pytest.raises(RealnessError, match='name it tiny-quickgelu@'):
        load(f'tiny@{tmp_path}/model.safetensors')
    assert_same(load(f'tiny-quickgelu@{tmp_path}/model.safetensors'), reference_cosines(tiny))


@pytest.mark.parametrize(
    'content, message',
    [
        ({'weight': torch.zeros(1)}, 'contains no CLIP model'),
        ({'logit_scale': torch.zeros(())}, 'do not fit tiny-gelu'),
        ([1, 2], 'cannot be read as weights'),
        (b'no archive', 'cannot be read as weights'),
    ],
)
def test_wrong_files(content, message, tmp_path):
    path = tmp_path / 'mine.pt'
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(RealnessError, match=message) as error:
        load(f'tiny-gelu@{path}')
    assert str(path) in str(error.value)


# --- ViT-B-32


@pytest.fixture(scope='module')
def large():
    """A model of transformers in the shape of ViT-B-32, the default, with weights in half precision."""
    model = random_model(CLIPConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


def test_vit_b_32_agrees_with_transformers(large, tmp_path):
    """Windows of 64 pixels, enlarged to 224: resizing, normalisation, tokens, precision and activation.

    Pillow resizes the windows of the published program. transformers 5 resizes with torchvision by default,
    which rounds to other grey levels.
    """
    large.save_pretrained(tmp_path)
    computed = cosines(load(f'ViT-B-32@{tmp_path}/model.safetensors'))
    expected = reference_cosines(large)
    assert abs(computed - expected).max() < 1e-6
    assert abs(computed - reference_cosines(large, CLIPImageProcessor)).max() < 1e-4
    assert np.ptp(expected, axis=0).min() > 0.01


def test_an_archive_like_openai_in_half_precision(large, tmp_path):
    """A traced ViT-B-32 in half precision agrees with transformers and with the loader of open_clip."""
    large.save_pretrained(tmp_path)
    weights = read_checkpoint(tmp_path / 'model.safetensors').weights
    model = open_clip.create_model('ViT-B-32-quickgelu', precision='fp16')
    model.load_state_dict(weights)
    save_archive(model.eval(), tmp_path / 'mine.bin', size=224)
    archive = read_checkpoint(tmp_path / 'mine.bin')
    assert archive.weights['visual.proj'].dtype == torch.float16
    clip = load(f'ViT-B-32@{tmp_path}/mine.bin')
    assert_same(clip, reference_cosines(large))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        other = open_clip.load_openai_model(str(tmp_path / 'mine.bin'), precision='fp32', device='cpu')
    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        difference = clip.model.encode_image(images) - other.encode_image(images)
    assert abs(difference).max() < 1e-5
