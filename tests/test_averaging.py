"""The moving average of weights: by its definition, and that it changes nothing in the run."""

import numpy as np
import pytest

import minicnn
from minicnn.training.checkpoint import load_run, save_run
from tests.runs import bits, small_network, small_run


@pytest.mark.quick
def test_it_is_the_mean_that_the_formula_says():
    seen = []

    def note(trainer, event, values):
        if event == "step":
            seen.append(trainer.network.state_dict())

    trainer, train, _ = small_run()
    ema = minicnn.EMA(trainer.network, decay=0.8)
    trainer.callbacks += [note, ema]
    trainer.fit(train, epochs=2)
    expected = {name: array.astype(np.float64) for name, array in seen[0].items()}
    for weights in seen[1:]:
        expected = {name: 0.8 * mean + 0.2 * weights[name] for name, mean in expected.items()}
    for name, array in ema.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert array == 10
        else:
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)
    assert ema.updates == 10


def test_the_run_is_the_same_with_and_without_it():
    trainer, train, _ = small_run()
    trainer.callbacks.append(minicnn.EMA(trainer.network))
    trainer.fit(train, epochs=2)
    twin, train, _ = small_run()
    twin.fit(train, epochs=2)
    assert bits(trainer.network) == bits(twin.network)


def test_it_goes_on_where_it_was_saved(tmp_path):
    trainer, train, _ = small_run()
    ema = minicnn.EMA(trainer.network, decay=0.9)
    trainer.callbacks.append(ema)
    trainer.fit(train, epochs=1)
    trainer.save(tmp_path / "run", train)
    trainer.fit(train, epochs=1)

    second, train, _ = small_run()
    resumed = minicnn.EMA(small_network(seed=5), decay=0.5)
    second.callbacks.append(resumed)
    second.load(tmp_path / "run", train)
    assert (resumed.decay, resumed.updates) == (0.9, 5)
    second.fit(train, epochs=1)
    assert bits(resumed.network) == bits(ema.network)
    assert bits(second.network) == bits(trainer.network)


def test_a_run_with_it_is_resumed_with_it(tmp_path):
    for mine, theirs, message in (
        ([], ["EMA"], r"callbacks \['EMA'\] that it was saved with, got \[\]"),
        (["EMA"], [], r"callbacks \[\] that it was saved with, got \['EMA'\]"),
    ):
        saved, train, _ = small_run(callbacks=[minicnn.EMA(small_network()) for _ in theirs])
        saved.fit(train)
        saved.save(tmp_path / "run", train)
        other, train, _ = small_run(callbacks=[minicnn.EMA(small_network()) for _ in mine])
        before = bits(other.network)
        with pytest.raises(ValueError, match=message):
            other.load(tmp_path / "run", train)
        assert bits(other.network) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, run: run["callbacks"][0].update(updates=-1),
        lambda arrays, run: run["callbacks"][0].update(updates=None),
        lambda arrays, run: run["callbacks"][0].update(decay=2),
        lambda arrays, run: run["callbacks"][0].update(decay="0.9"),
        lambda arrays, run: run["callbacks"][0].pop("decay"),
        lambda arrays, run: run["callbacks"].append(3),
        lambda arrays, run: run.update(callbacks={}),
        lambda arrays, run: run.update(callbacks=None),
        lambda arrays, run: arrays.pop("callback 0/fc.weight"),
        lambda arrays, run: arrays["callback 0/fc.weight"].fill(np.nan),
        lambda arrays, run: arrays.update({"callback 0/fc.weight": np.zeros((1, 1), np.float32)}),
    ],
)
def test_a_damaged_state_is_refused_and_nothing_changes(tmp_path, spoil):
    saved, train, _ = small_run(callbacks=[minicnn.EMA(small_network())])
    saved.fit(train)
    saved.save(tmp_path / "run", train)
    arrays, run = load_run(tmp_path / "run")
    spoil(arrays, run)
    save_run(tmp_path / "run", arrays, run)
    ema = minicnn.EMA(small_network())
    other, train, _ = small_run(callbacks=[ema])
    before = bits(other.network), bits(ema.network)
    with pytest.raises(ValueError, match=r"EMA\.load_state_dict|Trainer\.load"):
        other.load(tmp_path / "run", train)
    assert (bits(other.network), bits(ema.network), ema.updates) == (*before, 0)


def test_a_checkpoint_within_an_epoch_comes_after_it(tmp_path):
    trainer, train, _ = small_run()
    every = minicnn.CheckpointEvery(tmp_path / "run", train, steps=3)
    trainer.callbacks += [every, minicnn.EMA(trainer.network)]
    with pytest.raises(ValueError, match="CheckpointEvery: expected callbacks with a state before it, got EMA"):
        trainer.fit(train)
    trainer, train, _ = small_run()
    ema = minicnn.EMA(trainer.network, decay=0.9)
    trainer.callbacks += [ema, minicnn.CheckpointEvery(tmp_path / "run", train, steps=3)]
    trainer.fit(train)
    resumed = minicnn.EMA(small_network())
    second, train, _ = small_run(callbacks=[resumed])
    second.load(tmp_path / "run", train)
    assert resumed.updates == 3
    second.fit(train)
    assert bits(resumed.network) == bits(ema.network)


@pytest.mark.torch
def test_pytorch():
    torch = pytest.importorskip("torch")
    network = small_network()
    ema = minicnn.EMA(network, decay=0.7)
    module = torch.nn.Linear(12, 3)
    theirs = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.7))
    rng = np.random.default_rng(0)
    for _ in range(5):
        weight = rng.standard_normal((3, 12)).astype(np.float32)
        network["fc"].params["weight"][:] = weight
        module.weight.data = torch.tensor(weight)
        ema.update(network)
        theirs.update_parameters(module)
    expected = theirs.module.weight.detach().numpy()
    np.testing.assert_allclose(ema.network["fc"].params["weight"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.1, np.nan])
def test_a_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="EMA: decay: expected a finite number"):
        minicnn.EMA(small_network(), decay)
