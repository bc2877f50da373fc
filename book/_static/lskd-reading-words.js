/* Live words: a phrase in the text that sets the controls of a figure on its page. In the source
   [raise it to 8](live:toy?temperature=8), on the page a link to ?temperature=8#live-toy, which also works as an
   address: the page opens with its figure set. "panel=NAME" says which of its plots is spoken of.
   book/pages/live_words.py refuses words that can do nothing. */
(() => {
  "use strict";
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const DURATION = 700; // milliseconds
  const header = () => Math.max(0, document.querySelector(".bd-header-article")?.getBoundingClientRect().bottom ?? 0);

  const find = (root, name) => root.querySelector(`[data-control="${CSS.escape(name)}"]`);
  const current = input => (input.type === "checkbox" ? String(input.checked) : input.value);

  /* [control, value as the control holds it] of each setting in ?NAME=VALUE;NAME=VALUE */
  const settings = (root, query) =>
    [...new URLSearchParams(query.replaceAll(";", "&"))]
      .map(([name, value]) => [find(root, name), value])
      .filter(([input]) => input)
      .map(([input, value]) => {
        if (input.type !== "range") return [input, value];
        const { stops, log } = input.dataset, probe = input.cloneNode(); // a slider rounds to its steps
        if (value === "first") probe.value = input.min;
        else if (value === "last") probe.value = input.max;
        else if (stops !== undefined) probe.value = String(stops.split(" ").indexOf(value));
        else probe.value = log === undefined ? value : String(Math.log10(Number(value)));
        return [input, probe.value];
      });
  const holds = pairs => pairs.length > 0 && pairs.every(([input, value]) => current(input) === value);

  const put = (input, value) => {
    if (current(input) === value) return;
    if (input.type === "checkbox") input.checked = value === "true";
    else input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };

  /* Boxes and lists at once, sliders on their way, so that the eye can follow. A newer word stops an older one. */
  const running = new WeakMap(); // of a figure, the settings on their way
  const aim = (root, input) => running.get(root)?.find(([moved]) => moved === input)?.[1] ?? current(input);
  const stop = root => {
    running.delete(root);
    root.querySelector("[role='status']")?.removeAttribute("aria-busy");
  };
  const move = (root, pairs, animate) => {
    const turn = [...pairs], tint = "color-mix(in srgb, var(--pst-color-primary) 30%, transparent)";
    for (const [input] of pairs) {
      const fold = input.closest("details");
      if (fold) fold.open = true;
    }
    for (const [input] of still.matches ? [] : pairs) {
      const label = input.closest("label"); // where to look, and to do the same by hand
      label?.animate({ backgroundColor: [tint, "transparent"] }, { duration: 2 * DURATION, easing: "ease-in" });
    }
    stop(root);
    running.set(root, turn);
    const sliders = pairs.filter(([input, value]) => input.type === "range" && current(input) !== value);
    for (const pair of pairs) if (!sliders.includes(pair)) put(...pair);
    if (!animate || still.matches || !sliders.length) {
      for (const pair of sliders) put(...pair);
      return stop(root);
    }
    const from = sliders.map(([input]) => Number(input.value));
    let begin;
    root.querySelector("[role='status']")?.setAttribute("aria-busy", "true"); // a screen reader waits for the end
    const step = now => {
      if (running.get(root) !== turn) return;
      begin ??= now;
      const part = Math.min(1, (now - begin) / DURATION), eased = part < 0.5 ? 2 * part ** 2 : 1 - 2 * (1 - part) ** 2;
      sliders.forEach(([input, value], i) => {
        put(input, part < 1 ? String(from[i] + (Number(value) - from[i]) * eased) : value);
      });
      if (holds(sliders)) stop(root); // rounded to its steps, a slider may be there before its time
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  };

  /* Figures come up when Bokeh has; a word that is pressed before waits. */
  const whenUp = (root, act) => {
    if (root.classList.contains("lskd-on")) return act();
    const watch = new MutationObserver(() => {
      if (!root.classList.contains("lskd-on")) return;
      watch.disconnect();
      act();
    });
    watch.observe(root, { attributeFilter: ["class"] });
  };

  /* A way back for whom the figure was too far from the words; it goes when the words are seen again. */
  const motion = () => (still.matches ? "instant" : "smooth");
  const back = document.createElement("button");
  Object.assign(back, { type: "button", className: "lskd-back", textContent: "Back to the text" });
  let left = null;
  const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && back.remove(), {
    rootMargin: "-64px 0px 0px",
  });
  back.addEventListener("click", () => {
    left.scrollIntoView({ block: "center", behavior: motion() });
    left.focus({ preventScroll: true });
  });
  const leave = word => {
    seen.disconnect();
    left = word;
    document.body.append(back);
    setTimeout(() => seen.observe(word), 600); // when scrolling is over
  };

  /* A figure that comes to the text: pinned below the header, without its controls, while words that set it are read.
     It goes back when its own place or the end of these words comes into view, with its button, or with Escape. What
     takes too much of the window is not pinned. */
  const MOST = 0.55; // of the window's height
  let pinned = null;

  const unpin = document.createElement("button");
  Object.assign(unpin, { type: "button", className: "lskd-unpin", textContent: "×" });
  unpin.setAttribute("aria-label", "Put the figure back in its place");

  const release = () => {
    if (!pinned) return;
    const { root, stage, word } = pinned, inside = stage.contains(document.activeElement);
    pinned = null;
    stage.classList.remove("lskd-pinned");
    stage.style.removeProperty("top");
    root.style.removeProperty("min-height");
    stage.querySelector(".lskd-plots").removeAttribute("tabindex");
    document.documentElement.style.removeProperty("scroll-padding-top");
    unpin.remove();
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
      stage.append(unpin);
      stage.classList.add("lskd-pinned");
      stage.querySelector(".lskd-plots").tabIndex = 0; // on a phone it scrolls sideways
      pinned = { root, stage, word };
      stage.style.top = `${header()}px`;
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

  unpin.addEventListener("click", release);
  addEventListener("scroll", check, { passive: true });
  addEventListener("resize", check);
  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && !document.querySelector(".lskd-card")) release();
  });

  /* Plots and words in view together: as they are, by a little scrolling, or with the plots pinned above the words.
     Where nothing of this can be done, the plots alone. */
  const show = (root, word, panel) => {
    if (root.querySelector(".lskd-pinned")) return void pin(root, word, panel);
    const plots = root.querySelector(".lskd-plots") ?? root, box = plots.getBoundingClientRect(), from = header();
    const part = Math.min(box.bottom, innerHeight) - Math.max(box.top, from);
    if (part >= 0.6 * Math.min(box.height, innerHeight - from)) return;
    const at = word.getBoundingClientRect(), room = innerHeight - from - 24;
    const fits = Math.max(box.bottom, at.bottom) - Math.min(box.top, at.top) <= room;
    if (!fits && pin(root, word, panel)) return back.remove();
    const above = box.top < from || box.height > room;
    const top = above ? box.top - from - 8 : box.bottom - innerHeight + 16;
    scrollBy({ top, behavior: motion() });
    if (fits) back.remove();
    else leave(word);
  };

  const upgrade = word => {
    const address = new URL(word.href), root = document.getElementById(decodeURIComponent(address.hash.slice(1)));
    if (!root?.matches(".lskd-live")) return;
    const pairs = settings(root, address.search);
    if (!pairs.length) return;
    let before = null;
    word.setAttribute("role", "button");
    word.setAttribute("aria-controls", root.id);
    const say = () => word.setAttribute("aria-pressed", String(holds(pairs)));
    const press = () =>
      whenUp(root, () => {
        show(root, word, /[?;]panel=(\w+)/.exec(address.search)?.[1]);
        if (pairs.some(([input, value]) => aim(root, input) !== value)) {
          before = pairs.map(([input]) => [input, aim(root, input)]);
          move(root, pairs, true);
        } else if (before) move(root, before, true); // pressed again: as it was
      });
    word.addEventListener("click", event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      press();
    });
    word.addEventListener("keydown", event => {
      if (event.key !== " ") return;
      event.preventDefault();
      press();
    });
    root.addEventListener("input", event => {
      if (event.isTrusted) stop(root); // the reader's own hand
      say();
    });
    root.addEventListener("click", say);
    say();
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("a.lskd-word").forEach(upgrade);
    const root = location.search && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (root && root.matches(".lskd-live")) whenUp(root, () => move(root, settings(root, location.search), false));
  });
})();
