"""Images against Pillow, torchvision, and CLIP's image processor in transformers.

Images are made. What an image file becomes is compared with the pixels that were written into it.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from realness.config import IMAGE_SIZE
from realness.encoders import ImageEncoder
from realness.images import load_image, open_image, to_tensor
from realness.localization.cut_windows import WindowCutter, image_tensor
from realness.localization.windows import Grid


def made_pixels(seed, width, height, channels=3):
    "Waves with noise, height x width x channels, uint8."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + k)) + np.cos(y / (5 + k) + seed) for k in range(channels)]
    values = 128 + 40 * np.stack(waves, -1) + rng.normal(0, 20, (height, width, channels))
    return values.clip(0, 255).astype(np.uint8)


def made_image(seed, width, height):
    return Image.fromarray(made_pixels(seed, width, height))


def pixels_of(image):
    assert image.mode == 'RGB'
    return np.asarray(image).astype(int)


# --- Reading files


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'tiff', 'ppm', 'tga'])
def test_lossless_files_keep_their_pixels(tmp_path, suffix):
    "Exactly the pixels that were written."
    values = made_pixels(0, 37, 23)
    path = tmp_path / f'image.{suffix}'
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(pixels_of(open_image(path)), values)


@pytest.mark.parametrize(('suffix', 'options'), [('jpg', dict(quality=70)), ('webp', {}), ('gif', {})])
def test_lossy_files_are_decoded_as_by_pillow(tmp_path, suffix, options):
    "Exactly the pixels of `Image.open(...).convert('RGB')`, the call of the published code."
    path = tmp_path / f'image.{suffix}'
    made_image(1, 61, 40).save(path, **options)
    np.testing.assert_array_equal(pixels_of(open_image(path)), pixels_of(Image.open(path).convert('RGB')))


# orientation of EXIF -> the stored pixels as they were seen (EXIF 2.3, tag 0x0112)
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize('orientation', UPRIGHT)
def test_images_are_turned_upright(tmp_path, orientation):
    "Exactly, for each orientation that a camera writes."
    stored = made_pixels(2, 31, 18)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'image.png'
    Image.fromarray(stored).save(path, exif=exif)
    np.testing.assert_array_equal(pixels_of(open_image(path)), UPRIGHT[orientation](stored))


def test_transparency_shows_white(tmp_path):
    "c a + 255 (1 - a), within one grey level, for colour and grey with alpha."
    for mode, channels in (('RGBA', 4), ('LA', 2)):
        values = made_pixels(3, 40, 30, channels)
        values[:5, :, -1], values[5:10, :, -1] = 0, 255
        path = tmp_path / f'{mode}.png'
        Image.fromarray(values).save(path)
        alpha = values[..., -1:] / 255
        expected = values[..., :-1] * alpha + 255 * (1 - alpha)
        np.testing.assert_allclose(
            pixels_of(open_image(path)), np.broadcast_to(expected, (30, 40, 3)), atol=1
        )


def test_sixteen_bits_are_scaled(tmp_path):
    "65535 becomes 255, to the nearest grey level. (Pillow's own conversion clips at 255.)"
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    path = tmp_path / 'grey.png'
    Image.fromarray(values).save(path)
    expected = np.repeat((values * (255 / 65535)).round()[..., None], 3, axis=2)
    np.testing.assert_array_equal(pixels_of(open_image(path)), expected)


@pytest.mark.parametrize('mode', ['L', '1', 'P'])
def test_grey_and_palette_images_equal_pillows(tmp_path, mode):
    "Exactly the pixels of Pillow's conversion."
    path = tmp_path / 'image.png'
    made_image(4, 50, 34).convert(mode).save(path)
    np.testing.assert_array_equal(pixels_of(open_image(path)), pixels_of(Image.open(path).convert('RGB')))


def test_ink_colours_without_a_profile_equal_pillows(tmp_path):
    "CMYK in a JPEG file: exactly the pixels of Pillow's conversion."
    path = tmp_path / 'image.jpg'
    made_image(4, 50, 34).convert('CMYK').save(path)
    np.testing.assert_array_equal(pixels_of(open_image(path)), pixels_of(Image.open(path).convert('RGB')))


def test_arrays_and_tensors_keep_their_pixels():
    "uint8 exactly, and values in 0-1 in both orders of axes."
    values = made_pixels(5, 33, 21)
    scaled = torch.from_numpy(values / 255)
    for source in (values, values / 255, scaled, scaled.permute(2, 0, 1), torch.from_numpy(values)):
        np.testing.assert_array_equal(pixels_of(load_image(source)), values)


# --- Input of the score


@pytest.mark.parametrize('size', [(512, 384), (700, 300), (90, 200), (1031, 777)])
def test_input_equals_the_published_transform(size):
    "Exactly `Resize((384, 512))` and `ToTensor` of torchvision on a Pillow image."
    image = made_image(6, *size)
    published = transforms.Compose([transforms.Resize(IMAGE_SIZE), transforms.ToTensor()])
    assert torch.equal(to_tensor(image), published(image))


@pytest.mark.parametrize('normalize', ['weights', 'none'])
def test_pixels_are_normalised_as_by_torchvision(normalize):
    "ResNet-50's mean and sd are those of torchvision's weights; to 1e-6. Without, the pixels are unchanged."
    from torchvision.models import ResNet50_Weights

    facts = ResNet50_Weights.DEFAULT.transforms()
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    encoder = ImageEncoder('resnet50', weights='random', normalize=normalize)
    expected = transforms.Normalize(facts.mean, facts.std)(images) if normalize == 'weights' else images
    torch.testing.assert_close(encoder.prepare(images), expected, rtol=0, atol=1e-6)


# --- Windows of a map


def clip_processor(size):
    "CLIP's image processor of transformers, in the version that uses Pillow."
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size={'height': size, 'width': size})


@pytest.mark.parametrize('window', [32, 64, 100, 128, 224, 230])
@pytest.mark.parametrize('size', [224, 96])
def test_windows_equal_those_of_pillow(window, size):
    """Every grey level of every window: cut and resized in batches, against Pillow's `crop` and bicubic
    `resize` one by one; windows at the border, and windows larger and smaller than the model's input."""
    image = made_image(7, 251, 239)
    corners = Grid(239, 251, window, min(window, 61)).corners()
    cutter = WindowCutter(size, batch=5)
    for indices, windows in cutter.cut(image_tensor(image), window, corners):
        for index, ours in zip(indices, windows, strict=True):
            y, x = corners[index].tolist()
            crop = image.crop((x, y, x + window, y + window))
            expected = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC))
            levels = (ours * 255).round().permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(levels, expected)


