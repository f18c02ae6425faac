// The page's only script: sends the probe to POST /v1/lookups and writes the answer into the slots of lookup.html.
// What comes from outside (file names, answers) reaches the document as text or as an attribute, never as markup.

const CLASSIFIER_WORDS = {
  synthetic: ["Synthetic", "The classifier takes this image for synthetic."],
  authentic: ["Authentic", "The classifier takes this image for authentic."],
  inconclusive: ["Inconclusive", "The classifier cannot tell."],
};
const SIMILARITY_WORDS = {
  similar_to_known_fakes: ["Similar to known fakes", "At least one known fake is near to this image."],
  not_similar: ["Not similar", "No searched entry is near to this image. That does not make it authentic."],
  inconclusive: ["Inconclusive", "The nearest entries are listed, and not judged."],
};
const RELATION_WORDS = {
  identical: ["identical", "the same bytes"],
  near_duplicate: ["near duplicate", "almost the same picture"],
  similar: ["similar", "at or above the threshold"],
  unrelated: ["unrelated", "below the threshold"],
};
const NOT_JUDGED = ["not judged", "no threshold is known"];
const KIND_WORDS = { known_fake: "known fake", known_real: "known real" };
const ASKED_WORDS = { known_fake: "known fakes", known_real: "known real images" };
const EMBEDDING_WORDS = { stored: "known bytes, its stored embedding was taken", computed: "embedded now" };
const ABSENT = "not told";

const byId = (id) => document.getElementById(id);
const form = byId("lookup");
let probe = null; // the File that is looked up
let pending = null; // the AbortController of the look-up that is under way

// -- words for numbers -------------------------------------------------------------------------------------------

const cosine = (value) => value.toFixed(3);
const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(2);
const spoken = (word) => word.replaceAll("_", " ");
const shortened = (sha256) => `${sha256.slice(0, 12)}…`;

function probability(value) {
  // Three decimals would print 1.000, which reads as certainty.
  if (value > 0.9995) return "above 0.999";
  return value < 0.0005 ? "below 0.001" : value.toFixed(3);
}

