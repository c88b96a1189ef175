"""What is built around networks, with one of the cuda backend in it: its kernels run on the CPU, see `ir_on_cpu`."""

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.data import Batches, ImageFolder
from tests import checks

pytestmark = pytest.mark.cuda_ir

RNG = np.random.default_rng(0)
PICTURES = [RNG.random((3, h, w), dtype=np.float32) for h, w in ((5, 7), (9, 4))]


@pytest.fixture(autouse=True)
def _device():
    """A device for the test."""
    from tests.cuda.host_device import host_device

    with host_device():
        yield


def network(backend):
    return minicnn.SimpleNet(2, 3, rng=0).to(backend)


def classifier(backend):
    return minicnn.Classifier(network(backend), ["a", "b"], mean=[0.5] * 3, std=[0.25] * 3)


def same_on_both(work):
    """The arrays of work(backend) on cuda, held against those of cpu."""
    for actual, expected in zip(work("cuda"), work("cpu"), strict=True):
        assert isinstance(actual, np.ndarray)
        assert actual.dtype == expected.dtype
        checks.assert_close(actual, expected, np.float32, work.__name__)


def test_classifier():
    def probabilities(backend):
        return [classifier(backend).predict(PICTURES)]

    same_on_both(probabilities)


def test_classifier_in_a_file(tmp_path):
    classifier("cuda").save(tmp_path / "model.safetensors")
    loaded = minicnn.Classifier.load(tmp_path / "model.safetensors")
    expected = classifier("cpu").predict(PICTURES)
    np.testing.assert_array_equal(loaded.predict(PICTURES), expected)


def test_evaluate(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for n in range(2):
            pixels = RNG.integers(0, 256, (6 + n, 5 + label, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{n}.png")

    def evaluation(backend):
        result = minicnn.evaluate(classifier(backend), ImageFolder(tmp_path))
        return [result.probabilities, result.labels]

    same_on_both(evaluation)


def test_winners():
    def explanation(backend):
        return list(minicnn.winners(network(backend), PICTURES[0], k=1))

    same_on_both(explanation)


def test_gradcheck():
    """In float64 on the cpu; the network, its memory and its gradients stay where they are."""
    net, image = network("cuda"), PICTURES[0]
    net.backward(net.forward(image[None]))
    y = net.forward(image[None])
    memory, weight = net["conv1"].memory, net["conv1"].params["weight"]
    report = minicnn.gradcheck(net, image[None], [1], loss=minicnn.NLLLoss().to("cuda"), elements=8).require()
    assert report.subject.endswith("float64 on cpu")
    assert net["conv1"].memory is memory
    assert net["conv1"].params["weight"] is weight
    np.testing.assert_array_equal(net.ops.to_numpy(net.forward(image[None])), net.ops.to_numpy(y))


def test_a_run_that_is_resumed(tmp_path):
    """With everything that a Trainer does: clipping, a checkpoint, the best weights, an evaluation."""
    images, labels = RNG.random((6, 3, 4, 5), dtype=np.float32), np.array([0, 1] * 3)
    path = tmp_path / "run"

    def trainer(backend):
        its = network(backend)
        optimizer, loss = minicnn.SGD(its, lr=0.1, momentum=0.9), minicnn.CrossEntropyLoss()
        new = minicnn.Trainer(its, loss, optimizer, max_grad_norm=0.5, keep_best=True, checkpoint=path, quiet=True)
        new.compile_kernels = lambda report: None
        return new

    def batches():
        return Batches(images, labels, 3, shuffle=True, rng=1)

    def run(backend):
        trainer(backend).fit(batches(), batches(), epochs=1)
        resumed, train = trainer(backend), batches()
        resumed.load(path, train)
        history = resumed.fit(train, batches(), epochs=1)
        columns = [np.float32([row[name] for row in history]) for name in ("loss", "val_loss", "accuracy")]
        return [*columns, *resumed.network.state_dict().values()]

    same_on_both(run)
