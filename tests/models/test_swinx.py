"""Swin-X: published size, the backbone against MONAI's, gradients."""

from dataclasses import replace

import torch
from monai.networks.nets.swin_unetr import SwinTransformer

from flare_core.models.swinx import SwinX

TINY = SwinX(embed=8, depths=(2, 2), heads=(2, 4), window=(2, 2, 2), drop_path=0.0, decoder=6)


def _count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_published_size():
    with torch.device("meta"):
        module = SwinX().build(15)
    assert _count(module) == 30_298_677
    assert _count(module.backbone) == 7_895_238 + 2 * (48 + 96 + 192 + 384)  # MONAI's, and four layer norms of our own


def test_the_backbone_computes_what_monais_does():
    torch.manual_seed(0)
    depths, heads = (2, 2, 2, 2), (1, 2, 4, 8)
    ours = replace(TINY, depths=depths, heads=heads, drop_path=0.0).build(2).backbone.eval()
    theirs = SwinTransformer(
        1, 8, (2, 2, 2), (2, 2, 2), depths, heads, qkv_bias=True, patch_norm=True, spatial_dims=3
    ).eval()
    theirs.patch_embed.load_state_dict(ours.embedding.state_dict())
    for number, stage in enumerate(ours.stages, start=1):
        getattr(theirs, f"layers{number}")[0].load_state_dict(stage.state_dict())
    image = torch.randn(1, 1, 32, 32, 32)
    pairs = zip(ours(ours.embedded(image))[:-1], theirs(image)[:-1], strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_every_weight_learns():
    module = TINY.build(3)
    logits = module(torch.randn(2, 1, 16, 16, 8))
    assert logits.shape == (2, 3, 16, 16, 8)
    logits.square().mean().backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]


def test_sides_are_multiples_of_the_stride():
    assert SwinX().stride == 32 and TINY.stride == 8
    assert SwinX().features == (48, 96, 192, 384, 768)
