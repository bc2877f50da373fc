/* Live figures: native controls, plots by Bokeh, no server. Loads Bokeh only on pages that have a live figure.
   The same formulas as lskd/losses.py; tests/figures/test_live.py compares what is shown with what Python computes. */
(() => {
  "use strict";
  const here = document.currentScript?.src;  // none in a notebook, see by_itself.py
  const EPS = 1e-7;

  const mean = x => x.reduce((a, b) => a + b, 0) / x.length;
  const deviation = (x, correction = 1) => {
    const m = mean(x);
    return Math.sqrt(x.reduce((a, v) => a + (v - m) ** 2, 0) / (x.length - correction));
  };
  /* A row that is constant up to rounding has no deviation to divide by. */
  const isConstant = (x, s) => s <= 4 * Number.EPSILON * Math.max(...x.map(Math.abs));
  const zscore = (x, eps = EPS) => {
    const m = mean(x), s = deviation(x);
    return isConstant(x, s) ? x.map(() => 0) : x.map(v => (v - m) / (s + eps));
  };
  const softmax = (x, t) => {
    const top = Math.max(...x), e = x.map(v => Math.exp((v - top) / t)), sum = e.reduce((a, b) => a + b, 0);
    return e.map(v => v / sum);
  };
  const logSoftmax = (x, t) => {
    const top = Math.max(...x), y = x.map(v => (v - top) / t);
    const log = Math.log(y.reduce((a, v) => a + Math.exp(v), 0));
    return y.map(v => v - log);
  };
  /* T² KL(teacher || student), as lskd.losses.kd_loss; rounding may not make it negative */
  const kdLoss = (student, teacher, t, standardize = false) => {
    const [p, q] = [teacher, student].map(x => logSoftmax(standardize ? zscore(x) : x, t));
    return Math.abs(t * t * p.reduce((a, v, k) => a + Math.exp(v) * (v - q[k]), 0));
  };
  /* its gradient with respect to the student's raw logits */
  const kdGradient = (student, teacher, t, standardize, eps = EPS) => {
    const z = standardize ? zscore(student, eps) : student, v = standardize ? zscore(teacher, eps) : teacher;
    const p = softmax(v, t), q = softmax(z, t), g = q.map((x, k) => t * (x - p[k]));
    if (!standardize) return g;
    const m = mean(student), s = deviation(student), n = student.length, gm = mean(g);
    if (isConstant(student, s)) return g.map(x => x - gm);
    const dot = g.reduce((a, x, k) => a + x * (student[k] - m), 0);
    return g.map((x, k) => (x - gm) / (s + eps) - ((student[k] - m) * dot) / ((s + eps) ** 2 * (n - 1) * s));
  };
  const powers = (low, high, count) =>
    Array.from({ length: count }, (_, i) => low * (high / low) ** (i / (count - 1)));
  const argmax = x => x.indexOf(Math.max(...x));
  const dot = (x, y) => x.reduce((a, v, k) => a + v * y[k], 0);
  const SHOWN = 8; // classes
  /* A few classes and all others together: the teacher's largest, with those that are wanted among them. */
  const leading = (teacher, wanted, names, truth) => {
    const order = teacher.map((_, k) => k).sort((a, b) => teacher[b] - teacher[a]), all = order.length <= SHOWN + 1;
    const more = order.filter(k => !wanted.includes(k)).slice(0, SHOWN - new Set(wanted).size);
    const shown = order.filter(k => all || wanted.includes(k) || more.includes(k));
    const rest = order.filter(k => !shown.includes(k));
    const ticks = [...shown.map(k => names[k] + (k === truth ? " ✓" : "")), ...(rest.length ? ["others"] : [])];
    return {
      ticks,
      pick: x => [...shown.map(k => x[k]), ...(rest.length ? [rest.reduce((a, k) => a + x[k], 0)] : [])],
      places: shift => ticks.map((_, place) => place + shift),
    };
  };
  const number = (x, digits) => x.toFixed(digits).replace("-", "−");
  /* Two digits and a power of ten, as it is read aloud: 3.2e−8 */
  const power = x => x.toExponential(1).replace("-", "−").replace("+", "");

  /* Logits of image i by one of a figure's networks. */
  const row = (data, name, i) => Array.from(data.networks[name].rows.slice(i * data.classes, (i + 1) * data.classes));

  /* What the figures' own scripts (lskd-live-*.js) use, and where they put their functions. These may load first. */
  const live = (window.lskdLive ??= { kinds: {} });
  Object.assign(live, {
    row, EPS, mean, deviation, zscore, softmax, logSoftmax, kdLoss, kdGradient, powers, argmax, dot, leading, number, power,
  });

  /* base64 of little-endian arrays, as figures.live.figure writes them */
  const decode = value => {
    if (Array.isArray(value)) return value.map(decode);
    if (!value || typeof value !== "object") return value;
    if (value.dtype) {
      const bytes = Uint8Array.from(atob(value.base64), c => c.charCodeAt(0));
      const whole = new { float32: Float32Array, int16: Int16Array }[value.dtype](bytes.buffer);
      return value.scale === undefined ? whole : Float64Array.from(whole, v => v * value.scale);
    }
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, decode(v)]));
  };

  const isDark = () =>
    document.documentElement.dataset.theme === "dark" || document.body.dataset.jpThemeLight === "false";

  /* Colours of the page for everything that Bokeh draws; glyphs carry both of theirs in their tags. */
  const paint = models => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--pst-color-text-base").trim() || (isDark() ? "#dfe4ea" : "#1f2630");
    const muted = isDark() ? "#98a2ae" : "#626c78", line = isDark() ? "#323a45" : "#e1e5ea";
    const shades = { axis_label_text_color: ink, major_label_text_color: ink, title_text_color: ink, axis_line_color: muted,
                     major_tick_line_color: muted, minor_tick_line_color: null, grid_line_color: line, bar_line_color: null };
    for (const m of models) {
      m.setv(Object.fromEntries(Object.entries(shades).filter(([name]) => name in m.attributes)));
      if (m.type === "ColorBar") m.setv({ major_tick_line_color: line });
      if (m.type.endsWith("ColorMapper")) m.setv({ palette: m.tags[0][isDark() ? "dark" : "light"] });
      else if (m.tags?.[0]?.light) color(m, m.tags[0]);
    }
  };
  const color = (glyph, pair) => {
    const c = pair[isDark() ? "dark" : "light"];
    glyph.tags = [pair];
    if (glyph.attributes.line_color !== undefined) glyph.setv({ line_color: c });
    if (glyph.attributes.fill_color !== undefined) glyph.setv({ fill_color: c });
  };

  /* On a telephone long names of groups would leave no room for the picture; what is below it names the classes. */
  const shorten = models => {
    for (const m of models.filter(m => m.tags?.includes("long"))) {
      const places = [...m.major_label_overrides.keys()];
      m.setv({ major_label_overrides: new Map(places.map(place => [place, ""])),
               axis_label: `${m.axis_label}, grouped by superclass` });
    }
  };

  /* Where a plot was clicked or touched, in its own units. */
  const pointed = (model, tell) => {
    const view = [...Bokeh.index.roots].find(v => v.model === model);
    view.el.onclick = event => {
      const box = view.el.getBoundingClientRect();
      tell(view.frame.x_scale.invert(event.clientX - box.x), view.frame.y_scale.invert(event.clientY - box.y));
    };
  };

  const start = async root => {
    const given = decode(JSON.parse(root.querySelector("script[type='application/json']").textContent));
    const plots = {};
    for (const [name, item] of Object.entries(given.plots)) {
      const manager = await Bokeh.embed.embed_item(item, root.querySelector(`[data-plot='${name}']`));
      const model = manager.roots[0].model, document = model.document;
      if (root.clientWidth < 480) shorten([...model.references()]);
      plots[name] = {
        models: () => [...model.references()],
        source: (key, columns) => {
          const source = document.get_model_by_name(key);
          source.data = { ...source.data, ...columns };
        },
        label: text => (document.get_model_by_name("y").axis_label = text),
        ticks: names => {
          const axis = document.get_model_by_name("x");
          axis.major_label_overrides = new Map(names.map((text, place) => [place, text]));
          axis.ticker.ticks = names.map((_, place) => place);
        },
        model: name => document.get_model_by_name(name),
        onPoint: tell => pointed(model, tell),
        color: (key, pair) => color(document.get_model_by_name(`${key}-glyph`), pair),
      };
    }
    const inputs = [...root.querySelectorAll("[data-control]")];
    const boxes = [...root.querySelectorAll("[data-group]")];
    const figure = {
      value: name => {
        const input = inputs.find(i => i.dataset.control === name);
        if (input.type === "checkbox") return input.checked;
        if (input.dataset.stops !== undefined) return Number(input.dataset.stops.split(" ")[input.value]);
        const value = input.type === "range" || input.dataset.number !== undefined ? Number(input.value) : input.value;
        return input.dataset.log === undefined ? value : 10 ** value;
      },
      values: () => Object.fromEntries(inputs.map(i => [i.dataset.control, figure.value(i.dataset.control)])),
      chosen: name => boxes.filter(box => box.dataset.group === name && box.checked).map(box => box.value),
      set: values => {
        for (const input of inputs) {
          if (!(input.dataset.control in values)) continue;
          const value = values[input.dataset.control], stops = input.dataset.stops?.split(" ");
          if (input.type === "checkbox") input.checked = value;
          else input.value = String(stops ? stops.indexOf(String(value)) : value);
        }
        update();
      },
      /* Numbers are written with so many digits. */
      say: (values, digits) => {
        for (const [name, value] of Object.entries(values)) {
          const place = root.querySelector(`[data-say='${name}']`);
          const text = typeof value === "number" ? number(value, digits) : value;
          if (place && place.textContent !== text) place.textContent = text;
        }
      },
      picture: i => {
        const place = root.querySelector("[data-picture]");
        if (!place) return;
        place.hidden = i === null; // no image belongs to what is shown
        const side = parseFloat(place.style.width), columns = parseFloat(place.style.backgroundSize) / side;
        place.style.backgroundPosition = `${-(i % columns) * side}px ${-Math.floor(i / columns) * side}px`;
      },
    };
    const update = () => {
      for (const input of inputs) {
        const shown = root.querySelector(`output[for='${input.id}']`);
        if (!shown) continue;
        const value = figure.value(input.dataset.control), digits = Number(input.dataset.digits);
        const { stops, log } = input.dataset, far = log !== undefined && Math.abs(value) < 10 ** -digits / 2;
        const fine = log === undefined || far ? digits : Math.max(digits, 1 - Math.floor(Math.log10(value)));
        shown.textContent = stops !== undefined ? String(value) : far ? power(value) : number(value, fine);
        if ((stops ?? log) !== undefined) input.setAttribute("aria-valuetext", shown.textContent);
      }
      for (const label of root.querySelectorAll("[data-when]")) {
        const [, name, not, value] = label.dataset.when.match(/^(\w+)(!?)=(.*)$/);
        label.hidden = (String(figure.value(name)) === value) === Boolean(not);
      }
      live.kinds[given.kind](figure, name => plots[name], given.data, live);
    };
    const repaint = () => {
      for (const plot of Object.values(plots)) paint(plot.models());
      update();
    };
    for (const input of [...inputs, ...boxes]) {
      input.dataset.lmSuppressShortcuts = "";  // in JupyterLab keys belong to the control that has the focus
      input.addEventListener("input", update);
    }
    const theme = new MutationObserver(repaint);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
    repaint();
    // Hidden for who has neither this script nor the style of the pages.
    for (const part of root.querySelectorAll(".lskd-stage, .lskd-moving")) part.hidden = false;
    root.classList.add("lskd-on");
  };

  live.begin = place => {
    Bokeh.set_log_level("error");
    for (const root of place.querySelectorAll(".lskd-live:not([data-begun])")) {
      root.dataset.begun = "";
      start(root).catch(error => console.error(error));
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    if (!here || !document.querySelector(".lskd-live")) return;
    const script = document.createElement("script");
    script.src = new URL("lskd-bokeh/bokeh.min.js", here).href;
    script.onload = () => live.begin(document);
    document.head.append(script);
  });
})();
