"""A page in headless Chromium: what its scripts made of it, and whether it fits."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needed = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
PHONE_PX = 390


def dom(address: str, home: Path, budget_ms: int = 1500) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'profile'}"]
    command += ["--allow-file-access-from-files", f"--virtual-time-budget={budget_ms}", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout


def told(page: Path, home: Path, address: str = "", script: str = "") -> dict[str, str]:
    """The body's data-* attributes once the page has been open, in a frame as wide as a phone; `wide` is how many
    pixels it needs there. `script` runs at its end.

    Headless Chromium opens no window that is as narrow as a phone; a frame is.
    """
    text = page.read_text(encoding="utf-8")
    tell = "parent.postMessage({...document.body.dataset, wide: document.documentElement.scrollWidth}, '*')"
    body = f"<script>{{{script}}}</script><script>addEventListener('load', () => {tell})</script></body>"
    head, end, tail = text.rpartition("</body>")
    assert end
    (home / "framed.html").write_text(head + body + tail, encoding="utf-8")
    (home / "frame.html").write_text(
        "<body><script>onmessage = event => Object.assign(document.body.dataset, event.data)</script>"
        f'<iframe src="framed.html{html.escape(address)}" width="{PHONE_PX}" height="840" style="border: 0"></iframe>'
        "</body>"
    )
    found = re.search(r"<body[^>]*>", dom((home / "frame.html").as_uri(), home))
    return {key: html.unescape(value) for key, value in re.findall(r'data-([\w-]+)="([^"]*)"', found[0])}


def refuse_requests(page: Path) -> None:
    """Nothing of the page lies elsewhere."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", text)
