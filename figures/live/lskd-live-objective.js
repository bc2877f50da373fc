/* Live figures of the whole objective: two terms, their weights, and where each pushes the student's logits.
   They are called with (figure, at, data, m): m holds the formulas of lskd-live.js. */
(() => {
  "use strict";
  const kinds = (window.lskdLive ??= { kinds: {} }).kinds;
  const length = x => Math.hypot(...x);

  /* A published setting moves the sliders; sliders that are moved find the setting's name, if it has one. */
  const settle = (figure, data) => {
    const chosen = figure.value("setting"), known = data.settings;
    const holds = name => Object.entries(known[name]).every(([control, value]) => figure.value(control) === value);
    const found = Object.keys(known).find(holds) ?? "own";
    if (data.setting === undefined) data.setting = chosen;
    if (chosen !== data.setting) {
      data.setting = chosen;
      if (!known[chosen] || holds(chosen)) return false;
      figure.set(known[chosen]);
      return true;
    }
    if (found === chosen) return false;
    data.setting = found;
    figure.set({ setting: found });
    return true;
  };

  kinds.objective = (figure, at, data, m) => {
    if (settle(figure, data)) return;
    const { image, temperature: t, standardize: on, kd_weight: wKd, ce_weight: wCe, network, scale } = figure.values();
    const label = data.label[image], teacher = m.row(data, "teacher", image), raw = m.row(data, network, image);
    const center = m.mean(raw), stretched = a => raw.map(v => center + a * (v - center)), student = stretched(scale);
    const ceGradient = z => m.softmax(z, 1).map((v, k) => v - (k === label ? 1 : 0));
    const ce = -m.logSoftmax(student, 1)[label], kd = m.kdLoss(student, teacher, t, on);
    const gCe = ceGradient(student).map(v => wCe * v), gKd = m.kdGradient(student, teacher, t, on).map(v => wKd * v);
    const sum = gCe.map((v, k) => v + gKd[k]);

    const { ticks, pick, places } = m.leading(teacher, [m.argmax(student), label], data.names, label);
    const down = x => pick(x).map(v => -v), ends = down(sum);
    at("push").source("ce", { x: places(-0.3), y: down(gCe) });
    at("push").source("kd", { x: places(-0.05), y: down(gKd) });
    const marker = ends.map(v => (v < 0 ? "inverted_triangle" : "triangle"));
    at("push").source("sum", { x: places(0.27), y: ends, marker });
    at("push").ticks(ticks);
    at("push").color("kd", data.colors[on ? "standardized" : "plain"]);

    const s = m.deviation(raw, 0), grid = m.powers(0.1, 10, 49), x = grid.map(a => a * s);
    const rows = grid.map(stretched), positive = v => (v > 0 ? v : NaN);
    const kdLength = (z, standardized) => wKd * length(m.kdGradient(z, teacher, t, standardized));
    at("length").source("ce-length", { x, y: rows.map(z => positive(wCe * length(ceGradient(z)))) });
    at("length").source("plain-length", { x, y: rows.map(z => positive(kdLength(z, false))) });
    at("length").source("standardized-length", { x, y: rows.map(z => positive(kdLength(z, true))) });
    const here = m.deviation(student, 0);
    at("length").source("here", { x: [here, here], y: [length(gCe), length(gKd)].map(positive) });

    const both = length(gCe) + length(gKd), share = part => (both > 0 ? `${m.number((100 * part) / both, 0)} %` : "–");
    const angle = Math.acos(Math.max(-1, Math.min(1, m.dot(gCe, gKd) / (length(gCe) * length(gKd)))));
    const equal = length(gKd) / length(m.kdGradient(student, teacher, data.reference.temperature, false));
    figure.picture(image);
    figure.say({ truth: data.names[label], ce_share: share(length(gCe)), kd_share: share(length(gKd)) });
    figure.say({ angle: Number.isFinite(angle) ? `${m.number((180 * angle) / Math.PI, 0)}°` : "–" });
    figure.say({ sure: m.softmax(student, 1)[label] }, 3);
    figure.say({ sigma: here, sigma_teacher: m.deviation(teacher, 0), equal }, 2);
    figure.say({
      ce, ce_weighted: wCe * ce, ce_length: length(gCe),
      kd, kd_weighted: wKd * kd, kd_length: length(gKd),
      total: wCe * ce + wKd * kd, total_length: length(sum),
    }, 4);
  };
})();
