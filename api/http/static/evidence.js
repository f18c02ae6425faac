// The evidence beside the verdicts: both nearest images, the sentences of the answer, the re-encodings.

import { byId, clone, cosine, fill, isolated, nameComparison, nearestOf, say, show, showThumbnail, signed, utc } from "./slots.js";

// The title of each topic, and what its terms mean. The sentence itself is shown as the answer has it.
const TOPIC_WORDS = {
  rate: ["False-match rate", "how often a known-real image comes this near to these known fakes"],
  hits: ["Hit rate", "how often a known fake comes this near to another one: what the false-match rate is worth"],
  ratio: ["Likelihood ratio", "how often such similarities are found among fakes and among known-real images"],
  generator: ["Generator", "a generator that the corpora do not hold cannot be named"],
  "known real": ["Nearest known-real image", "from −1 to 1; higher is nearer"],
  "rests on": ["Verdict rests on", "known fakes that show the same picture, or are as near as the threshold"],
  stability: ["Stability", "smallest and largest values, over re-encodings of the probe"],
  precision: ["Precision", "what computed the probe and the corpora, and how far that may move a similarity"],
  calibration: ["Calibration", "its number, and the kind of delivery that rate and ratio apply to"],
};

function side(title, { cosine_similarity, entry }, digits) {
  const figure = clone("side");
  const origin = entry.generator ? `${entry.generator}, ${entry.corpus}` : entry.corpus;
  fill(figure, { title, cosine_similarity: cosine(cosine_similarity, digits), origin, entry: `entry ${entry.id}` });
  nameComparison(figure, entry.id);
  showThumbnail(figure, entry.id);
  return figure;
}

// The known fake that the verdict rests on, which is not always the most similar one.
function fakeOf({ neighbours, nearest_known_fake }) {
  return nearest_known_fake ?? nearestOf(neighbours.filter((each) => each.entry.kind === "known_fake"));
}

// Both sides can be compared with the probe, one after the other.
function showSides(similarity, compare) {
  const { nearest_known_real: real, digits } = similarity;
  const fake = fakeOf(similarity);
  const named = [
    ["Nearest known fake", fake],
    ["Nearest known-real image", real],
  ].filter(([, neighbour]) => neighbour);
  const figures = named.map(([title, neighbour]) => side(title, neighbour, digits));
  const neighbours = named.map(([, neighbour]) => neighbour);
  figures.forEach((figure, rank) => figure.querySelector("button").addEventListener("click", () => compare(neighbours, rank)));
  byId("evidence").querySelector(".sides").replaceChildren(...figures);
}

function statementRow({ topic, words }, { calibration, hit_rate }) {
  const row = clone("statement");
  const [title, gloss] = TOPIC_WORDS[topic] ?? [topic, ""];
  const used = topic === "calibration" ? calibration : null;
  fill(row, { title, words, gloss, inputs: used && inputsOf(used), link: used && `calibration ${used.id}` });
  if (used) row.querySelector("a").href = `v1/calibrations/${used.id}`;
  const generators = topic === "hits" ? (hit_rate?.generators ?? []) : [];
  row.querySelector("details").hidden = generators.length === 0;
  row.querySelector("details ul").replaceChildren(...byShare(generators).map(hitsItem));
  row.dataset.topic = topic;
  row.classList.toggle("provisional", Boolean(used?.provisional));
  return row;
}

// What a calibration did not keep comes last.
function byShare(generators) {
  const share = ({ matches, images }) => (matches == null ? -1 : matches / images);
  return [...generators].sort((a, b) => share(b) - share(a) || a.generator.localeCompare(b.generator));
}

function hitsItem({ generator, matches, images }) {
  const item = document.createElement("li");
  item.textContent = `${isolated(generator)}: ${matches ?? "more than are kept"} of ${images}`;
  return item;
}

function inputsOf({ against, reference, created_at }) {
  return `${against.join(", ")} against ${reference.join(", ")}, measured ${utc(created_at)}`;
}

function reencodingRow({ name, logit, nearest_similarity, generator, threshold, flips = [] }, digits) {
  const row = clone("reencoding");
  const nearest = nearest_similarity == null ? "none" : cosine(nearest_similarity, digits.similarity);
  const limit = typeof threshold === "number" ? ` (threshold ${cosine(threshold, digits.similarity)})` : "";
  const crosses = flips.map((each) => (each === "similarity" ? each + limit : each)).join(", ") || "no";
  fill(row, { name, logit: logit == null ? "" : signed(logit, digits.logit), nearest, generator: generator ?? "not declared", crosses });
  row.classList.toggle("crossing", flips.length > 0);
  return row;
}

function leftOutRow({ name, reason }) {
  const row = clone("reencoding");
  fill(row, { name, crosses: `could not be used: ${reason.replaceAll("_", " ")}` });
  return row;
}

function showReencodings(answer) {
  const { stability, classifier, similarity } = answer;
  byId("reencodings").hidden = !stability;
  if (!stability) return;
  const digits = { similarity: similarity.digits, logit: classifier?.digits };
  const fake = nearestOf(similarity.neighbours.filter((each) => each.entry.kind === "known_fake"));
  const asSent = { name: "as sent", logit: classifier?.logit, nearest_similarity: similarity.nearest_similarity };
  const rows = stability.reencodings.map((each) => reencodingRow(each, digits));
  const crossing = rows.filter((row) => row.classList.contains("crossing")).length;
  const first = reencodingRow({ ...asSent, generator: fake?.entry.generator }, digits);
  const all = [first, ...rows, ...stability.left_out.map(leftOutRow)];
  byId("reencodings").querySelector("summary").textContent = `Re-encodings: ${crossing} of ${rows.length} cross a limit`;
  byId("reencodings").querySelector("tbody").replaceChildren(...all);
  byId("reencodings").open = [classifier, similarity].some((each) => each?.reason === "unstable");
}

// What each stage that looks for copies did, also those that did not run.
function showStages(copies) {
  const stages = copies?.stages ?? [];
  byId("copies").hidden = stages.length === 0;
  if (stages.length === 0) return;
  const found = stages.reduce((sum, each) => sum + each.found, 0);
  const ran = stages.filter(({ outcome }) => outcome === "ran" || outcome === "no_candidates").length;
  byId("copies").querySelector("summary").textContent =
    `Edited copies: ${ran} of ${stages.length} stages looked; ${found ? "some found copies or leads" : "none found anything"}`;
  byId("copies").querySelector("ul").replaceChildren(...stages.map(stageItem));
}

function stageItem({ outcome, words }) {
  const item = document.createElement("li");
  item.dataset.outcome = outcome;
  say(item, words);
  return item;
}

// What to do, and what was not looked for, stand beside the verdict.
const isEvidence = ({ topic }) => topic !== "next step" && topic !== "copies";

// Answers that were stored by early releases lack these fields.
export function showEvidence(answer, compare) {
  const { similarity, statements = [] } = answer;
  byId("doubt").hidden = similarity.reason !== "poor_quality"; // a warning above the rate and the ratio
  byId("doubt").textContent = show(similarity.explanation);
  showSides(similarity, compare);
  byId("statements").replaceChildren(...statements.filter(isEvidence).map((each) => statementRow(each, similarity)));
  byId("no-calibration").hidden = Boolean(similarity.calibration) || similarity.filter.kind === "known_real";
  showStages(answer.copies);
  showReencodings(answer);
}
