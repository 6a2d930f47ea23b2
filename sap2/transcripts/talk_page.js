"use strict";
// Draws a talk: its slides beside the words. For the page of `sap2 talk` and the demo. Text only ever becomes text nodes.

const $ = (id) => document.getElementById(id);
// The transcript is one stop of the Tab key; within it the arrow keys move, and one element can be tabbed to.
const STOPS = ".time, .said, .keyword";

function made(name, text = "", attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function clock(seconds) {
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600);
  const two = (value) => String(value).padStart(2, "0");
  return (hours ? `${hours}:${two(Math.floor(whole / 60) % 60)}` : `${Math.floor(whole / 60)}`) + `:${two(whole % 60)}`;
}

// A `details` element whose content is made when it is opened first.
function folded(details, title, content) {
  details.open = false;
  details.replaceChildren(made("summary", title));
  details.ontoggle = () => {
    if (details.childElementCount === 1) details.appendChild(made("div", "", { class: "content" })).append(...content());
  };
  return details;
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const named = (page) => page ? `slide ${page}` : "list";
const hued = (element, page) => { element.style.setProperty("--hue", (page * 67) % 360); return element; };

class TalkView {
  constructor() {
    this.audio = $("audio");
    this.stop = null;
    this.audio.addEventListener("timeupdate", () => this.follow());
    this.audio.addEventListener("error", () => this.silence());
    if (this.audio.error) this.silence();
    $("diff")?.addEventListener("change", () => this.render());
    $("segments").addEventListener("keydown", (event) => this.key(event));
    $("segments").addEventListener("click", (event) => {
      const stop = event.target.closest(STOPS);
      if (stop) this.move(stop);
    });
  }

  show(view) {
    this.view = view;
    this.render();
    $("facts").replaceChildren(...this.facts());
    $("written").replaceChildren(...this.keywords());
    const shown = new Set(view.segments.flatMap((segment) => segment.pages));
    const rest = view.slides.map((_, place) => place + 1).filter((page) => !shown.has(page));
    $("unshown").hidden = !rest.length;
    folded($("unshown"), `${count(rest.length, "slide")} without words`, () => rest.map((page) => {
      const figure = this.slide(page);
      figure.append(made("figcaption", `Slide ${page}`));
      return figure;
    }));
  }

  render() {
    const groups = [];
    for (const segment of this.view.segments) {
      const page = segment.pages[0] || 0;
      if (groups.at(-1)?.page !== page) groups.push({ page, segments: [] });
      groups.at(-1).segments.push(segment);
    }
    const gaps = [...this.view.left_out];
    this.lines = [];
    $("segments").replaceChildren(...groups.map(({ page, segments }, place) => {
      const until = groups[place + 1]?.segments[0].start ?? Infinity;
      const list = made("ol");
      const silent = (before) => {
        while (gaps.length && gaps[0].start < before) list.append(this.gap(gaps.shift()));
      };
      for (const segment of segments) {
        silent(segment.start);
        list.append(this.line(segment));
      }
      silent(until);
      return this.group(page, segments, list);
    }));
    const first = $("segments").querySelector(STOPS);
    if (first) first.tabIndex = 0;
  }

  group(page, segments, list) {
    const card = made("div", "", { class: "card shown" });
    if (!page) {
      card.append(list);
      return card;
    }
    const head = made("h3", `Slide ${page} `);
    hued(head, page);
    head.append(made("small", `${clock(segments[0].start)}–${clock(segments.at(-1).end)}`, { class: "soft" }));
    card.append(head, this.slide(page), list);
    return card;
  }

  slide(page) {
    const { picture, text } = this.view.slides[page - 1] || { text: "" };
    const figure = made("figure", "", { class: "slide" });
    // What a screen reader says of a slide is its text.
    const said = text.split("\n").join(" ").slice(0, 500) || "no text";
    if (picture) {
      figure.append(made("img", "", { src: picture, alt: `Slide ${page}: ${said}`, loading: "lazy" }));
    } else {
      const card = made("div", "", { class: "as-text" }), [title, ...rest] = (text || "No text on this slide").split("\n");
      card.append(made("div"));
      card.firstChild.append(made("b", title), ...rest.map((line) => `\n${line}`));
      figure.append(card);
    }
    return figure;
  }

  gap({ start, end }) {
    return made("li", `${clock(start)}–${clock(end)}: no speech, left out`, { class: "gap soft" });
  }

  line(segment) {
    const item = made("li", "", { class: segment.doubtful ? "line doubtful" : "line" });
    const time = made("button", clock(segment.start), { class: "time", type: "button", tabindex: "-1", "aria-label": `Play from ${clock(segment.start)}` });
    time.addEventListener("click", () => this.play(segment.start + 0.2, segment.end));
    const words = made("span", "", { class: "words" });
    item.append(time, words);
    this.lines.push({ item, start: segment.start, end: segment.end });
    const length = segment.parts.reduce((sum, part) => sum + part.text.length, 0) || 1;
    let place = 0;
    for (const [kind, parts] of $("diff")?.checked && segment.diff ? segment.diff : [["same", segment.parts]]) {
      if (kind === "without") {
        words.append(made("del", parts.map((part) => part.text).join("").trim()), " ");
        continue;
      }
      const into = kind === "with" ? words.appendChild(made("ins")) : words;
      for (const part of parts) {
        const word = part.text.trimEnd(), blank = part.text.slice(word.length);
        if (word) into.append(this.piece(segment, { ...part, text: word }, place, length));
        // The last blank is not underlined as new.
        (part === parts.at(-1) ? words : into).append(blank);
        place += part.text.length;
      }
    }
    if (segment.doubtful) {
      const sure = segment.confidence === null ? "" : `, ${Math.round(100 * segment.confidence)} % sure`;
      words.append(" ", made("small", `doubtful${sure}`, { class: "doubt", title: "The model is not sure of this: listen to it" }));
    }
    if (segment.pages.length > 1) words.append(" ", made("small", `slides ${segment.pages.join(", ")}`, { class: "soft" }));
    return item;
  }

  // Words have no times of their own: a word is looked for at its share of the segment's letters.
  piece(segment, part, place, length) {
    const at = (share) => segment.start + (segment.end - segment.start) * share;
    const from = at(place / length), until = at((place + part.text.length) / length) + 0.4;
    let element;
    if (part.page === undefined) {
      // No button: a screen reader would say so after each word of the text.
      element = made("span", part.text, { class: "said", tabindex: "-1" });
    } else {
      const where = named(part.page);
      element = made("button", part.text, { class: "keyword", type: "button", tabindex: "-1", "aria-label": `${part.text}, ${where}, play` });
      element.title = `${where}\n${this.view.slides[part.page - 1]?.text || ""}`.slice(0, 500);
      hued(element, part.page).append(made("sub", part.page || "list"));
    }
    element.addEventListener("click", () => this.play(from, until));
    return element;
  }

  facts() {
    const { segments, slides, left_out, written, unwritten, duration } = this.view;
    const doubtful = segments.filter((segment) => segment.doubtful).length;
    const shown = new Set(segments.flatMap((segment) => segment.pages)).size;
    const rows = [
      ["keywords written", written.length, `of ${written.length + unwritten.length} listed`],
      ["segments", segments.length, doubtful ? `${doubtful} doubtful` : "none doubtful"],
      ["length", clock(duration), left_out.length ? `${count(left_out.length, "segment")} without speech left out` : ""],
    ];
    if (slides.length) rows.push(["slides with words", shown, `of ${slides.length}`]);
    return rows.map(([name, value, note]) => {
      const tile = made("div", "", { class: "card tile" });
      tile.append(made("span", name, { class: "soft" }), made("b", value), made("span", note, { class: "soft" }));
      return tile;
    });
  }

  keywords() {
    const chips = (rows) => {
      const list = made("ul", "", { class: "chips" });
      list.append(...rows.map(([word, page, times]) => {
        const chip = made("li", `${word} `);
        chip.append(made("small", named(page) + (times > 1 ? `, ${times} times` : "")));
        return chip;
      }));
      return list;
    };
    const { written, unwritten } = this.view, parts = [];
    parts.push(written.length ? chips(written) : made("p", "No listed keyword was written.", { class: "soft" }));
    if (unwritten.length) {
      parts.push(folded(made("details"), `${count(unwritten.length, "keyword")} listed and not written`, () => [chips(unwritten)]));
    }
    return parts;
  }

  play(from, until) {
    if (this.audio.hidden) return;
    this.audio.currentTime = Math.max(0, from - 0.2);
    this.stop = until;
    this.audio.play().catch(() => {});  // a pause before it began to play is no fault
  }

  follow() {
    const now = this.audio.currentTime;
    if (this.stop !== null && now >= this.stop) {
      this.audio.pause();
      this.stop = null;
    }
    for (const { item, start, end } of this.lines || []) {
      if (start <= now && now < end && !this.audio.paused) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
  }

  // The recording is not at hand, or of a format that this browser cannot play.
  silence() {
    if (!this.audio.getAttribute("src")) return;
    this.audio.hidden = true;
    document.body.classList.add("silent");
    $("keys").textContent = "The recording cannot be played here: it is not beside this page, or in a format that this browser does not play.";
  }

  move(to) {
    for (const one of $("segments").querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }

  key(event) {
    const here = event.target, lines = this.lines.map(({ item }) => item), row = lines.indexOf(here.closest("li"));
    if (row < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      if (!here.matches(".said")) return;
      event.preventDefault();
      here.click();
      return;
    }
    if (event.key === "Escape") {
      here.blur();
      return;
    }
    const all = [...$("segments").querySelectorAll(STOPS)], within = [...lines[row].querySelectorAll(STOPS)];
    const to = {
      ArrowRight: () => all[all.indexOf(here) + 1], ArrowLeft: () => all[all.indexOf(here) - 1],
      ArrowDown: () => lines[row + 1]?.querySelector(STOPS), ArrowUp: () => lines[row - 1]?.querySelector(STOPS),
      Home: () => within[0], End: () => within.at(-1),
    }[event.key];
    if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next = to();
    if (next) this.move(next);
  }
}