@pytest.mark.parametrize('window', [32, 64, 128, 224])
def test_model_input_equals_that_of_the_clip_processor(window):
    "The pixels that the model reads, to 1e-5 in standard deviations."
    import open_clip

    image = made_image(8, 260, 230)
    corners = Grid(230, 260, window, window).corners()
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    processor = clip_processor(224)
    for indices, windows in WindowCutter(224).cut(image_tensor(image), window, corners):
        for index, ours in zip(indices, windows, strict=True):
            y, x = corners[index].tolist()
            crop = image.crop((x, y, x + window, y + window))
            expected = torch.as_tensor(processor(images=crop, return_tensors='pt')['pixel_values'][0])
            torch.testing.assert_close((ours - mean) / std, expected, rtol=0, atol=1e-5)


def test_torchvision_backend_of_the_processor_is_close():
    """transformers 5 resizes tensors by default, not Pillow images. Its pixels differ from Pillow's by about
    2 grey levels at most, and by 0.01 on average: a map depends on the version by this much."""
    from transformers import CLIPImageProcessor

    crop = made_image(9, 64, 64)
    exact = torch.as_tensor(clip_processor(224)(images=crop, return_tensors='pt')['pixel_values'])
    other = CLIPImageProcessor()(images=crop, return_tensors='pt')['pixel_values']
    levels = (exact - other).abs() * 255 * 0.27
    assert levels.max() < 3.5 and levels.mean() < 0.02
