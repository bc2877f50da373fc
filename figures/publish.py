"""Write a figure for light and dark pages, with its data and its origin, and show it.

One file serves both: it is drawn in the colours of light pages, and where it is asked for as ``NAME.svg#dark`` a rule a
colour, at its end, makes it a picture for dark ones. Programs that know no such rules show the light one.

Equal inputs give equal bytes: no dates, no random identifiers, numbers of drawn paths rounded.
"""

from __future__ import annotations

import base64
import html
import io
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
from figures.theme import WIDTH, dark, figure, narrow, settings
from lskd.files import atomic_write, sha256_file, write_json

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
.lskd-figure img.lskd-dark,:is(body[data-jp-theme-light=false],body.vscode-dark) .lskd-figure img.lskd-light{
display:none}
:is(body[data-jp-theme-light=false],body.vscode-dark) .lskd-figure img.lskd-dark{display:block}
""".replace("\n", "")


@dataclass(frozen=True)
class Published:
    """A figure on disk that shows itself in a notebook and on the page made of it."""

    name: str
    folder: Path
    alt: str
    caption: str

    @property
    def paths(self) -> list[Path]:
        """SVG, CSV, sidecar, and the SVG for a narrow column."""
        return [self.folder / f"{self.name}{end}" for end in (".svg", ".csv", ".json", "-narrow.svg")]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": f"Figure {self.name}: {self.alt}"}

    def to_html(self) -> str:
        """One ``<figure>`` that needs no other file: the picture for both kinds of pages, its words and its data."""
        picture, data, *_ = self.paths
        identity, alt, address = html.escape(self.name), html.escape(self.alt), _uri(picture)
        shown = "".join(
            f'<img class="lskd-{kind} dark-light" alt="{alt}" src="{address}{end}">'
            for kind, end in (("light", ""), ("dark", "#dark"))
        )
        return (
            f'<figure class="lskd-figure" id="figure-{identity}"><style>{STYLE}</style><div class="lskd-sheet" '
            f'role="group" aria-label="Figure {identity.replace("_", " ")}" tabindex="0">{shown}'
            f"</div><figcaption>{self.caption} {_download(data)}</figcaption></figure>"
        )


def publish(
    draw: Callable[[Figure], None],
    name: str,
    *,
    height: float = 3.0,
    width: float = WIDTH,
    folder: Path | str,
    alt: str,
    caption: str,
    data: pd.DataFrame,
    inputs: Iterable[Path | str] = (),
) -> Published:
    """Draw, and write ``NAME.svg``, ``NAME-narrow.svg`` for telephones, ``NAME.csv`` and the sidecar ``NAME.json``.

    Args:
        draw: fills an empty figure, in colours of :mod:`figures.theme`; it may change its height.
        name: of the files, and the figure's anchor on a page.
        height, width: of the figure, inches.
        folder: where they go; made when missing.
        alt: what a reader who cannot see the picture needs to know, plain text.
        caption: HTML; says n and the source.
        inputs: files that the figure was drawn from; the sidecar has their SHA-256.
        data: what was drawn, for readers who want the numbers.

    Raises:
        FileNotFoundError: an input does not exist.
        ValueError: the figure has no alternative text or no caption, or a colour without a twin for dark pages.
    """
    if not alt.strip() or not caption.strip():
        raise ValueError(f"figure {name}: alt text and caption are both needed")
    published = Published(name, Path(folder), " ".join(alt.split()), " ".join(caption.split()))
    origin = [{"file": _shown(path), "sha256": sha256_file(path)} for path in inputs]
    wide, csv, sidecar, slim = published.paths
    atomic_write(wide, _svg(draw, height, width))
    with narrow():
        atomic_write(slim, _svg(draw, height, width))
    atomic_write(csv, data.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_json(
        sidecar,
        {
            "name": name,
            "alt": published.alt,
            "caption": published.caption,
            "inputs": origin,
            "files": {path.name: sha256_file(path) for path in (wide, slim, csv)},
            "versions": {m.__name__: m.__version__ for m in (lskd, matplotlib, np, pd)},
        },
    )
    return published


def _svg(draw: Callable[[Figure], None], height: float, width: float) -> str:
    buffer = io.BytesIO()
    with settings():
        fig = figure(height, width)
        draw(fig)
        # "tight" so that no title is cut at the picture's edge
        fig.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.05
        )
    return _for_both(_compact(buffer.getvalue().decode("utf-8")))


def _compact(svg: str) -> str:
    """Coordinates to a hundredth of a point and no name that nothing asks for: half the size, the same picture."""

    def rounded(match: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), match[0])

    svg = re.sub(r' (?:d|x|y|width|height)="[^"]*"|translate\([^)]*\)', rounded, svg)
    svg = re.sub(r'(?<=<g) id="[^"]*"|<metadata>.*?</metadata>', "", svg, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _for_both(svg: str) -> str:
    """The picture with its colours on dark pages; those that are the same on both need no rule."""
    drawn = sorted(set(re.findall(r"\b(fill|stroke): (#[0-9a-f]{6})", svg)))
    rules = "".join(
        f'svg:target [style*="{key}: {color}"]{{{key}:{dark(color)}!important}}'
        for key, color in drawn
        if dark(color) != color
    )
    # A mark is defined once and coloured where it is used; a rule does not reach the colour that its definition has.
    svg = re.sub(r'(<path id="m\w+"[^>]* style=")stroke: #[0-9a-f]{6}(?:; )?', r"\1", svg)
    svg = re.sub(r'<image [^>]*base64,([^"]*)"[^>]*>', lambda m: _pixels(m[0], m[1]), svg)
    style = f"<style>{rules}svg:target .dark{{display:inline}}</style>"
    return svg.replace("<svg ", '<svg id="dark" ', 1).replace("</svg>", f"{style}</svg>")


def _pixels(image: str, content: str) -> str:
    """An ``<image>`` as the smaller of it and its like with 256 colours at most; a scale's gets a dark one on top."""
    found = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")
    colors, index = np.unique(np.asarray(found).reshape(-1, 4), axis=0, return_inverse=True)

    def smaller(picture: Image.Image) -> str:
        return image.replace(content, min(content, _png(picture), key=len))

    if len(colors) > 256:
        return smaller(found.quantize(256, method=Image.Quantize.FASTOCTREE))
    small = Image.fromarray(index.reshape(found.height, found.width).astype(np.uint8), "P")
    small.putpalette(colors.astype(np.uint8).tobytes(), "RGBA")
    light = smaller(small)
    try:
        shown = [(*bytes.fromhex(dark(f"#{bytes(c[:3]).hex()}")[1:]), c[3]) if c[3] else c for c in colors]
    except ValueError:  # a photograph
        return light
    small.putpalette(np.array(shown, dtype=np.uint8).tobytes(), "RGBA")
    return light + image.replace(content, _png(small)).replace("<image ", '<image class="dark" display="none" ')


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
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
    return full.relative_to(Path.cwd()).as_posix() if full.is_relative_to(Path.cwd()) else full.name
