"use strict";

const $ = (id) => document.getElementById(id);
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
      say(`${state.step}: ${state.finished} of ${state.total} segments`);
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
  const from = at(segment, place / length), until = at(segment, (place + part.text.length) / length) + 0.4;
  let element;
  if (part.page === undefined) {
    element = made("span", part.text, { class: "said" });
  } else {
    const where = part.page ? `slide ${part.page}` : "list";
    element = made("button", part.text, { class: "keyword", type: "button", "aria-label": `${part.text}, ${where}, play` });
    element.title = `${where}\n${shown.pages[part.page - 1] || ""}`.slice(0, 500);
    element.style.setProperty("--hue", (part.page * 67) % 360);
    element.append(made("sub", part.page || "list"));
  }
  element.addEventListener("click", () => play(from, until));
  return element;
}

function render() {
  const asDiff = $("diff").checked;
  $("segments").replaceChildren(...shown.result.segments.map((segment) => {
    const item = document.createElement("li");
    const minutes = Math.floor(segment.start / 60), seconds = String(Math.floor(segment.start % 60)).padStart(2, "0");
    const time = made("button", `${minutes}:${seconds}`, { class: "time", type: "button", "aria-label": `Play from ${minutes}:${seconds}` });
    time.addEventListener("click", () => play(segment.start + 0.2, segment.end));
    item.append(time, " ");
    if (asDiff) {
      for (const [kind, text] of segment.diff) {
        item.append(made({ same: "span", without: "del", with: "ins" }[kind], text), " ");
      }
    } else {
      let place = 0;
      for (const part of segment.parts) {
        item.append(piece(segment, part, place, segment.text.length || 1));
        place += part.text.length;
      }
    }
    return item;
  }));
}

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
