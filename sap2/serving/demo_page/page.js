// The demo: uploads a talk, polls its progress, displays it. Follows the script of the talk's page, which renders it.

const STEPS = { "first pass": "Without keywords", talk: "With keywords" };
const view = new TalkView();
let talk = null;

function setStatus(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

function setList(id, lines) {
  $(id).replaceChildren(...lines.map((line) => made("li", line)));
  $(id).hidden = !lines.length;
}

async function request(address, options) {
  const answer = await fetch(address, options);
  const body = await answer.json();
  if (body.error) throw new Error(body.error.message);
  return body;
}

async function run(address, options) {
  try {
    setStatus("Reading…");
    setList("notices", []);
    const { id } = await request(address, options);
    talk = id;
    for (;;) {
      const state = await request(`talks/${id}`);
      if (state.error_text) throw new Error(state.error_text);
      $("progress").hidden = state.done;
      $("progress").max = state.total || 1;
      $("progress").value = state.finished;
      if (state.done) return await show(state);
      setStatus(state.total ? `${STEPS[state.step]}: ${state.finished} of ${state.total} segments` : "Waiting…");
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  } catch (error) {
    $("progress").hidden = true;
    setStatus(error.message, true);
  }
}

async function show(state) {
  const recording = await (await fetch(`talks/${talk}/audio.wav`)).blob();
  URL.revokeObjectURL($("audio").src);
  $("audio").src = URL.createObjectURL(recording);
  $("keywords").value = state.keywords;
  const kinds = { srt: "SubRip", md: "Markdown", json: "JSON", html: "Page" };
  $("downloads").replaceChildren(...Object.entries(kinds).map(([kind, name]) =>
    made("a", name, { href: `talks/${talk}/talk.${kind}`, download: "" })));
  view.show(state.view);
  $("result").hidden = false;
  setList("about", state.about);
  setList("notices", state.notices);
  $("status").scrollIntoView({ block: "start" });
  setStatus(`Done: ${count(state.view.written.length, "keyword")} written.`);
}

// Without this, the browser would open a file that is dropped outside the fields.
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
    const isRecording = /^(audio|video)\//.test(file.type) || /\.(flac|ogg|mkv)$/i.test(file.name);
    (isRecording && !recording.files.length ? recording : slides).items.add(file);
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
