/* What matches a query, how well, and in which sentence. Works on the words that book/search/index.py has written. */
(() => {
  "use strict";
  const search = (window.lskdSearch ??= {});
  const GREEK = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma " +
    "sigma tau upsilon phi chi psi omega").split(" ");
  const WORD = /\p{N}+(?:[.,]\p{N}+)+|[\p{L}\p{M}\p{N}]+/gu;
  const JOINT = /^[-‐‑–−_.^'’]$/;  // "z-score", "kd_loss", "T^2": words of their own and one word together
  /* What a word counts by where it stands; the beginning of a page carries the page's title. */
  const WEIGHT = { page: 12, section: 8, term: 6, figure: 5, object: 4, reference: 4 };
  const LISTS = /^(intro|api|changelog|bibliography)\.html$/;  // name everything and explain little

  /* "Fläche" is flache, "σ²" is sigma2, "1,083" is 1083: one spelling for what readers type in several. */
  const fold = word =>
    word.normalize("NFKD").toLowerCase().replace(/\p{M}/gu, "").replace(/,/g, "")
      .replace(/[α-ω]/gu, letter => GREEK[letter.codePointAt(0) - 0x3b1]).replace(/ß/g, "ss");

  /* What a map has for a key, made where it has nothing yet. */
  const entry = (map, key, make) => map.get(key) ?? map.set(key, make()).get(key);

  const stems = new Map();
  const stem = word => entry(stems, word, () => {
    const american = word.replace(/is(e[drs]?|ers|ing|ations?)$/, "iz$1");  // standardise, standardisation
    return window.Stemmer && word.length > 2 ? new Stemmer().stemWord(american) : american;
  });

  /* Words with their places; a word knows itself and the next one as one word, and whether the two are tied. */
  const tokenize = text => {
    const found = [];
    for (const { 0: word, index } of text.matchAll(WORD)) {
      const last = found.at(-1), tied = last && index === last.end + 1 && JOINT.test(text[last.end]);
      if (tied && /['’]/.test(text[last.end]) && word.length === 1) continue;  // the teacher's
      const now = { word: fold(word), start: index, end: index + word.length };
      if (last && index - last.end <= 3) Object.assign(last, { pair: last.word + now.word, tied });
      found.push(now);
    }
    return found;
  };

  /* All sections, and for each word the sections that have it: in its title, in its text, how often. Two words in a
     row that are not tied are in `pairs`. */
  const sections = [], vocabulary = new Map(), pairs = new Map();
  search.fill = ({ pages }) => {
    for (const [path, title, part, entries] of pages) {
      const page = { path, title, part };
      entries.forEach(([anchor, heading, kind, text], place) => {
        const now = { page, anchor, title: heading, text, kind: place ? kind : "page", number: sections.length };
        now.titleWords = tokenize(heading);
        now.words = tokenize(text);
        if (!place) page.top = now;
        sections.push(now);
        for (const [field, words] of [["title", now.titleWords], ["text", now.words]]) {
          for (const { pair, tied } of words) if (pair && !tied) entry(pairs, pair, () => []).push([now, field]);
          for (const word of words.flatMap(({ word, pair, tied }) => (tied ? [word, pair] : word))) {
            entry(entry(vocabulary, word, () => new Map()), now, () => ({ title: 0, text: 0 }))[field] += 1;
          }
        }
      });
    }
  };

  /* Words that ask: they count where they are found and need not be there. */
  const ASKING = new Set(("about am any anything can could do does did get give happens has have how i is it its make " +
    "many me much my need number of one or out own please run running say see set should show some take tell than that this " +
    "to too try use used using want was way what when where which who why will with without work would you your " +
    "explain explained example examples difference between vs versus good right wrong").split(" "));

  /* The query's terms: words, two tied by a hyphen or the like together. Small words count if there are no others. */
  const parse = query => {
    const terms = [];
    let last = null;
    for (const token of tokenize(query)) {
      if (last?.tied && terms.at(-1).parts.length < 2) terms.at(-1).parts.push(token.word);
      else terms.push({ parts: [token.word] });
      last = token;
    }
    const small = new Set(window.stopwords ?? []);
    const large = terms.filter(({ parts }) => parts.length > 1 || !small.has(parts[0]));
    const kept = large.length ? large : terms;
    const asks = kept.every(({ parts }) => ASKING.has(parts[0]));
    return kept.map(({ parts }, place) => {
      const word = parts.join("");
      // One letter begins too many words, unless a reader is about to type the next one.
      const begins = word.length > 1 || (place > 0 && place === kept.length - 1 && /\S$/.test(query));
      return { parts, word, stem: stem(word), begins, asks: !asks && ASKING.has(word) };
    });
  };

  /* What readers type for what the book says; a row's words stand for one another. */
  const SYNONYMS = [
    "install setup environment conda requirements", "dataset data images", "reproduce replicate", "warmup warm",
    "pretrained released published checkpoint finetune", "cite citation bibtex", "crossentropy ce", "kullback kl",
    "accuracy results performance", "gpu cuda ddp distributed torchrun", "colab binder browser", "slurm cluster",
    "transformer vit", "download fetch", "speed fast quick slow benchmark", "resume interrupt continue",
    "hyperparameter setting", "solution exercise answer", "mistake error disagree audit", "limitation concluded",
    "memory ram", "docker container kubernetes", "jupyter jupyterlab notebook",
    "mixed half amp autocast bf16 fp16 float16", "uncertainty interval", "significance significant interval",
    "augmentation view crop", "detection segmentation", "llm nlp gpt bert language", "related prior previous before",
    "size parameters", "long time hours cost", "licence license mit", "unstable diverge explode nan collapse",
    "custom own my", "plot figure picture", "several multiple ensemble", "down drop fall decrease worse lower",
    "help worth improve gain", "processor cpu", "validation holdout held",
    "introduction beginner tutorial start idea", "windows macos linux wsl", "difference gap",
  ].map(row => row.split(" "));
  const standsFor = (term, word) =>  // stemmed here, because the stemmer comes when a reader begins to search
    SYNONYMS.some(row => row.some(one => stem(one) === stem(word)) && row.some(one => stem(one) === term.stem));

  /* How well a word of the book answers a word of the query: 1 itself, less for its other forms, what it begins, and
     words that mean the same. */
  const likeness = (term, word) => {
    if (word === term.word) return 1;
    if (term.word.length > 2 && stem(word) === term.stem) return 0.85;
    if (term.begins && word.startsWith(term.word)) {  // less where the word is there as it is typed
      return (0.45 + 0.35 * (term.word.length / word.length)) * (vocabulary.has(term.word) ? 0.6 : 1);
    }
    return standsFor(term, word) ? 0.6 : 0;
  };

  /* Of one term: the sections that have it, with the best likeness in title and text. */
  const answer = term => {
    term.words = new Map();
    const found = new Map();
    const add = (section, field, value, times) => {
      const now = entry(found, section, () => ({ title: 0, text: 0, times: 0 }));
      now[field] = Math.max(now[field], value);
      if (field === "text") now.times += times;
    };
    for (const [word, places] of vocabulary) {
      const value = likeness(term, word);
      if (!value) continue;
      term.words.set(word, value);
      for (const [section, { title, text }] of places) {
        if (title) add(section, "title", value, title);
        if (text) add(section, "text", value, text);
      }
    }
    for (const [pair, places] of pairs) {  // "Z score" for "z-score", "warm up" for "warmup"
      if (!pair.startsWith(term.stem) || stem(pair) !== term.stem) continue;
      term.words.set(pair, 1);
      for (const [section, field] of places) add(section, field, 1, 1);
    }
    term.rarity = Math.log(1 + sections.length / (1 + found.size));
    return found;
  };

  /* Spans of words that answer a term: [first word, last word, the term's number, likeness]. */
  const spots = (words, terms) => {
    const found = [];
    words.forEach(({ word, pair }, i) => {
      terms.forEach((term, number) => {
        const alone = term.words.get(word), both = pair && term.words.get(pair);
        if (alone) found.push([i, i, number, alone]);
        else if (both) found.push([i, i + 1, number, both]);
      });
    });
    return found;
  };

  /* Places in a text to mark: [start, end], in order, none within another. */
  search.marks = (text, { terms }) => {
    const words = tokenize(text), marks = [];
    for (const [first, last] of spots(words, terms)) {
      const start = words[first].start, end = words[last].end, before = marks.at(-1);
      if (before && start <= before[1]) before[1] = Math.max(before[1], end);
      else marks.push([start, end]);
    }
    return marks;
  };

  /* Sections that have all of the query's words, best first; a word in the page's title counts for its sections too.
     Where no section has all of them, those that have the most, and `some` is true. */
  search.find = query => {
    const terms = parse(query), answers = terms.map(answer), found = [];
    const asking = terms.some(term => term.asks), defined = /^\s*what('s|’s| is| are)\b/i.test(query);
    const wanted = terms.filter(term => !term.asks), weight = wanted.reduce((sum, term) => sum + (term.words.size ? term.rarity : 0), 0);
    /* A page whose title has a word answers by all its text; the more of its headings have one, the better. */
    const titled = new Set(), inside = new Map(), themes = new Map();
    answers.forEach((places, number) => {
      if (terms[number].asks) return;
      for (const [{ page, ...section }, { title, text, times }] of places) {
        if (title && section.kind === "page") titled.add(page);
        if (title && section.kind === "section") themes.set(page, (themes.get(page) ?? 0) + title);
        const known = entry(inside, page, () => []);
        if (!(known[number]?.text >= text)) known[number] = { title: 0, text: text / 2, times };
      }
    });
    const within = (page, number) => (titled.has(page) ? inside.get(page)?.[number] : undefined);
    for (const section of terms.length ? sections : []) {
      let score = 0, have = 0, share = 0, own = false;
      answers.forEach((places, number) => {
        const above = places.get(section.page.top)?.title ?? 0, term = terms[number];
        const here = places.get(section) ?? (section === section.page.top && within(section.page, number));
        if (!here && !above) return;
        if (!term.asks) [have, share] = [have + 1, share + term.rarity / weight];
        own ||= Boolean(here) && !term.asks;
        const title = here ? here.title * WEIGHT[section.kind] : 0;
        const text = here ? here.text * (1 + 0.3 * Math.log2(1 + here.times)) : 0;
        score += (term.asks ? 0.3 : 1) * term.rarity * Math.max(title + 0.2 * text, text, 1.5 * above);
      });
      if (!own) continue;
      const inTitle = new Set(spots(section.titleWords, terms).flatMap(([first, last]) => [first, last]));
      if (inTitle.size) score += (WEIGHT[section.kind] / 4) * (inTitle.size / section.titleWords.length);
      if (terms.length > 1) score += together(section, terms);
      if (section === section.page.top) score += 0.5 * (themes.get(section.page) ?? 0);
      if (LISTS.test(section.page.path) && section.kind !== "object") score *= 0.5;
      if (defined && section.kind === "term" && inTitle.size) score *= 2;  // "What is ...?"
      else if (asking && /\?$/.test(section.title)) score *= 1.15;
      found.push({ section, score: score * share ** 2, have });
    }
    /* Sections that have all words; others too where they answer better, or where none has all. */
    const most = Math.max(0, ...found.map(({ have }) => have)), all = most === wanted.length;
    const enough = all ? Math.max(...found.filter(({ have }) => have === most).map(({ score }) => score)) : 0;
    const best = found.filter(({ have, score }) => have === most || (all && score > enough));
    best.sort((a, b) => b.score - a.score || a.section.number - b.section.number);
    const apart = query.replace(/(?<=\p{L})[-‐‑–−_](?=\p{L})/gu, " ");  // "multi-gpu" where nothing ties the two
    if (!best.length && apart !== query) return search.find(apart);
    return { query, terms, found: best, some: best.length > 0 && !all };
  };
  const together = (section, terms) => {  // the words of the query side by side, as the reader wrote them
    const begins = (words, place) => terms.every(term => {
      const now = words[place];
      place += term.parts.length;
      return now && (term.words.has(now.word) || term.words.has(now.pair));
    });
    const row = words => words.some((_, place) => begins(words, place));
    return row(section.titleWords) ? 8 : row(section.words) ? 3 : 0;
  };

  /* The same grouped by page: pages in the order of their best section. */
  search.grouped = found => {
    const pages = Map.groupBy(found.map(({ section }) => section), ({ page }) => page);
    return [...pages].map(([page, sections]) => ({ page, sections }));
  };

  /* Sentences of a text as [start, end]; a line of the text is a paragraph, a row of a table or a line of code. */
  const segmenter = new Intl.Segmenter("en", { granularity: "sentence" });
  const sentences = text =>
    [...segmenter.segment(text)].map(({ segment, index }) => [index, index + segment.trimEnd().length]);

  /* The sentences of a section that answer best, in reading order, each cut to about `width` characters:
     {text, at: where it begins in the section's text}. Without any, its first sentence. */
  search.sentences = (section, { terms }, { most = 1, width = 180 } = {}) => {
    const { text, words } = section;
    section.sentences ??= sentences(text);
    const hits = spots(words, terms).map(([first, last, number, value]) => ({
      start: words[first].start, end: words[last].end, number, value }));
    const rated = section.sentences.map(([start, end], place) => {
      const inside = hits.filter(hit => hit.start >= start && hit.end <= end);
      const best = terms.map((_, n) => Math.max(0, ...inside.filter(hit => hit.number === n).map(hit => hit.value)));
      const value = best.reduce((sum, v) => sum + v, 0) + 0.05 * Math.min(inside.length, 4);
      const sentence = text.slice(start, end);  // rather than a row of a table or a line of code
      const ends = /[.!?:]["”’)\]]*$/.test(sentence), several = /\s/.test(sentence);
      const less = 0.002 * place + (sentence.includes(" · ") ? 0.4 : ends ? 0 : several ? 0.2 : 0.3);
      return { start, end, place, inside, value: inside.length ? Math.max(0.01, value - less) : 0 };
    });
    let chosen = rated.filter(s => s.value).sort((a, b) => b.value - a.value).slice(0, most);
    if (!chosen.length) chosen = rated.slice(0, 1);
    return chosen.sort((a, b) => a.place - b.place).map(s => cut(text, s, width, most === 1));
  };
  const cut = (text, { start, end, inside }, width, grow) => {
    const line = text.indexOf("\n", end) < 0 ? text.length : text.indexOf("\n", end);
    if (grow && end - start < width / 2) end = Math.min(line, start + width);  // a short one takes the next along
    let from = start, to = Math.min(end, start + width);
    const first = inside[0]?.start ?? start, last = inside.findLast(hit => hit.end <= first + width)?.end ?? first;
    if (last > to) {
      from = Math.max(start, Math.min(first - 40, Math.round((first + last - width) / 2)));
      to = Math.min(end, from + width);
      while (from > start && /\S/.test(text[from - 1])) from -= 1;
    }
    while (to < line && /\S/.test(text[to])) to += 1;
    const shown = text.slice(from, to).replace(/[\s·,;:]+$/, "");
    const whole = to >= line || /[.!?…:]["”’)]*$/.test(text.slice(from, to));
    return { text: `${from > start ? "…\u00a0" : ""}${shown}${whole ? "" : "\u00a0…"}`, from, to };
  };

  /* The words to point at on the page, as they stand there: part of one sentence, without anything drawn as a formula,
     and on the page, its side bars too, only once, or else the browser would point at another place. */
  search.quote = (section, { from, to }, { terms }) => {
    const words = section.words.filter(w => w.start >= from && w.end <= to), hits = spots(words, terms);
    const phrase = (first, last) => section.text.slice(words[first].start, words[last].end);
    const good = (first, last) =>
      first >= 0 && last < words.length &&
      !/[^\p{L}\p{N} ,;:'’“”()-]|[\u0370-\u03ff\u2070-\u209f¹²³]/u.test(phrase(first, last)) &&
      words.slice(first, last + 1).every(w => w.end - w.start > 1 || w.word === "a");
    if (!hits.length) return "";
    let [first, last] = hits.reduce((best, now) => (now[3] > best[3] ? now : best));
    if (!good(first, last)) return "";
    for (let more = 0; more < 4; more++) {
      if (good(first - 1, last)) first -= 1;
      if (good(first, last + 1)) last += 1;
    }
    section.page.all ??= sections.filter(({ page, anchor }) => page === section.page || !anchor)
      .map(({ page, title, text }) => `${page.title}\n${title}\n${page === section.page ? text : ""}`).join("\n");
    return section.page.all.toLowerCase().split(phrase(first, last).toLowerCase()).length === 2 ? phrase(first, last) : "";
  };

  /* What was perhaps meant: the query with each unknown word replaced by the nearest, most frequent word there is. */
  search.meant = ({ terms, query }) => {
    let text = query, changed = false;
    for (const term of terms) {
      if (term.words.size) continue;
      const near = term.word.length > 7 ? 2 : term.word.length > 3 ? 1 : 0;
      let best = null;
      for (const [word, places] of vocabulary) {
        if (Math.abs(word.length - term.word.length) > near || /\d/.test(word)) continue;
        const away = distance(term.word, word, near);
        if (away <= near && (!best || away < best.away || (away === best.away && places.size > best.size))) {
          best = { word, away, size: places.size };
        }
      }
      if (!best) return "";
      const place = tokenize(text).find(token => token.word === term.parts[0]);
      if (!place || term.parts.length > 1) return "";
      text = text.slice(0, place.start) + best.word + text.slice(place.end);
      changed = true;
    }
    const result = changed ? search.find(text) : null;
    return result?.found.length && !result.some ? text : "";
  };
  /* Letters to add, drop, change or swap with a neighbour; anything above `most` is `most` + 1. */
  const distance = (a, b, most) => {
    if (a === b) return 0;
    if (most <= 0) return most + 1;
    if (a && a[0] === b[0]) return distance(a.slice(1), b.slice(1), most);
    const swapped = a.length > 1 && a[0] === b[1] && a[1] === b[0];
    const ways = [[1, 0], [0, 1], [1, 1], ...(swapped ? [[2, 2]] : [])];
    return 1 + Math.min(...ways.map(([i, j]) => distance(a.slice(i), b.slice(j), most - 1)));
  };
})();
