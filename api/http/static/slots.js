// Fills the slots of lookup.html, and formats numbers and times.

export const byId = (id) => document.getElementById(id);

// The answer says with how many decimals its numbers read as the verdict compares them. Answers that were stored by early
// releases do not.
// A probe that is too small for the model has no similarities.
export const cosine = (value, digits = 4) => (value == null ? "not compared" : value.toFixed(digits));
export const signed = (value, digits = 2) => (value > 0 ? "+" : "") + value.toFixed(digits);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const utc = (time) => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;

// What no text may do on the page, as `api.visible` has it for the terminal: control characters, changes of direction and
// characters without a shape are written out. Joiners and variation selectors stay; they change nothing but their own word.
const HAZARDOUS =
  /\u{1f3f4}[\u{e0061}-\u{e007a}]{5}\u{e007f}|[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e00ff}]/gu;

export function show(text) {
  return String(text).replace(HAZARDOUS, (found) => {
    const code = found.codePointAt(0);
    if (code === 0x1f3f4) return found; // a flag of England, Scotland or Wales
    const hex = code.toString(16);
    return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

// A name within other words: one that is written from right to left does not move what stands beside it.
export const isolated = (name) => `\u2068${show(name)}\u2069`;

export function clone(templateId) {
  return byId(templateId).content.cloneNode(true).firstElementChild;
}

export function fill(root, texts) {
  for (const slot of root.querySelectorAll("[data-slot]")) slot.textContent = show(texts[slot.dataset.slot] ?? "");
}

// Writes a sentence, with what stands between backquotes as code.
export function say(element, words) {
  const parts = show(words).split("`").map((part, place) => {
    if (place % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
  element.replaceChildren(...parts);
}

export function nearestOf(neighbours) {
  const compared = neighbours.filter((each) => each.cosine_similarity != null);
  return compared.reduce((a, b) => (a?.cosine_similarity >= b.cosine_similarity ? a : b), undefined);
}

export function nameComparison(root, entryId) {
  root.querySelector("button.compare").setAttribute("aria-label", `Compare the probe with entry ${entryId}`);
}

// A relative address: the page also works below a prefix.
export const thumbnailOf = (entryId) => `v1/entries/${entryId}/thumbnail`;

export function showThumbnail(root, entryId) {
  for (const link of root.querySelectorAll("a")) link.href = `v1/entries/${entryId}`;
  const image = root.querySelector("img");
  image.addEventListener("error", () => {
    image.hidden = true;
    image.nextElementSibling.hidden = false;
  });
  image.alt = `Thumbnail of entry ${entryId}`;
  image.src = thumbnailOf(entryId);
}
