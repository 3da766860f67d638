"use strict";

const PARTS = {
  read: "sent and read",
  decode: "decoded",
  queue: "waited",
  run: "network",
  draw: "drawn",
};
const TALLEST_VH = 70;
const ENLARGED = 3;
const find = (id) => document.getElementById(id);
const percent = (share) => (share < 0.0005 ? "<0.1 %" : `${(share * 100).toFixed(1)} %`);

// What is shown: the layer's pixels, its classes by colour, and the one that is singled out.
let layer = null;
let classes = [];
let single = null;
// Answers that come after a newer request are let go.
let asked = 0;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function introduce() {
  try {
    const health = await (await fetch("healthz")).json();
    find("model").textContent = health.model;
    const verb = health.task === "segment" ? "segments into" : "tells apart";
    find("about").textContent =
      `${verb} ${health.classes} classes · ${health.precision} · ${health.runner}`;
    document.body.classList.add(health.task);
    document.title = `${health.model} · ${health.task}`;
  } catch {
    find("about").textContent = "the service does not answer";
  }
}

async function ask(file) {
  const turn = ++asked;
  const begun = performance.now();
  find("error").hidden = true;
  find("status").textContent = `Asking about ${file.name || "the image"} …`;
  document.body.classList.add("busy");
  try {
    const response = await fetch("predict", {
      method: "POST",
      body: file,
      headers: { Accept: "application/json", "Content-Type": file.type || "application/octet-stream" },
    });
    const answer = await response.json();
    if (turn !== asked) return;
    if (!response.ok) throw new Error(refusal(response, answer));
    const took = performance.now() - begun;
    await show(file, answer, took);
    find("status").textContent = `${file.name || "The image"}: ${summary(answer)}, in ${took.toFixed(0)} ms`;
  } catch (error) {
    if (turn !== asked) return;
    find("status").textContent = "";
    find("error").textContent =
      error instanceof TypeError ? "The service does not answer. Is it running?" : error.message;
    find("error").hidden = false;
  } finally {
    if (turn === asked) document.body.classList.remove("busy");
  }
}

