/* What a reader sees of the search: a list below the field that opens over a page, and the search page. */
(() => {
  "use strict";
  const search = (window.lskdSearch ??= {});
  const root = document.documentElement.dataset.content_root.replace(/^\.\//, "");
  const SIGN = { page: "▤", section: "#", term: "Aa", object: "ƒ", figure: "◩", reference: "❞" };
  const KIND = { term: "term", object: "function", figure: "figure", reference: "source" };

  const element = (tag, attributes = {}, ...content) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...content);
    return made;
  };
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  /* A text with what answers the query in <mark>. */
  const marked = (text, result) => {
    const pieces = [];
    let done = 0;
    for (const [start, end] of search.marks(text, result)) {
      pieces.push(text.slice(done, start), element("mark", {}, text.slice(start, end)));
      done = end;
    }
    return [...pieces, text.slice(done)];
  };

  /* Where a result leads: the section, and within it the sentence where the browser can point at text. */
  const address = (section, sentence, result) => {
    const quote = sentence && "fragmentDirective" in document ? search.quote(section, sentence, result) : "";
    const point = quote ? `:~:text=${encodeURIComponent(quote).replace(/-/g, "%2D")}` : "";
    const anchor = section.anchor || point ? `#${section.anchor}${point}` : "";
    return root + section.page.path + anchor;
  };
  const summary = ({ query, terms, found, some }, groups) => {
    if (!terms.length) return "";
    if (!found.length) return `Nothing in this book has “${query.trim()}”.`;
    if (some) return `No section has all of these words; ${found.length} ${found.length === 1 ? "has" : "have"} some.`;
    return `${plural(found.length, "section")} on ${plural(groups.length, "page")}`;
  };
  const better = result => (result.some || !result.found.length ? search.meant(result) : "");

  /* What one section looks like in the list: a sign for its kind, its title, the sentence that answers. */
  const words = (section, sentence, result) => {
    const shown = element("span", { class: "lskd-words" });
    if (section.kind !== "page" || !sentence) {  // a page's title stands above its sections
      shown.append(element("span", { class: "lskd-title" }, ...marked(section.title, result)));
    }
    if (sentence) shown.append(element("span", { class: "lskd-sentence" }, ...marked(sentence.text, result)));
    return [element("span", { class: "lskd-sign", "aria-hidden": "true" }, SIGN[section.kind]), shown];
  };
  const KEYS = [["choose", "↑", "↓"], ["open", "↵"], ["close", "Esc"]];
  const PAGES = 8, EACH = 4;  // in the list; the search page has them all

  /* The field that opens over a page: a combobox whose list opens below it. */
  search.dialog = form => {
    if (form.dataset.lskd) return;
    form.dataset.lskd = "on";
    const dialog = form.closest("dialog"), input = form.querySelector("input[name='q']");
    const status = element("p", { role: "status", class: "lskd-count" });
    const list = element("div", { role: "listbox", id: "lskd-found", class: "lskd-list" });
    list.setAttribute("aria-label", "Sections found");
    const close = element("button", { type: "button", class: "lskd-close", "aria-label": "Close the search" }, "✕");
    const keys = element("p", { class: "lskd-keys", "aria-hidden": "true" }, ...KEYS.map(([what, ...names]) =>
      element("span", {}, ...names.flatMap(name => [element("kbd", {}, name), " "]), what)));
    form.append(close);
    form.after(element("div", { class: "lskd-search" }, status, list, keys));
    const combobox = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id };
    for (const [name, value] of Object.entries(combobox)) input.setAttribute(name, value);

    let chosen = -1;
    const options = () => [...list.querySelectorAll("[role='option']")];
    const choose = number => {
      const all = options();
      chosen = number;
      all.forEach((option, i) => option.setAttribute("aria-selected", String(i === number)));
      if (number < 0) return input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-activedescendant", all[number].id);
      (number ? all[number] : list.firstElementChild).scrollIntoView({ block: "nearest" });
    };

    const draw = () => {
      const result = search.find(input.value), groups = search.grouped(result.found);
      let count = 0;
      const option = (href, kind, ...content) => {
        const id = `lskd-found-${count++}`, attributes = { role: "option", "aria-selected": "false", tabindex: "-1" };
        return element("a", { ...attributes, id, href, class: `lskd-hit ${kind}` }, ...content);
      };
      const rows = groups.slice(0, PAGES).map(({ page, sections }, place) => {
        const head = element("div", { class: "lskd-page", id: `lskd-page-${place}` });
        head.append(element("span", {}, ...marked(page.title, result)));
        if (page.part) head.append(element("span", { class: "lskd-part" }, page.part));
        const group = element("div", { role: "group", "aria-labelledby": head.id }, head);
        for (const section of sections.slice(0, EACH)) {
          const [sentence] = search.sentences(section, result);
          group.append(option(address(section, sentence, result), section.kind, ...words(section, sentence, result)));
        }
        const more = sections.length - EACH;
        if (more > 0) group.append(element("div", { class: "lskd-more" }, `and ${more} more on this page`));
        return group;
      });
      const everything = `${form.action}?q=${encodeURIComponent(input.value.trim())}`;
      if (count < result.found.length) {
        rows.push(option(everything, "lskd-all", `All ${plural(result.found.length, "section")}`));
      }
      const meant = better(result);
      if (meant) {
        const made = option(everything, "lskd-all", element("span", {}, "Did you mean ", element("b", {}, meant), "?"));
        made.addEventListener("click", event => {
          event.preventDefault();
          event.stopPropagation();
          input.value = meant;
          draw();
          input.focus();
        });
        rows.unshift(made);
      }
      list.replaceChildren(...rows);
      list.scrollTop = 0;
      status.textContent = summary(result, groups);
      input.setAttribute("aria-expanded", String(count > 0));
      choose(-1);
    };

    input.addEventListener("input", draw);
    input.addEventListener("keydown", event => {
      const all = options().length;
      if (event.isComposing || event.altKey) return;
      if (event.key === "ArrowDown" && all) choose(chosen + 1 < all ? chosen + 1 : -1);
      else if (event.key === "ArrowUp" && all) choose(chosen < 0 ? all - 1 : chosen - 1);
      else if (event.key === "Enter" && chosen >= 0) {
        const { ctrlKey, metaKey, shiftKey } = event;
        const how = { bubbles: true, cancelable: true, ctrlKey, metaKey, shiftKey };  // perhaps a new tab
        options()[chosen].dispatchEvent(new MouseEvent("click", how));
      } else return;
      event.preventDefault();
    });
    list.addEventListener("click", event => {
      const plain = !(event.ctrlKey || event.metaKey || event.shiftKey);
      if (plain && event.target.closest("[role='option']")) dialog.close();
    });
    close.addEventListener("click", () => dialog.close());
    input.addEventListener("focus", () => input.select());
    draw();
  };

  /* The search page: every section found, with up to three sentences of each. */
  search.page = (form, place) => {
    const input = form.querySelector("input[name='q']");
    const status = element("p", { role: "status", class: "lskd-count" });
    const list = element("div");
    place.classList.add("lskd-results");
    place.replaceChildren(status, list);
    const draw = () => {
      const result = search.find(input.value), groups = search.grouped(result.found);
      status.textContent = summary(result, groups);
      const meant = better(result);
      if (meant) {
        const link = element("a", { href: `?q=${encodeURIComponent(meant)}` }, meant);
        status.append(" Did you mean ", link, "?");
      }
      list.replaceChildren(...groups.map(({ page, sections }) => {
        const title = element("h2", {}, element("a", { href: root + page.path }, ...marked(page.title, result)));
        if (page.part) title.append(" ", element("span", { class: "lskd-part" }, page.part));
        const items = sections.map(section => {
          const sentences = search.sentences(section, result, { most: 3, width: 260 });
          const name = section.kind === "page" ? "From the beginning" : section.title;
          const head = element("a", { href: address(section, sentences[0], result) }, ...marked(name, result));
          const kind = KIND[section.kind] ? [" ", element("span", { class: "lskd-part" }, KIND[section.kind])] : [];
          const shown = sentences.map(({ text }) => element("p", {}, ...marked(text, result)));
          return element("li", {}, head, ...kind, ...shown);
        });
        return element("section", {}, title, element("ol", {}, ...items));
      }));
    };
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    input.addEventListener("input", draw);
    draw();
  };
})();
