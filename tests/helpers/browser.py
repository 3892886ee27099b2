"""A headless Chromium for pages on the disk or on loopback."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser of the machine with a fresh profile; the test is skipped where there is none."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def opened(
    browser: Browser, address: Path | str, width: int, scheme: str = "light"
) -> tuple[Page, list[str]]:
    """The page at a path or URL, and a list that fills with what its console and its requests complain of.

    A page on the disk may ask nothing of the network, one at a URL nothing but that.
    """
    on_disk = isinstance(address, Path)
    url = address.resolve().as_uri() if isinstance(address, Path) else address
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=on_disk)
    page = context.new_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    own = ("file:" if on_disk else url, "data:")
    page.on("request", lambda one: one.url.startswith(own) or complaints.append(one.url))
    page.goto(url)
    return page, complaints
