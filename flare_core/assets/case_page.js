// The page of one case: hands the volumes in this file to NiiVue and connects the controls. Nothing is loaded.
"use strict";

const shown = JSON.parse(document.getElementById("case").textContent);
const byId = (id) => document.getElementById(id);
const hidden = new Set();
const layers = shown.volumes.slice(1).map((volume, place) => ({ ...volume, index: place + 1, on: volume.on }));
const viewer = new niivue.Niivue({
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.45, 0.7, 1, 0.8],
  crosshairWidth: 0.3,
  crosshairWidthUnit: "percent",
  crosshairGap: 12,
  fontColor: [1, 1, 1, 1],
  multiplanarShowRender: 1,
  multiplanarLayout: 2,
  multiplanarPadPixels: 4,
  isNearestInterpolation: false,
  clipPlaneColor: [0, 0, 0, 0],
  dragAndDropEnabled: false,
  isResizeCanvas: true,
  loadingText: "reading the case ...",
  logLevel: "error",
});
const VIEWS = [["Four views", 3], ["Axial", 0], ["Coronal", 1], ["Sagittal", 2], ["3-D", 4]];

function complain(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
}

function make(tag, text, properties = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, properties);
}

function chip(color) {
  const element = make("span", "", { className: "chip" });
  element.style.background = color;
  return element;
}

function choices(place, names, chosen, onChoice) {
  const buttons = names.map((name) => make("button", name, { type: "button" }));
  const press = (name) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.textContent === name)));
  buttons.forEach((button) => button.addEventListener("click", () => { press(button.textContent); onChoice(button.textContent); }));
  byId(place).append(...buttons);
  press(chosen);
}

function setWindow(name) {
  [viewer.volumes[0].cal_min, viewer.volumes[0].cal_max] = shown.windows[name];
  viewer.updateGLVolume();
}

function setLayers() {
  const opacity = byId("opacity").value / 100;
  layers.forEach((layer) => { viewer.volumes[layer.index].opacity = layer.on ? opacity : 0; });
  viewer.updateGLVolume(); // once for all: on a computer without a graphics card it takes seconds
}

function colorsOf(layer) {
  const colors = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  layer.colors.forEach(([value, color, name]) => {
    ["R", "G", "B"].forEach((channel, i) => colors[channel].push(parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16)));
    colors.A.push(layer.targets && hidden.has(value) ? 0 : 255);
    colors.I.push(value);
    colors.labels.push(name);
  });
  return colors;
}

function setColors() {
  layers.forEach((layer) => viewer.volumes[layer.index].setColormapLabel(colorsOf(layer)));
  viewer.updateGLVolume();
}

// NiiVue's clip plane cuts the CT alone: far in front it leaves the organs, at the far side everything.
function setBody() {
  viewer.setClipPlane(byId("body").checked ? [0.12, 180, 0] : [-0.9, 180, 0]);
}

function goTo(place_mm) {
  viewer.scene.crosshairPos = viewer.mm2frac(place_mm);
  viewer.createOnLocationChange();
  viewer.drawScene();
}

function nameOf(layer, mm) {
  const volume = viewer.volumes[layer.index];
  const value = volume.getValue(...volume.mm2vox(mm));
  const found = layer.colors.find(([known]) => known === value);
  return found ? found[2].toLowerCase() : "nothing";
}

function tellPlace(location) {
  const mm = Array.from(location.mm).slice(0, 3);
  const hu = viewer.volumes[0].getValue(...viewer.volumes[0].mm2vox(mm));
  const words = layers.filter((layer) => layer.targets).map((layer) => `${layer.title.toLowerCase()}: ${nameOf(layer, mm)}`);
  byId("place").textContent = [`x ${mm[0].toFixed(0)}, y ${mm[1].toFixed(0)}, z ${mm[2].toFixed(0)} mm`, `${hu} HU`, ...words].join("; ");
}

function fillLayers() {
  layers.forEach((layer) => {
    const label = make("label", "");
    const box = make("input", "", { type: "checkbox", checked: layer.on, id: `show-${layer.name}` });
    box.addEventListener("change", () => { layer.on = box.checked; setLayers(); });
    label.append(box, ` ${layer.title}`);
    byId("layers").append(label);
    if (!layer.targets) layer.colors.forEach(([, color, name]) => label.append(" ", chip(color), name));
  });
}

function fillTargets() {
  const [head, rows] = [byId("targets").tHead, byId("targets").tBodies[0]];
  const line = head.insertRow();
  ["Target", ...shown.columns].forEach((name) => line.append(make("th", name, { scope: "col" })));
  shown.targets.forEach((target) => {
    const row = rows.insertRow();
    const box = make("input", "", { type: "checkbox", checked: true, title: `show or hide: ${target.title}` });
    box.addEventListener("change", () => {
      hidden[box.checked ? "delete" : "add"](target.id);
      row.classList.toggle("hidden", !box.checked);
      setColors();
    });
    const name = make("button", target.title, { type: "button", title: "go to its middle" });
    name.addEventListener("click", () => goTo(target.place_mm));
    row.insertCell().append(box, chip(target.color), name);
    target.values.forEach((value) => { row.insertCell().textContent = value; });
  });
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    complain("This browser shows no WebGL 2; the slices need it. Another browser, or its hardware acceleration, will do.");
    return;
  }
  await viewer.attachToCanvas(byId("canvas"));
  const reading = shown.volumes.map((volume) => niivue.NVImage.loadFromBase64({
    base64: byId(`data-${volume.name}`).textContent.trim(),
    name: `${volume.name}.nii.gz`,
    colormap: "gray",
    opacity: 1,
    cal_min: volume.name === "image" ? shown.windows.abdomen[0] : NaN,
    cal_max: volume.name === "image" ? shown.windows.abdomen[1] : NaN,
    colorbarVisible: false,
  }));
  const volumes = await Promise.all(reading);
  layers.forEach((layer) => volumes[layer.index].setColormapLabel(colorsOf(layer)));
  Object.assign(viewer, { volumes, back: volumes[0], overlays: volumes.slice(1) });
  setLayers();
  viewer.setSliceType(3);
  viewer.setRenderAzimuthElevation(180, 10);
  choices("windows", Object.keys(shown.windows), "abdomen", setWindow);
  choices("views", VIEWS.map(([name]) => name), "Four views", (name) => viewer.setSliceType(Object.fromEntries(VIEWS)[name]));
  byId("opacity").addEventListener("input", setLayers);
  byId("body").addEventListener("change", setBody);
  viewer.onLocationChange = tellPlace;
  setBody();
  if (shown.targets.length) goTo(shown.start_mm);
  document.body.dataset.ready = "yes"; // the tests wait for it
}

fillLayers();
fillTargets();
start().catch((error) => complain(`The case cannot be shown: ${error.message || error}`));
