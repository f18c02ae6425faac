// The evidence beside the verdicts: both nearest images, the sentences of the answer, the re-encodings.

import { byId, clone, cosine, fill, nearestOf, showThumbnail, signed, utc } from "./slots.js";

// The title of each topic, and what its terms mean. The sentence itself is shown as the answer has it.
const TOPIC_WORDS = {
  rate: ["False-match rate", "how often a known-real image comes this near to these known fakes"],
  ratio: ["Likelihood ratio", "how much better the similarity fits a generator in the corpora than a known-real image"],
  generator: ["Generator", "by the nearest known fakes; a generator that the corpora do not hold cannot be named"],
  "known real": ["Nearest known-real image", "from −1 to 1; higher is nearer"],
  "rests on": ["Verdict rests on", "known fakes that show the same picture, or are as near as the threshold"],
  stability: ["Stability", "smallest and largest values, over re-encodings of the probe"],
  calibration: ["Calibration", "its number, and the kind of delivery that rate and ratio apply to"],
};

function side(title, { cosine_similarity, entry }) {
  const figure = clone("side");
  const origin = entry.generator ? `${entry.generator}, ${entry.corpus}` : entry.corpus;
  fill(figure, { title, cosine_similarity: cosine(cosine_similarity), origin, entry: `entry ${entry.id}` });
  showThumbnail(figure, entry.id);
  return figure;
}

function showSides({ neighbours, nearest_known_real: real }) {
  const fake = nearestOf(neighbours.filter((each) => each.entry.kind === "known_fake"));
  const sides = [fake && side("Nearest known fake", fake), real && side("Nearest known-real image", real)].filter(Boolean);
  byId("evidence").querySelector(".sides").replaceChildren(...sides);
}

function statementRow({ topic, words }, calibration) {
  const row = clone("statement");
  const [title, gloss] = TOPIC_WORDS[topic] ?? [topic, ""];
  const used = topic === "calibration" ? calibration : null;
  fill(row, { title, words, gloss, inputs: used && inputsOf(used), link: used && `calibration ${used.id}` });
  if (used) row.querySelector("a").href = `v1/calibrations/${used.id}`;
  row.dataset.topic = topic;
  return row;
}

function inputsOf({ against, reference, created_at }) {
  return `${against.join(", ")} against ${reference.join(", ")}, measured ${utc(created_at)}`;
}

function reencodingRow({ name, logit, nearest_similarity, generator, threshold, flips = [] }) {
  const row = clone("reencoding");
  const nearest = nearest_similarity === null ? "none" : cosine(nearest_similarity);
  const limit = typeof threshold === "number" ? ` (threshold ${cosine(threshold)})` : "";
  const crosses = flips.map((each) => (each === "similarity" ? each + limit : each)).join(", ") || "no";
  fill(row, { name, logit: signed(logit), nearest, generator: generator ?? "not declared", crosses });
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
  const fake = nearestOf(similarity.neighbours.filter((each) => each.entry.kind === "known_fake"));
  const asSent = { name: "as sent", logit: classifier.logit, nearest_similarity: similarity.nearest_similarity };
  const rows = stability.reencodings.map(reencodingRow);
  const crossing = rows.filter((row) => row.classList.contains("crossing")).length;
  const all = [reencodingRow({ ...asSent, generator: fake?.entry.generator }), ...rows, ...stability.left_out.map(leftOutRow)];
  byId("reencodings").querySelector("summary").textContent = `Re-encodings: ${crossing} of ${rows.length} cross a limit`;
  byId("reencodings").querySelector("tbody").replaceChildren(...all);
  byId("reencodings").open = [classifier, similarity].some(({ reason }) => reason === "unstable");
}

// Answers that were stored by early releases lack these fields.
export function showEvidence(answer) {
  const { similarity, statements = [] } = answer;
  byId("doubt").hidden = similarity.reason !== "poor_quality"; // a warning above the rate and the ratio
  byId("doubt").textContent = similarity.explanation;
  showSides(similarity);
  byId("statements").replaceChildren(...statements.map((each) => statementRow(each, similarity.calibration)));
  byId("no-calibration").hidden = Boolean(similarity.calibration) || similarity.filter.kind === "known_real";
  showReencodings(answer);
}
