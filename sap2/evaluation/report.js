"use strict";
// Renders the utterances in view from the page's JSON. Data only ever becomes text nodes.

const CHUNK = 40, PRINTED = 100;
const KEYWORD_NOTES = { found: "keyword found", missed: "keyword missed", false: "keyword not spoken" };
const data = JSON.parse(document.getElementById("data").textContent);
const [tools, list, shown, more] = ["tools", "list", "shown", "more"].map(id => document.getElementById(id));
const fields = tools.elements;

// ---- utterance data -------------------------------------------------------------------------------------------------

function measured(line) {
  const counts = { E: 0, S: 0, I: 0, D: 0, found: 0 };
  for (const piece of line.pieces) {
    if (typeof piece === "string") counts.E += piece.split(" ").length;
    else { counts[piece[0]] += 1; counts.found += piece[3] === "found"; }
  }
  return { ...line, counts, words: counts.E + counts.S + counts.D };
}

const rows = data.utterances.map((utterance, order) => ({ ...utterance, order, lines: utterance.lines.map(measured), text: null }));

function searched(row) {
  if (row.text === null) {
    const words = row.lines.flatMap(line => [textOf(line, 1), textOf(line, 2), ...line.missed, ...line.false]);
    row.text = [row.id, ...row.about, ...row.said, ...row.kept, ...new Set(words)].join("\n").toLowerCase();
  }
  return row.text;
}

// The words of the reference (side 1) or hypothesis (side 2).
const textOf = (line, side) =>
  line.pieces.map(piece => typeof piece === "string" ? piece : piece[side]).filter(word => word !== null).join(" ");

// ---- filters and order ----------------------------------------------------------------------------------------------

const errorFilters = {
  any: () => true,
  some: line => line.errors > 0,
  S: line => line.counts.S > 0,
  I: line => line.counts.I > 0,
  D: line => line.counts.D > 0,
  no: line => line.errors === 0,
};
const keywordFilters = {
  any: () => true,
  found: line => line.counts.found > 0,
  missed: line => line.missed.length > 0,
  false: line => line.false.length > 0,
  wrong: line => line.missed.length + line.false.length > 0,
  dropped: (line, row) => row.pruned[0] > 0,
  kept: (line, row) => row.pruned[1] > 0,
};
const sorts = {
  errors: line => line.errors,
  rate: line => line.errors / Math.max(1, line.words),
  biased: line => line.biased + line.missed.length + line.false.length,
  gain: (line, other) => other.errors - line.errors,
  loss: (line, other) => line.errors - other.errors,
  words: line => line.words,
  order: () => 0,
};

let matching = [], drawn = 0, terms = [];

// Indices of the systems to show, the focused system last, nearest to the next line of text.
function systemsShown() {
  const focus = Number(fields.focus.value), beside = fields.beside.value;
  const others = beside === "all" ? data.systems.map((_, number) => number) : beside === "" ? [] : [Number(beside)];
  return [...others.filter(number => number !== focus), focus];
}

function update() {
  const [other, focus] = [systemsShown()[0], Number(fields.focus.value)];
  const hasErrors = errorFilters[fields.errors.value], hasKeywords = keywordFilters[fields.keywords.value];
  const key = sorts[fields.sort.value];
  terms = fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  matching = rows.filter(row => {
    const line = row.lines[focus];
    return hasErrors(line) && hasKeywords(line, row) && terms.every(term => searched(row).includes(term));
  });
  const keys = new Map(matching.map(row => [row, key(row.lines[focus], row.lines[other])]));
  matching.sort((a, b) => keys.get(b) - keys.get(a) || a.order - b.order);
  const errors = matching.reduce((sum, row) => sum + row.lines[focus].errors, 0);
  const count = number => number.toLocaleString("en");
  shown.textContent = `${count(matching.length)} of ${count(rows.length)} utterances, ${count(errors)} ${errors === 1 ? "error" : "errors"}`;
  list.replaceChildren();
  drawn = 0;
  draw(CHUNK);
}

