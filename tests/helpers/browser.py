"""A browser for pages of our own: how long one takes to open, what it asks for, how it looks."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from chromium import Chromium

#: Addresses that ask nobody for anything.
_LOCAL = ("file:", "data:", "blob:", "about:")


class Browser(Chromium):
    """A page that Bokeh draws; a context manager."""

    def __enter__(self) -> Browser:
        super().__enter__()
        self.call("Network.enable")
        return self

    @property
    def asked(self) -> list[str]:
        """What the page has asked a network for since it was opened."""
        return [address for address in self.requests if not address.startswith(_LOCAL)]

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Give the window a width in pixels, and the system a colour scheme."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def show(self, page: Path) -> float:
        """Open a page, and return how many milliseconds it took until all was drawn."""
        before = self.evaluate("performance.timeOrigin")
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self.evaluate("performance.timeOrigin") == before:
            time.sleep(0.002)
        return float(self.evaluate(_DRAWN))

    def settle(self) -> None:
        """Wait until all that was asked for is drawn."""
        self.evaluate(_DRAWN)

    def pixels(self, element: str = "document.documentElement") -> bytes:
        """A picture of an element, as a PNG file holds it; of the whole page by default."""
        box = self.evaluate(
            f"(({{x, y, width, height}}) => ({{x: x + scrollX, y: y + scrollY, width, height}}))"
            f"({element}.getBoundingClientRect())"
        )
        found = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**box, "scale": 1}
        )
        return base64.b64decode(found["data"])


#: Milliseconds from the start of loading until every plot says that it is drawn, and two frames
#: more, of which the last has painted it.
_DRAWN = """
new Promise((done) => {
  const look = () => {
    const documents = globalThis.Bokeh?.documents ?? []
    const ready = document.readyState == "complete" && documents.length > 0
    if (ready && documents.every((item) => item.is_idle)) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))
    } else {
      setTimeout(look, 5)
    }
  }
  look()
})
"""
