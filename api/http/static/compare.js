// The compare view: the probe and a neighbour's picture, one over the other where a transform between them is known, or side
// by side. It shows the probe's own file and the neighbour's thumbnail; `overlay.js` says where they lie.

import { cssTransform, invert, outlineOf, placeNeighbour } from "./overlay.js";
import { byId, fill, percent, show, thumbnailOf } from "./slots.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const BLINK_MILLISECONDS = 900; // about one flash in two seconds, far below the three in one second of WCAG 2.3.1
const SOURCE_WORDS = {
  features: "The place is computed from local features that both pictures share.",
  hash: "The place is that of the view whose hash is near. It is approximate.",
  same: "The pictures are laid over each other as they are.",
  null: "No transform between the two pictures is known, so they can only stand side by side.",
};
const VIEW_WORDS = {
  entry: "the known picture, laid over the probe",
  probe: "the probe, laid over the known picture",
};

const dialog = byId("compare");
const panes = { probe: dialog.querySelector("[data-pane=probe]"), entry: dialog.querySelector("[data-pane=entry]") };
let shown = null; // { probe, neighbours, describe, rank } while the view is open
let placed = null; // what `placeNeighbour` says of the neighbour that is shown
let timer = null;

const pictures = (what) => dialog.querySelectorAll(`img[data-picture=${what}]`);
const base = (pane) => panes[pane].querySelector("img.lower");
const over = (pane) => panes[pane].querySelector("img.upper");
const view = () => dialog.querySelector("[name=compare-view]:checked").value;
// The pane with both pictures: a picture is laid over the other one.
const lowerOf = { entry: "probe", probe: "entry" };

export function openComparison(probe, neighbours, rank, describe) {
  shown = { probe, neighbours, describe, rank: null };
  for (const image of pictures("probe")) load(image, probe.address, "The probe");
  showNeighbour(rank);
  dialog.showModal();
  arrange();
}

export function closeComparison() {
  dialog.close();
}

function showNeighbour(rank) {
  stopBlinking();
  shown.rank = rank;
  const neighbour = shown.neighbours[rank];
  const { entry } = neighbour;
  placed = placeNeighbour(neighbour);
  for (const image of pictures("entry")) load(image, thumbnailOf(entry.id), `Thumbnail of entry ${entry.id}`);
  fill(dialog, {
    entry: `entry ${entry.id}`,
    place: `${rank + 1} of ${shown.neighbours.length}`,
    origin: [entry.corpus, entry.generator].filter(Boolean).join(", "),
    ...shown.describe(neighbour),
    source: SOURCE_WORDS[placed?.source ?? null],
  });
  byId("compare-previous").disabled = rank === 0;
  byId("compare-next").disabled = rank === shown.neighbours.length - 1;
  offerViews(neighbour);
  drawOutlines();
  arrange();
}

// Without a transform there is only one view. A probe that is a part of the known picture is looked at within it.
function offerViews({ copy_evidence: copy }) {
  for (const choice of dialog.querySelectorAll("[name=compare-view]")) choice.disabled = !placed && choice.value !== "sides";
  const isPart = copy?.correspondence && copy.correspondence.entry_covered < copy.correspondence.probe_covered;
  const preferred = !placed ? "sides" : isPart ? "probe" : "entry";
  dialog.querySelector(`[name=compare-view][value=${preferred}]`).checked = true;
}

// An image that cannot be shown leaves its outline, and words in its place.
function load(image, address, words) {
  image.onload = arrange;
  image.onerror = () => {
    image.classList.add("missing");
    arrange();
  };
  image.classList.remove("missing");
  image.alt = words;
  image.src = address;
}

function sizeOf(what) {
  const image = base(what);
  if (image.naturalWidth && !image.classList.contains("missing")) return { width: image.naturalWidth, height: image.naturalHeight };
  const stated = what === "probe" ? shown.probe : shown.neighbours[shown.rank].entry;
  return stated.width && stated.height ? { width: stated.width, height: stated.height } : { width: 1, height: 1 };
}

// Sizes the pictures to the window and the zoom, and lays the upper one where it belongs.
function arrange() {
  if (!shown || !dialog.open) return;
  const mode = view();
  for (const [name, pane] of Object.entries(panes)) {
    pane.hidden = mode !== "sides" && lowerOf[mode] !== name;
    pane.querySelector(".unshown").hidden = !base(name).classList.contains("missing");
    over(name).hidden = mode === "sides";
  }
  for (const name of Object.keys(panes)) if (!panes[name].hidden) arrangePane(name);
  byId("compare-mix").disabled = byId("compare-blink").disabled = mode === "sides";
  mix();
}