function draw(howMany) {
  const systems = systemsShown(), next = matching.slice(drawn, drawn + howMany);
  list.append(...next.map(row => article(row, systems)));
  drawn += next.length;
  more.hidden = drawn === matching.length;
  more.textContent = `Show more (${matching.length - drawn} left)`;
}

// ---- rendering ------------------------------------------------------------------------------------------------------

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function article(row, systems) {
  const focus = row.lines[systems.at(-1)];
  const about = [...row.about, row.seconds === null ? "" : `${row.seconds.toFixed(1)} s`].filter(Boolean).join(" · ");
  const beside = systems.length === 2 ? [`${data.systems[systems[0]]} ${row.lines[systems[0]].errors}`] : [];
  return element("article", { class: "card", tabindex: "-1", "aria-label": row.id },
    element("header", {},
      element("h3", {}, row.id), element("span", { class: "soft" }, about),
      element("span", { class: "soft errors" }, [summary(focus), ...beside].join(" · "))),
    ...systems.map(number => element("p", { class: "spoken-only" }, inWords(row, number))),
    aligned(row, systems),
    keywords(row, focus));
}

function summary(line) {
  if (line.absent) return "no hypothesis";
  const parts = [`${line.errors} ${line.errors === 1 ? "error" : "errors"} in ${line.words} ${line.words === 1 ? "word" : "words"}`];
  if (line.biased) parts.push(`${line.biased} on keywords`);
  return parts.join(", ");
}

// Describe an aligned line for screen readers.
function inWords(row, number) {
  const line = row.lines[number];
  const errors = line.pieces.filter(piece => typeof piece !== "string" && (piece[0] !== "E" || piece[4])).map(piece => {
    const [kind, said, written, outcome, extra] = piece;
    const what = { S: `“${said}” written “${written}”`, I: `“${written}” put in`, D: `“${said}” left out`, E: `“${written}”` }[kind];
    return [what, outcome === "missed" && KEYWORD_NOTES.missed, extra && KEYWORD_NOTES.false].filter(Boolean).join(", ");
  });
  return `Said: ${textOf(line, 1) || "nothing"}. ${data.systems[number]} wrote: ${textOf(line, 2) || "nothing"}. ` +
    (errors.length ? `Errors: ${errors.join("; ")}.` : "No errors.");
}

// The columns of a line: the word at each reference word, and insertions before it.
function spread(line) {
  const words = [], inserted = [[]];
  const add = (kind, said, written, outcome, extra) => {
    const cell = { kind, said, written, outcome, extra };
    if (kind === "I") inserted.at(-1).push(cell);
    else { words.push(cell); inserted.push([]); }
  };
  for (const piece of line.pieces) {
    if (typeof piece === "string") for (const word of piece.split(" ")) add("E", word, word, "", "");
    else add(...piece);
  }
  return { words, inserted };
}

// Reference over hypothesis, column by column; several systems share a reference line.
function aligned(row, systems) {
  const lines = systems.map(number => spread(row.lines[number]));
  const labels = ["said", ...systems.map(number => data.systems.length === 1 ? "written" : data.systems[number])];
  const block = element("div", { class: "aligned", dir: "auto", "aria-hidden": "true" },
    element("bdi", { class: "col labels" }, ...labels.map(label => element("span", {}, label))));
  for (let at = 0; at <= lines[0].words.length; at++) {
    const most = Math.max(...lines.map(line => line.inserted[at].length));
    for (let extra = 0; extra < most; extra++) block.append(column(lines.map(line => line.inserted[at][extra])));
    if (at < lines[0].words.length) block.append(column(lines.map(line => line.words[at])));
  }
  if (block.children.length === 1) block.append(element("i", { class: "soft" }, "no words"));
  return block;
}

