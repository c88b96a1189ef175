"""Write docs/inspect/*.png: the README's pictures of the inspector, from the code as it stands.

    python -m tests.browser.make_screenshots

Two networks learn the 8 × 8 digits for some seconds, always from the same seed: SimpleNet, and a smaller one whose
pooling has windows that overlap. The pictures are of their pages in the system's Chromium, reduced to 256 colours.
"""

import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

import minicnn
from minicnn.data import Batches, load_digits

from .inspector import Inspector
from .visit import Visits, start

FOLDER = Path(__file__).parents[2] / "docs" / "inspect"
WIDTH = 1280
DIGIT = 3  # of those to test, which one is looked at


def small_network():
    return minicnn.Sequential(
        conv=minicnn.Conv2d(1, 8, kernel_size=3, padding=1, rng=0),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveMaxPool2d((3, 3)),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(72, 10, rng=0),
    )


def trained(network, digits, epochs, record=None):
    """The network after some epochs, plain in its place: a page is best read with the layers as they were written."""
    optimizer = minicnn.Adam(network, lr=0.004)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), optimizer, record=record, quiet=True)
    trainer.fit(Batches(digits.train.images, digits.train.labels, 32, shuffle=True, rng=0), epochs=epochs)
    return network


def save(page, name, until):
    """A picture of the page from its top to the end of what the selector `until` finds first."""
    page.wait_for_timeout(300)  # charts are drawn once their place has a width
    page.evaluate("window.scrollTo(0, 0)")
    box = page.locator(until).first.bounding_box()
    page.set_viewport_size({"width": WIDTH, "height": round(box["y"] + box["height"]) + 16})
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    path = FOLDER / f"{name}.png"
    # The palette that is never far off: a mean one, as is usual, would spoil the few cells of strong colours.
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main():
    from playwright.sync_api import sync_playwright  # here: without it the tests' folder must still be collected

    FOLDER.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    x, y = digits.test.images[DIGIT : DIGIT + 1], digits.test.labels[DIGIT : DIGIT + 1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = Path(folder)
        recorder = minicnn.Recorder(folder / "run.safetensors", x[0])
        simplenet = trained(minicnn.SimpleNet(in_channels=1, rng=0), digits, 1, recorder)
        simplenet.inspect(x, y, training=True, path=folder / "simplenet.html", replay=folder / "run.safetensors")
        small = trained(small_network(), digits, 2)
        small.inspect(x, y, training=True, path=folder / "small.html")
        browser = start(playwright)
        visits = Visits(browser)

        def open_page(name):
            # The views are only named to be opened; nobody compares numbers here.
            return Inspector(visits.open(folder / f"{name}.html", width=WIDTH), SimpleNamespace(layers={}))

        inspector = open_page("simplenet")
        save(inspector.page, "overview", '[data-card="conv1"]')
        inspector.show("conv1")
        inspector.choose("filter", 6)
        inspector.click("dx", 3, 4, (8, 8), (1, 1))
        inspector.page.locator('[data-choose="way"] input[value="correlation"]').check()
        save(inspector.page, "convolution", '[data-map="dy"]')
        inspector.show("bn2")
        save(inspector.page, "batchnorm", ".paths")
        inspector.show("replay")
        scrubber = inspector.page.locator("[data-replay-scrubber]")
        scrubber.fill(str(int(scrubber.get_attribute("max")) // 3))
        save(inspector.page, "replay", ".charts")
        inspector = open_page("small")
        inspector.show("pool")
        wins = "sums.input(0, 0, r, s).terms.filter((term) => term.wins).length"
        cells = inspector.sums("pool", f"range(a).flatMap((r) => range(a).map((s) => [{wins}, r, s]))", 8)
        _, *most = max(cells)  # the cell that won the most windows
        inspector.click("dx", *most, (8, 8))
        save(inspector.page, "pooling", '[data-map="dy"]')
        browser.close()
        assert not visits.problems, visits.problems


if __name__ == "__main__":
    main()
