"""The training replay in a real browser: at every step the numbers are those of the recording."""

import numpy as np
import pytest

import minicnn
from minicnn.inspect import Recorder, load_recording

from . import audit
from .inspector import Inspector, check_texts

pytestmark = pytest.mark.browser

STEP = "() => Number(document.querySelector('[data-view=replay]').dataset.replayStep)"
NORMS = ("weight_norm", "gradient_norm", "update_norm", "update_ratio")


def network():
    return minicnn.Sequential(
        conv=minicnn.Conv2d(2, 5, 3, padding=1, rng=0),
        bn=minicnn.BatchNorm2d(5),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveAvgPool2d(2),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(20, 3, rng=0),
    ).to("reference")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{name: (path of the page, recording)}: with an image, thinned; and without, with a layer that never learns."""
    folder, rng = tmp_path_factory.mktemp("replays"), np.random.default_rng(0)
    x, labels = rng.standard_normal((60, 2, 9, 7), np.float32), rng.integers(0, 3, 60)
    made = {}
    for name, image, max_bytes in (("thinned", x[0], 40_000), ("whole", None, 1_000_000)):
        net = network()
        optimizer = minicnn.Adam(net, lr=0.01)
        trainer = minicnn.Trainer(
            net,
            minicnn.CrossEntropyLoss(),
            optimizer,
            schedule=minicnn.StepLR(optimizer, 1, gamma=0.5),
            record=Recorder(folder / name, image, max_bytes),
            quiet=True,
        )
        trainer.fit(minicnn.data.Batches(x, labels, 4, shuffle=True, rng=0), epochs=3)
        net.inspect(x[:1], labels[:1], replay=folder / name, path=folder / f"{name}.html")
        made[name] = folder / f"{name}.html", load_recording(folder / name)
    return made


@pytest.fixture
def replay(visits, runs):
    """Opens the replay of a run: (its Inspector, the recording)."""

    def open_replay(name="thinned", **options):
        path, recording = runs[name]
        page = visits.open(path, **options)
        page.locator('#layers a[href="#/replay"]').click()
        page.locator('[data-view="replay"]').wait_for()
        return Inspector(page, None), recording

    return open_replay


def frame_of(recording, position):
    return np.searchsorted(recording.array_step, recording.step[position], side="right") - 1


def check_numbers(inspector, recording, position):
    """The numbers of a step, and the norms of every parameter."""
    assert inspector.page.evaluate(STEP) == recording.step[position]
    for key in ("step", "epoch", "lr", "loss"):
        assert inspector.value(f'[data-replay="{key}"]') == getattr(recording, key)[position]
    for role in NORMS:
        shown = inspector.values(f'[data-replay-norm="{role}"] [data-name]')
        np.testing.assert_array_equal(shown, getattr(recording, role)[position], err_msg=role)
    view = inspector.page.locator('[data-view="replay"]')
    assert int(view.get_attribute("data-replay-frame")) == recording.array_step[frame_of(recording, position)]


def test_every_step_by_keyboard(replay):
    inspector, recording = replay()
    assert recording.array_interval > recording.interval >= 1
    check_numbers(inspector, recording, 0)
    keys, last = inspector.page.keyboard, len(recording.step) - 1
    inspector.page.locator("[data-replay-scrubber]").focus()
    for position in range(1, last + 1):
        keys.press("ArrowRight")
        check_numbers(inspector, recording, position)
    keys.press("ArrowRight")
    check_numbers(inspector, recording, last)
    keys.press("ArrowLeft")
    check_numbers(inspector, recording, last - 1)
    keys.press("Home")
    check_numbers(inspector, recording, 0)
    keys.press("End")
    check_numbers(inspector, recording, last)
    check_texts(inspector)
    text = inspector.page.locator("[data-replay-scrubber]").get_attribute("aria-valuetext")
    assert text.startswith(f"step {recording.step[-1]} of {recording.step[-1]}, epoch 3, loss ")


def test_every_array_is_the_recordings(replay):
    inspector, recording = replay()

    def check(expression, array):
        assert np.array_equal(inspector.numbers(f"MINICNN.decode(MINICNN.record.replay.{expression})")[2], array)

    for kind in ("weight", "gradient", "update"):
        for name in recording.names:
            check(f"{kind}['{name}']", getattr(recording, kind)[name])
    for place, name in enumerate(recording.activation):
        check(f"activation[{place}].value", recording.activation[name])


@pytest.mark.parametrize(
    ("name", "cell", "shape", "index"),
    [
        ("conv.weight", (2, 1), (3, 3), (0, 0, 2, 1)),
        ("fc.weight", (1, 2), (3, 7), (1, 6)),
        ("bn.bias", (0, 3), (1, 5), (3,)),
    ],
)
def test_a_picked_weight_is_followed_through_the_run(replay, name, cell, shape, index):
    inspector, recording = replay()
    inspector.choose("parameter", recording.names.index(name))
    inspector.click("replay-gradient", *cell, shape)
    kept = recording.kept[f"parameter/{name}"]
    at = tuple(i if axis is None else axis.index(i) for i, axis in zip(index, kept, strict=True))
    for position in (0, 3, len(recording.step) // 2, len(recording.step) - 1):
        go(inspector, position)
        frame = frame_of(recording, position)
        for kind in ("weight", "gradient", "update"):
            expected = getattr(recording, kind)[name][(frame, *at)]
            text, number = inspector.readout(f"replay-{kind}")
            assert text.startswith(f"{kind[0].upper()}[{', '.join(map(str, index))}] = ")
            assert number == inspector.value(f'[data-replay-cell="{kind}"]') == expected
        lr = recording.lr[np.searchsorted(recording.step, recording.array_step[frame])]
        gradient = float(recording.gradient[name][(frame, *at)])
        assert inspector.value('[data-replay-cell="plain"]') == -lr * gradient


def go(inspector, position):
    """Move the slider, as a pointer does."""
    inspector.page.locator("[data-replay-scrubber]").fill(str(position))


def wait_for_step(page, step):
    """Wait, 10 seconds at most, until the replay has come so far."""
    for _ in range(200):
        if page.evaluate(STEP) >= step:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the replay stands at step {page.evaluate(STEP)}, and not at {step}")


def test_thumbnails_choose_the_filter_and_the_channel(replay):
    inspector, recording = replay()
    inspector.page.get_by_role("button", name="show gradient of filter 3 large").click()
    inspector.choose("replay-channel", 1)
    inspector.click("replay-update", 0, 2, (3, 3))
    go(inspector, 5)
    assert inspector.readout("replay-update")[0].startswith("U[3, 1, 0, 2] = ")
    assert inspector.readout("replay-update")[1] == recording.update["conv.weight"][frame_of(recording, 5), 3, 1, 0, 2]


def test_a_picked_activation_is_followed_through_the_run(replay):
    inspector, recording = replay()
    inspector.page.get_by_role("button", name="show bn, channel 2 large").click()
    channels, rows, columns = recording.kept["activation/bn"]
    inspector.click("replay-activation", 1, 3, (len(rows), len(columns)))
    for position in (0, len(recording.step) - 1):
        go(inspector, position)
        expected = recording.activation["bn"][frame_of(recording, position), channels.index(2), 1, 3]
        text, number = inspector.readout("replay-activation")
        assert text.startswith(f"bn[2, {rows[1]}, {columns[3]}] = ")
        assert number == expected
        assert inspector.value('[data-replay-cell="activation"]') == expected


def test_the_maps_are_painted_anew_at_every_step(replay):
    inspector, recording = replay()
    paint = "(all) => all.map((canvas) => canvas.toDataURL())"
    canvases = inspector.page.locator("#view canvas")
    before = canvases.evaluate_all(paint)
    go(inspector, len(recording.step) - 1)
    after = canvases.evaluate_all(paint)
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert changed >= len(before) - 2  # all but the two channels of the image itself


def test_the_loss_and_its_mark_are_drawn_where_they_belong(replay):
    inspector, recording = replay()
    plot = inspector.page.locator("[data-view=replay] > .chart").first
    position = len(recording.step) // 3
    go(inspector, position)
    path = plot.locator(".course").get_attribute("d")
    points = [tuple(map(float, point.split(","))) for point in path.lstrip("M").split("L")]
    assert len(points) == len(recording.loss)
    line, dot = plot.locator("line.moment"), plot.locator("circle")
    mark = float(dot.get_attribute("cx")), float(dot.get_attribute("cy"))
    assert mark == pytest.approx(points[position], abs=1e-2)
    assert float(line.get_attribute("x1")) == mark[0]
    steps, losses = np.array(points).T
    assert np.corrcoef(steps, recording.step)[0, 1] > 0.999999
    assert np.corrcoef(losses, recording.loss)[0, 1] < -0.999999  # downwards on the screen is less


def test_play_and_pause(replay):
    inspector, recording = replay("whole")
    play, page = inspector.page.locator("[data-replay-play]"), inspector.page
    play.click()
    wait_for_step(page, 4)
    assert play.inner_text() == "Pause"
    play.click()
    stopped = page.evaluate(STEP)
    page.wait_for_timeout(400)
    assert page.evaluate(STEP) == stopped
    go(inspector, len(recording.step) - 3)
    play.click()
    wait_for_step(page, recording.step[-1])
    page.get_by_role("button", name="Play").wait_for()  # it stopped by itself


def test_another_view_ends_the_playing_and_keeps_the_place(replay):
    inspector, _ = replay("whole")
    inspector.page.locator("[data-replay-play]").click()
    wait_for_step(inspector.page, 3)
    inspector.page.locator('#layers a[href="#/overview"]').click()
    inspector.page.locator('[data-view="overview"]').wait_for()
    place = inspector.page.evaluate("MINICNN.state.replay")
    inspector.page.wait_for_timeout(300)
    assert inspector.page.evaluate("MINICNN.state.replay") == place
    inspector.page.go_back()
    inspector.page.locator('[data-view="replay"]').wait_for()
    assert inspector.page.evaluate(STEP) == place + 1


def test_who_asks_for_little_motion_gets_one_picture_a_second(replay):
    inspector, _ = replay("whole", reduced_motion="reduce")
    page = inspector.page
    assert page.evaluate(STEP) == 1  # nothing plays by itself
    page.evaluate(
        """() => {
            window.seen = [];
            const watch = new MutationObserver(() => window.seen.push(performance.now()));
            watch.observe(document.querySelector("[data-view=replay]"), {attributeFilter: ["data-replay-step"]});
        }"""
    )
    inspector.page.locator("[data-replay-play]").click()
    page.wait_for_timeout(3500)
    seen = page.evaluate("window.seen")
    assert 2 <= len(seen) <= 3
    assert min(np.diff(seen)) > 900


def test_without_an_image_it_says_how_to_get_activations(replay):
    inspector, recording = replay("whole")
    assert recording.activation == {}
    assert "Trainer(record=minicnn.Recorder(path, image))" in inspector.page.locator("#view").inner_text()
    assert inspector.page.locator('[data-map="replay-activation"]').count() == 0


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_used_by_everybody(replay, width, color_scheme):
    inspector, _ = replay(width=width, color_scheme=color_scheme, has_touch=width == 360)
    inspector.click("replay-weight", 0, 0, (3, 3))
    for details in inspector.page.locator("#view details > summary").all():
        details.click()
    inspector.page.evaluate("window.scrollTo(0, 0)")
    inspector.page.mouse.click(2, 2)  # from here the Tab key begins
    for audited in (audit.accessibility_problems, audit.nameless_controls, audit.mouse_only, audit.overflow):
        assert audited(inspector.page) == [], audited.__name__
    unreachable = audit.unreachable_controls(inspector.page)
    assert [control for control in unreachable if 'class="skip"' not in control] == []  # that one lies above the click
