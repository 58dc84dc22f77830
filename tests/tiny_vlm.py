"A vision-language model of a few thousand random weights, in the shape of LLaVA: it answers at once, in words, and differently to different images."

WORDS = 'Yes. No. Somewhat. the left hand face sky shadow eye fur looks melted blurred warped natural and upper lower right its is in of a too smooth colour texture light strange'.split()
CHAT = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}"
SIZE, PATCH = 56, 28


def processor(vocab):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(vocab, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token='<pad>',
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
        additional_special_tokens=['<image>'],
    )
    pixels = CLIPImageProcessor(size=dict(shortest_edge=SIZE), crop_size=dict(height=SIZE, width=SIZE))
    return LlavaProcessor(
        pixels,
        tok,
        patch_size=PATCH,
        vision_feature_select_strategy='default',
        chat_template=CHAT,
        num_additional_image_tokens=1,
    )


def save(folder, seed=0):
    "Build it from a config and save it, processor and all; no network."
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vocab = {w: i for i, w in enumerate(['<pad>', '<s>', '</s>', '<unk>', '<image>', *WORDS])}
    small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    special = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                **small, image_size=SIZE, patch_size=PATCH, projection_dim=32, initializer_range=0.2
            ),
            text_config=LlamaConfig(
                **small,
                vocab_size=len(vocab),
                num_key_value_heads=2,
                max_position_embeddings=512,
                initializer_range=0.3,
                **special,
            ),
            image_token_index=vocab['<image>'],
            vision_feature_layer=-1,
            initializer_range=0.5,
        )
    )
    model.generation_config.update(**special, bad_words_ids=[[i] for i in (0, 1, 2, 3, 4)])
    model.save_pretrained(folder)
    processor(vocab).save_pretrained(folder)
    return folder
