"""Maps of DREAM against a literal restatement of the published loop, and against figures of published code.

The model is a small CLIP with random weights. The restatement uses transformers' `CLIPModel` and its image
processor, a window at a time; ours uses open_clip, all windows in batches. Both have the same weights.
"""

import numpy as np
import open_clip
import pytest
import torch
from made import fill, made_image
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from published_models import to_open_clip
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from realness.localization.clip_model import CLIP, ClipInfo
from realness.localization.embed import embed_corners
from realness.localization.heatmap import heatmap
from realness.localization.windows import AGGREGATIONS, Grid, to_pixels

TEXT = 'the hand on the left has six fingers'
TOLERANCE = 2e-5  # of a cosine of 512 numbers: maps round the vectors of windows to half precision


@pytest.fixture(scope='module')
def published():
    "A small `CLIPModel` of transformers with made weights and QuickGELU, as in OpenAI's models."
    vision = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
    text = dict(hidden_size=48, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4)
    both = dict(hidden_act='quick_gelu', projection_dim=512)
    config = CLIPConfig(
        vision_config=vision | both | dict(image_size=224, patch_size=32),
        text_config=text | both | dict(vocab_size=49408, max_position_embeddings=77, eos_token_id=49407),
        projection_dim=512,
    )
    return fill(CLIPModel(config))


@pytest.fixture(scope='module')
def clip(published):
    "The same weights in open_clip, as our maps use them."
    vision = CLIPVisionCfg(layers=2, width=64, head_width=16, patch_size=32, image_size=224)
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=48, heads=4, layers=2)
    model = open_clip.CLIP(512, vision, text, quick_gelu=True)
    model.load_state_dict(to_open_clip(published))
    return CLIP(model, open_clip.get_tokenizer('ViT-B-32'), ClipInfo('made', 'made'), device='cpu')


@torch.no_grad()
def window_cosines(published, image, window, corners):
    "Cosine of every window with the text, one at a time, by transformers."
    ids = open_clip.get_tokenizer('ViT-B-32')([TEXT])
    processor = CLIPImageProcessorPil()
    text = published.get_text_features(input_ids=ids).pooler_output
    text = text / text.norm()
    cosines = []
    for y, x in corners:
        crop = image.crop((x, y, x + window, y + window))
        pixels = torch.as_tensor(np.stack(processor(images=crop)['pixel_values']))
        vector = published.get_image_features(pixel_values=pixels).pooler_output
        cosines.append((vector / vector.norm() @ text.T).item())
    return cosines


def published_loop(published, image, window, stride, score=lambda cosine: cosine):
    "The mean score of all windows over each pixel. The windows must reach every border."
    width, height = image.size
    corners = [
        (y, x) for y in range(0, height - window + 1, stride) for x in range(0, width - window + 1, stride)
    ]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (y, x), cosine in zip(corners, window_cosines(published, image, window, corners), strict=True):
        total[y : y + window, x : x + window] += score(cosine)
        count[y : y + window, x : x + window] += 1
    assert count.all()
    return total / count


def test_cosines_of_windows(published, clip):
    "In single precision, before the vectors are rounded for the cache: to 1e-6."
    image = made_image(160, 96)
    corners = [(0, 0), (0, 96), (13, 57), (32, 96)]
    ours = embed_corners(image, clip, 64, np.array(corners)) @ clip.encode_text([TEXT])[0].numpy()
    np.testing.assert_allclose(ours, window_cosines(published, image, 64, corners), rtol=0, atol=1e-6)


@pytest.mark.parametrize('how', AGGREGATIONS)
@pytest.mark.parametrize('window', [5, 8, 40])
def test_pixels_hold_the_aggregate_of_their_windows(how, window):
    """A literal loop over pixels, to 1e-6 (maps are in single precision): each pixel gets the mean, maximum,
    minimum or median of the windows that contain it; also where the last window is moved to the border."""
    rng = np.random.default_rng(window)
    for stride in (1, 3, 5):
        grid = Grid(*rng.integers(9, 30, 2).tolist(), window, stride)
        scores = rng.normal(size=len(grid))
        expected = np.empty((grid.height, grid.width))
        for y in range(grid.height):
            for x in range(grid.width):
                inside = ((y, x) >= grid.corners()) & ((y, x) < grid.corners() + window)
                expected[y, x] = getattr(np, how)(scores[inside.all(1)])
        np.testing.assert_allclose(to_pixels(scores, grid, how), expected, atol=1e-6)


