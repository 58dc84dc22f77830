"""Images and weights that do not depend on the version of any library, for figures made elsewhere."""

import zlib

import numpy as np
import torch
from PIL import Image


def made_image(width: int, height: int):
    """An RGB image of waves; each value follows from its place alone."""
    y, x = np.mgrid[:height, :width]
    bands = [np.sin(x * (k + 2) / 17 + y / 29) + np.cos(y * (k + 1) / 13 - x * y / 900) for k in range(3)]
    return Image.fromarray((128 + 60 * np.stack(bands, -1)).round().clip(0, 255).astype(np.uint8))


def made_tensor(name: str, shape: tuple) -> torch.Tensor:
    """Values that follow from the name of a parameter; the stream of `RandomState` is frozen by numpy."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    values = torch.tensor(stream.uniform(-1, 1, shape), dtype=torch.float32)
    if name.endswith('running_var'):
        return 1 + values / 4
    if len(shape) < 2:
        centre = 1.0 if name.endswith('weight') else 0.0  # of a normalisation
        return centre + values / 4
    return values * (3 / float(np.prod(shape[1:]))) ** 0.5


@torch.no_grad()
def fill(module):
    """Give every floating-point tensor of a module the values of its name; returns the module."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(made_tensor(name, tuple(tensor.shape)))
    return module.eval()
