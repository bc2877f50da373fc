/* Cards: what a term, a citation, an equation or a page says, beside the link that names it. By pointer, keyboard and
   touch; Escape closes, the card can be entered, focus stays where it is (WCAG 1.4.13). book/pages/hover_cards.py writes the
   content from the built pages; it is loaded when a link is first pointed at. Where a card stands is said in
   lskd-reading.css. Without scripts links are links. */
(() => {
  "use strict";
  const root = new URL("../", document.currentScript.src).href;
  const NAMES = { term: "Glossary", source: "Bibliography", equation: "Equation", page: "Page", section: "Section" };
  const OPEN = 220, SWITCH = 120, CLOSE = 280; // milliseconds

  let loading = null;
  const content = () => (loading ??= lskdLoad("lskd-cards/cards.js").then(() => lskdCards));

  /* TeX of a card; a page without formulas has no MathJax yet. */
  const typeset = async card => {
    if (!card.querySelector(".math")) return;
    if (document.readyState !== "complete") await new Promise(go => addEventListener("load", go, { once: true }));
    window.MathJax ??= { options: { processHtmlClass: "math" }, startup: { typeset: false } };
    if (!MathJax.startup?.promise) await lskdLoad("mathjax/tex-chtml.js");
    await MathJax.startup.promise;
    await MathJax.typesetPromise([card]);
  };

  const candidate = node => {
    const link = node.closest?.("article a.reference.internal[href]");
    return link && !link.closest(".lskd-card, .toctree-wrapper, .prev-next-area") ? link : null;
  };
  const key = link => {
    const address = decodeURIComponent(link.href.replace(/\?[^#]*/, "")), base = decodeURIComponent(root);
    return address.startsWith(base) ? address.slice(base.length) : null;
  };

  const card = document.createElement("div");
  Object.assign(card, { id: "lskd-card", className: "lskd-card", popover: "manual", role: "note" });
  let shown = null, dismissed = null, timer = 0;

  const fill = ({ kind, title, body }, link) => {
    card.innerHTML = `<p class="lskd-card-head"><b></b><span></span></p><div class="lskd-card-body">${body}</div>`;
    card.querySelector("b").textContent = title;
    card.querySelector("b").hidden = !title;
    card.querySelector("span").textContent = NAMES[kind];
    for (const a of card.querySelectorAll("a.internal")) a.href = new URL(a.getAttribute("href"), root).href;
    const more = kind === "term" || kind === "source" ? `Open the ${NAMES[kind].toLowerCase()}` : "Go there";
    const way = { className: "lskd-card-more", href: link.href, textContent: more };
    card.append(Object.assign(document.createElement("a"), way));
  };

  const close = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.remove();
  };
  const open = async link => {
    const found = (await content())[key(link)];
    if (!found || !link.matches(":hover, :focus")) return; // the reader has moved on meanwhile
    close();
    shown = link;
    link.removeAttribute("title"); // the browser would show it on top of the card
    fill(found, link);
    link.after(card); // so that Tab goes from the link into the card and on from there
    card.showPopover({ source: link });
    link.setAttribute("aria-describedby", card.id);
    await typeset(card);
  };
  const later = (act, wait) => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
  /* By keyboard the card is held, wherever the pointer lies. */
  const leave = () => {
    if (shown && !shown.matches(":focus-visible") && !card.contains(document.activeElement)) later(close, CLOSE);
  };

  document.addEventListener("pointerover", event => {
    if (event.pointerType === "touch") return;
    clearTimeout(timer);
    const link = candidate(event.target);
    if (link !== dismissed) dismissed = null;
    if (card.contains(event.target) || (link && (link === shown || link === dismissed))) return;
    if (!link) return leave();
    content().catch(() => {});
    later(() => open(link).catch(() => {}), shown ? SWITCH : OPEN);
  });
  document.addEventListener("pointerout", event => event.relatedTarget || leave()); // out of the window

  document.addEventListener("focusin", event => {
    const link = candidate(event.target);
    if (card.contains(event.target) || (link && link === dismissed)) return;
    if (link?.matches(":focus-visible")) open(link).catch(() => {});
    else if (shown) close();
  });
  document.addEventListener("focusout", event => {
    if (event.target === dismissed) dismissed = null;
  });

  document.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !shown) return;
    dismissed = shown; // until the pointer or the focus comes back to it
    if (card.contains(document.activeElement)) dismissed.focus(); // the element with the focus goes away
    close();
  });

  /* A finger cannot hover: the first tap on a term, a citation or an equation shows the card, the second follows. */
  document.addEventListener(
    "click",
    event => {
      if (shown && !card.contains(event.target) && !shown.contains(event.target)) close();
      const link = candidate(event.target);
      if (!link || event.pointerType !== "touch" || link === shown) return;
      if (!/(glossary|bibliography)\.html#|#(term|equation)-/.test(link.href)) return;
      event.preventDefault();
      open(link).catch(() => (location.href = link.href));
    },
    true,
  );
})();
