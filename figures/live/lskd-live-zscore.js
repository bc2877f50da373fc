/* Live figures of the Z-score: where a temperature comes from, what standardisation forgets and keeps, two classes,
   reduced precision, vanishing spread. They are called with (figure, at, data, m): m holds the formulas of lskd-live.js. */
(() => {
  "use strict";
  const kinds = (window.lskdLive ??= { kinds: {} }).kinds;
  const entropy = p => -p.reduce((a, v) => a + (v > 0 ? v * Math.log(v) : 0), 0);

  kinds.entropy = (figure, at, data, m) => {
    const { scale, average, aside } = figure.values();
    const z = data.logits.map(v => v * scale), s = m.deviation(z), wanted = m.mean(z) + average * s;
    let low = 0, high = 1e3 / s; // of 1/T; the average logit rises with it
    for (let i = 0; i < 200; i++) {
      const middle = (low + high) / 2;
      if (m.dot(m.softmax(z, 1 / middle), z) < wanted) low = middle;
      else high = middle;
    }
    const t = 2 / (low + high), q = m.softmax(z, t);
    /* data.aside sums to zero, weighted by the logits too: a step along it changes no constraint. */
    const room = Math.min(...q.flatMap((v, k) => (data.aside[k] * aside < 0 ? [v / Math.abs(data.aside[k])] : [])), 1);
    const other = q.map((v, k) => v + aside * room * data.aside[k]);
    at("probability").source("softmax", { y: q });
    at("probability").source("other", { y: other });
    const x = m.powers(0.05, 200, 80);
    at("temperature").source("average", { x, y: x.map(tau => m.dot(m.softmax(z, tau), z)) });
    at("temperature").source("here", { x: [t], y: [wanted] });
    figure.say({ temperature: t, sigma: s, ratio: t / s, average: m.dot(other, z) }, 3);
    figure.say({ entropy: entropy(q), other: entropy(other) }, 4);
  };

  kinds.invariance = (figure, at, data, m) => {
    const { image, temperature: t, shift, scale, network } = figure.values();
    const teacher = m.row(data, "teacher", image), raw = m.row(data, network, image);
    const center = m.mean(raw), student = raw.map(v => center + scale * (v - center) + shift);
    at("raw").source("student", { y: student });
    at("raw").source("teacher", { y: teacher });
    at("z").source("student-z", { y: m.zscore(student) });
    at("z").source("teacher-z", { y: m.zscore(teacher) });
    const mz = m.mean(student), ray = student.map(v => v - mz);
    for (const [name, on] of [["plain", false], ["standardized", true]]) {
      const g = m.kdGradient(student, teacher, t, on);
      figure.say({
        [name]: m.kdLoss(student, teacher, t, on),
        [`${name}_length`]: Math.hypot(...g),
        [`${name}_shift`]: Math.abs(m.dot(g, g.map(() => 1))) / Math.sqrt(g.length),
        [`${name}_spread`]: Math.abs(m.dot(g, ray)) / Math.hypot(...ray),
      }, 4);
    }
    figure.say({ sigma: m.deviation(student) }, 2);
  };

  const shapes = {
    normal: x => x,
    heavy: x => x.map(v => v ** 3),
    halves: x => x.map((_, k) => (2 * k < x.length ? 1 : -1)),
    one: x => x.map((_, k) => (k === 0 ? 1 : 0)),
    ends: x => x.map((_, k) => (k === 0 ? 1 : k === 1 ? -1 : 0)),
  };

  kinds.bound = (figure, at, data, m) => {
    const { classes: K, draw, temperature: t, shape, population } = figure.values();
    const noise = Array.from(data.noise.slice(draw * data.most, draw * data.most + K));
    const logits = shapes[shape](noise), top = Math.max(...logits.map(Math.abs));
    const factor = population ? Math.sqrt(K / (K - 1)) : 1;
    const z = m.zscore(logits).map(v => v * factor), x = logits.map(v => v / top);
    const bound = (factor * (K - 1)) / Math.sqrt(K), gap = factor * Math.sqrt(2 * (K - 1));
    at("scores").source("scores", { x, y: z });
    at("scores").source("upper", { x: [-1.05, 1.05], y: [bound, bound] });
    at("scores").source("lower", { x: [-1.05, 1.05], y: [-bound, -bound] });
    const by = y => y.map((_, k) => k).sort((i, j) => y[i] - y[j] || i - j);
    const kept = by(logits).every((k, place) => k === by(z)[place]);
    figure.say({
      largest: Math.max(...z.map(Math.abs)), bound,
      apart: Math.max(...z) - Math.min(...z), gap,
      order: kept ? "kept" : "changed",
      probability: Math.max(...m.softmax(z, t)),
      most: 1 / (1 + (K - 1) * Math.exp((-factor * Math.sqrt(K)) / t)),
    }, 3);
  };

  kinds.two_classes = (figure, at, data, m) => {
    const { temperature: t, teacher: v, student: d } = figure.values();
    const row = margin => [margin / 2, -margin / 2], teacher = row(v);
    const loss = (margin, on) => m.kdLoss(row(margin), teacher, t, on);
    const x = Array.from({ length: 161 }, (_, i) => (i - 80) / 10);
    at("loss").source("plain", { x, y: x.map(margin => loss(margin, false)) });
    at("loss").source("standardized", { x, y: x.map(margin => (margin ? loss(margin, true) : NaN)) });
    at("loss").source("here", { x: [d, d], y: [loss(d, false), loss(d, true)] });
    const slope = on => {
      const g = m.kdGradient(row(d), teacher, t, on);
      return Math.abs(g[0] - g[1]) / 2;
    };
    figure.say({
      z: m.zscore(row(d))[0], z_teacher: m.zscore(teacher)[0],
      plain: loss(d, false), plain_slope: slope(false),
      standardized: loss(d, true), standardized_slope: slope(true),
    }, 4);
  };

  const FORMATS = { float32: [24, -126], bfloat16: [8, -126], float16: [11, -14] }; // digits, smallest exponent
  /* The nearest number of a format, ties to even, by way of float32 as PyTorch converts. */
  const stored = (value, format) => {
    const [digits, lowest] = FORMATS[format], x = Math.fround(value);
    if (x === 0) return 0;
    let e = Math.floor(Math.log2(Math.abs(x)));
    if (2 ** e > Math.abs(x)) e--;
    if (2 ** (e + 1) <= Math.abs(x)) e++;
    const unit = 2 ** (Math.max(e, lowest) - digits + 1), n = x / unit, below = Math.floor(n), rest = n - below;
    return unit * (rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below);
  };

  window.lskdLive.stored = stored;

  kinds.precision = (figure, at, data, m) => {
    const { image, format, shift, scale } = figure.values();
    const exact = m.row(data, "teacher", image).map(v => v * scale + shift);
    const kept = exact.map(v => stored(v, format)), z = m.zscore(exact), rounded = m.zscore(kept);
    at("z").source("exact", { y: z });
    at("z").source("rounded", { y: rounded });
    figure.say({ distinct: new Set(kept).size, classes: exact.length }, 0);
    figure.say({ error: Math.max(...z.map((v, k) => Math.abs(v - rounded[k]))) }, 4);
    figure.say({ loss: m.kdLoss(rounded, z, 2) }, 5);
  };

  /* Length of the gradient of the standardised loss by the formula as it stands: no row is an exception. */
  const literalLength = (x, teacher, t, eps, m) => {
    const c = m.mean(x), s = m.deviation(x), z = x.map(v => (v - c) / (s + eps));
    const p = m.softmax(m.zscore(teacher, eps), t), g = m.softmax(z, t).map((v, k) => t * (v - p[k]));
    const center = m.mean(g), along = m.dot(g, x.map(v => v - c));
    const turn = s > 0 ? along / ((s + eps) ** 2 * (x.length - 1) * s) : 0;
    return Math.hypot(...g.map((v, k) => (v - center) / (s + eps) - (x[k] - c) * turn));
  };

  kinds.epsilon = (figure, at, data, m) => {
    const { image, network, format, offset, deviation: s, epsilon: eps } = figure.values(), t = 2;
    const teacher = m.row(data, "teacher", image), shape = m.zscore(m.row(data, network, image), 0);
    const keep = d => shape.map(v => (format === "float64" ? d * v + offset : stored(d * v + offset, format)));
    const kept = keep(s), z = m.zscore(kept, eps);
    const measure = x => [
      m.deviation(m.zscore(x, eps)), Math.hypot(...m.kdGradient(x, teacher, t, true, eps)),
      literalLength(x, teacher, t, eps, m),
    ];
    at("z").source("exact", { y: shape });
    at("z").source("kept", { y: z });
    const x = m.powers(1e-10, 10, 89), found = x.map(d => measure(keep(d)));
    at("spread").source("rule", { x, y: x.map(d => d / (d + eps)) });
    at("spread").source("measured", { x, y: found.map(f => f[0]) });
    at("size").source("length", { x, y: found.map(f => f[1]) });
    at("size").source("literal", { x, y: found.map(f => f[2]) });
    const [deviation, length, literal] = measure(kept);
    at("spread").source("here", { x: [s], y: [deviation] });
    at("size").source("here-length", { x: [s], y: [length] });
    const some = v => (v >= 1e4 || (v > 0 && v < 1e-3) ? m.power(v) : m.number(v, 4));
    figure.say({ distinct: new Set(kept).size, classes: kept.length }, 0);
    figure.say({ z: deviation, rule: s / (s + eps), length: some(length), literal: some(literal) }, 4);
    figure.say({ error: some(Math.max(...z.map((v, k) => Math.abs(v - shape[k])))) });
  };
})();
