// Fills the slots of lookup.html, and formats numbers and times.

export const byId = (id) => document.getElementById(id);

export const cosine = (value) => value.toFixed(3);
export const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(2);
export const utc = (time) => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;

export function clone(templateId) {
  return byId(templateId).content.cloneNode(true).firstElementChild;
}

export function fill(root, texts) {
  for (const slot of root.querySelectorAll("[data-slot]")) slot.textContent = texts[slot.dataset.slot] ?? "";
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