function byteSize(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

// -- filling the page --------------------------------------------------------------------------------------------

function fill(root, texts) {
  for (const slot of root.querySelectorAll("[data-slot]")) slot.textContent = texts[slot.dataset.slot] ?? "";
}

function announce(text) {
  byId("status").textContent = text;
}

function showVerdict(panel, verdict, [word, meaning], texts) {
  panel.dataset.verdict = verdict;
  fill(panel, { word, meaning, ...texts });
}

function showClassifier(classifier) {
  if (!classifier) {
    showVerdict(byId("classifier"), "inconclusive", ["No answer", "The classifier has not seen this image."], {});
    return;
  }
  showVerdict(byId("classifier"), classifier.verdict, CLASSIFIER_WORDS[classifier.verdict], {
    reason: classifier.reason,
    logit: signed(classifier.logit),
    probability: probability(classifier.probability),
    calibration: classifier.calibration,
  });
}

function showSimilarity(similarity) {
  const { threshold, neighbours, filter } = similarity;
  showVerdict(byId("similarity"), similarity.verdict, SIMILARITY_WORDS[similarity.verdict], {
    asked: ASKED_WORDS[filter.kind] ?? "known fakes or known real images",
    reason: similarity.reason,
    nearest: neighbours.length ? cosine(neighbours[0].cosine_similarity) : "none",
    threshold: threshold ? cosine(threshold.cosine_similarity) : "not known",
    source: threshold?.source,
    searched: similarity.searched.toLocaleString("en"),
  });
}

function neighbourRow({ rank, cosine_similarity, relation, entry }) {
  const row = byId("neighbour").content.cloneNode(true).firstElementChild;
  const [word, means] = RELATION_WORDS[relation] ?? NOT_JUDGED;
  row.dataset.relation = relation ?? "not_judged";
  fill(row, {
    rank,
    cosine_similarity: cosine(cosine_similarity),
    relation: word,
    relation_means: means,
    corpus: entry.corpus,
    kind: KIND_WORDS[entry.kind],
    generator: entry.generator ?? ABSENT,
    entry: `entry ${entry.id}`,
    sha256: shortened(entry.sha256),
  });
  row.querySelector("[data-slot=sha256]").title = entry.sha256;
  for (const link of row.querySelectorAll("a")) link.href = `v1/entries/${entry.id}`;
  showThumbnail(row.querySelector("img"), entry.id);
  return row;
}

function showThumbnail(image, entryId) {
  image.addEventListener("error", () => {
    image.hidden = true;
    image.nextElementSibling.hidden = false;
  });
  image.alt = `Thumbnail of entry ${entryId}`;
  image.src = `v1/entries/${entryId}/thumbnail`;
}

function showNeighbours(neighbours) {
  byId("neighbours").tBodies[0].replaceChildren(...neighbours.map(neighbourRow));
  byId("neighbours").hidden = neighbours.length === 0;
  byId("no-neighbours").hidden = neighbours.length > 0;
}

function showMethod({ id, created_at, probe: facts, method, timings }) {
  const root = document.querySelector(".method");
  fill(root, {
    ...method,
    id,
    created_at: new Date(created_at).toLocaleString("en-GB", { timeZone: "UTC", timeZoneName: "short" }),
    probe: facts.sha256,
    probe_facts: `${facts.format}, ${facts.width} × ${facts.height} pixels, ${byteSize(facts.byte_size)}; ${EMBEDDING_WORDS[facts.embedding]}`,
    computed_on: `${method.precision} on ${method.device}`,
    exact: method.exact ? "exact search: every entry was compared" : "approximate candidates, exact similarities",
    timings: ["decode", "embed", "search", "total"].map((step) => `${step} ${timings[`${step}_ms`].toFixed(1)} ms`).join(", "),
  });
  root.querySelector("a").href = `v1/lookups/${id}`;
}

function showAnswer(answer) {
  showClassifier(answer.classifier);
  showSimilarity(answer.similarity);
  showNeighbours(answer.similarity.neighbours);
  showMethod(answer);
  byId("answer").hidden = false;
  const said = [...document.querySelectorAll(".verdict")].map((panel) => `${panel.querySelector("h3").textContent}: ${panel.querySelector(".word").textContent}.`);
  announce(`Answered. ${said.join(" ")} ${answer.similarity.neighbours.length} nearest entries are listed.`);
  document.querySelector(".verdicts").scrollIntoView({ block: "nearest" });
}

function showProblem({ title, detail = "", errors = [], retry = "" }) {
  const root = byId("problem");
  fill(root, { title, detail, retry });
  root.querySelector("ul").replaceChildren(...errors.map(errorItem));
  root.hidden = false;
  announce("");
}

function errorItem(error) {
  const item = document.createElement("li");
  item.textContent = `${error.field}: ${error.detail}`;
  return item;
}

// -- the probe ---------------------------------------------------------------------------------------------------

function showProbe(file) {
  const figure = byId("preview");
  const image = figure.querySelector("img");
  const undisplayable = figure.querySelector(".undisplayable");
  if (image.src) URL.revokeObjectURL(image.src);
  image.hidden = false;
  undisplayable.hidden = true;
  image.onerror = () => {
    image.hidden = true;
    undisplayable.hidden = false;
  };
  image.src = URL.createObjectURL(file);
  figure.querySelector("figcaption").textContent = `${file.name}, ${byteSize(file.size)}`;
  figure.hidden = false;
}

function take(files) {
  if (files.length === 0) return;
  probe = files[0];
  showProbe(probe);
  byId("image").required = false; // a dropped file never reaches the chooser
  byId("submit").textContent = "Look up again";
  lookUp(files.length > 1 ? "Several files came; only the first is looked up. " : "");
}

// -- the look-up -------------------------------------------------------------------------------------------------

function query() {
  const fields = new FormData(form);
  const corpora = fields.getAll("corpora");
  return { k: Number(fields.get("k")), filter: { kind: fields.get("kind") || null, corpora: corpora.length ? corpora : null } };
}

function setBusy(busy) {
  form.setAttribute("aria-busy", busy);
  byId("submit").disabled = busy;
}

function clearResults() {
  for (const id of ["answer", "problem", "introduction"]) byId(id).hidden = true;
}

async function ask(file, signal) {
  const body = new FormData();
  body.set("image", file);
  body.set("query", JSON.stringify(query()));
  const response = await fetch(form.action, { method: "POST", body, signal, headers: { Accept: "application/json" } });
  if (response.ok) showAnswer(await response.json());
  else showProblem(await problemOf(response));
}

async function problemOf(response) {
  const told = await response.json().catch(() => ({}));
  const seconds = response.headers.get("Retry-After");
  return {
    title: told.title ?? `The server answered ${response.status}`,
    detail: told.detail ?? "It gave no explanation.",
    errors: told.errors,
    retry: seconds ? `Try again in ${seconds} s with “${byId("submit").textContent}”.` : "",
  };
}

async function lookUp(remark = "") {
  pending?.abort();
  clearResults();
  if (probe.size > Number(form.dataset.maxImageBytes)) {
    setBusy(false);
    showProblem({ title: "Image too large", detail: `The file has ${byteSize(probe.size)}; this service takes at most ${byteSize(Number(form.dataset.maxImageBytes))}.` });
    return;
  }
  const mine = (pending = new AbortController());
  setBusy(true);
  announce(`${remark}Looking up ${probe.name} …`);
  try {
    await ask(probe, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return; // a later probe has taken the page
    showProblem({ title: "No answer came", detail: `The connection failed: the server may be down, or the file has changed since it was chosen. (${error.message})`, retry: "The probe is kept; try again when the server is back." });
  }
  if (pending === mine) setBusy(false);
}

// -- wiring ------------------------------------------------------------------------------------------------------

function offerCorporaOfKind() {
  const kind = byId("kind").value;
  for (const box of form.querySelectorAll("[name=corpora]")) box.disabled = kind !== "" && box.dataset.kind !== kind;
}

function takeDropped(event) {
  event.preventDefault();
  byId("drop").classList.remove("over");
  const files = event.dataTransfer.files;
  if (files.length) take(files);
  else announce("That was not a file. Save the image first, then drop the file itself.");
}

function wire() {
  byId("options").hidden = byId("options").disabled = false;
  offerCorporaOfKind();
  byId("kind").addEventListener("change", offerCorporaOfKind);
  byId("image").addEventListener("change", (event) => take(event.target.files));
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
