"use strict";

const $ = (id) => document.getElementById(id);
const STEPS = { "first pass": "Without the keywords", talk: "With the keywords" };
let talk = null, shown = null, stop = null;

function made(name, text, attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function asked(address, options) {
  const answer = await fetch(address, options);
  const body = await answer.json();
  if (body.error) throw new Error(body.error.message);
  return body;
}

async function run(address, options) {
  try {
    say("Reading…");
    const { id } = await asked(address, options);
    talk = id;
    for (;;) {
      const state = await asked(`talks/${id}`);
      if (state.error_text) throw new Error(state.error_text);
      $("progress").hidden = state.done;
      $("progress").max = state.total || 1;
      $("progress").value = state.finished;
      if (state.done) return await show(state);
      say(state.total ? `${STEPS[state.step]}: ${state.finished} of ${state.total} segments` : "Waiting…");
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  } catch (error) {
    $("progress").hidden = true;
    say(error.message, true);
  }
}

async function show(state) {
  shown = state;
  const sound = await (await fetch(`talks/${talk}/audio.wav`)).blob();
  URL.revokeObjectURL($("audio").src);
  $("audio").src = URL.createObjectURL(sound);
  $("keywords").value = state.keywords;
  $("downloads").replaceChildren(...["srt", "md", "json"].map((kind) =>
    made("a", { srt: "SubRip", md: "Markdown", json: "JSON" }[kind], { href: `talks/${talk}/talk.${kind}`, download: "" })));
  render();
  $("result").hidden = false;
  const count = Object.keys(state.result.written).length;
  say([`Done: ${count} keyword${count === 1 ? "" : "s"} written.`, ...state.notices].join(" "));
}

// Words have no times of their own: a word is looked for at its share of the segment's letters.
function at(segment, share) {
  return segment.start + (segment.end - segment.start) * share;
}

function play(from, until) {
  $("audio").currentTime = Math.max(0, from - 0.2);
  stop = until;
  $("audio").play();
}

function piece(segment, part, place, length) {
  if (!part.text.trim()) return document.createTextNode(part.text);
  const from = at(segment, place / length), until = at(segment, (place + part.text.length) / length) + 0.4;
  let element;
  if (part.page === undefined) {
    // No button: a screen reader would say so after each word of the text.
    element = made("span", part.text, { class: "said", tabindex: "-1" });
  } else {
    const where = part.page ? `slide ${part.page}` : "list";
    element = made("button", part.text, { class: "keyword", type: "button", tabindex: "-1", "aria-label": `${part.text}, ${where}, play` });
    element.title = `${where}\n${shown.pages[part.page - 1] || ""}`.slice(0, 500);
    element.style.setProperty("--hue", (part.page * 67) % 360);
    element.append(made("sub", part.page || "list"));
  }
  element.addEventListener("click", () => play(from, until));
  return element;
}

function line(segment, asDiff) {
  const item = document.createElement("li");
  const minutes = Math.floor(segment.start / 60), seconds = String(Math.floor(segment.start % 60)).padStart(2, "0");
  const time = made("button", `${minutes}:${seconds}`, { class: "time", type: "button", tabindex: "-1", "aria-label": `Play from ${minutes}:${seconds}` });
  time.addEventListener("click", () => play(segment.start + 0.2, segment.end));
  const words = made("span", "", { class: "words" });
  item.append(time, words);
  let place = 0;
  for (const [kind, parts] of asDiff ? segment.diff : [["same", segment.parts]]) {
    if (kind === "without") {
      words.append(made("del", parts.map((part) => part.text).join("").trim()), " ");
      continue;
    }
    const into = kind === "with" ? words.appendChild(document.createElement("ins")) : words;
    for (const part of parts) {
      const shown = piece(segment, part, place, segment.text.length || 1);
      (part.text.trim() ? into : words).append(shown);  // a blank is not underlined as new
      place += part.text.length;
    }
  }
  return item;
}

function render() {
  $("segments").replaceChildren(...shown.result.segments.map((segment) => line(segment, $("diff").checked)));
  const first = $("segments").querySelector(STOPS);
  if (first) first.tabIndex = 0;
}

// The transcript is one stop of the Tab key; within it the arrow keys move, and one element can be tabbed to.
const STOPS = ".time, .said, .keyword";

function move(to) {
  for (const one of $("segments").querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

$("segments").addEventListener("keydown", (event) => {
  const here = event.target, lines = [...$("segments").children], row = lines.indexOf(here.closest("li"));
  if (event.key === "Enter" || event.key === " ") {
    if (!here.matches(".said")) return;
    event.preventDefault();
    return here.click();
  }
  if (event.key === "Escape") return here.blur();
  const all = [...$("segments").querySelectorAll(STOPS)], within = [...lines[row].querySelectorAll(STOPS)];
  const to = {
    ArrowRight: () => all[all.indexOf(here) + 1], ArrowLeft: () => all[all.indexOf(here) - 1],
    ArrowDown: () => lines[row + 1]?.querySelector(STOPS), ArrowUp: () => lines[row - 1]?.querySelector(STOPS),
    Home: () => within[0], End: () => within.at(-1),
  }[event.key];
  if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const next = to();
  if (next) move(next);
});
$("segments").addEventListener("click", (event) => {
  const stop = event.target.closest(STOPS);
  if (stop) move(stop);
});

// A file that is dropped beside the fields would else be opened in the page's place.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  if (event.target.type === "file") return;
  event.preventDefault();
  const slides = new DataTransfer(), recording = new DataTransfer();
  for (const file of event.dataTransfer.files) {
    const heard = /^(audio|video)\//.test(file.type) || /\.(flac|ogg|mkv)$/i.test(file.name);
    (heard && !recording.files.length ? recording : slides).items.add(file);
  }
  if (recording.files.length) $("file").files = recording.files;
  if (slides.files.length) $("slides").files = slides.files;
});

$("talk").addEventListener("submit", (event) => {
  event.preventDefault();
  run("talks", { method: "POST", body: new FormData($("talk")) });
});
$("again").addEventListener("submit", (event) => {
  event.preventDefault();
  run(`talks/${talk}/again`, { method: "POST", body: $("keywords").value });
});
$("diff").addEventListener("change", render);
$("audio").addEventListener("timeupdate", () => {
  if (stop !== null && $("audio").currentTime >= stop) { $("audio").pause(); stop = null; }
});
