/* Live figures of real networks: one image's logits, the feature space, gaps of class means, learning curves.
   They are called with (figure, at, data, m): m holds the formulas of lskd-live.js. */
(() => {
  "use strict";
  const kinds = (window.lskdLive ??= { kinds: {} }).kinds;

  kinds.sample = (figure, at, data, m) => {
    const t = figure.value("temperature"), i = figure.value("image"), name = figure.value("network");
    const mode = figure.value("show");
    const student = m.row(data, name, i), teacher = m.row(data, "teacher", i);
    const show = x => (mode === "logits" ? x : mode === "z" ? m.zscore(x) : m.softmax(mode === "p" ? x : m.zscore(x), t));
    at("row").source("student", { y: show(student) });
    at("row").source("teacher", { y: show(teacher) });
    at("row").label({ logits: "logit", z: "Z-score", p: "probability", pz: "probability of Z-scores" }[mode]);
    at("row").color("student", data.colors[name]);
    const truth = data.label[i];
    at("row").source("truth", { x: [truth, truth], y: [0, 0] });
    figure.say({
      truth: data.names[truth],
      teacher: data.names[m.argmax(teacher)],
      student: data.names[m.argmax(student)],
      spread_teacher: m.number(m.deviation(teacher, 0), 2),
      spread_student: m.number(m.deviation(student, 0), 2),
      plain: m.number(Math.abs(m.kdLoss(student, teacher, t)), 3),
      standardized: m.number(Math.abs(m.kdLoss(m.zscore(student), m.zscore(teacher), t)), 3),
    });
    figure.picture(i, data.side);
  };
  kinds.features = (figure, at, data, m) => {
    const pack = data.networks[figure.value("network")], group = figure.value("group"), wrong = figure.value("wrong");
    const keep = [];
    for (let i = 0; i < data.label.length; i++) {
      const inside = group < 0 || data.superclass[data.label[i]] === group;
      if (inside && !(wrong && pack.prediction[i] === data.label[i])) keep.push(i);
    }
    at("points").source("points", {
      x: keep.map(i => pack.points[2 * i]),
      y: keep.map(i => pack.points[2 * i + 1]),
      label: keep.map(i => data.names[data.label[i]]),
      prediction: keep.map(i => data.names[pack.prediction[i]]),
      left: keep.map(i => `${-(i % data.columns) * data.side * 3}px`),
      top: keep.map(i => `${-Math.floor(i / data.columns) * data.side * 3}px`),
      group: keep.map(i => String(data.superclass[data.label[i]])),
    });
    const right = keep.filter(i => pack.prediction[i] === data.label[i]).length;
    const i = keep[Math.min(figure.value("image"), keep.length - 1)] ?? null, none = i === null;
    at("points").source("here", none ? { x: [], y: [] } : { x: [pack.points[2 * i]], y: [pack.points[2 * i + 1]] });
    figure.picture(i, data.side, data.columns);
    figure.say({
      shown: keep.length.toLocaleString("en"),
      right: right.toLocaleString("en"),
      label: none ? "–" : data.names[data.label[i]],
      prediction: none ? "–" : data.names[pack.prediction[i]],
    });
  };

  /* Cell i, j of a picture of K by K, row 0 on top, with classes in the order of their superclasses. */
  kinds.gap = (figure, at, data, m) => {
    const kind = figure.value("kind"), first = figure.value("first"), second = figure.value("second");
    const K = data.names.length, a = data.networks[first][kind], b = data.networks[second][kind];
    const columns = { x: [], y: [], value: [], truth: [], logit: [], a: [], b: [] };
    let sum = 0, top = 0, worst = [0, 0];
    for (let i = 0; i < K; i++) {
      for (let j = 0; j < K; j++) {
        const r = data.order[i], c = data.order[j], cell = r * K + c;
        const unseen = data.unseen.includes(r), gap = unseen ? NaN : r === c ? 0 : Math.abs(a[cell] - b[cell]);
        if (!unseen) sum += gap;
        if (gap > top) [top, worst] = [gap, [r, c]];
        columns.x.push(j);
        columns.y.push(K - 1 - i);
        columns.value.push(gap);
        columns.truth.push(data.names[r]);
        columns.logit.push(data.names[c]);
        columns.a.push(unseen ? NaN : a[cell]);
        columns.b.push(unseen ? NaN : b[cell]);
      }
    }
    at("gap").source("cells", columns);
    at("gap").model("cells-mapper").high = (figure.value("same") ? data.top[kind] : top) || 1;
    const truth = figure.value("truth"), logit = figure.value("logit"), here = truth * K + logit;
    at("gap").source("cell", { x: [data.order.indexOf(logit)], y: [K - 1 - data.order.indexOf(truth)] });
    figure.say({
      mean: m.number(sum / (K * (K - data.unseen.length)), 3),
      max: m.number(top, 2),
      worst: `${data.names[worst[0]]}, logit of ${data.names[worst[1]]}`,
      truth: data.names[truth],
      logit: data.names[logit],
      first: data.labels[first],
      second: data.labels[second],
      a: m.number(a[here], 2),
      b: m.number(b[here], 2),
      gap: m.number(Math.abs(a[here] - b[here]), 2),
    });
    figure.once(() =>
      at("gap").onPoint((x, y) => {
        const [j, i] = [Math.round(x), K - 1 - Math.round(y)];
        if (i < 0 || j < 0 || i >= K || j >= K || data.unseen.includes(data.order[i])) return;
        figure.set({ truth: data.order[i], logit: data.order[j] });
      }));
  };

  /* Mean of the last w values, of fewer at the start; gaps are left out. */
  const smooth = (values, w) =>
    values.map((v, i) => {
      const window = values.slice(Math.max(0, i - w + 1), i + 1).filter(u => u !== null);
      return v === null || !window.length ? NaN : window.reduce((a, b) => a + b, 0) / window.length;
    });

  kinds.curves = (figure, at, data, m) => {
    const record = data.records[figure.value("record")], quantity = figure.value("quantity");
    const w = figure.value("smoothing"), chosen = figure.chosen("members");
    const read = { x: [], y: [] }, told = [], epoch = figure.value("epoch");
    for (const name of data.members) {
      const member = chosen.includes(name) ? record.members[name] : undefined;
      const values = member?.values[quantity] ?? [], start = figure.value("start") - 1;
      const x = values.length ? member.epochs.slice(start) : [], y = smooth(values, w).slice(start);
      at("curves").source(`curve-${name}`, { x, y, member: x.map(() => data.labels[name]) });
      const place = Math.min(x.length - 1, Math.max(0, epoch - 1 - start));
      if (place < 0 || Number.isNaN(y[place])) continue;
      read.x.push(x[place]);
      read.y.push(y[place]);
      told.push(`${data.labels[name]} ${m.number(y[place], data.digits[quantity])} (epoch ${x[place]})`);
    }
    at("curves").source("read", read);
    at("curves").label(data.quantities[quantity]);
    const missing = chosen.filter(name => !told.some(text => text.startsWith(`${data.labels[name]} `)));
    figure.say({
      values: told.join(", ") || "no network of this record is chosen, or none has this quantity",
      missing: missing.length ? `Not in this record: ${missing.map(name => data.labels[name]).join(", ")}.` : "",
      source: record.source,
    });
  };
})();
