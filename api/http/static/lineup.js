// The page's script: sends the probe to POST /v1/lookups and writes the answer into the slots of lookup.html.
// File names and answers reach the document as text or as an attribute, never as markup.

import { closeComparison, describePlace, openComparison, wireComparison } from "./compare.js";
import { showEvidence } from "./evidence.js";
import { byId, clone, cosine, fill, isolated, nameComparison, nearestOf, say, show, showThumbnail, signed, utc } from "./slots.js";

// What a verdict is called, as on the terminal, and what it says.
const NAMES = JSON.parse(byId("names").textContent);
const CLASSIFIER_MEANS = {
  synthetic: "The classifier assigns this image to its class “synthetic”.",
  no_traces: "The classifier misses some fakes, and they look like this. It does not show that the image is genuine.",
  inconclusive: "The classifier gives no verdict.",
};
const SIMILARITY_MEANS = {
  similar_to_known_fakes: "At least one known fake is near to this image, or is the same image.",
  not_similar: "No searched known fake is near to this image. That does not mean that it is real.",
  inconclusive: "The search gives no verdict.",
};
const RELATION_WORDS = {
  identical: ["identical", "the same bytes"],
  near_duplicate: ["near duplicate", "the same picture"],
  edited_copy: ["edited copy", "the same picture, edited"],
  possible_copy: ["possible copy", "a lead, not a match: compare the two by eye"],
  similar: ["similar", "at or above the threshold"],
  below_threshold: ["below threshold", "not as near as the threshold"],
  null: ["not judged", "no threshold is known"],
};
const ISSUE_WORDS = { too_small: "too small", flat: "flat", unfamiliar: "unfamiliar: far from every entry" };
const KIND_WORDS = { known_fake: "known fake", known_real: "known real" };
const ASKED_WORDS = { known_fake: "known fakes", known_real: "known-real images", null: "known fakes or known-real images" };
const EMBEDDING_WORDS = {
  none: "too small for the model, so it was not embedded",
  stored: "same bytes as a stored image, whose embedding was used",
  computed: "embedded for this look-up",
};
const STEPS = ["decode", "embed", "describe", "search", "verify", "total"];

const NARROW = matchMedia("(max-width: 61.99rem)"); // one column; see lineup.css
const form = byId("lookup");
const maxImageBytes = Number(form.dataset.maxImageBytes);
let probe = null; // the File that is looked up
let pending = null; // the AbortController of the look-up in progress

// Three decimals would print 1.000, which looks like certainty.
function probability(value) {
  if (value > 0.9995) return "above 0.999";
  return value < 0.0005 ? "below 0.001" : value.toFixed(3);
}

