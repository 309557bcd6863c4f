"""Pages in Debian's Chromium: screenshots as arrays, and widths as laid out."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from html import escape
from pathlib import Path

import numpy as np

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def screenshot(page: Path, scratch: Path, width: int, height: int, *, dark: bool) -> np.ndarray:
    """[height, width, 3] bytes of a page as it is painted."""
    shot = scratch / f"{page.stem}-{width}-{dark}.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(scratch, scheme, f"--window-size={width},{height}", f"--screenshot={shot}", page.as_uri())
    return _png(shot.read_bytes())


def widths(pages: list[Path], scratch: Path, width: int) -> list[int]:
    """How wide each page's content is in a window of `width`: more means sideways scrolling."""
    frames = "".join(
        f'<iframe width="{width}" height="800" frameborder="0" src="{escape(p.as_uri())}"></iframe>'
        for p in pages
    )
    script = """onload = () => {
      const found = Array.from(frames, f => f.document.documentElement.scrollWidth);
      document.body.textContent = `WIDTHS${JSON.stringify(found)}END` }"""
    outer = scratch / "frames.html"
    outer.write_text(f"<body><script>{script}</script>{frames}")
    said = _run(scratch, "--allow-file-access-from-files", "--dump-dom", outer.as_uri())
    found = re.search(r"WIDTHS(\[.*?\])END", said)
    assert found, said[-2000:]
    return json.loads(found.group(1))


def _run(scratch: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking",
             "--force-device-scale-factor=1", f"--user-data-dir={scratch / 'profile'}"]  # fmt: skip
    done = subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=90,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _png(data: bytes) -> np.ndarray:
    """Pixels of an 8-bit RGB or RGBA image that is not interlaced."""
    at, body, head = 8, b"", b""
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        part = data[at + 8 : at + 8 + size]
        head, body = (part, body) if kind == b"IHDR" else (head, body + part * (kind == b"IDAT"))
        at += 12 + size
    wide, high, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(high, 1 + wide * channels)
    out = np.zeros((high + 1, wide, channels), np.uint8)
    for y in range(high):
        raw = rows[y, 1:].reshape(wide, channels)
        up = out[y]
        match rows[y, 0]:
            case 0:
                out[y + 1] = raw
            case 1:
                out[y + 1] = np.cumsum(raw, axis=0, dtype=np.uint8)
            case 2:
                out[y + 1] = raw + up
            case kind:
                out[y + 1] = _by_pixel(raw.astype(int), up.astype(int), int(kind))
    return out[1:, :, :3]


def _by_pixel(raw: np.ndarray, up: np.ndarray, kind: int) -> np.ndarray:
    """Rows whose filter needs the pixel before: average (3) and Paeth (4)."""
    left = corner = [0] * raw.shape[1]
    out: list[list[int]] = []
    for given, above in zip(raw.tolist(), up.tolist(), strict=True):
        if kind == 3:
            left = [(g + (a + b) // 2) & 255 for g, a, b in zip(given, left, above, strict=True)]
        else:
            near = []
            for a, b, c in zip(left, above, corner, strict=True):
                pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                near.append(a if pa <= pb and pa <= pc else b if pb <= pc else c)
            left = [(g + n) & 255 for g, n in zip(given, near, strict=True)]
        corner = above
        out.append(left)
    return np.array(out, np.uint8)
