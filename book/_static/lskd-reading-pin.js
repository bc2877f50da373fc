/* A figure that comes to the text: pinned below the header, without its controls, while words that set it are read.
   It goes back when its own place or the end of these words comes into view, with its button, or with Escape.
   lskd-reading-words.js asks for it; what takes too much of the window is not pinned. */
(() => {
  "use strict";
  const MOST = 0.55; // of the window's height
  const header = () => Math.max(0, document.querySelector(".bd-header-article")?.getBoundingClientRect().bottom ?? 0);
  let pinned = null;

  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "lskd-unpin", textContent: "×" });
  button.setAttribute("aria-label", "Put the figure back in its place");

  const layout = () => {
    const { root, stage } = pinned, box = root.getBoundingClientRect();
    stage.style.left = `${box.left}px`;
    stage.style.width = `${box.width}px`;
    stage.style.top = `${header()}px`;
  };

  const release = () => {
    if (!pinned) return;
    const { root, stage, word } = pinned, inside = stage.contains(document.activeElement);
    pinned = null;
    stage.classList.remove("lskd-pinned");
    for (const name of ["left", "width", "top"]) stage.style.removeProperty(name);
    root.style.removeProperty("min-height");
    stage.querySelector(".lskd-plots").removeAttribute("tabindex");
    document.documentElement.style.removeProperty("scroll-padding-top");
    button.remove();
    if (inside) word.focus({ preventScroll: true });
  };

  /* The figure's own place is in view, or the words are far away. */
  const done = () => {
    const { root, stage, word } = pinned, place = root.getBoundingClientRect(), at = word.getBoundingClientRect();
    const height = stage.getBoundingClientRect().height;
    const near = place.bottom > header() + height && place.top < innerHeight - height;
    return near || at.bottom < -innerHeight / 3 || at.top > innerHeight * 1.3;
  };
  const check = () => pinned && done() && release();

  /* True if the figure is pinned now and the word can be seen below it. On a phone panels stand side by side and
     scroll: the one that is meant comes into view. */
  const pin = (root, word, panel) => {
    const stage = root.querySelector(".lskd-stage");
    if (pinned?.root === root) pinned.word = word;
    else {
      release();
      root.style.minHeight = `${root.getBoundingClientRect().height}px`; // the text stays where it is
      stage.append(button);
      stage.classList.add("lskd-pinned");
      stage.querySelector(".lskd-plots").tabIndex = 0; // on a phone it scrolls sideways
      pinned = { root, stage, word };
      layout();
      if (done() || stage.getBoundingClientRect().height > MOST * innerHeight) {
        release();
        return false;
      }
    }
    const plots = stage.querySelector(".lskd-plots"), meant = panel && plots.querySelector(`[data-plot="${panel}"]`);
    if (meant) plots.scrollLeft += meant.getBoundingClientRect().left - plots.getBoundingClientRect().left;
    const bottom = header() + stage.getBoundingClientRect().height + 12;
    document.documentElement.style.scrollPaddingTop = `${bottom}px`; // the focus is never below it
    const hidden = bottom - word.getBoundingClientRect().top;
    if (hidden > 0) scrollBy({ top: -hidden, behavior: "instant" });
    return true;
  };

  button.addEventListener("click", release);
  addEventListener("scroll", check, { passive: true });
  addEventListener("resize", () => {
    if (pinned) layout();
    check();
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && !document.querySelector(".lskd-card")) release();
  });
  window.lskdPin = pin;
})();
