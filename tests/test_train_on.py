"""Training on from a given network: new heads, frozen layers, weights that fit."""

import numpy as np
import pytest

import minicnn
from tests.runs import bits, small_network, small_problem, small_run


def trained():
    trainer, train, _ = small_run()
    trainer.fit(train, epochs=3)
    return trainer.network


@pytest.mark.quick
def test_a_new_head_has_other_classes_and_the_rest_is_a_copy():
    network = trained()
    before = bits(network)
    other = minicnn.replace_head(network, 5, rng=0)
    assert bits(network) == before
    assert other.predict(small_problem()[0]).shape == (24, 5)
    for name, content in bits(other).items():
        assert (content == before[name]) == (not name.startswith("fc"))
    other["conv"].params["weight"][:] = 0
    assert bits(network) == before
    same = minicnn.Linear(12, 5, rng=0)
    np.testing.assert_array_equal(other["fc"].params["weight"], same.params["weight"])


def test_a_head_that_is_nested_or_a_convolution():
    conv = minicnn.Conv2d(4, 6, 1, bias=False, rng=0)
    network = minicnn.Sequential(
        body=minicnn.Conv2d(1, 4, 3, rng=0), head=minicnn.Sequential(conv=conv, pool=minicnn.AdaptiveAvgPool2d(1))
    ).to("reference", np.float64)
    other = minicnn.replace_head(network, 2, rng=0)
    assert other["head.conv"].params["weight"].shape == (2, 4, 1, 1)
    assert other["head.conv"].params["weight"].dtype == np.float64
    assert "bias" not in other["head.conv"].params
    assert other["head.conv"].ops is network["body"].ops
    assert network["head.conv"] is conv
    with pytest.raises(ValueError, match="expected a network with a Linear or a Conv2d at its end, got neither"):
        minicnn.replace_head(minicnn.Sequential(minicnn.ReLU()), 3)


@pytest.mark.quick
def test_frozen_layers_stay_as_they_are_and_the_others_learn():
    network = trained()
    before = bits(network)
    part = minicnn.freeze(network, "conv", "bn")
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(part, lr=0.05), quiet=True)
    trainer.fit(*small_problem(seed=4), epochs=2, batch_size=6, rng=0)
    after = bits(network)
    assert {name for name in after if after[name] != before[name]} == {"fc.weight", "fc.bias"}
    assert network.training


def test_a_run_with_frozen_layers_resumes_to_the_same_bits(tmp_path):
    def run():
        network = small_network()
        optimizer = minicnn.Adam(minicnn.freeze(network, "conv"), lr=0.02)
        return minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True)

    x, y = small_problem()
    batches = [(x[n : n + 6], y[n : n + 6]) for n in range(0, 24, 6)]
    whole = run()
    whole.fit(batches, epochs=2)
    first, second = run(), run()
    first.fit(batches, epochs=1)
    first.save(tmp_path / "run")
    second.load(tmp_path / "run")
    second.fit(batches, epochs=1)
    assert bits(second.network) == bits(whole.network)


def test_a_run_with_frozen_layers_is_not_resumed_without(tmp_path):
    network = small_network()
    optimizer = minicnn.Adam(minicnn.freeze(network, "conv"))
    minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True).save(tmp_path / "run")
    other = small_network()
    trainer = minicnn.Trainer(other, minicnn.NLLLoss(), minicnn.Adam(other), quiet=True)
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: expected the state of a network like this one"):
        trainer.load(tmp_path / "run")


def test_nested_networks_are_frozen_whole_or_in_part():
    network = minicnn.Sequential(
        body=minicnn.Sequential(a=minicnn.Linear(2, 2), bn=minicnn.BatchNorm2d(2)), fc=minicnn.Linear(2, 1)
    )
    assert list(minicnn.freeze(network, "body").state_dict()) == ["fc.weight", "fc.bias"]
    assert not network["body.bn"].training
    assert list(minicnn.freeze(network, "body.bn", "fc").state_dict()) == ["body.a.weight", "body.a.bias"]


@pytest.mark.parametrize(
    ("names", "message"), [(["conv2"], "no layer 'conv2'; there are conv"), (["conv", "bn", "fc"], "left to train")]
)
def test_names_that_cannot_be_frozen(names, message):
    with pytest.raises(ValueError, match=f"freeze: .*{message}"):
        minicnn.freeze(small_network(), *names)


@pytest.mark.quick
def test_weights_that_fit_are_loaded_and_the_rest_is_reported(tmp_path):
    source = trained()
    minicnn.save(source, tmp_path / "net")
    layers = dict(small_network(seed=8).children) | {"fc": minicnn.Linear(12, 5, rng=0)}
    layers["second"] = minicnn.Linear(5, 2, rng=0)
    del layers["log_softmax"], layers["bn"]
    network = minicnn.Sequential(**layers)
    before = bits(network)
    report = minicnn.load_matching(network, tmp_path / "net")
    assert report.loaded == ["conv.weight", "conv.bias"]
    assert report.missing == ["second.weight", "second.bias"]
    assert set(report.unexpected) == {f"bn.{name}" for name in ("weight", "bias", *source["bn"].state)}
    assert report.misshapen == {"fc.weight": ((5, 12), (3, 12)), "fc.bias": ((5,), (3,))}
    after, theirs = bits(network), bits(source)
    assert all(after[name] == (theirs if name in report.loaded else before)[name] for name in after)
    text = str(report)
    assert "2 of 6 arrays loaded" in text
    assert "of another shape, as it was: fc.bias, (5,) and not (3,)" in text


def test_nothing_that_fits_is_an_error_and_changes_nothing(tmp_path):
    minicnn.save_weights(minicnn.Sequential(other=minicnn.Linear(2, 1)), tmp_path / "weights")
    network = small_network()
    before = bits(network)
    with pytest.raises(
        ValueError, match=r"got none; the network has conv.weight, .* the file other.bias, other.weight"
    ):
        minicnn.load_matching(network, tmp_path / "weights")
    assert bits(network) == before
