/* Live figures of the softmax and its temperature: the toy case, soft labels, the factor T², a shared temperature.
   They are called with (figure, at, data, m): m holds the formulas of lskd-live.js. */
(() => {
  "use strict";
  const kinds = (window.lskdLive ??= { kinds: {} }).kinds;

  kinds.toy = (figure, at, data, m) => {
    const { temperature: t, standardize: on, scale } = figure.values(), loss = {};
    const rows = { teacher: data.teacher, s1: data.s1, s2: data.s2.map(v => v * scale) };
    const seen = name => (on ? m.zscore(rows[name]) : rows[name]);
    for (const name of ["teacher", "s1", "s2"]) {
      at("input").source(name, { y: seen(name) });
      at("probability").source(name, { y: m.softmax(seen(name), t) });
      if (name === "teacher") continue;
      loss[name] = m.kdLoss(rows[name], rows.teacher, t, on);
      at("gradient").source(name, { y: m.kdGradient(rows[name], rows.teacher, t, on).map(v => -v) });
    }
    at("input").label(on ? "Z-score" : "logit");
    const equal = Math.abs(loss.s1 - loss.s2) < 5e-5;
    const better = loss.s1 < loss.s2 ? "student 1, which is wrong" : "student 2, which is right";
    const verdict = equal ? "This loss cannot tell them apart." : `This loss prefers ${better}.`;
    figure.say({ ...loss, verdict }, 4);
  };

  /* Numbers that a reader brings, separated by spaces or semicolons, and by commas: these are decimal commas where
     something else separates and no space follows them. */
  const parse = text => {
    const decimal = /[\s;]/.test(text.trim()) && !/,(\s|$)/.test(text);
    const words = text.replace(/,/g, decimal ? "." : " ").replace(/−/g, "-").split(/[\s;]+/);
    return words.filter(Boolean).map(Number);
  };
  const complaint = (teacher, student) => {
    if (![...teacher, ...student].every(Number.isFinite)) return "Numbers only, please, such as: 2.5, 0, -1.";
    if (teacher.length !== student.length) {
      return `The teacher has ${teacher.length} logits and the student ${student.length}; give both as many.`;
    }
    return teacher.length < 2 ? "A softmax needs at least two logits." : "";
  };

  kinds.distillation = (figure, at, data, m) => {
    const { network, image, temperature: t, shared, student_temperature, factor: squared, ...typed } = figure.values();
    const own = network === "own", ts = shared ? t : student_temperature;
    const teacher = own ? parse(typed.teacher) : m.row(data, "teacher", image);
    const student = own ? parse(typed.student) : m.row(data, network, image);
    const problem = own ? complaint(teacher, student) : "";
    figure.say({ problem });
    figure.picture(own ? null : image);
    if (problem) return;
    const names = own ? teacher.map((_, k) => `no. ${k + 1}`) : data.names;
    const p = m.softmax(teacher, t), q = m.softmax(student, ts);
    const factor = squared ? ts * ts : 1;
    const gradient = q.map((v, k) => (factor * (v - p[k])) / ts);
    const truth = own ? -1 : data.label[image];
    const { ticks, pick, places } = m.leading(teacher, [m.argmax(student)], names, truth);
    at("probability").source("teacher", { x: places(-0.2), y: pick(p) });
    at("probability").source("student", { x: places(0.2), y: pick(q) });
    at("push").source("push", { x: places(0), y: pick(gradient).map(v => -v) });
    at("probability").ticks(ticks);
    at("push").ticks(ticks);
    const kl = m.kdLoss(student.map(v => v / ts), teacher.map(v => v / t), 1), top = m.argmax(teacher);
    figure.say({ truth: own ? "unknown" : data.names[truth], top: names[top], answer: names[m.argmax(student)] });
    figure.say({ top_p: p[top], wrong_p: 1 - p[top] }, 3);
    figure.say({ kl, loss: factor * kl, length: Math.hypot(...gradient) }, 4);
  };

  kinds.factor = (figure, at, data, m) => {
    const { temperature: t, image, network } = figure.values();
    const teacher = m.row(data, "teacher", image), student = m.row(data, network, image);
    const apart = tau => {
      const p = m.softmax(teacher, tau), q = m.softmax(student, tau);
      return Math.hypot(...q.map((v, k) => v - p[k]));
    };
    const x = m.powers(0.5, 100, 90), mz = m.mean(student), mv = m.mean(teacher);
    const limit = Math.hypot(...student.map((v, k) => v - mz - teacher[k] + mv)) / student.length;
    at("size").source("with", { x, y: x.map(tau => tau * apart(tau)) });
    at("size").source("without", { x, y: x.map(tau => apart(tau) / tau) });
    at("size").source("limit", { x: [x[0], x.at(-1)], y: [limit, limit] });
    const here = [t * apart(t), apart(t) / t];
    at("size").source("here", { x: [t, t], y: here });
    figure.say({ with: here[0], without: here[1], limit }, 4);
  };

  kinds.spread = (figure, at, data, m) => {
    const { image, temperature: t, student_temperature: ts, spread: a } = figure.values();
    const teacher = m.row(data, "teacher", image), sigma = m.deviation(teacher, 0);
    const plain = s => m.kdLoss(teacher.map(v => (s * v) / ts), teacher.map(v => v / t), 1);
    const standardized = s => m.kdLoss(teacher.map(v => s * v), teacher, t, true) / (t * t);
    const x = m.powers(0.1, 10, 121);
    at("loss").source("plain", { x, y: x.map(plain) });
    at("loss").source("standardized", { x, y: x.map(standardized) });
    at("loss").source("best", { x: [ts / t], y: [0] });
    at("loss").source("here", { x: [a, a], y: [plain(a), standardized(a)] });
    figure.say({ sigma_teacher: sigma, sigma_student: a * sigma, best: ts / t }, 2);
    figure.say({ plain: plain(a), standardized: standardized(a) }, 4);
  };
})();