function byteSize(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function announce(text) {
  byId("status").textContent = text;
}

function showVerdict(id, verdict, meanings, texts) {
  byId(id).dataset.verdict = verdict;
  fill(byId(id), { word: capitalise(NAMES[verdict] ?? verdict.replaceAll("_", " ")), meaning: meanings[verdict], ...texts });
}

function capitalise(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// It assumes as many synthetic as real images.
function probabilityHint({ ece }) {
  const error = ece == null ? "not known" : ece.toFixed(3);
  return `calibrated, if synthetic and real images are equally common; expected calibration error (ECE) ${error}`;
}

// Answers that were stored by early releases have the sigmoid of an uncalibrated logit, which is no probability.
function showClassifier(classifier) {
  byId("classifier").querySelector(".figures").hidden = !classifier;
  if (!classifier) {
    const reason = "the image is too small for the model, so the classifier was not asked";
    showVerdict("classifier", "not_asked", { not_asked: "There is no verdict." }, { reason });
    return;
  }
  const { calibration, digits, probability: value } = classifier;
  const isCalibrated = calibration !== "uncalibrated" && value != null;
  byId("probability").hidden = !isCalibrated;
  showVerdict("classifier", classifier.verdict, CLASSIFIER_MEANS, {
    reason: classifier.explanation,
    logit: signed(classifier.logit, digits),
    limits: describeLimits(classifier),
    limits_source: classifier.limits_source,
    probability: isCalibrated ? probability(value) : "",
    hint: isCalibrated ? probabilityHint(classifier) : "",
    calibration,
  });
}

function describeLimits({ no_traces_logit: low, synthetic_logit: high, digits }) {
  const limits = [];
  if (low != null) limits.push(`no traces up to ${signed(low, digits)}`);
  if (high != null) limits.push(`synthetic from ${signed(high, digits)}`);
  return limits.join(", ") || "none";
}

function showSimilarity({ verdict, explanation, threshold, neighbours, filter, searched, nearest_similarity, digits, next_step }, copies) {
  const nearest = nearest_similarity ?? nearestOf(neighbours)?.cosine_similarity;
  showVerdict("similarity", verdict, SIMILARITY_MEANS, {
    asked: ASKED_WORDS[filter.kind],
    reason: explanation,
    nearest_what: nearest_similarity == null ? "Nearest entry" : "Highest similarity to a known fake",
    nearest: nearest == null ? "none" : cosine(nearest, digits),
    threshold: threshold ? cosine(threshold.cosine_similarity, digits) : "none",
    source: threshold?.source,
    searched: searched.toLocaleString("en"),
  });
  say(byId("next-step"), next_step ?? "");
  say(byId("not-looked-for"), copies?.not_looked_for ?? "");
}

function showCaution(caution) {
  byId("casework").textContent = show(caution ?? "");
  byId("casework").hidden = !caution;
}

// What a copy rests on stands in the answer, in words.
function relationWords({ relation, cosine_similarity, hamming_distance, copy_evidence: copy }) {
  if (relation === null && cosine_similarity === null) return ["not compared", "the probe is too small for the model"];
  const [word, means] = RELATION_WORDS[relation] ?? [relation.replaceAll("_", " "), ""];
  // Answers of early releases have no words for a copy.
  const isUnsaid = relation === "near_duplicate" && !copy && hamming_distance != null;
  return [word, isUnsaid ? `${means}: ${hamming_distance} of 256 bits of the hashes differ` : means];
}

function neighbourRow(neighbour, digits) {
  const { rank, cosine_similarity, relation, copy_evidence: copy, entry } = neighbour;
  const row = clone("neighbour");
  const [word, means] = relationWords(neighbour);
  row.dataset.relation = relation;
  fill(row, {
    rank,
    cosine_similarity: cosine(cosine_similarity, digits),
    relation: word,
    relation_means: means,
    edit: copy?.words,
    corpus: entry.corpus,
    kind: KIND_WORDS[entry.kind],
    generator: entry.generator ?? "not declared",
    entry: `entry ${entry.id}`,
    sha256: `${entry.sha256.slice(0, 12)}…`,
  });
  nameComparison(row, entry.id);
  row.querySelector("[data-slot=sha256]").title = entry.sha256;
  showThumbnail(row, entry.id);
  return row;
}

function showNeighbours({ neighbours, digits }, image) {
  const rows = neighbours.map((each) => neighbourRow(each, digits));
  rows.forEach((row, rank) => row.querySelector("button").addEventListener("click", () => compare(image, neighbours, rank)));
  byId("neighbours").tBodies[0].replaceChildren(...rows);
  byId("neighbours").hidden = neighbours.length === 0;
  byId("no-neighbours").hidden = neighbours.length > 0;
}

function compare(image, neighbours, rank) {
  const { src: address } = byId("preview").querySelector("img");
  const describeNeighbour = (neighbour) => {
    const [relation] = relationWords(neighbour);
    return { relation, edit: neighbour.copy_evidence?.words, covered: describePlace(neighbour) };
  };
  openComparison({ ...image, address }, neighbours, rank, describeNeighbour);
}

function approximate({ recall, k, measured_at }) {
  const measured = `recall at ${k} of ${recall.toFixed(4)}, measured ${utc(measured_at)}`;
  return `approximate candidates, exact similarities: ${measured}`;
}

// How far that moves answers from float32 on a CPU, where it was measured.
function describeComputation({ precision, device, computed }) {
  const own = computed?.probe ?? { precision, device };
  const words = own.precision ? `${own.precision} on ${own.device}` : "nobody recorded on what";
  const check = own.check;
  if (!check) return words;
  const moves = `cosine at least ${check.smallest_cosine.toFixed(6)}, logit within ${check.largest_logit_difference.toFixed(3)}`;
  return `${words}; compared with float32 on a CPU: ${moves}, on ${check.images} pictures`;
}

function qualityFacts({ shortest_side, pdq_quality, luminance_std }) {
  const facts = [];
  if (shortest_side !== null) facts.push(`shorter side ${shortest_side} pixels`);
  if (pdq_quality !== null) facts.push(`quality of its hash ${pdq_quality} of 100`);
  if (luminance_std !== null) facts.push(`standard deviation of the luminance ${luminance_std.toFixed(1)} of 255`);
  return facts.join(", ");
}

function showMethod({ id, stored, created_at, probe: image, method, timings, quality }) {
  const size = `${image.width} × ${image.height} pixels, ${byteSize(image.byte_size)}`;
  fill(byId("method"), {
    ...method,
    id,
    created_at: utc(created_at),
    probe: image.sha256,
    probe_facts: `${image.format}, ${size}; ${EMBEDDING_WORDS[image.embedding]}`,
    quality: quality ? (ISSUE_WORDS[quality.issue] ?? quality.issue ?? "sufficient for a verdict") : "not measured",
    quality_facts: quality ? qualityFacts(quality) : "",
    computed_on: describeComputation(method),
    exact: method.exact ? "exact search: every entry was compared" : approximate(method.recall),
    timings: STEPS.flatMap((step) => (timings[`${step}_ms`] == null ? [] : `${step} ${timings[`${step}_ms`].toFixed(1)} ms`)).join(", "),
  });
  const link = byId("method").querySelector("a");
  if (stored) link.href = `v1/lookups/${id}`;
  else link.removeAttribute("href");
}

// On a narrow screen an answer comes before the form, for the eye and in the order of the keyboard.
function placeForm() {
  const answeredFirst = NARROW.matches && byId("introduction").hidden;
  if (answeredFirst === (form.previousElementSibling !== null)) return;
  const focused = document.activeElement;
  if (answeredFirst) form.parentElement.append(form);
  else form.parentElement.prepend(form);
  if (form.contains(focused)) focused.focus({ preventScroll: true });
}

function showAnswer(answer) {
  showCaution(answer.caution);
  showClassifier(answer.classifier);
  showSimilarity(answer.similarity, answer.copies);
  showEvidence(answer, (neighbours, rank) => compare(answer.probe, neighbours, rank));
  showNeighbours(answer.similarity, answer.probe);
  showMethod(answer);
  byId("answer").hidden = false;
  const caution = answer.caution ? `${answer.caution} ` : "";
  const verdicts = ["classifier", "similarity"].map((id) => `${id}: ${describe(byId(id))}.`);
  const unseen = answer.copies?.not_looked_for ? ` Not looked for: ${answer.copies.not_looked_for}.` : "";
  announce(`Answered. ${caution}${verdicts.join(" ")}${unseen} Nearest entries listed: ${answer.similarity.neighbours.length}.`);
  placeForm();
  // On a narrow screen the answer takes the place of the form, so the reader is taken to its beginning.
  if (NARROW.matches) byId("answer-title").focus({ preventScroll: true });
  byId("results").scrollIntoView({ block: NARROW.matches ? "start" : "nearest" });
}

function describe(shown) {
  const word = shown.querySelector(".word").textContent;
  // Two verdicts are not to be heard without their reason: what keeps a verdict back, and how many fakes are missed.
  const needsReason = ["inconclusive", "no_traces", "not_asked"].includes(shown.dataset.verdict);
  return needsReason ? `${word}, ${shown.querySelector(".reason").textContent}` : word;
}

function showProblem({ title, detail = "", errors = [], retry = "" }) {
  fill(byId("problem"), { title, detail, retry });
  byId("problem").querySelector("ul").replaceChildren(...errors.map(errorItem));
  byId("problem").hidden = false;
  placeForm();
  byId("problem").scrollIntoView({ block: "nearest" });
  announce("");
}

function errorItem({ field, detail }) {
  const item = document.createElement("li");
  item.textContent = `${isolated(field)}: ${show(detail)}`;
  return item;
}

async function readProblem(response) {
  const problem = await response.json().catch(() => ({}));
  const seconds = response.headers.get("Retry-After");
  return {
    title: problem.title ?? `The server answered ${response.status}`,
    detail: problem.detail ?? "The server gave no explanation.",
    errors: problem.errors,
    retry: seconds ? `Try again in ${seconds} s.` : "",
  };
}

function describeFailure(error) {
  const detail = `The server may be down, or the file has changed since it was chosen. (${error.message})`;
  return { title: "No answer from the server", detail, retry: "The probe is still selected: try again when the server is back." };
}

// Checked here, because a browser often does not show the answer of a server that refuses a body during its upload.
function describeTooLarge(file) {
  const detail = `The file has ${byteSize(file.size)}; this service accepts at most ${byteSize(maxImageBytes)}.`;
  return { title: "Image too large", detail };
}

function showProbe(file) {
  const image = byId("preview").querySelector("img");
  const undisplayable = byId("preview").querySelector(".undisplayable");
  const displayable = (yes) => {
    image.hidden = !yes;
    undisplayable.hidden = yes;
  };
  URL.revokeObjectURL(image.src);
  displayable(true);
  image.onerror = () => displayable(false);
  image.src = URL.createObjectURL(file);
  byId("preview").querySelector("figcaption").textContent = `${isolated(file.name)}, ${byteSize(file.size)}`;
  byId("preview").hidden = false;
  byId("shown-probe").textContent = show(file.name);
}

function take(files) {
  if (files.length === 0) return;
  probe = files[0];
  showProbe(probe);
  byId("image").required = false; // a dropped file is not in the file input
  lookUp(files.length > 1 ? "Several files were given; only the first is looked up. " : "");
}

function query() {
  const fields = new FormData(form);
  const corpora = fields.getAll("corpora");
  const filter = { kind: fields.get("kind") || null, corpora: corpora.length ? corpora : null };
  return JSON.stringify({ k: Number(fields.get("k")), filter, stability: fields.has("stability") });
}

function setBusy(busy) {
  form.setAttribute("aria-busy", busy);
  byId("submit").disabled = busy;
  byId("submit").textContent = busy ? "Looking up …" : "Look up again";
}

async function ask(file, signal) {
  const body = new FormData();
  body.set("image", file);
  body.set("query", query());
  const headers = { "X-Requested-By": "Lineup" }; // for browsers that send no Origin
  const response = await fetch(form.action, { method: "POST", headers, body, signal });
  if (response.ok) showAnswer(await response.json());
  else showProblem(await readProblem(response));
}

async function lookUp(remark = "") {
  pending?.abort();
  closeComparison();
  for (const id of ["answer", "problem", "introduction"]) byId(id).hidden = true; // they belong to another probe
  byId("missing")?.remove(); // the answer says what is missing for it
  if (probe.size > maxImageBytes) {
    setBusy(false);
    showProblem(describeTooLarge(probe));
    return;
  }
  const mine = (pending = new AbortController());
  setBusy(true);
  announce(`${remark}Looking up ${probe.name} …`);
  await ask(probe, mine.signal).catch((error) => mine.signal.aborted || showProblem(describeFailure(error)));
  if (!mine.signal.aborted) setBusy(false); // otherwise a later look-up is in progress
}

function offerCorporaOfKind() {
  const kind = byId("kind").value;
  for (const box of form.querySelectorAll("[name=corpora]")) box.disabled = kind !== "" && box.dataset.kind !== kind;
}

function takeDropped(event) {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else showProblem({ title: "Not a file", detail: "Save the image as a file first, then drop the file." });
}

function wire() {
  wireComparison();
  byId("options").hidden = byId("options").disabled = false;
  offerCorporaOfKind();
  byId("kind").addEventListener("change", offerCorporaOfKind);
  byId("image").addEventListener("change", (event) => take(event.target.files));
  NARROW.addEventListener("change", placeForm);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (probe) lookUp();
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || byId("drop").classList.remove("over"));
  document.addEventListener("drop", takeDropped);
}

wire();