function column(cells) {
  const said = cells[0]?.said ?? null, isKeyword = cells.some(cell => cell?.outcome);
  const isHit = terms.some(term => cells.some(cell => `${cell?.said ?? ""}\n${cell?.written ?? ""}`.toLowerCase().includes(term)));
  const kinds = new Set(cells.map(cell => cell?.kind ?? "").filter(kind => kind && kind !== "E"));
  return element("span", { class: ["col", ...kinds, isHit ? "hit" : ""].join(" ").trim() },
    element("span", { class: isKeyword ? "said keyword" : "said" }, said ?? ""),
    ...cells.map(cell => {
      if (!cell) return element("span", { class: "cell" });
      const marks = [cell.outcome, cell.extra].filter(Boolean);
      return element("span", { class: ["cell", cell.kind, ...marks].join(" ") }, cell.kind === "D" ? "∅" : cell.written);
    }));
}

function keywords(row, line) {
  if (!row.listed) return "";
  const missed = new Set(line.missed), dropped = new Set(row.dropped), counts = [`${row.listed} listed`, `${row.said.length} said`];
  if (data.stage1) counts.push(`${row.kept.length} kept by stage 1`);
  const chip = (keyword, kind, ...notes) => element("li", { class: kind }, keyword, element("small", {}, ` ${notes.filter(Boolean).join(", ")}`));
  const said = row.said.map(keyword => chip(keyword, missed.has(keyword) ? "missed" : "found",
    missed.has(keyword) ? "missed" : "found", dropped.has(keyword) && "dropped by stage 1"));
  const wrong = line.false.map(keyword => chip(keyword, "false", "written more often than spoken"));
  const known = new Set([...row.said, ...line.false].map(keyword => keyword.toLowerCase()));
  const kept = row.kept.filter(keyword => !known.has(keyword.toLowerCase())).map(keyword => chip(keyword, "kept", "kept by stage 1, not spoken"));
  const chips = [...said, ...wrong, ...kept];
  const summary = `Keywords: ${counts.join(", ")}`;
  if (!chips.length) return element("p", { class: "soft no-keywords" }, summary);
  return element("details", {}, element("summary", {}, summary), element("ul", { class: "chips" }, ...chips));
}

// ---- events ---------------------------------------------------------------------------------------------------------

function step(by) {
  const at = [...list.children].indexOf(document.activeElement.closest("article"));
  const wanted = Math.min(matching.length - 1, Math.max(0, at + by));
  if (wanted < 0) return;
  if (wanted >= drawn) draw(CHUNK);
  list.children[wanted].focus({ preventScroll: true });
  list.children[wanted].scrollIntoView({ block: "center" });
}

let waiting;
function updateSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(update, 120);
}

tools.addEventListener("submit", event => event.preventDefault());
tools.addEventListener("change", event => { if (event.target !== fields.search) update(); });
tools.addEventListener("input", event => { if (event.target === fields.search) updateSoon(); });
tools.addEventListener("reset", () => setTimeout(update));
more.addEventListener("click", () => {
  const first = drawn;
  draw(CHUNK);
  list.children[first].focus({ preventScroll: true });
});
new IntersectionObserver((entries, observer) => {
  if (!entries.at(-1).isIntersecting || more.hidden) return;
  draw(CHUNK);
  observer.unobserve(more);  // observing again reports again if it is still in view
  observer.observe(more);
}, { rootMargin: "1000px" }).observe(more);

document.addEventListener("click", event => {
  const button = event.target.closest("button.find");
  if (!button) return;
  tools.reset();
  fields.focus.value = data.systems.indexOf(button.dataset.system);
  fields.keywords.value = "wrong";
  fields.search.value = button.dataset.keyword;
  clearTimeout(waiting);
  setTimeout(() => {
    update();
    document.getElementById("utterances").scrollIntoView();
    document.getElementById("utterances").focus({ preventScroll: true });
  });
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && typing) event.target.blur();
  else if (typing) return;
  else if (event.key === "/") { event.preventDefault(); fields.search.focus(); fields.search.select(); }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
});

window.addEventListener("beforeprint", () => {
  draw(Math.max(0, PRINTED - drawn));
  list.dataset.printed = drawn < matching.length ? `The first ${drawn} of these ${matching.length} utterances are printed.` : "";
});

update();
