/* On every page: loads a script that lies beside this one, and wakes the search when a reader turns to it. The rest is
   loaded then; see book/search/index.py. */
(() => {
  "use strict";
  const here = document.currentScript.src;
  const load = (window.lskdLoad = name =>
    new Promise((onload, onerror) => {
      const script = { src: new URL(name, here).href, onload, onerror };
      document.head.append(Object.assign(document.createElement("script"), script));
    }));

  let search;
  const wake = () =>
    (search ??= (async () => {
      const stemmer = "Stemmer" in window ? null : load("language_data.js");  // Sphinx's; the search page has it
      await Promise.all([load("lskd-search/find.js"), load("lskd-search/show.js"), stemmer]);
      await load("lskd-search/words.js");
      return window.lskdSearch;
    })());

  document.addEventListener("DOMContentLoaded", () => {
    const dialog = document.querySelector("#pst-search-dialog form.bd-search");
    const place = document.getElementById("search-results");
    // Sphinx's own search stands in wherever this one cannot be loaded.
    if (place && typeof Search !== "undefined") {
      const plain = Search.performSearch;
      Search.performSearch = query => wake().then(() => {}, () => plain(query));
      const form = document.querySelector(".bd-search-container form.bd-search");
      wake().then(ready => ready.page(form, place), () => {});
    } else if (dialog) {
      const open = () => wake().then(ready => ready.dialog(dialog), () => {});
      dialog.addEventListener("focusin", open, { once: true });
      for (const button of document.querySelectorAll(".search-button__button")) {
        button.addEventListener("pointerenter", open, { once: true });
      }
    }
  });
})();
