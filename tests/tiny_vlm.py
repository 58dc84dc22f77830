"""A vision-language model with a few thousand random weights, in the form of LLaVA.

It answers quickly, in words, and its answers depend on image and prompt.
"""

WORDS = (
    'Yes. No. Somewhat. the left hand face sky shadow eye fur looks melted blurred warped natural and upper '
    'lower right its is in of a too smooth colour texture light strange'
)
SPECIAL_WORDS = ['<pad>', '<s>', '</s>', '<unk>', '<image>']
CHAT_TEMPLATE = (
    '{% for m in messages %}'
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    '{% endfor %} '
    '{% endfor %}'
)
IMAGE_SIZE = 56
PATCH_SIZE = 28


def make_vocabulary() -> dict:
    """Word -> token."""
    return {word: token for token, word in enumerate([*SPECIAL_WORDS, *WORDS.split()])}


def make_processor(vocabulary: dict):
    """The processor: a tokenizer of whole words, and images of four patches."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(vocabulary, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token='<pad>',
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
        additional_special_tokens=['<image>'],
    )
    crop = dict(height=IMAGE_SIZE, width=IMAGE_SIZE)
    images = CLIPImageProcessor(size=dict(shortest_edge=IMAGE_SIZE), crop_size=crop)
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy='default',
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )


def make_model(vocabulary: dict, seed: int = 0):
    """The model; it never generates a special token."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    special = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    vision = CLIPVisionConfig(
        **small, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, projection_dim=32, initializer_range=0.2
    )
    text = LlamaConfig(
        **small,
        **special,
        vocab_size=len(vocabulary),
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=vocabulary['<image>'],
        vision_feature_layer=-1,
        initializer_range=0.5,
    )
    model = LlavaForConditionalGeneration(config)
    forbidden = [[token] for token in range(len(SPECIAL_WORDS))]
    model.generation_config.update(**special, bad_words_ids=forbidden)
    return model


def save(folder, seed: int = 0):
    """Build model and processor, without any download, and save them; returns the folder."""
    vocabulary = make_vocabulary()
    make_model(vocabulary, seed).save_pretrained(folder)
    make_processor(vocabulary).save_pretrained(folder)
    return folder
