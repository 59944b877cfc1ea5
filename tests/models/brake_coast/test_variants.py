from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brake_coast import layers
from models.brake_coast.decoders import LSTMDecoder
from models.brake_coast.factory import Config, build
from models.brake_coast.layers import Dropout, growth
from models.brake_coast.losses import focal, prior_corrected_bce
from models.brake_coast.variants import VARIANTS, parse

PRIORS = {"brake_1s": 0.03, "brake_2s": 0.03, "coast_1s": 0.1, "coast_2s": 0.1}
SMALL = {"embedding": 16, "hidden": 32, "heads": 2, "layers": 2, "queries": 3, "window": 6}


def network(variant: str, **sizes):
    torch.manual_seed(0)
    return build(Config(variant, PRIORS, **{**SMALL, **sizes}))


def batch(mask: torch.Tensor, seed: int = 0):
    """telemetry, boxes and mask (B, T, S) of random content; padding holds garbage."""
    generator = torch.Generator().manual_seed(seed)
    telemetry = torch.rand(*mask.shape[:2], 10, generator=generator)
    return telemetry, torch.rand(*mask.shape, 6, generator=generator), mask


def masks() -> dict[str, torch.Tensor]:
    some = torch.rand(3, 6, 12, generator=torch.Generator().manual_seed(1)) < 0.3
    single = torch.zeros(3, 6, 12, dtype=torch.bool)
    single[1, 2, 5] = True
    one_empty = torch.ones(3, 6, 12, dtype=torch.bool)
    one_empty[0, 3] = False
    full = torch.ones_like(some)
    return {"some": some, "all empty": ~full, "one empty": one_empty, "full": full, "single": single}


