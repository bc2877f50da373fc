/* Exercises say whether an answer holds, and keep on this device which ones were solved. The rules for numbers are
   those of book.exercises.model. Without this script questions, options and folded solutions remain. */
(() => {
  const KEY = "lskd-exercises";
  const stored = act => {
    try {
      return act(localStorage);
    } catch {
      return null;  // a browser that stores nothing for pages from disk: everything else works
    }
  };
  const solved = () => stored(storage => JSON.parse(storage.getItem(KEY))) || {};
  const keep = found => stored(storage => storage.setItem(KEY, JSON.stringify(found)));
  const plain = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
  const number = (text, thousands) => {
    let written = text.replace(/[\s%A-Za-z]+$/, "").replace(/\s+/g, "").replace(/−/g, "-");
    if (thousands && /^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(written)) written = written.replace(/,/g, "");
    const [top, bottom, ...rest] = written.replace(/,/g, ".").split("/");
    if (rest.length || !plain.test(top) || (bottom !== undefined && !plain.test(bottom))) return NaN;
    const value = bottom === undefined ? Number(top) : Number(top) / Number(bottom);
    return Number.isFinite(value) ? value : NaN;
  };
  /* [good or not or neither, what to say] */
  const judge = (given, found) => {
    if (given.wrong) return found === given.answer ? [true, given.right] : [false, given.wrong[found]];
    const x = number(found, Math.abs(given.answer) >= 1000);
    if (Number.isNaN(x)) return [null, "Type a number, such as 0.5 or 1/3."];
    const broken = given.whole && !Number.isInteger(x);
    if (!broken && Math.abs(x - given.answer) <= given.tolerance * (1 + 1e-9)) return [true, given.right];
    const known = given.mistakes.find(([value]) => Math.abs(x - value) <= given.tolerance);
    if (broken && !known) return [null, "Type a whole number: this is a count."];
    return [false, known ? known[1] : given.hint];
  };

  const mark = (name, good) => {
    document.getElementById(`exercise-${name}`)?.classList.toggle("lskd-solved", good);
  };

  const start = box => {
    const given = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const name = box.dataset.exercise;
    const field = box.querySelector(".lskd-entry input");
    const button = box.querySelector("button"), verdict = box.querySelector("[role='status']");
    const clear = () => {
      verdict.className = "lskd-verdict";
      verdict.textContent = "";
      field?.removeAttribute("aria-invalid");
    };
    const answer = () => {
      const found = field ? field.value : box.querySelector("input:checked")?.value;
      const [good, said] = found === undefined ? [null, "Choose an answer first."] : judge(given, found);
      verdict.className = "lskd-verdict" + (good === null ? "" : good ? " lskd-right" : " lskd-wrong");
      const word = good === null ? "" : `<strong>${good ? "Right." : "Not yet."}</strong> `;
      verdict.innerHTML = word + said;
      if (field) field.setAttribute("aria-invalid", good === null ? "true" : "false");
      if (!good) return;
      keep({ ...solved(), [name]: true });
      mark(name, true);
    };
    button.hidden = false;
    button.addEventListener("click", answer);
    for (const input of box.querySelectorAll("input")) {
      input.addEventListener("input", clear);
      input.addEventListener("keydown", event => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        answer();
      });
    }
    box.classList.add("lskd-on");
  };

  /* A sheet for class has the questions; with all solutions open it has those too. */
  const opener = first => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "lskd-open-solutions" });
    const solutions = [...document.querySelectorAll("details.lskd-solution")];
    const say = () => (button.textContent = solutions.every(s => s.open) ? "Fold all solutions" : "Open all solutions");
    button.addEventListener("click", () => {
      const open = !solutions.every(solution => solution.open);
      for (const solution of solutions) solution.open = open;
    });
    for (const solution of solutions) solution.addEventListener("toggle", say);
    say();
    first.before(button);
  };

  /* The page that lists all exercises: which are solved, how many, and forgetting it. */
  const list = place => {
    const entries = [...place.querySelectorAll("[data-exercise]")];
    const count = place.querySelector("[data-count]"), forget = place.querySelector("button");
    const show = () => {
      const found = solved();
      const done = entries.filter(entry => {
        const good = Boolean(found[entry.dataset.exercise]);
        entry.querySelector("[data-done]").textContent = good ? "✓ solved" : "";
        return good;
      });
      count.textContent = `You have solved ${done.length} of ${entries.length} on this device.`;
      forget.hidden = !done.length;
    };
    forget.addEventListener("click", () => {
      keep({});
      show();
      count.tabIndex = -1;
      count.focus();
    });
    show();
    addEventListener("pageshow", event => event.persisted && show());
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll(".lskd-answer")) start(box);
    const first = document.querySelector(".lskd-exercise");
    if (first) opener(first);
    for (const name of Object.keys(solved())) mark(name, true);
    for (const place of document.querySelectorAll(".lskd-exercises")) list(place);
  });
})();
