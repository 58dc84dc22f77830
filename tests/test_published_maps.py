"""The published calls make the published maps.

The published code embeds windows and descriptions with the CLIP of transformers. These tests restate it with
`CLIPModel` and `CLIPProcessor`, random weights of the true shape (ViT-B/32), and CLIP's own vocabulary, which
comes with open_clip. They guard token ids (equal), vectors (to 2e-6) and whole maps (to 2e-6).
"""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from published_models import to_open_clip
from system import noise

from realness.localization.clip_model import CLIP, ClipInfo
from realness.localization.get_unrealism_heatmaps import (
    generate_heat_map,
    get_patch_embedding,
    get_text_embedding,
    plot_and_save_heatmap,
)
from realness.localization.heatmap import heatmap
from realness.localization.readings import count_published_tokens, published_tokenizer
from realness.localization.run_heatmap_analysis import process_multiple_images, process_single_image

LONG = 'The cup melts into the table, the spoon bends, and the saucer has two rims. ' * 8
DESCRIPTIONS = (
    'Somewhat. The hand has six fingers, and the sky melts.',
    LONG,
    'Salt &amp; pepper are &quot;blurred&quot; &lt;badly&gt; &#39;here&#39;.',
    'No, the CAT’s fur looks natural.',
)
READ_ALIKE = (  # by open_clip's tokenizer and by that of the published code
    'The hand has six fingers.',
    'two  spaces,\ta tab\nand a line  ',
    'UPPER CASE, Mixed Case',
    "it's they've I'LL don't",
    'ten 10 %, $5.00, a-b_c ...!!!',
    'naïve café, 한국어, ไทย',
    '😀👍🏽 e\u0301 as two characters',
    'a b',  # a space that does not break
    LONG,
    'word ' * 75,
    'word ' * 76,
    'word ' * 300,
    '',
)
READ_DIFFERENTLY = (
    'salt &amp; pepper &lt;b&gt; &quot;x&quot; &#39;s &nbsp; &amp;amp;',
    '“curly” quotes, the cat’s',
    'ﬁ ﬂ １２３ ½ ²',
    'broken: schÃ¶n âœ”',
    'İstanbul ΣΑΣ',
    '\x1b[36;44mterminal',
    '\ufeffmark',
    '<|endoftext|> inside, <|startoftext|> too',
    '<start_of_text> and <end_of_text>',
)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    """CLIP's tokenizer in transformers, from the vocabulary in open_clip."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp('tokenizer')
    simple = SimpleTokenizer()
    names = {'<start_of_text>': '<|startoftext|>', '<end_of_text>': '<|endoftext|>'}
    vocabulary = {names.get(token, token): number for token, number in simple.encoder.items()}
    (folder / 'vocab.json').write_text(json.dumps(vocabulary), encoding='utf-8')
    merges = ['#version: 0.2', *(' '.join(pair) for pair in simple.bpe_ranks)]
    (folder / 'merges.txt').write_text('\n'.join(merges) + '\n', encoding='utf-8')
    (folder / 'tokenizer_config.json').write_text(json.dumps({'model_max_length': 77}))
    return CLIPTokenizer.from_pretrained(folder)


@pytest.fixture(scope='module')
def published(tokenizer):
    """The published model with random weights, its processor, and our `CLIP` of the same weights."""
    import open_clip
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        model = CLIPModel(CLIPConfig()).eval()
        for layer in model.modules():  # larger weights, so that different images get different vectors
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                layer.weight.data.mul_(2)
    ours = open_clip.create_model('ViT-B-32-quickgelu')
    ours.load_state_dict(to_open_clip(model))
    clip = CLIP(ours, open_clip.get_tokenizer('ViT-B-32-quickgelu'), ClipInfo('ViT-B-32', 'test'), 'cpu')
    images = getattr(models.clip, 'CLIPImageProcessorPil', models.clip.CLIPImageProcessor)
    return SimpleNamespace(model=model, processor=CLIPProcessor(images(), tokenizer), clip=clip)


def as_tensor(output):
    """The vectors that a CLIP of transformers returned; since version 5 they are an attribute."""
    return output if torch.is_tensor(output) else output.pooler_output


def unit_vector(published, text=None, image=None):
    """The vector of a text or of an image in the published way: 1 x 512."""
    with torch.no_grad():
        if text is not None:
            inputs = published.processor(text=[text], return_tensors='pt', padding=True, truncation=True)
            vector = as_tensor(published.model.get_text_features(**inputs))
        else:
            inputs = published.processor(images=image, return_tensors='pt')
            vector = as_tensor(published.model.get_image_features(pixel_values=inputs['pixel_values']))
    return torch.nn.functional.normalize(vector, dim=-1)


def published_map(published, image, text, window, stride):
    """The map of the published method: for each pixel the mean cosine of its windows, 0 without a window."""
    width, height = image.size
    sums, counts = np.zeros((height, width)), np.zeros((height, width))
    text_vector = unit_vector(published, text=text)
    for y in range(0, height - window + 1, stride):
        for x in range(0, width - window + 1, stride):
            crop = image.crop((x, y, x + window, y + window))
            inside = np.s_[y : y + window, x : x + window]
            sums[inside] += (unit_vector(published, image=crop) @ text_vector.T).item()
            counts[inside] += 1
    return sums / np.maximum(counts, 1)


@pytest.fixture(scope='module')
def image():
    """An image with smooth and with noisy parts, whose sides are not multiples of a stride."""
    gradient = Image.radial_gradient('L').resize((150, 110)).convert('RGB')
    gradient.paste(noise(4, (60, 50)), (70, 20))
    gradient.paste((200, 40, 60), (5, 60, 50, 100))
    return gradient


# --- Tokens and vectors


@pytest.mark.parametrize('text', READ_ALIKE + READ_DIFFERENTLY)
def test_token_ids(tokenizer, text):
    """They are those of transformers. The ids of open_clip's own tokenizer differ where this is expected."""
    simple = SimpleTokenizer()
    expected = tokenizer([text], truncation=True, padding='max_length', return_tensors='pt').input_ids[0]
    length = len(tokenizer(text, truncation=True).input_ids)
    assert torch.equal(published_tokenizer(simple)([text])[0, :length], expected[:length])
    assert torch.equal(simple([text])[0, :length], expected[:length]) == (text in READ_ALIKE)
    assert count_published_tokens(text, simple) == len(tokenizer(text).input_ids)


