"""Write a figure once for light and once for dark pages, with its data and its origin, and show both as one.

Equal inputs give equal bytes: no dates, no random identifiers, numbers of drawn paths rounded.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

import lskd
from figures import fingerprint
from figures.theme import THEMES, Theme, narrow
from lskd.files import atomic_write, sha256_file, write_json

__all__ = ["Published", "publish"]

EMBEDDED_DATA = 60_000  # bytes of CSV that a page may carry for download

# The theme of the book gives pictures in outputs a light ground and a dimming filter in dark mode; these figures
# are made for dark mode, so both are undone. The last rules serve notebooks in dark editors.
STYLE = """
.lskd-figure{margin:.5rem 0 1.25rem!important;padding:0!important;max-width:100%;width:100%}
.lskd-figure .lskd-sheet{overflow-x:auto}
.lskd-figure img{display:block;width:100%;height:auto;max-width:none!important;background:none!important;
padding:0!important;border-radius:0!important;filter:none!important}
.lskd-figure figcaption{font-size:.875em;line-height:1.45;text-align:left;margin:.35rem 0 0;
color:var(--pst-color-text-base,inherit)!important}
@media(max-width:640px){.lskd-figure img{min-width:600px}}
html[data-theme=dark] .bd-content div.cell_output .text_html:has(.lskd-figure){background:none!important;
color:inherit!important;padding:0!important}
html[data-theme=dark] .lskd-figure img.lskd-light,body[data-jp-theme-light=false] .lskd-figure img.lskd-light,
body.vscode-dark .lskd-figure img.lskd-light{display:none!important}
html[data-theme=dark] .lskd-figure img.lskd-dark,body[data-jp-theme-light=false] .lskd-figure img.lskd-dark,
body.vscode-dark .lskd-figure img.lskd-dark{display:block!important}
""".replace("\n", "")


@dataclass(frozen=True)
class Published:
    """A figure on disk that shows itself in a notebook and on the page made of it."""

    name: str
    folder: Path
    alt: str
    caption: str
    n: int | None

    @property
    def paths(self) -> list[Path]:
        """Light SVG, dark SVG, CSV, sidecar, and both SVGs for a narrow column."""
        ends = (".svg", "-dark.svg", ".csv", ".json", "-narrow.svg", "-narrow-dark.svg")
        return [self.folder / f"{self.name}{end}" for end in ends]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": f"Figure {self.name}: {self.alt}"}

    def to_html(self) -> str:
        """One ``<figure>`` that needs no other file: both variants, alternative text, caption, data."""
        light, dark, data, *_ = self.paths
        alt, identity = html.escape(self.alt, quote=True), html.escape(self.name, quote=True)
        shown = identity.replace("_", " ")
        pictures = "".join(
            f'<img class="lskd-{kind} dark-light" alt="{alt}" src="{_uri(path)}"{hidden}>'
            for kind, path, hidden in (("light", light, ""), ("dark", dark, ' style="display:none"'))
        )
        return (
            f'<figure class="lskd-figure" id="figure-{identity}"><style>{STYLE}</style>'
            f'<div class="lskd-sheet" role="group" aria-label="Figure {shown}" tabindex="0">{pictures}</div>'
            f"<figcaption>{self.caption} {_download(data)}</figcaption></figure>"
        )


def publish(
    draw: Callable[[Theme], Figure],
    name: str,
    *,
    folder: Path | str,
    alt: str,
    caption: str,
    inputs: Iterable[Path | str],
    data: pd.DataFrame,
    n: int | None = None,
    module: str | None = None,
) -> Published:
    """Draw for every theme and write ``NAME.svg``, ``NAME-dark.svg``, ``NAME.csv`` and the sidecar ``NAME.json``.

    ``NAME-narrow.svg`` and ``NAME-narrow-dark.svg`` are the same for telephones; the book shows them there.

    Args:
        draw: makes the figure in the colours of the theme it is given.
        name: of the files, and the figure's anchor on a page.
        folder: where they go; made when missing.
        alt: what a reader who cannot see the picture needs to know, plain text.
        caption: HTML; says n and the source.
        inputs: files that the figure was drawn from; the sidecar has their SHA-256.
        data: what was drawn, for readers who want the numbers.
        n: number of test images, or of runs, behind every mark.
        module: whose sources drew it; by default those of ``draw``.

    Raises:
        FileNotFoundError: an input does not exist.
        ValueError: the figure has no alternative text or no caption.
    """
    if not alt.strip() or not caption.strip():
        raise ValueError(f"figure {name}: alt text and caption are both needed")
    published = Published(name, Path(folder), " ".join(alt.split()), " ".join(caption.split()), n)
    origin = [{"file": _shown(path), "sha256": sha256_file(path)} for path in inputs]
    svgs = [_svg(draw, theme) for theme in THEMES]
    table = data.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    light, dark, csv, sidecar, *slim = published.paths
    with narrow():
        svgs += [_svg(draw, theme) for theme in THEMES]
    pictures = (light, dark, *slim)
    for path, content in (*zip(pictures, svgs, strict=True), (csv, table)):
        atomic_write(path, content)
    write_json(
        sidecar,
        {
            "name": name,
            "alt": published.alt,
            "caption": published.caption,
            "n": n,
            "inputs": origin,
            "files": {path.name: sha256_file(path) for path in (*pictures, csv)},
            "source_digest": fingerprint.digest(fingerprint.closure(module or draw.__module__)),
            "versions": {m.__name__: m.__version__ for m in (lskd, matplotlib, np, pd)},
        },
    )
    return published


def _svg(draw: Callable[[Theme], Figure], theme: Theme) -> str:
    with theme.context():
        buffer = io.BytesIO()
        # "tight" so that no title is cut at the picture's edge
        draw(theme).savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.05
        )
    return _compact(buffer.getvalue().decode("utf-8"))


def _compact(svg: str) -> str:
    """Path coordinates to a hundredth of a point: invisible, a third of the size, and free of rounding noise."""

    def rounded(match: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), match[0])

    svg = re.sub(r' d="[^"]*"', rounded, svg)
    svg = re.sub(r"(?<=data:image/png;base64,)[^\"]*", lambda m: _indexed(m[0]), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _indexed(picture: str) -> str:
    """A base64 PNG with a palette of at most 256 colours: the same picture when it has no more, else very near."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    pixels = np.asarray(image).reshape(-1, 4)
    colors, index = np.unique(pixels, axis=0, return_inverse=True)
    if len(colors) <= 256:
        small = Image.fromarray(index.reshape(image.height, image.width).astype(np.uint8), "P")
        small.putpalette(colors.astype(np.uint8).tobytes(), "RGBA")
    else:
        small = image.quantize(256, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _uri(path: Path) -> str:
    text = path.read_text(encoding="utf-8").partition("<svg")
    return "data:image/svg+xml," + quote("<svg" + text[2].replace("\n", " "), safe=" =:/;,()-_.!~*'+@?&$[]{}|")


def _download(path: Path) -> str:
    if path.stat().st_size > EMBEDDED_DATA:
        return f'<span class="lskd-data">Data: <code>{html.escape(_shown(path))}</code>.</span>'
    content = quote(path.read_text(encoding="utf-8"))
    return f'<a class="lskd-data" download="{path.name}" href="data:text/csv;charset=utf-8,{content}">Data (CSV)</a>.'


def _shown(path: Path | str) -> str:
    """A path as a reader may see it: relative to the working folder, or the name alone."""
    full = Path(path).absolute()
    return full.relative_to(Path.cwd()).as_posix() if full.is_relative_to(Path.cwd()) else os.fspath(full.name)
