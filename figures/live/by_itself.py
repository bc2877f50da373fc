"""A live figure where no page of the book is around it: JupyterLab, a notebook as HTML, Colab.

There a cell's output has to bring everything. The scripts and styles of the pages travel packed, once a figure, and
are unpacked by the first one that is shown; without scripts (a notebook that is not trusted) the still picture stays.
Pages have scripts of their own and leave this out: :func:`without`.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lskd.errors import LskdError

FOLDER = Path(__file__).parent
# What the style of the pages calls its colours, in those of JupyterLab or, elsewhere, on white.
COLORS = {
    "text-base": "content-font-color1, #1f2630",
    "text-muted": "content-font-color2, #626c78",
    "border": "border-color1, #c9ced4",
    "surface": "layout-color2, #f4f5f7",
    "background": "layout-color1, #fff",
    "primary": "brand-color1, #0072b2",
}
UNPACK = """<script class="lskd-by-itself">(() => {
const place = document.currentScript?.getRootNode() ?? document;
window.lskdUnpacked ??= (async () => {
  const bytes = Uint8Array.from(atob("PACKED"), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  for (const [tag, text] of await new Response(stream).json()) {
    document.head.append(Object.assign(document.createElement(tag), { textContent: text }));
  }
})();
lskdUnpacked.then(() => lskdLive.begin(place));
})()</script>"""


def bokeh_script() -> Path:
    """The script that live figures load, as Bokeh was installed."""
    found = find_spec("bokeh")
    if found is None or found.origin is None:
        raise LskdError("Bokeh is not installed, and live figures need it; pip install -e '.[book]'")
    return Path(found.origin).parent / "server" / "static" / "js" / "bokeh.min.js"


@cache
def loader() -> str:
    """A ``<script>`` to stand behind a figure's HTML."""
    colors = "".join(f"--pst-color-{name}:var(--jp-{value});" for name, value in COLORS.items())
    style = f":root{{{colors}}}" + (FOLDER / "lskd-live.css").read_text(encoding="utf-8")
    scripts = [bokeh_script(), *sorted(FOLDER.glob("*.js"))]
    parts = [("style", style), *(("script", path.read_text(encoding="utf-8")) for path in scripts)]
    packed = gzip.compress(json.dumps(parts).encode(), mtime=0)
    return UNPACK.replace("PACKED", base64.b64encode(packed).decode("ascii"))


def without(html: str) -> str:
    """A cell's HTML as a page needs it."""
    return re.sub(r'<script class="lskd-by-itself">.*?</script>', "", html, flags=re.DOTALL)