@pytest.mark.parametrize("variant", VARIANTS)
def test_finite_outputs_and_gradients_whatever_the_camera_sees(variant):
    model = network(variant)
    for name, mask in masks().items():
        model.zero_grad()
        logits = model(*batch(mask))
        logits.square().sum().backward()
        assert logits.shape == (3, 4) and logits.isfinite().all(), name
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_dead_parameter(variant):
    model = network(variant, dropout=0.0)
    model(*batch(masks()["some"])).square().sum().backward()
    # The bias of attention's keys shifts all of a query's scores alike, which the softmax takes out again.
    keys = {name for name, p in model.named_parameters() if name.endswith("key_value.bias")}
    dead = {n for n, p in model.named_parameters() if p.grad is None or (p.grad.abs().max() == 0 and n not in keys)}
    assert not dead


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0, 1))
def test_slot_order_and_padding_do_not_matter(variant, seed, share):
    model = network(variant).eval()
    generator = torch.Generator().manual_seed(seed)
    telemetry, boxes, mask = batch(torch.rand(2, 6, 12, generator=generator) < share, seed)
    expected = model(telemetry, boxes, mask)
    order = torch.rand(2, 6, 12, generator=generator).argsort(-1)
    shuffled = model(telemetry, boxes.gather(2, order[..., None].expand_as(boxes)), mask.gather(2, order))
    torch.testing.assert_close(shuffled, expected, rtol=1e-4, atol=1e-5)
    for garbage in (float("nan"), 1e6):
        padded = model(telemetry, boxes.masked_fill(~mask[..., None], garbage), mask)
        assert torch.equal(padded, expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_inputs_count_and_a_blind_network_sees_one(variant):
    telemetry, boxes, mask = batch(masks()["some"])
    others = {
        "telemetry": (1 - telemetry, boxes, mask),
        "detections": (telemetry, 1 - boxes, mask),
        "mask": (telemetry, boxes, ~mask),
    }

    def reacts(model) -> dict[str, bool]:
        expected = model.eval()(telemetry, boxes, mask)
        return {name: not torch.equal(model(*changed), expected) for name, changed in others.items()}

    assert reacts(network(variant)) == {"telemetry": True, "detections": True, "mask": True}
    assert reacts(network(f"{variant}-telemetry")) == {"telemetry": True, "detections": False, "mask": False}
    assert reacts(network(f"{variant}-detections")) == {"telemetry": False, "detections": True, "mask": True}


def test_the_growth_of_a_box_is_that_of_the_car_it_overlaps():
    """One car comes closer by 10 % a frame in its place, the other stays; which slot holds which changes from frame
    to frame."""
    middle, size = torch.tensor([0.3, 0.7]), torch.tensor([0.1, 0.1])
    frames = []
    for t in range(6):
        half = size * torch.tensor([1.1**t, 1.0]) / 2
        rows = torch.stack([torch.ones(2), middle - half, 0.5 - half, middle + half, 0.5 + half, 4 * half**2], -1)
        frames.append(rows.flip(0) if t % 2 else rows)
    boxes, mask = torch.stack(frames)[None], torch.ones(1, 6, 2, dtype=torch.bool)
    for frames_ago in (1, 2, 4):
        grown = growth(boxes, mask, frames_ago)
        assert not grown[:, :frames_ago].any()
        at = torch.arange(frames_ago, 6)
        closing, steady = grown[0, at, at % 2], grown[0, at, 1 - at % 2]
        torch.testing.assert_close(closing, torch.full_like(closing, frames_ago * math.log(1.1)))
        torch.testing.assert_close(steady, torch.zeros_like(steady), atol=1e-6, rtol=0)
    alone = mask.clone()
    alone[0, :2] = False  # nothing to compare with two frames ago
    assert not growth(boxes, alone, 2)[0, 2:4].any()


def learnt(model, inputs) -> list[torch.Tensor]:
    """The output, and the gradient of each parameter that has one."""
    model.zero_grad()
    output = model(*inputs)
    output.square().sum().backward()
    return [output.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_work_on_the_filled_slots_alone_is_work_on_all_of_them(variant, monkeypatch):
    """Outputs and gradients of what runs on a CPU, against the plain form that a GPU and an exported graph have."""
    model = network(variant, dropout=0.0)
    for name, mask in masks().items():
        inputs = batch(mask)
        inputs[1][..., 3:5] = inputs[1][..., 1:3] + inputs[1][..., 3:5] / 2  # as boxes lie, so that some overlap
        found = learnt(model, inputs)
        with monkeypatch.context() as patched:
            patched.setattr(layers, "filled", lambda mask: None)
            plain = learnt(model, inputs)
        for a, b in zip(found, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_an_lstm_called_layer_by_layer_is_torchs():
    torch.manual_seed(0)
    decoder, steps = LSTMDecoder(32, 3, 2, 0.15), torch.randn(5, 6, 32, requires_grad=True)
    decoder.drop = Dropout(0.001)  # too little for a byte: nothing is dropped, in the way that drops
    found = [*learnt(decoder, [steps]), steps.grad.clone()]
    steps.grad = None
    decoder.lstm.dropout = 0.0
    decoder.drop.rate = 0.0
    for a, b in zip(found, [*learnt(decoder, [steps]), steps.grad], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_compiled_lstm_is_torchs_own_which_the_compiler_leaves_alone():
    decoder = LSTMDecoder(8, 2, 2, 0.15)
    decoder.drop.forward = None  # the layers one by one would be unrolled, step after step
    assert torch.compile(decoder, backend="eager")(torch.randn(2, 3, 8)).shape == (2, 8)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_on_a_cpu_is_that_in_float32(masked):
    """Only what goes in and comes out is rounded: torch's own kernel rounds within, and its gradient is slow."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, weight = (torch.randn(3, 2, 7, 8, generator=generator).bfloat16() for _ in range(4))
    keep = torch.arange(7) < torch.tensor([7, 3, 1])[:, None, None, None] if masked else None
    found, exact = ([x.detach().to(t).requires_grad_() for x in (q, k, v)] for t in (torch.bfloat16, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        output = layers.attended(*found, keep)
    scores = exact[0] @ exact[1].mT / 8**0.5
    expected = (scores if keep is None else scores.masked_fill(~keep, -torch.inf)).softmax(-1) @ exact[2]
    (output.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    assert output.dtype == torch.bfloat16
    for a, b in zip([output, *(x.grad for x in found)], [expected, *(x.grad for x in exact)], strict=True):
        torch.testing.assert_close(a.float(), b, rtol=2**-8, atol=1e-6)


def test_the_questions_to_the_boxes_depend_on_telemetry():
    """In the original they did not: the detection queries were the same for every drive."""
    model = network("simple_query_lstm").eval()
    telemetry, boxes, mask = batch(masks()["full"])
    asked = []
    model.fusion.ask.register_forward_hook(lambda module, inputs, output: asked.append(output))
    model(telemetry, boxes, mask)
    model(1 - telemetry, boxes, mask)
    assert not torch.allclose(*asked)


@pytest.mark.parametrize(("decoder", "parameters"), [("lstm", 588_876), ("transformer", 853_580)])
def test_the_sizes_are_the_original_ones(decoder, parameters):
    """Counted in the original: 588,676 and 853,380, of which a LayerNorm of 128 is never used.

    The pool over the slots adds 72, the growth of boxes, two features more, 256.
    """
    assert sum(p.numel() for p in build(Config(f"simple_concat_{decoder}", PRIORS)).parameters()) == parameters


def test_an_untrained_network_predicts_the_prior():
    logits = network("simple_concat_transformer").eval()(*batch(masks()["some"]))
    torch.testing.assert_close(torch.sigmoid(logits).mean(0), torch.tensor(list(PRIORS.values())), rtol=0.6, atol=0)


def test_names():
    assert parse("attention_cross_attention_lstm").fusion == "cross_attention"
    with pytest.raises(ValueError) as error:
        parse("simple_sum_lstm")
    assert all(variant in str(error.value) for variant in VARIANTS) and len(VARIANTS) == 12
    with pytest.raises(ValueError, match="telemetry or detections"):
        parse("simple_concat_lstm-radar")


@pytest.mark.parametrize("fault", [{"embedding": 20, "heads": 8}, {"dropout": 1.0}, {"layers": 0}, {"priors": {}}])
def test_a_config_that_cannot_be_built_says_so(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        Config(**{"variant": "simple_concat_lstm", "priors": PRIORS, **fault})


def test_dropout_keeps_the_mean_and_drops_its_share():
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    dropped = Dropout(0.15)(x)
    assert dropped.mean().item() == pytest.approx(1, abs=0.002)
    assert (dropped == 0).float().mean().item() == pytest.approx(38 / 256, abs=0.002)
    assert torch.equal(Dropout(0.15).eval()(x), x)


def minimiser(loss, probability: float) -> float:
    """The score in 0..1 at which the expected loss of a sample with that probability of being positive is least."""
    scores = torch.linspace(0.001, 0.999, 999)
    logits = torch.logit(scores)
    yes, no = ([loss(x.view(1, 1), torch.full((1, 1), y)) for x in logits] for y in (1.0, 0.0))
    expected = probability * torch.stack(yes) + (1 - probability) * torch.stack(no)
    return scores[expected.argmin()].item()


@pytest.mark.slow
def test_prior_corrected_bce_is_least_at_the_probability_and_focal_is_not():
    one = torch.ones(1)
    for probability in (0.01, 0.1, 0.5):
        for weight in (1.0, 9.0):
            found = minimiser(lambda z, y: prior_corrected_bce(z, y, weight * one, one), probability)  # noqa: B023
            assert found == pytest.approx(probability, abs=0.0015)
    focal_found = [minimiser(lambda z, y: focal(z, y, 0.2 * one, 3 * one, one), p) for p in (0.01, 0.1, 0.5, 0.9)]
    assert focal_found == pytest.approx([0.162, 0.271, 0.406, 0.556], abs=0.002)  # the original's brake_1s


@pytest.mark.parametrize(
    "loss", [lambda z, y, s: focal(z, y, 0.2 * s, s, s), lambda z, y, s: prior_corrected_bce(z, y, 3 * s, s)]
)
def test_unknown_labels_teach_nothing(loss):
    logits = torch.randn(8, 2, requires_grad=True)
    labels = torch.tensor([[1, -1], [0, 1], [-1, -1], [1, 0]] * 2, dtype=torch.int8)
    loss(logits, labels, torch.ones(2)).sum().backward()
    assert torch.equal(logits.grad == 0, labels == -1)
