/* Reading mode: parameter cells and the bars that fold code away are out of sight until a reader asks for them.
   Cells whose code stands open, and those tagged keep-code, are part of the text and stay. lskd-reading.css hides,
   but not what a link leads into. */
(() => {
  "use strict";
  const KEY = "lskd-code", page = document.documentElement;
  const MACHINERY =
    ".cell.tag_parameters:not(.tag_keep-code), .cell.tag_injected-parameters, .cell > details.hide.above-input";

  /* Storage may be refused, for pages opened from disk for example; then each page starts anew. */
  const stored = act => {
    try {
      return act(localStorage);
    } catch {
      return null;
    }
  };
  page.dataset.lskdCode = stored(storage => storage.getItem(KEY)) ?? "folded"; // before the first line is drawn

  /* What is being read, so that it can stay where it is while bars come and go around it. */
  const anchor = () =>
    [...document.querySelectorAll("article :is(p, h1, h2, h3, li, figure, table)")].find(
      e => !e.closest(MACHINERY) && e.getClientRects().length && e.getBoundingClientRect().bottom > 80,
    );

  const button = () => {
    const made = document.createElement("button");
    const look = "btn btn-sm pst-navbar-icon lskd-code-button";
    Object.assign(made, { type: "button", className: look, title: "Show the code behind this page" });
    made.innerHTML = '<span aria-hidden="true">{ }</span> Code';
    const say = () => made.setAttribute("aria-pressed", String(page.dataset.lskdCode === "shown"));
    made.addEventListener("click", () => {
      const kept = anchor(), before = kept?.getBoundingClientRect().top;
      page.dataset.lskdCode = page.dataset.lskdCode === "shown" ? "folded" : "shown";
      stored(storage => storage.setItem(KEY, page.dataset.lskdCode));
      say();
      /* Some browsers have done so by now; others have not. */
      if (kept && scrollY > 0) scrollBy({ top: kept.getBoundingClientRect().top - before, behavior: "instant" });
    });
    say();
    return made;
  };

  /* Paper is white, whatever the screen is. */
  let theme = null;
  addEventListener("beforeprint", () => {
    theme ??= page.dataset.theme;
    page.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    if (theme) page.dataset.theme = theme;
    theme = null;
  });

  document.addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector(".article-header-buttons");
    if (place && document.querySelector(MACHINERY)) place.prepend(button());
  });
})();
