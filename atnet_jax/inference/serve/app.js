// Sends the clip, shows the stages while it is read, and then the answer.
"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const input = element("clip");
const drop = element("drop");
const show = (id, shown = true) => { element(id).hidden = !shown; };

let request = null; // The AbortController of the clip that is being read,
let began = 0; // when that began, in milliseconds,
let counted = ""; // and how much of its stage is done.

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function total() {
  return Array.from(input.files).reduce((sum, file) => sum + file.size, 0);
}

function named() {
  const { files } = input;
  return files.length === 1 ? files[0].name : `${files.length} files`;
}

function fail(sentence) {
  element("error").textContent = sentence;
  show("error");
  element("error").focus();
}

function tooLarge() {
  const most = Number(form.dataset.maxBytes);
  return total() > most
    ? `The clip has ${size(total())}, and the server takes up to ${size(most)}. Cut it to the `
      + "expression, or start the server with a larger --max_megabytes."
    : "";
}

input.addEventListener("change", () => {
  show("chosen", input.files.length > 0);
  show("error", false);
  if (input.files.length === 0) return;
  element("chosen").textContent = `${named()}: ${size(total())}`;
  if (tooLarge()) fail(tooLarge());
});

// A file that is dropped beside the field must not take the place of the page.
for (const name of ["dragenter", "dragover", "drop"]) {
  window.addEventListener(name, (event) => event.preventDefault());
}
window.addEventListener("dragover", (event) => {
  event.dataTransfer.dropEffect = drop.contains(event.target) ? "copy" : "none";
  drop.classList.toggle("over", drop.contains(event.target));
});
window.addEventListener("dragleave", (event) => {
  if (!drop.contains(event.relatedTarget)) drop.classList.remove("over");
});
drop.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (request || event.dataTransfer.files.length === 0) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change"));
});

// "Reading 12/300" is the stage "Reading", and "12/300" beside the clock; a stage that comes again,
// for another expression of the clip, moves to the end of the list.
function stage(line) {
  const [, name, count] = /^(.*?)(?: ([0-9]+\/[0-9]+))?$/.exec(line);
  const list = element("stages");
  counted = count ? `${count} · ` : "";
  tick();
  if (list.lastChild?.textContent === name) return;
  const item = Array.from(list.children).find((each) => each.textContent === name)
    ?? document.createElement("li");
  item.textContent = name;
  list.append(item);
}

function tick() {
  element("clock").textContent = `${counted}${Math.floor((Date.now() - began) / 1000)} s`;
}

// Each line of the response is a JSON object; the last one holds the answer or an error.
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function read(signal) {
  const response = await fetch(form.action, {
    method: "POST",
    body: new FormData(form),
    headers: { Accept: "application/x-ndjson" },
    signal,
  });
  for await (const line of lines(response)) {
    if ("stage" in line) stage(line.stage);
    else return line;
  }
  return { error: "The server ended before there was an answer. Is it still running?" };
}

function working(state) {
  input.disabled = state;
  element("read").disabled = state;
  show("stop", state);
  show("progress", state);
  form.setAttribute("aria-busy", String(state));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (request) return;
  show("error", false);
  show("result", false);
  element("answer").replaceChildren();
  if (tooLarge()) { fail(tooLarge()); return; }
  const name = named();
  began = Date.now();
  const clock = setInterval(tick, 1000);
  request = new AbortController();
  element("stages").replaceChildren();
  stage("Sending the clip");
  try {
    const answering = read(request.signal); // Before the field is disabled, which empties it.
    working(true);
    const line = await answering;
    if (line.error) { fail(line.error); return; }
    element("result-heading").textContent = `Answer: ${name}`;
    element("answer").innerHTML = line.body; // Our server's; and no script in it would run.
    show("result");
    element("result-heading").focus();
  } catch (error) {
    fail(error.name === "AbortError"
      ? "Stopped. The clip has been deleted."
      : "The server does not answer. Is it still running?");
  } finally {
    clearInterval(clock);
    request = null;
    working(false);
  }
});

element("stop").addEventListener("click", () => request.abort());
