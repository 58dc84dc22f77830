"""Encoders compute with folded batch normalisations, and are trained, saved and loaded without."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from realness.encoders import create_encoders
from realness.folding import without_folding
from realness.image_encoders import ImageEncoder
from realness.network_weights import load_weights
from realness.regression.regression_model import COREModel


def random_encoder_with_statistics(name):
    """An encoder whose batch normalisations have means and variances other than 0 and 1."""
    torch.manual_seed(0)
    encoder = ImageEncoder(name, weights='random')
    encoder.net.train()
    with torch.no_grad():
        for _ in range(20):
            encoder(torch.rand(4, 3, 64, 64))
    return encoder.eval()


def noise(n=2):
    return torch.rand(n, 3, 96, 128, generator=torch.Generator().manual_seed(0))


def largest_deviation(blocks, reference):
    """Relative to the largest number of each block if that is above 1."""
    deviations = [
        (blocks[name] - block).abs().max() / block.abs().max().clamp(min=1)
        for name, block in reference.items()
    ]
    return max(deviations).item()


def folding_deviation(encoder, images):
    with torch.inference_mode():
        folded = encoder.blocks(images)
        assert encoder.forward_net is not encoder.net
        with without_folding():
            original = encoder.blocks(images)
    return largest_deviation(folded, original)


def test_folded_blocks_agree():
    assert 0 < folding_deviation(ImageEncoder('lite'), noise()) <= 1e-5


@pytest.mark.parametrize('name', ['resnet50', 'mobilenetv3_small_050'])
def test_folding_is_exact_in_double_precision(name):
    encoder = random_encoder_with_statistics(name).double()
    assert 0 < folding_deviation(encoder, noise().double()) <= 1e-12


def test_a_transformer_is_not_copied():
    encoder = ImageEncoder('vit_tiny_patch16_224', weights='random')
    with torch.inference_mode():
        assert encoder.forward_net is encoder.net


def test_fine_tuning_changes_what_is_computed():
    encoder = ImageEncoder('lite').train()
    with torch.no_grad():
        before = encoder.eval()(noise())
    encoder.train()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(noise(4)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.net.parameters())
    optimiser.step()
    with torch.no_grad():
        after = encoder.eval()(noise())
        with without_folding():
            expected = encoder(noise())
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)


def test_saved_weights_are_those_of_the_original_network(tmp_path):
    model = COREModel(*create_encoders('lite')).eval()
    names = list(model.image_encoder.net.state_dict())
    fingerprint = model.image_encoder.fingerprint()
    with torch.inference_mode():
        expected = model.image_encoder(noise())
    assert list(model.image_encoder.net.state_dict()) == names
    assert model.image_encoder.fingerprint() == fingerprint
    model.save_pretrained(tmp_path / 'run')
    loaded = COREModel.from_pretrained(tmp_path / 'run')
    with torch.inference_mode():
        torch.testing.assert_close(loaded.image_encoder(noise()), expected, rtol=1e-5, atol=1e-5)


def test_loaded_weights_are_used():
    encoder = ImageEncoder('lite')
    other = ImageEncoder('lite', weights='random')
    with torch.inference_mode():
        encoder(noise())
        expected = other(noise())
    load_weights(encoder.net, other.net.state_dict(), 'other')
    with torch.inference_mode():
        torch.testing.assert_close(encoder(noise()), expected, rtol=1e-5, atol=1e-5)


def test_copies_have_their_own_weights():
    encoder = ImageEncoder('lite')
    with torch.inference_mode():
        expected = encoder(noise())
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        with torch.no_grad():
            torch.testing.assert_close(copied(noise()), expected, rtol=0, atol=0)
            copied.net.conv_stem.weight.zero_()
            assert (copied(noise()) - expected).abs().max() > 1e-3
    with torch.inference_mode():
        torch.testing.assert_close(encoder(noise()), expected, rtol=0, atol=0)


def test_several_threads_share_one_copy():
    encoder = ImageEncoder('lite')

    def compute(_):
        with torch.inference_mode():
            return encoder.blocks(noise(1)), encoder.forward_net

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(compute, range(8)))
    assert len({id(network) for _, network in results}) == 1
    assert all(largest_deviation(blocks, results[0][0]) == 0 for blocks, _ in results)
    assert not any(module._forward_hooks for module in results[0][1].modules())
