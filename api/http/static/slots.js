// Fills the slots of lookup.html, and formats numbers and times.

export const byId = (id) => document.getElementById(id);

// The answer says with how many decimals its numbers read as the verdict compares them. Answers that were stored by early
// releases do not.
export const cosine = (value, digits = 4) => value.toFixed(digits);
export const signed = (value, digits = 2) => (value > 0 ? "+" : "") + value.toFixed(digits);
export const utc = (time) => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;

export function clone(templateId) {
  return byId(templateId).content.cloneNode(true).firstElementChild;
}

export function fill(root, texts) {
  for (const slot of root.querySelectorAll("[data-slot]")) slot.textContent = texts[slot.dataset.slot] ?? "";
}

// Writes a sentence, with what stands between backquotes as code.
export function say(element, words) {
  const parts = words.split("`").map((part, place) => {
    if (place % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
  element.replaceChildren(...parts);
}

export function nearestOf(neighbours) {
  return neighbours.reduce((a, b) => (a?.cosine_similarity >= b.cosine_similarity ? a : b), undefined);
}

export function showThumbnail(root, entryId) {
  for (const link of root.querySelectorAll("a")) link.href = `v1/entries/${entryId}`;
  const image = root.querySelector("img");
  image.addEventListener("error", () => {
    image.hidden = true;
    image.nextElementSibling.hidden = false;
  });
  image.alt = `Thumbnail of entry ${entryId}`;
  image.src = `v1/entries/${entryId}/thumbnail`;
}
