// What stands beside the verdicts: both nearest images, the statements of the answer in its own words, the re-encodings.

import { byId, clone, cosine, fill, nearestOf, showThumbnail, signed, utc } from "./slots.js";

// What a statement of the answer is about, and what its terms mean. The statement itself is shown in its own words.
const TOPIC_WORDS = {
  rate: ["False-match rate", "how often an image that is known to be real comes as near to these known fakes"],
  ratio: ["Likelihood ratio", "how much more often fakes of the corpora come this near than real images do"],
  generator: ["Generator", "by the nearest known fakes; one that the corpora lack cannot be named"],
  "known real": ["Nearest known real", "cosine similarity, −1 to 1"],
  "rests on": ["Verdict rests on", "known fakes that are the same picture, or as near as the threshold"],
  stability: ["Stability", "lowest and highest, over re-encodings of the probe"],
  calibration: ["Calibration", "its number, and the delivery that rate and ratio are stated for"],
};

function side(title, { cosine_similarity, entry }) {
  const figure = clone("side");
  const told = entry.generator ? `${entry.generator}, ${entry.corpus}` : entry.corpus;
  fill(figure, { title, cosine_similarity: cosine(cosine_similarity), told, entry: `entry ${entry.id}` });
  showThumbnail(figure, entry.id);
  return figure;
}

function showSides({ neighbours, nearest_known_real: real }) {
  const fake = nearestOf(neighbours.filter((each) => each.entry.kind === "known_fake"));
  const sides = [fake && side("Nearest known fake", fake), real && side("Nearest known real", real)].filter(Boolean);
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
  const limit = typeof threshold === "number" ? ` (its limit ${cosine(threshold)})` : "";
  const crosses = flips.map((each) => (each === "similarity" ? each + limit : each)).join(", ") || "no";
  fill(row, { name, logit: signed(logit), nearest, generator: generator ?? "not told", crosses });
  row.classList.toggle("crossing", flips.length > 0);
  return row;
}

function leftOutRow({ name, reason }) {
  const row = clone("reencoding");
  fill(row, { name, crosses: `not looked at: ${reason.replaceAll("_", " ")}` });
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
  byId("reencodings").querySelector("summary").textContent = `Each re-encoding: ${crossing} of ${rows.length} cross a limit`;
  byId("reencodings").querySelector("tbody").replaceChildren(...all);
  byId("reencodings").open = [classifier, similarity].some(({ reason }) => reason === "unstable");
}

// Answers that were stored before there was evidence have none of its fields.
export function showEvidence(answer) {
  const { similarity, statements = [] } = answer;
  byId("doubt").hidden = similarity.reason !== "poor_quality"; // else a rate and a ratio stand there as if nothing were wrong
  byId("doubt").textContent = similarity.explanation;
  showSides(similarity);
  byId("statements").replaceChildren(...statements.map((each) => statementRow(each, similarity.calibration)));
  byId("no-calibration").hidden = Boolean(similarity.calibration) || similarity.filter.kind === "known_real";
  showReencodings(answer);
}
