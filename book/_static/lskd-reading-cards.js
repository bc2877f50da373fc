/* Cards: what a term, a citation, an equation or a page says, beside the link that names it. By pointer, keyboard and
   touch; Escape closes, the card can be entered, focus stays where it is (WCAG 1.4.13). book/pages/hover_cards.py writes the
   content from the built pages; it is loaded when a link is first pointed at. Without scripts links are links. */
(() => {
  "use strict";
  const here = document.currentScript.src, root = new URL("../", here).href;
  const NAMES = { term: "Glossary", source: "Bibliography", equation: "Equation", page: "Page", section: "Section" };
  const OPEN = 220, SWITCH = 120, CLOSE = 280; // milliseconds

  const load = (path, ready) =>
    new Promise((resolve, reject) => {
      if (ready()) return resolve();
      const script = { src: new URL(path, root).href, onload: resolve, onerror: reject };
      document.head.append(Object.assign(document.createElement("script"), script));
    });
  let loading = null;
  const content = () => (loading ??= load("_static/lskd-cards/cards.js", () => window.lskdCards).then(() => lskdCards));

  /* TeX of a card; a page without formulas has no MathJax yet. */
  const typeset = async card => {
    if (!card.querySelector(".math")) return;
    if (document.readyState !== "complete") await new Promise(go => addEventListener("load", go, { once: true }));
    window.MathJax ??= { options: { processHtmlClass: "math" }, startup: { typeset: false } };
    await load("_static/mathjax/tex-chtml.js", () => MathJax.startup?.promise);
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
  Object.assign(card, { id: "lskd-card", className: "lskd-card" }).setAttribute("role", "note");
  let shown = null, wanted = null, dismissed = null, timer = 0, byKeyboard = false;

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

  /* Below the line that is pointed at, or above it; never beyond the window. */
  let line = 0;
  const place = () => {
    if (!shown) return;
    const rects = [...shown.getClientRects()], at = rects[Math.min(line, rects.length - 1)];
    if (!at) return;
    const width = document.documentElement.clientWidth, height = innerHeight, box = card.getBoundingClientRect();
    const above = at.bottom + box.height + 10 > height && at.top - box.height - 10 > 0;
    card.style.left = `${Math.max(8, Math.min(at.left, width - box.width - 8))}px`;
    card.style.top = `${above ? at.top - box.height - 2 : at.bottom + 2}px`;
    card.classList.toggle("lskd-above", above);
  };

  const close = () => {
    clearTimeout(timer);
    wanted = null;
    if (!shown) return;
    shown.removeAttribute("aria-describedby");
    shown = null;
    card.remove();
  };

  const open = async (link, at = 0) => {
    const cards = await content(), found = cards[key(link)];
    if (!found || wanted !== link) return;
    if (shown && shown !== link) shown.removeAttribute("aria-describedby");
    shown = link;
    line = at;
    link.removeAttribute("title"); // the browser would show it on top of the card
    fill(found, link);
    card.style.visibility = "hidden";
    link.after(card); // so that Tab goes from the link into the card and on from there
    link.setAttribute("aria-describedby", card.id);
    place();
    card.style.visibility = "";
    await typeset(card);
    place();
  };

  const later = (act, wait) => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
  const lineAt = (link, y) =>
    Math.max(0, [...link.getClientRects()].findIndex(r => y >= r.top - 1 && y <= r.bottom + 1));

  document.addEventListener("pointerover", event => {
    if (event.pointerType === "touch") return;
    if (card.contains(event.target)) return clearTimeout(timer);
    const link = candidate(event.target);
    if (link !== dismissed) dismissed = null;
    if (link && link === shown) return clearTimeout(timer);
    if (link && link === dismissed) return;
    if (link) {
      wanted = link;
      byKeyboard = false;
      content().catch(() => {});
      const at = lineAt(link, event.clientY);
      later(() => open(link, at).catch(() => {}), shown ? SWITCH : OPEN);
    } else if (shown && !byKeyboard) later(close, CLOSE);
    else if (!shown) {
      clearTimeout(timer);
      wanted = null;
    }
  });
  document.addEventListener("pointerout", event => {
    if (!event.relatedTarget && shown && !byKeyboard) later(close, CLOSE); // out of the window
  });

  document.addEventListener("focusin", event => {
    if (card.contains(event.target)) {
      byKeyboard = true;
      return clearTimeout(timer);
    }
    const link = candidate(event.target);
    if (link && link === dismissed) return;
    if (link?.matches(":focus-visible")) {
      wanted = link;
      byKeyboard = true;
      clearTimeout(timer);
      open(link).catch(() => {});
    } else if (shown && byKeyboard) close();
  });
  document.addEventListener("focusout", event => {
    if (event.target === dismissed) dismissed = null;
    if (shown && byKeyboard && !event.relatedTarget && document.hasFocus()) later(close, CLOSE);
  });

  document.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !(shown || wanted)) return;
    dismissed = shown ?? wanted; // until the pointer or the focus comes back to it
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
      const found = window.lskdCards?.[key(link)];
      if (found && !["term", "source", "equation"].includes(found.kind)) return;
      if (!found && !/(glossary|bibliography)\.html#|#(term|equation)-/.test(link.href)) return;
      event.preventDefault();
      wanted = link;
      byKeyboard = false;
      open(link, lineAt(link, event.clientY)).catch(() => (location.href = link.href));
    },
    true,
  );
  addEventListener("scroll", place, { passive: true, capture: true });
  addEventListener("resize", place);
})();