def test_long_text_keeps_its_end_token(tokenizer):
    """Start, the first 75 tokens, end."""
    simple = SimpleTokenizer()
    ids = published_tokenizer(simple)([LONG])[0].tolist()
    assert ids == tokenizer(LONG, truncation=True).input_ids
    assert (len(ids), ids[0], ids[-1]) == (77, simple.sot_token_id, simple.eot_token_id)
    assert ids[1:-1] == tokenizer(LONG).input_ids[1:76]


@pytest.mark.parametrize('text', [*DESCRIPTIONS, *READ_DIFFERENTLY])
def test_text_vector(published, text):
    ours = get_text_embedding(text, published.clip)
    assert ours.shape == (1, 512)
    assert torch.allclose(ours, unit_vector(published, text=text), atol=2e-6, rtol=0)


@pytest.mark.parametrize('side', [32, 64, 110])
def test_patch_vector(published, image, side):
    crop = image.crop((40, 0, 40 + side, side))
    ours = get_patch_embedding(crop, published.clip)
    assert torch.allclose(ours, unit_vector(published, image=crop), atol=1e-5, rtol=0)


# --- Maps


@pytest.mark.parametrize('text', DESCRIPTIONS)
@pytest.mark.parametrize('window, stride', [(64, 32), (50, 60), (120, 8)])
def test_whole_map(published, image, text, window, stride):
    """Also with gaps between the windows (stride 60), and for a window larger than the image (empty map)."""
    expected = published_map(published, image, text, window, stride)
    ours = generate_heat_map(image, text, window, stride, clip=published.clip)
    assert (ours.shape, ours.dtype) == ((110, 150), np.float32)
    assert np.abs(ours - expected).max() < 2e-6
    assert np.array_equal(ours == 0, expected == 0)
    assert (np.ptp(expected) > 0.01) == (window < 110)  # the test is sensitive


