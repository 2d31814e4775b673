// Uploads the clip, shows the stages of the prediction, and then the result.
"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const input = element("clip");
const drop = element("drop");
const show = (id, shown = true) => { element(id).hidden = !shown; };

let request = null; // The AbortController of the current request.
let began = 0; // Start of the current request in milliseconds.
let counted = ""; // Progress within the current stage.

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
    ? `The clip has ${size(total())}, but the server accepts at most ${size(most)}. Cut it to the `
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

// Without this, the browser replaces the page by a file that is dropped outside the field.
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

// "Reading 12/300" adds the stage "Reading" to the list and "12/300" beside the clock. A stage that
// is repeated for another expression of the clip moves to the end of the list.
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

// Each line of the response is a JSON object; the last one contains the result or an error.
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
  return { error: "The server stopped before it sent a result. Check that it is still running." };
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
    const answering = read(request.signal); // A disabled field would not be sent.
    working(true);
    const line = await answering;
    if (line.error) { fail(line.error); return; }
    element("result-heading").textContent = `Result: ${name}`;
    element("answer").innerHTML = line.body; // From our server; scripts in it would not run.
    show("result");
    element("result-heading").focus();
  } catch (error) {
    fail(error.name === "AbortError"
      ? "Stopped. The clip has been deleted."
      : "The server does not respond. Check that it is still running.");
  } finally {
    clearInterval(clock);
    request = null;
    working(false);
  }
});

element("stop").addEventListener("click", () => request.abort());