function refusal(response, answer) {
  const wait = response.headers.get("Retry-After");
  const text = [answer.error, answer.hint].filter(Boolean).join("; ") || response.statusText;
  return wait ? `Too many are asking: try again in ${wait} s.` : `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function summary(answer) {
  if (answer.task === "classify") {
    const best = answer.classes[0];
    return `${best.name}, ${percent(best.probability)}`;
  }
  const count = answer.classes.length;
  return `${count} class${count === 1 ? "" : "es"}, mostly ${answer.classes[0].name}`;
}

async function show(file, answer, took) {
  const picture = find("picture");
  const before = picture.src;
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name || "the image";
  if (before) URL.revokeObjectURL(before);
  // Some kinds, such as TIFF, the service reads and the browser does not.
  const seen = await picture.decode().then(() => true, () => false);
  find("frame").hidden = !seen && answer.task === "classify";
  // As large as there is room for, but small pictures not beyond recognition.
  const room = `calc(${TALLEST_VH}vh * ${answer.width / answer.height})`;
  find("frame").style.width = `min(100%, ${room}, ${ENLARGED * answer.width}px)`;
  classes = answer.classes;
  single = null;
  await showOverlay(answer, seen);
  showLegend(answer);
  showLatency(answer, took);
  find("result").hidden = false;
  document.body.classList.add("answered");
}

async function showOverlay(answer, seen) {
  const canvas = find("overlay");
  const segments = answer.task === "segment";
  canvas.hidden = find("controls").hidden = !segments;
  layer = null;
  if (!segments) return;
  const image = new Image();
  image.src = answer.overlay;
  await image.decode();
  canvas.width = answer.width;
  canvas.height = answer.height;
  const picture = find("picture");
  // Where the browser cannot show the picture, its size still makes room for the overlay.
  if (!seen) picture.src = answer.overlay;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  layer = context.getImageData(0, 0, canvas.width, canvas.height);
  for (const one of classes) one.key = one.colour ? parseInt(one.colour.slice(1), 16) : null;
}

// One class in full, the others faint.
function paint() {
  const context = find("overlay").getContext("2d");
  if (single === null) {
    context.putImageData(layer, 0, 0);
    return;
  }
  const shown = new ImageData(new Uint8ClampedArray(layer.data), layer.width, layer.height);
  const clear = single.key === null;
  for (let offset = 0; offset < shown.data.length; offset += 4) {
    if (clear ? layer.data[offset + 3] : keyAt(offset) !== single.key) shown.data[offset + 3] /= 6;
  }
  context.putImageData(shown, 0, 0);
}

function keyAt(offset) {
  const data = layer.data;
  return data[offset + 3] ? (data[offset] << 16) | (data[offset + 1] << 8) | data[offset + 2] : null;
}

function showLegend(answer) {
  const legend = find("legend");
  const segments = answer.task === "segment";
  find("heading").textContent = segments ? "Classes" : "Likeliest classes";
  legend.replaceChildren(
    ...classes.map((one) => {
      const share = segments ? one.share : one.probability;
      const meter = make("span", { className: "meter", ariaHidden: "true" }, make("span"));
      meter.firstChild.style.width = `${share * 100}%`;
      const parts = [
        make("span", { className: "name", textContent: one.name }),
        make("span", { className: "share", textContent: percent(share) }),
        meter,
      ];
      if (!segments) return make("li", {}, make("div", { className: "row" }, ...parts));
      const swatch = make("span", { className: one.colour ? "swatch" : "swatch clear" });
      if (one.colour) swatch.style.background = one.colour;
      const button = make("button", { type: "button", ariaPressed: "false" }, swatch, ...parts);
      button.addEventListener("click", () => choose(one, button));
      return make("li", {}, button);
    }),
  );
}

function choose(one, button) {
  const chosen = single === one ? null : one;
  for (const other of find("legend").querySelectorAll("button")) other.ariaPressed = "false";
  button.ariaPressed = String(chosen !== null);
  single = chosen;
  paint();
}

function showLatency(answer, took) {
  const spent = answer.latency_ms;
  find("total").textContent = `${took.toFixed(0)} ms`;
  const shared = answer.batch > 1 ? `, in a run of ${answer.batch} images` : "";
  find("whole").textContent = `seen here; ${spent.total.toFixed(0)} ms in the service${shared}`;
  const bars = [];
  const rows = [];
  for (const [part, name] of Object.entries(PARTS)) {
    const bar = make("span", { className: `part-${part}` });
    bar.style.flexGrow = Math.max(spent[part], 0.01);
    bars.push(bar);
    rows.push(
      make("div", {},
        make("i", { className: `part-${part}` }),
        make("dt", { textContent: name }),
        make("dd", { textContent: `${spent[part].toFixed(1)} ms` })),
    );
  }
  find("bar").replaceChildren(...bars);
  find("parts").replaceChildren(...rows);
}

function point(event) {
  const label = find("pointed");
  const box = find("overlay").getBoundingClientRect();
  if (!layer || event.type === "pointerleave") {
    label.hidden = true;
    return;
  }
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  const column = Math.min(layer.width - 1, Math.max(0, Math.floor(across * layer.width)));
  const row = Math.min(layer.height - 1, Math.max(0, Math.floor(down * layer.height)));
  const key = keyAt(4 * (row * layer.width + column));
  const one = classes.find((candidate) => candidate.key === key);
  label.hidden = !one;
  if (!one) return;
  label.textContent = one.name;
  label.style.left = across < 0.6 ? `calc(${across * 100}% + 14px)` : "auto";
  label.style.right = across < 0.6 ? "auto" : `calc(${(1 - across) * 100}% + 14px)`;
  label.style.top = `${Math.min(down * 100, 92)}%`;
}

function setOpacity() {
  const value = find("opacity").value;
  find("overlay").style.opacity = value / 100;
  find("shown").textContent = `${value} %`;
}

function firstImage(list) {
  return [...(list || [])].find((file) => !file.type || file.type.startsWith("image/"));
}

function take(files) {
  const file = firstImage(files);
  if (file) {
    ask(file);
  } else if (files && files.length) {
    find("error").textContent = `${files[0].name} is no image: drop a JPEG, PNG or WebP file.`;
    find("error").hidden = false;
  }
}

find("drop").addEventListener("submit", (event) => event.preventDefault());
find("file").addEventListener("change", (event) => {
  take(event.target.files);
  // The same file may be chosen again.
  event.target.value = "";
});
// Anywhere on the page: a browser would leave it for a file that misses the frame.
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => take(event.clipboardData.files));
find("opacity").addEventListener("input", setOpacity);
for (const kind of ["pointermove", "pointerleave"]) find("frame").addEventListener(kind, point);
setOpacity();
introduce();
