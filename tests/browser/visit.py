"""Opening a page in a real Chromium, with everything written down that a good page does not do."""

import os
import shutil

# What Chromium is started with: no sandbox because it may run as root in a container, nothing in the background.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path():
    """The system's Chromium, or None: no browser is ever downloaded."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def start(playwright):
    """Start the system's Chromium."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)


class Visits:
    """Opens files in windows of their own, and notes in `problems` what went wrong on any of them.

    A problem is: an error or a warning on the console, an exception nobody caught, a request for anything but the
    file itself (`data:` and `blob:` hold their contents in their address and are no request), a WebSocket, a
    dialog, a second window. Requests are not only noted but refused; but those of a site that is served at the address
    `site` for what belongs to it.
    """

    def __init__(self, browser, site=None):
        self.browser, self.site = browser, site
        self.contexts = []
        self.problems = []

    def open(self, place, *, width=1280, height=900, color_scheme="light", **options):
        """Open the file, or the page of the `site`, whose address is a text, and wait until it is loaded."""
        address = place if isinstance(place, str) else os.fspath(place.resolve().as_uri())
        allowed = ("data:", "blob:", *filter(None, [self.site]))
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=color_scheme, **options
        )
        self.contexts.append(context)
        context.set_default_timeout(15_000)

        def answer(route):
            # What follows # is never sent, so a link within the page is no request.
            if route.request.url.partition("#")[0] == address or route.request.url.startswith(allowed):
                route.continue_()
            else:
                self.problems.append(f"request: {route.request.method} {route.request.url[:200]}")
                route.abort()

        def connect(socket):
            self.problems.append(f"WebSocket: {socket.url}")
            socket.close()

        def say(message):
            if message.type in ("error", "warning", "assert"):
                self.problems.append(f"console {message.type}: {message.text}")

        def dismiss(dialog):
            self.problems.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        context.route("**/*", answer)
        context.route_web_socket("**/*", connect)
        context.on("console", say)
        context.on("weberror", lambda error: self.problems.append(f"exception: {error.error}"))
        context.on("dialog", dismiss)
        page = context.new_page()
        context.on("page", lambda new: self.problems.append(f"second window: {new.url}"))
        page.on("crash", lambda _: self.problems.append("the page crashed"))
        page.goto(address, wait_until="load")
        return page

    def close(self):
        for context in self.contexts:
            context.close()
        self.contexts.clear()
