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
    assert _count(module.backbone) == 7_895_238  # MONAI's
    assert _count(module.norms) == 2 * (48 + 96 + 192 + 384)


def test_the_backbone_computes_what_monais_does():
    torch.manual_seed(0)
    depths, heads = (2, 2, 2, 2), (1, 2, 4, 8)
    ours = replace(TINY, depths=depths, heads=heads, drop_path=0.0).build(2).backbone.eval()
    theirs = SwinTransformer(
        1, 8, (2, 2, 2), (2, 2, 2), depths, heads, qkv_bias=True, patch_norm=True, spatial_dims=3
    ).eval()
    theirs.patch_embed.load_state_dict(ours.embedding.state_dict())
    for number, (stage, merging) in enumerate(zip(ours.stages, ours.mergings, strict=True), start=1):
        layer = getattr(theirs, f"layers{number}")[0]
        layer.blocks.load_state_dict(stage.blocks.state_dict())
        layer.downsample.load_state_dict(merging.state_dict())
    image = torch.randn(1, 1, 32, 32, 32)
    pairs = zip(ours(ours.embedded(image))[1], theirs(image, normalize=False)[1:], strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_a_skip_is_what_the_blocks_of_its_stage_computed_before_merging():
    torch.manual_seed(0)
    module = TINY.build(3).eval()
    computed, merged = module.backbone(module.backbone.embedded(torch.randn(1, 1, 16, 16, 8)))
    assert [skip.shape[1] for skip in computed] == [8, 16] and [m.shape[1] for m in merged] == [16, 32]
    for skip, merging, after in zip(computed, module.backbone.mergings, merged, strict=True):
        assert torch.equal(merging(skip.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3), after)
    seen = []
    module.norms[-1].register_forward_hook(lambda *call: seen.append(call[1][0]))
    module(torch.randn(1, 1, 16, 16, 8))
    assert seen[0].shape == (1, 4, 4, 2, 16)


def test_every_weight_learns():
    module = TINY.build(3)
    logits = module(torch.randn(2, 1, 16, 16, 8))
    assert logits.shape == (2, 3, 16, 16, 8)
    logits.square().mean().backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]


def test_sides_are_multiples_of_the_stride():
    assert SwinX().stride == 32 and TINY.stride == 8
    assert SwinX().features == (48, 96, 192, 384, 768)
