from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.person_search.factory import HEAD, backbone, build
from models.person_search.small import stripes
from models.person_search.variants import NETWORKS

pytestmark = pytest.mark.slow

IDENTITIES = 5


def network(name: str, **settings) -> nn.Module:
    torch.manual_seed(0)
    return build(name, IDENTITIES, **settings)


def images(count: int = 4, height: int = 64, width: int = 32) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def with_a_past(model: nn.Module) -> nn.Module:
    """Norms as after some training: no scale is 1 and no shift 0 any more, and the statistics are those of images."""
    generator = torch.Generator().manual_seed(2)
    for name, value in model.named_parameters():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if "bias" not in name else -0.5))
    for module in model.modules():
        module.momentum = 1.0
    model.train()(images(8))
    return model.eval()


def textbook_osnet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The embedding, step by step as the paper has it, from weights under torchreid's names."""

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if f"{name}.running_mean" in state:
            return F.batch_norm(x, state[f"{name}.running_mean"], state[f"{name}.running_var"], weight, bias)
        return F.instance_norm(x, weight=weight, bias=bias)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        return norm(F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2), f"{name}.bn")

    def light(x: Tensor, name: str) -> Tensor:
        x = F.conv2d(x, state[f"{name}.conv1.weight"])
        return norm(F.conv2d(x, state[f"{name}.conv2.weight"], padding=1, groups=x.shape[1]), f"{name}.bn").relu()

    def gated(x: Tensor, name: str) -> Tensor:
        gate = F.conv2d(F.adaptive_avg_pool2d(x, 1), state[f"{name}.fc1.weight"], state[f"{name}.fc1.bias"]).relu()
        return x * F.conv2d(gate, state[f"{name}.fc2.weight"], state[f"{name}.fc2.bias"]).sigmoid()

    def block(x: Tensor, name: str) -> Tensor:
        reduced, total = conv(x, f"{name}.conv1").relu(), 0
        for depth, letter in enumerate("abcd", 1):
            stream = reduced
            for i in range(depth):
                stream = light(stream, f"{name}.conv2{letter}" + (f".{i}" if depth > 1 else ""))
            total = total + gated(stream, f"{name}.gate")
        past = conv(x, f"{name}.downsample") if f"{name}.downsample.conv.weight" in state else x
        out = conv(total, f"{name}.conv3") + past
        return (norm(out, f"{name}.IN") if f"{name}.IN.weight" in state else out).relu()

    x = F.max_pool2d(conv(x, "conv1", stride=2).relu(), 3, stride=2, padding=1)
    for stage in ("conv2", "conv3", "conv4"):
        x = block(block(x, f"{stage}.0"), f"{stage}.1")
        if stage != "conv4":
            x = F.avg_pool2d(conv(x, f"{stage}.2.0").relu(), 2)
    x = F.adaptive_avg_pool2d(conv(x, "conv5").relu(), 1).flatten(1)
    return norm(F.linear(x, state["fc.0.weight"], state["fc.0.bias"]), "fc.1").relu()


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_x0_75", "osnet_ibn_x1_0"])
@torch.no_grad()
def test_osnet_computes_what_its_paper_says_under_torchreids_names(name):
    model, x = with_a_past(network(name)), images(2)
    expected = textbook_osnet(model.state_dict(), x)
    assert (expected[0] - expected[1]).std() > 0.1
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "millions"), [("osnet_x1_0", 2.170), ("osnet_x0_75", 1.286), ("osnet_x0_5", 0.630), ("osnet_x0_25", 0.202)]
)
def test_osnet_has_the_published_number_of_parameters(name, millions):
    with torch.device("meta"):
        sizes = {key: p.numel() for key, p in build(name, IDENTITIES).named_parameters() if not key.startswith(HEAD)}
    assert round(sum(sizes.values()) / 1e6, 3) == millions


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(64, 32), (37, 18)])
def test_logits_and_embedding_in_training_the_embedding_alone_in_use(name, size):
    model, x = network(name), images(3, *size)
    logits, vectors = model(x)
    assert logits.shape == (3, IDENTITIES) and vectors.shape == (3, model.feature_dim)
    (logits.square().sum() + vectors.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.eval()(x).shape == (3, model.feature_dim)


@pytest.mark.parametrize("name", ["osnet_x0_25", "stripe_cnn"])
@torch.no_grad()
def test_an_image_embeds_alike_alone_among_others_and_channels_last(name):
    model, x = with_a_past(network(name)), images()
    together = model(x)
    near = {"rtol": 1e-3, "atol": 1e-4}  # without AVX the two layouts are 2e-5 apart; two people are .1 apart
    torch.testing.assert_close(model(x[1:2]), together[1:2], **near)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), together, **near)


@pytest.mark.parametrize("name", ["osnet_x0_25", "stripe_cnn"])
def test_the_embedding_is_as_long_as_was_asked(name):
    model = network(name, embedding=24)
    logits, vectors = model(images())
    assert vectors.shape == (4, model.feature_dim) == (4, 24) and logits.shape == (4, IDENTITIES)


def test_a_name_or_a_size_that_makes_no_network():
    with pytest.raises(ValueError, match="no network 'osnet_x2'; there are: osnet_x1_0, "):
        build("osnet_x2", 5)
    with pytest.raises(ValueError, match="identities = 0"):
        build("osnet_x0_25", 0)
    with pytest.raises(ValueError, match="embedding = 0"):
        build("stripe_cnn", 5, embedding=0)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 6))
def test_stripes_are_those_of_adaptive_pooling_at_any_height(height, count):
    x = images(2, height, 5)
    expected = F.adaptive_avg_pool2d(x, (count, 1)).squeeze(3)  # (B, C, count)
    torch.testing.assert_close(stripes(x, count).view(2, count, 3).transpose(1, 2), expected)


def test_the_neck_has_the_triplet_before_it_and_the_softmax_and_the_search_after_it():
    model, x = network("stripe_cnn"), images(16)
    logits, vectors = model(x)
    normed = (vectors - vectors.mean(0)) / (vectors.var(0, unbiased=False) + model.neck.eps).sqrt()
    torch.testing.assert_close(logits, normed @ model.classifier.weight.T, rtol=1e-3, atol=1e-5)
    for norm in model.modules():
        norm.momentum = 1.0  # the statistics kept for use are those of the last batch alone
    model(x)
    torch.testing.assert_close(model.eval()(x), normed, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "stripe_cnn"])
def test_a_backbone_that_stands_still_moves_nothing_but_the_classifier(name):
    model = network(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for part in backbone(model):
        model.get_submodule(part).eval().requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits, _ = model(images())
    F.cross_entropy(logits, torch.arange(4)).backward()
    optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {f"{HEAD}.{key}" for key, _ in model.classifier.named_parameters()}
