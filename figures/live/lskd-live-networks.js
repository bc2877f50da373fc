/* Live figures of real networks: one image's logits, the feature space, gaps of class means, learning curves.
   They are called with (figure, at, data, m): m holds the formulas of lskd-live.js. */
(() => {
  "use strict";
  const kinds = (window.lskdLive ??= { kinds: {} }).kinds;

  kinds.sample = (figure, at, data, m) => {
    const { image, network, show: mode, temperature: t } = figure.values(), truth = data.label[image];
    const student = m.row(data, network, image), teacher = m.row(data, "teacher", image);
    const show = x => (mode === "logits" ? x : mode === "z" ? m.zscore(x) : m.softmax(mode === "p" ? x : m.zscore(x), t));
    at("row").source("student", { y: show(student) });
    at("row").source("teacher", { y: show(teacher) });
    at("row").label({ logits: "logit", z: "Z-score", p: "probability", pz: "probability of Z-scores" }[mode]);
    at("row").color("student", data.colors[network]);
    at("row").source("truth", { x: [truth, truth], y: [0, 0] });
    const says = x => data.names[m.argmax(x)];
    figure.say({ truth: data.names[truth], teacher: says(teacher), student: says(student) });
    figure.say({ spread_teacher: m.deviation(teacher, 0), spread_student: m.deviation(student, 0) }, 2);
    figure.say({ plain: m.kdLoss(student, teacher, t), standardized: m.kdLoss(student, teacher, t, true) }, 3);
    figure.picture(image);
  };
  kinds.features = (figure, at, data, m) => {
    const { network, group, wrong, image } = figure.values(), pack = data.networks[network];
    const keep = [], isRight = i => pack.prediction[i] === data.label[i];
    for (let i = 0; i < data.label.length; i++) {
      const inside = group < 0 || data.superclass[data.label[i]] === group;
      if (inside && !(wrong && isRight(i))) keep.push(i);
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
    const i = keep[Math.min(image, keep.length - 1)] ?? null, none = i === null;
    at("points").source("here", none ? { x: [], y: [] } : { x: [pack.points[2 * i]], y: [pack.points[2 * i + 1]] });
    figure.picture(i);
    figure.say({
      shown: keep.length.toLocaleString("en"),
      right: keep.filter(isRight).length.toLocaleString("en"),
      label: none ? "–" : data.names[data.label[i]],
      prediction: none ? "–" : data.names[pack.prediction[i]],
    });
  };

  /* Cell i, j of a picture of K by K, row 0 on top, with classes in the order of their superclasses. */
  kinds.gap = (figure, at, data, m) => {
    const { kind, first, second, same, truth, logit } = figure.values(), K = data.names.length;
    const a = data.networks[first][kind], b = data.networks[second][kind];
    const columns = { x: [], y: [], value: [], truth: [], logit: [], a: [], b: [], apart: [] };
    let sum = 0, top = 0, worst = [0, 0];
    for (let i = 0; i < K; i++) {
      for (let j = 0; j < K; j++) {
        const r = data.order[i], c = data.order[j], cell = r * K + c;
        const unseen = data.unseen.includes(r), gap = unseen ? NaN : r === c ? 0 : Math.abs(a[cell] - b[cell]);
        if (!unseen) sum += gap;
        if (gap > top) [top, worst] = [gap, [r, c]];
        const told = { x: j, y: K - 1 - i, value: gap, truth: data.names[r], logit: data.names[c] };
        const [one, other] = unseen ? [NaN, NaN] : [a[cell], b[cell]];
        Object.assign(told, { a: one, b: other, apart: Math.abs(one - other) });
        for (const key in told) columns[key].push(told[key]);
      }
    }
    at("gap").source("cells", columns);
    at("gap").model("cells-mapper").high = (same ? data.top[kind] : top) || 1;
    const here = truth * K + logit;
    at("gap").source("cell", { x: [data.order.indexOf(logit)], y: [K - 1 - data.order.indexOf(truth)] });
    figure.say({ truth: data.names[truth], logit: data.names[logit], first: data.labels[first], second: data.labels[second] });
    figure.say({ a: a[here], b: b[here], gap: Math.abs(a[here] - b[here]) }, 2);
    figure.say({
      mean: sum / (K * (K - data.unseen.length)), max: top, worst: `${data.names[worst[0]]}, logit of ${data.names[worst[1]]}`,
    }, 3);
    at("gap").onPoint((x, y) => {
      const [j, i] = [Math.round(x), K - 1 - Math.round(y)];
      if (i < 0 || j < 0 || i >= K || j >= K || data.unseen.includes(data.order[i])) return;
      figure.set({ truth: data.order[i], logit: data.order[j] });
    });
  };

  /* Mean of the last w values, of fewer at the start; gaps are left out. */
  const smooth = (values, w) =>
    values.map((v, i) => {
      const window = values.slice(Math.max(0, i - w + 1), i + 1).filter(u => u !== null);
      return v === null || !window.length ? NaN : window.reduce((a, b) => a + b, 0) / window.length;
    });

  kinds.curves = (figure, at, data, m) => {
    const { record: number, quantity, smoothing, epoch, start: from } = figure.values(), start = from - 1;
    const record = data.records[number], chosen = figure.chosen("members"), read = { x: [], y: [] }, told = [], drawn = [];
    for (const name of data.members) {
      const member = chosen.includes(name) ? record.members[name] : undefined, values = member?.values[quantity] ?? [];
      const begin = Math.min(start, values.length - 1);  // a shorter record's last epoch
      const x = values.length ? member.epochs.slice(begin) : [], y = smooth(values, smoothing).slice(begin);
      at("curves").source(`curve-${name}`, { x, y, member: x.map(() => data.labels[name]) });
      const place = Math.min(x.length - 1, Math.max(0, epoch - 1 - begin));
      if (place < 0 || Number.isNaN(y[place])) continue;
      drawn.push(name);
      read.x.push(x[place]);
      read.y.push(y[place]);
      told.push(`${data.labels[name]} ${m.number(y[place], data.digits[quantity])} (epoch ${x[place]})`);
    }
    at("curves").source("read", read);
    at("curves").label(data.quantities[quantity]);
    const missing = chosen.filter(name => !drawn.includes(name));
    figure.say({
      values: told.join(", ") || "Nothing to draw",
      missing: missing.length ? `Not measured in this record: ${missing.map(name => data.labels[name]).join(", ")}.` : "",
      source: record.source,
    });
  };
})();
