"""The published models in plain torchvision and transformers, and the names of their weights in ours."""

import torch
from torch import nn
from torchvision.models import resnet50


class PlainCORE(nn.Module):
    "The published architecture: ResNet-50 and the pooler of BERT side by side, 529 hidden units, ReLU."

    def __init__(self, bert):
        from transformers import BertModel

        super().__init__()
        self.cnn = resnet50(weights=None)
        self.cnn.fc = nn.Identity()
        self.bert = BertModel(bert)
        self.fc = nn.Sequential(nn.Linear(2048 + bert.hidden_size, 529), nn.ReLU(), nn.Linear(529, 1))

    def forward(self, images, ids, mask):
        text = self.bert(input_ids=ids, attention_mask=mask).pooler_output
        return self.fc(torch.cat([self.cnn(images), text], 1))[:, 0]


def published_name(name):
    "The name of a tensor of `COREModel` in the published model; '' if it has none."
    parts = (
        ('image_encoder.net.', 'cnn.'),
        ('text_encoder.net.', 'bert.'),
        ('heads.both.layers.', 'fc.'),
    )
    for ours, theirs in parts:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return ''


# tensor of transformers' CLIPModel -> tensor of open_clip
WHOLE = {
    'vision_model.embeddings.class_embedding': 'visual.class_embedding',
    'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
    'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
    'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
    'text_model.embeddings.position_embedding.weight': 'positional_embedding',
}
MODULES = {
    'vision_model.pre_layrnorm': 'visual.ln_pre',
    'vision_model.post_layernorm': 'visual.ln_post',
    'text_model.final_layer_norm': 'ln_final',
}
IN_LAYER = {
    'self_attn.out_proj': 'attn.out_proj',
    'layer_norm1': 'ln_1',
    'layer_norm2': 'ln_2',
    'mlp.fc1': 'mlp.c_fc',
    'mlp.fc2': 'mlp.c_proj',
}


def to_open_clip(model):
    "The tensors of a `CLIPModel` of transformers under the names of open_clip."
    state = model.state_dict()
    result = {theirs: state[name] for name, theirs in WHOLE.items()}
    result['logit_scale'] = state['logit_scale']
    result['visual.proj'] = state['visual_projection.weight'].T
    result['text_projection'] = state['text_projection.weight'].T
    modules = dict(MODULES)
    for encoder, prefix in (('vision_model', 'visual.'), ('text_model', '')):
        for layer in range(len(getattr(model, encoder).encoder.layers)):
            source, target = f'{encoder}.encoder.layers.{layer}', f'{prefix}transformer.resblocks.{layer}'
            modules |= {f'{source}.{name}': f'{target}.{theirs}' for name, theirs in IN_LAYER.items()}
            for kind in ('weight', 'bias'):
                parts = [state[f'{source}.self_attn.{part}_proj.{kind}'] for part in 'qkv']
                result[f'{target}.attn.in_proj_{kind}'] = torch.cat(parts)
    for name, theirs in modules.items():
        for kind in ('weight', 'bias'):
            result[f'{theirs}.{kind}'] = state[f'{name}.{kind}']
    return result
