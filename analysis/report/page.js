"use strict";
// Without this script the page has everything but the calculator and sorting.

/** Return a count to three digits with its suffix, as scaling.units.format_count does. */
function formatCount(x) {
  if (x >= 0.9995e15) return formatFlops(x);
  for (const [scale, suffix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (x >= 0.9995 * scale) return `${Number((x / scale).toPrecision(3))}${suffix}`;
  return `${Number(x.toPrecision(3))}`;
}

/** Return FLOPs in powers of ten, as scaling.units.format_flops does. */
function formatFlops(x) {
  const [mantissa, exponent] = x.toExponential(2).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

/** Return hours of audio, as scaling.units.format_hours does. */
function formatHours(hours) {
  if (hours < 1) return `${Number((hours * 60).toPrecision(3))} min`;
  return hours < 1000 ? `${Number(hours.toPrecision(3))} h` : `${Math.round(hours).toLocaleString("en-US")} h`;
}

/** Return the number in 1e18, 2.5e20, 300k or 7B; NaN for anything else. */
function parseCount(text) {
  const found = /^\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([kKMGBTP]?)\s*$/.exec(text);
  if (!found) return NaN;
  const scale = { "": 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9, B: 1e9, T: 1e12, P: 1e15 };
  return Number(found[1].replaceAll("_", "")) * scale[found[2]];
}

/** Return [index, weight] of the four neighbours whose cubic (in Lagrange's form) gives the value at x. */
function cubic(xs, x) {
  let i = 0;
  while (i < xs.length - 2 && xs[i + 1] < x) i++;
  const first = Math.max(0, Math.min(i - 1, xs.length - 4)), last = Math.min(first + 4, xs.length);
  const weights = [];
  for (let j = first; j < last; j++) {
    let weight = 1;
    for (let k = first; k < last; k++) if (k !== j) weight *= (x - xs[k]) / (xs[j] - xs[k]);
    weights.push([j, weight]);
  }
  return weights;
}

/** Return the sum of weighted values; null where one is missing. */
function weighted(weights, valueOf) {
  let sum = 0;
  for (const [j, weight] of weights) {
    const value = valueOf(j);
    if (value === null) return null;
    sum += weight * value;
  }
  return sum;
}

/** Return draws, [budgets][draws], from 32-bit floats in base64. */
function unpack(text, rows) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const all = new Float32Array(bytes.buffer), count = all.length / rows;
  return Array.from({ length: rows }, (_, i) => all.subarray(i * count, (i + 1) * count));
}

/** Return the ends of the percentile interval as analysis.estimates.Estimate.of does: a draw without a value counts as
    beyond the end in question at both ends; null stands for an end without a bound. */
function ends(draws, level) {
  const tail = (1 - level) / 2, n = draws.length;
  const good = draws.filter(Number.isFinite).sort((a, b) => a - b), lost = n - good.length;
  const low = [...Array(lost).fill(-Infinity), ...good], high = [...good, ...Array(lost).fill(Infinity)];
  const linear = (v, q) => { const p = q * (n - 1), i = Math.floor(p); return v[i] + (p - i) * ((v[i + 1] ?? v[i]) - v[i]); };
  const found = lost ? [low[Math.ceil(tail * (n - 1))], high[Math.floor((1 - tail) * (n - 1))]] : [linear(low, tail), linear(high, 1 - tail)];
  return found.map((v) => (Number.isFinite(v) ? v : null));
}

/** Return log k at log N. */
function logCost(cost, logN) {
  const place = Math.min(Math.max((logN - cost.from) / cost.step, 0), cost.log_k.length - 1.000001), i = Math.floor(place);
  return cost.log_k[i] + (place - i) * (cost.log_k[i + 1] - cost.log_k[i]);
}

/** Return the row of answers at a budget, or {reason}. */
function answerAt(data, budget) {
  const c = Math.log(budget);
  for (const point of data.points) if (Math.abs(point.c - c) < data.same) return point;
  const piece = data.pieces.find((p) => p.low <= budget && budget <= p.high);
  if (!piece) {
    const low = data.pieces[0].low, high = data.pieces[data.pieces.length - 1].high;
    return { reason: `this page answers from ${formatFlops(low)} to ${formatFlops(high)}: for others run scaling-fit --budget` };
  }
  if (piece.reason) return piece;
  if (piece.jumps.some(([a, b]) => a <= budget && budget <= b))
    return { reason: "the best size jumps near this budget: run scaling-fit --budget" };
  const rows = piece.rows, weights = cubic(rows.map((row) => row.c), c);
  const value = (name, i) => (rows.some((r) => r[name] === null) ? null : weighted(weights, (j) => rows[j][name][i]));
  const interval = (name) => {
    if (value(name, 0) === null) return null;
    if (!piece.draws[name]) return [value(name, 0), null, null];
    const draws = unpack(piece.draws[name], rows.length);
    return [value(name, 0), ...ends(Array.from(draws[0], (_, i) => weighted(weights, (j) => draws[j][i])), data.level)];
  };
  const N = interval("N"), dataOf = (logN) => (logN === null ? null : c - logCost(data.cost, logN));
  return { c, N, D: N && [N[0], N[2], N[1]].map(dataOf), loss: interval("loss"), near: [value("near", 0), value("near", 1)] };
}

/** Return "value [low, high]", where an end without a bound is 0 or inf; the value alone without draws. */
function withEnds(values, show, drawn, turn = Math.exp) {
  if (!values || values[0] === null) return "-";
  const text = (v, none) => (v === null ? none : show(turn(v)));
  if (!drawn) return text(values[0]);
  return `${text(values[0])} [${text(values[1], "0")}, ${text(values[2], "inf")}]`;
}

function calculator(section) {
  const data = JSON.parse(section.querySelector("script").textContent);
  const form = section.querySelector("form");
  const set = (name, text) => { section.querySelector(`[data-of="${name}"]`).textContent = text; };
  const problem = section.querySelector(".problem"), far = section.querySelector(".far");
  const showData = data.per_hour ? (d) => formatHours(d / data.per_hour) : (d) => `${formatCount(d)} ${data.unit}`;
  function update() {
    const budget = parseCount(form.budget.value), speed = parseCount(form.speed.value) * 1e12;
    const row = budget > 0 ? answerAt(data, budget) : { reason: "write a budget as 1e18 or 2.5e20" };
    problem.hidden = !row.reason;
    problem.textContent = row.reason || "";
    const good = !row.reason;
    set("N", good ? withEnds(row.N, formatCount, data.drawn) : "-");
    set("D", good ? withEnds(row.D, showData, data.drawn) : "-");
    set("loss", good ? withEnds(row.loss, (v) => v.toPrecision(5), data.drawn, (v) => v) : "-");
    set("near", good && row.near && row.near[0] !== null && row.near[1] !== null ? `${formatCount(Math.exp(row.near[0]))} - ${formatCount(Math.exp(row.near[1]))}` : "-");
    set("hours", good && speed > 0 ? formatCount(budget / speed / 3600) : "-");
    const reach = budget / data.largest;
    const below = budget / data.smallest < 0.9995;
    far.hidden = !(good && (reach > 1.0005 || below));
    if (good && below) far.textContent = `${Number((data.smallest / budget).toPrecision(2))} times below the cheapest run: extrapolated.`;
    else if (good) far.textContent = `${Number(reach.toPrecision(2))} times the largest run: extrapolated` + (reach > 10 ? ", treat it as a guess." : ".");
  }
  set("source", data.measured ? "The speed is the median of these runs, whatever each ran on; write that of your device." : "The speed is that of an H100 at 40 % of its peak; write your own.");
  form.budget.value = data.asked.toExponential().replace("e+", "e");
  form.speed.value = Number((data.speed / 1e12).toPrecision(3));
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
  section.hidden = false;
}

/** Sort a table by the column of a header; numbers by value, rows without one last. */
function sortBy(table, header, column) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => {
    const cell = row.cells[column];
    return { row, value: cell.dataset.v === undefined ? NaN : Number(cell.dataset.v), text: cell.textContent };
  });
  const numeric = keyed.some((k) => !Number.isNaN(k.value));
  keyed.sort((a, b) => {
    if (numeric && Number.isNaN(a.value) !== Number.isNaN(b.value)) return Number.isNaN(a.value) ? 1 : -1;
    const order = numeric && !Number.isNaN(a.value) ? a.value - b.value : a.text.localeCompare(b.text, "en", { numeric: true });
    return up ? order : -order;
  });
  body.append(...keyed.map((k) => k.row));
}

for (const section of document.querySelectorAll(".calculator")) calculator(section);
for (const table of document.querySelectorAll(".sortable"))
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header, column));
  });