function arrangePane(name) {
  const pane = panes[name];
  const scroller = pane.querySelector(".scroller");
  const { width, height } = sizeOf(name);
  // Without the scroll bars, which come and go with the zoom; of the border there is one pixel on each side.
  const fit = Math.min((scroller.offsetWidth - 2) / width, (scroller.offsetHeight - 2) / height);
  const scale = fit * Number(byId("compare-zoom").value);
  const size = { width: width * scale, height: height * scale };
  const frame = pane.querySelector(".frame");
  frame.style.width = `${size.width}px`;
  frame.style.height = `${size.height}px`;
  if (!placed) return;
  const matrix = name === "probe" ? placed.matrix : invert(placed.matrix);
  over(name).style.transform = cssTransform(matrix, size, size); // the upper picture has the frame's size before
}

function drawOutlines() {
  const matrices = { probe: placed?.matrix, entry: placed && invert(placed.matrix) };
  for (const [name, pane] of Object.entries(panes)) {
    const corners = matrices[name] ? outlineOf(matrices[name]) : null;
    const svg = pane.querySelector("svg");
    svg.classList.toggle("missing", corners === null);
    for (const line of svg.children) line.setAttribute("points", (corners ?? []).map((corner) => corner.join(",")).join(" "));
  }
}

function mix() {
  const slider = byId("compare-mix");
  const share = Number(slider.value) / 100;
  for (const name of Object.keys(panes)) over(name).style.opacity = share;
  const words = VIEW_WORDS[view()];
  slider.setAttribute("aria-valuetext", words ? `${percent(share)} of ${words}` : "not used side by side");
  byId("compare-mixed").textContent = percent(share);
  byId("compare-zoomed").textContent = percent(Number(byId("compare-zoom").value));
  dialog.classList.toggle("outlined", byId("compare-outline").checked);
}

function blink() {
  const slider = byId("compare-mix");
  slider.value = Number(slider.value) >= 50 ? 0 : 100;
  mix();
}

// Once only for who wants no motion.
function startBlinking() {
  blink();
  if (STILL.matches) return;
  timer = setInterval(blink, BLINK_MILLISECONDS);
  byId("compare-blink").setAttribute("aria-pressed", "true");
}

function stopBlinking() {
  clearInterval(timer);
  timer = null;
  byId("compare-blink").setAttribute("aria-pressed", "false");
}

// Both pictures show the same place, as far as their sizes allow.
function follow(event) {
  const from = event.target;
  const share = (position, whole, part) => (whole > part ? position / (whole - part) : 0);
  const x = share(from.scrollLeft, from.scrollWidth, from.clientWidth);
  const y = share(from.scrollTop, from.scrollHeight, from.clientHeight);
  for (const other of dialog.querySelectorAll(".scroller")) {
    if (other === from) continue;
    const [left, top] = [x * (other.scrollWidth - other.clientWidth), y * (other.scrollHeight - other.clientHeight)];
    if (Math.abs(other.scrollLeft - left) > 1) other.scrollLeft = left; // a place that is reached starts no event
    if (Math.abs(other.scrollTop - top) > 1) other.scrollTop = top;
  }
}

export function wireComparison() {
  byId("compare-close").addEventListener("click", closeComparison);
  dialog.addEventListener("close", () => {
    stopBlinking();
    shown = null;
  });
  byId("compare-previous").addEventListener("click", () => showNeighbour(shown.rank - 1));
  byId("compare-next").addEventListener("click", () => showNeighbour(shown.rank + 1));
  for (const choice of dialog.querySelectorAll("[name=compare-view]")) choice.addEventListener("change", () => (stopBlinking(), arrange()));
  byId("compare-mix").addEventListener("input", () => (stopBlinking(), mix()));
  byId("compare-zoom").addEventListener("input", arrange);
  byId("compare-outline").addEventListener("change", mix);
  byId("compare-blink").addEventListener("click", () => (timer === null ? startBlinking() : stopBlinking()));
  for (const scroller of dialog.querySelectorAll(".scroller")) scroller.addEventListener("scroll", follow);
  addEventListener("resize", arrange);
}

// Words for a screen reader and for the eye. A border around a crop lies over the known picture too, so this is no share of
// what both pictures show.
export function describePlace({ copy_evidence: copy }) {
  const found = copy?.correspondence;
  if (!found) return "";
  const { inliers, matches, probe_covered, entry_covered } = found;
  const covered = `Laid like this they overlap in ${percent(probe_covered)} of the probe and ${percent(entry_covered)} of the known picture.`;
  return show(`${covered} ${inliers} of ${matches} pairs of local features fit.`);
}