@pytest.mark.parametrize(
    ('variant', 'size', 'stride'), [('code', (160, 128), 32), ('readme-avg', (112, 96), 8)]
)
def test_mean_of_cosines(published, clip, variant, size, stride):
    "The published code (64 pixels every 32) and the published README (every 8)."
    image = made_image(*size)
    expected = published_loop(published, image, 64, stride)
    ours = heatmap(image, TEXT, clip, variant=variant, cache=False)
    assert np.ptp(expected) > 100 * TOLERANCE, 'the windows differ'
    np.testing.assert_allclose(ours.array, expected, rtol=0, atol=TOLERANCE)
    assert ours.direction == 'unrealism'


@pytest.mark.parametrize('stride', [16, 64])
def test_window_and_stride_of_the_call(published, clip, stride):
    "The published arguments `window_size` and `stride` mean the same here."
    image = made_image(128, 192)
    expected = published_loop(published, image, 64, stride)
    ours = heatmap(image, TEXT, clip, variant='code', windows=64, stride=stride, cache=False)
    np.testing.assert_allclose(ours.array, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_paper(published, clip):
    """1 - cosine, mean over the windows of one size (128, 64, 32 pixels every 4), maximum over the sizes.

    To 3e-5: half precision moves the cosine of a window by 6e-6 (one sd), and of the 1,000 windows those in
    the corners are not averaged.
    """
    image = made_image(132, 128)
    sizes = [
        published_loop(published, image, window, 4, lambda cosine: 1 - cosine) for window in (128, 64, 32)
    ]
    ours = heatmap(image, TEXT, clip, variant='paper', cache=False)
    np.testing.assert_allclose(ours.array, np.max(sizes, axis=0), rtol=0, atol=3e-5)
    assert ours.direction == 'realness'


@pytest.mark.parametrize('engine', ['exact', 'progressive'])
def test_engines_agree_with_the_loop(published, clip, engine):
    "The progressive engine with tolerance 0 computes every window, too."
    image = made_image(128, 128)
    expected = published_loop(published, image, 64, 16)
    options = dict(variant='code', stride=16, engine=engine, tolerance=0, cache=False)
    np.testing.assert_allclose(heatmap(image, TEXT, clip, **options).array, expected, rtol=0, atol=TOLERANCE)


# Every 32nd pixel from (8, 8) of the output of the authors' `generate_heat_map` with the model `published`
FIGURES = {
    ('code', (160, 128)): [
        [0.039477, 0.031252, 0.023482, 0.019280, 0.014623],
        [0.041517, 0.033991, 0.034294, 0.036603, 0.031084],
        [0.045891, 0.036862, 0.044834, 0.061040, 0.060245],
        [0.048224, 0.036994, 0.044561, 0.068152, 0.072947],
    ],
    ('readme-avg', (112, 96)): [
        [0.033275, 0.024982, 0.021801, 0.025660],
        [0.037317, 0.030239, 0.028173, 0.034065],
        [0.040011, 0.033744, 0.032422, 0.039668],
    ],
}


@pytest.mark.parametrize(('variant', 'size'), FIGURES)
def test_maps_equal_figures_of_the_published_code(clip, variant, size):
    "To 2e-5. The authors' function had the tokens of transformers' `CLIPTokenizer`, and a stride of 32 or 8."
    ours = heatmap(made_image(*size), TEXT, clip, variant=variant, cache=False)
    np.testing.assert_allclose(ours.array[8::32, 8::32], FIGURES[variant, size], rtol=0, atol=TOLERANCE)