def test_other_readings_change_the_map(published, image):
    """Cutting a text, reading its entities as they are, and the missing policy each matter for one text."""
    plain, long, entities, no = DESCRIPTIONS
    options = {'clip': published.clip, 'cache': None}
    code = {text: heatmap(image, text, variant='code', **options).array for text in DESCRIPTIONS}
    inside = np.s_[:96, :128]  # the last windows of `code` reach the border, the published ones do not
    expected = generate_heat_map(image, plain, clip=published.clip)
    assert np.abs(code[plain][:46, :86] - expected[:46, :86]).max() < 1e-4  # cached vectors have 16 bits
    parts = {
        text: heatmap(image, text, variant='code', reading='parts', **options).array for text in DESCRIPTIONS
    }
    assert np.abs(parts[plain] - code[plain]).max() < 1e-4
    for text in (long, entities):
        assert np.abs(parts[text] - code[text])[inside].max() > 1e-3
    assert np.ptp(heatmap(image, no, variant='code', policy=True, **options).array) == 0
    assert np.ptp(code[no]) > 0.01


def test_figure_returns_the_stretched_map(published, image, tmp_path, capsys):
    raw = published_map(published, image, DESCRIPTIONS[0], 64, 32)
    shares = plot_and_save_heatmap(image, DESCRIPTIONS[0], tmp_path / 'a.png', 64, 32, clip=published.clip)
    assert (
        np.abs(shares - (raw - raw.min()) / np.ptp(raw)).max() < 2e-5
    )  # the error of the map divided by its range
    assert 'published map (variant code, ViT-B-32@test, window 64, stride 32)' in capsys.readouterr().out
    with Image.open(tmp_path / 'a.png') as figure:
        assert min(figure.size) > 200


# --- Images of a table


@pytest.fixture
def split(image, tmp_path):
    """A folder with images of three kinds, and their table as the published code reads it."""
    folder = tmp_path / 'images'
    folder.mkdir()
    image.save(folder / 'f22.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(folder / 'turned.jpg', exif=exif)
    transparent = image.convert('RGBA')
    transparent.putalpha(40)
    transparent.save(folder / 'clear.png')
    names = ['f22.png', 'turned.jpg', 'clear.png', 'missing.png']
    df = pd.DataFrame({'filename': names, 'MOS': 0.5, 'description': 'No, the cup &amp; the spoon melt.'})
    return SimpleNamespace(df=df, images=folder, out=tmp_path / 'out')


def test_published_arguments_make_published_files(split, capsys):
    arguments = (split.df, split.df.filename.tolist(), split.images, split.out, 64, 32)
    assert process_multiple_images(*arguments, clip='lite-clip') == ['missing.png']
    files = sorted(path.name for path in split.out.iterdir())
    assert files == ['heatmap_clear.png', 'heatmap_f22.png', 'heatmap_turned.jpg']
    with Image.open(split.out / 'heatmap_turned.jpg') as figure:
        assert figure.format == 'JPEG'
    output = capsys.readouterr()
    assert output.out.count('published map (variant code, lite-clip') == 3
    assert 'missing.png: there is no such file' in output.err


@pytest.mark.parametrize('name', ['turned.jpg', 'clear.png'])
def test_published_pixels(split, name):
    """They are those of Pillow alone: no rotation, no background."""
    with Image.open(split.images / name) as file:
        pixels = np.asarray(file.convert('RGB'))
    options = {'clip': 'lite-clip'}
    expected = generate_heat_map(pixels, 'The cup melts.', 64, 32, **options)
    assert np.array_equal(
        generate_heat_map(split.images / name, 'The cup melts.', 64, 32, **options), expected
    )
    with Image.open(split.images / name) as file:
        assert np.array_equal(generate_heat_map(file, 'The cup melts.', 64, 32, **options), expected)


def test_named_variant_makes_our_map(split, capsys):
    """Files, values and the policy are ours, and a line says so."""
    for name, variant in (('f22.png', 'dream'), ('clear.png', 'paper')):
        options = {'variant': variant, 'clip': 'lite-clip', 'policy': False}
        assert process_single_image(split.df, name, split.images, split.out, **options)
        blocks = {'windows': 64, 'stride': 32, 'within': 'mean'}  # as the published map is drawn
        expected = heatmap(split.images / name, split.df.description[0], **blocks, **options)
        assert np.array_equal(np.load(split.out / f'{name[:-4]}.npy'), expected.array)
        assert f'{name}: map (variant {variant}, lite-clip' in capsys.readouterr().out
    assert process_single_image(
        split.df, 'f22.png', split.images, split.out, variant='dream', clip='lite-clip'
    )
    assert np.ptp(np.load(split.out / 'f22.npy')) == 0
    assert 'real everywhere' in capsys.readouterr().out
