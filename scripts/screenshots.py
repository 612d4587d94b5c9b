"""Takes the pictures in docs/images: of the inspector, in Chromium, on made-up entries; and of the demonstration.

`.venv/bin/python scripts/screenshots.py` writes them anew.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

from scripts.test_servers.kinds import KINDS
from scripts.test_servers.server import Server

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
PICTURES = {
    "inspector-light": ("light", 1100, 620),
    "inspector-dark": ("dark", 1100, 620),
    "inspector-narrow": ("light", 390, 844),
}
"""Of each picture: the colours, and the width and height of the screen."""
SERVE = "import satchel.cli; satchel.cli.main()"


def fill(url: str) -> None:
    """Put what the pictures show."""
    ada = {"name": "Ada Lovelace", "born": 1815, "languages": ["English", "French"], "admin": True}
    entries = [
        *[("users", f"eu/{number:03}", {"number": number}, None) for number in range(130)],
        ("users", "us/001", {"number": 1}, None),
        ("users", "ada", ada, 90_061),
        ("users", "grace", {"name": "Grace Hopper", "born": 1906}, None),
        ("users", "index", [1, 2, 3], None),
        ("sessions", "one", {"user": "ada"}, 1800),
        ("settings", "theme", "dark", None),
    ]
    operations = [
        {"op": "put", "collection": collection, "key": key, "value": value, "ttl": ttl}
        for collection, key, value, ttl in entries
    ]
    httpx.post(f"{url}/v1/batch", json={"operations": operations}, trust_env=False).raise_for_status()


def take(url: str, browser_url: str) -> None:
    """Take the pictures of a server's page."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(browser_url)
        for name, (scheme, width, height) in PICTURES.items():
            context = browser.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(f"{url}/#users||ada")
            page.locator("#entry pre").wait_for()
            page.get_by_text("live", exact=True).wait_for()
            page.screenshot(path=IMAGES / f"{name}.png")
            context.close()
        browser.close()


def show_demo() -> None:
    """Run the demonstration, and draw what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "examples" / "catalogue" / "demo.py"), "--data", f"{folder}/catalogue"]
        written = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace(folder, "~")
    console = Console(record=True, width=90, file=io.StringIO())
    console.print("$ make demo", highlight=False)
    console.print(Text(written))
    drawn = console.export_svg(title="make demo")
    # The picture is to load no font from elsewhere.
    drawn = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.DOTALL)
    (IMAGES / "demo.svg").write_text(drawn, encoding="utf-8")


def main() -> int:
    """Serve a store, take the pictures, and return the exit code."""
    command = [sys.executable, "-c", SERVE, "serve", "memory://", "--port", "0", "--write"]
    show_demo()
    with Server("chromium", KINDS["chromium"]) as chromium:
        browser_url = chromium.start()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            try:
                line = server.stderr.readline() if server.stderr else ""
                url = next(word.rstrip(";") for word in line.split() if word.startswith("http://"))
                fill(url)
                take(url, browser_url)
            finally:
                server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
