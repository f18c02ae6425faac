// Where a stored picture lies in the probe, as 3 x 3 matrices of nine numbers, row by row. They take a point of the stored
// picture to the probe, each in fractions of width and height. This module computes and touches no document.

export const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1];

// What each symmetry does to a point (x, y) of the unit square; y goes down, turns are clockwise.
const SYMMETRIES = {
  upright: IDENTITY,
  mirrored: [-1, 0, 1, 0, 1, 0, 0, 0, 1],
  flipped: [1, 0, 0, 0, -1, 1, 0, 0, 1],
  turned_90: [0, -1, 1, 1, 0, 0, 0, 0, 1],
  turned_180: [-1, 0, 1, 0, -1, 1, 0, 0, 1],
  turned_270: [0, 1, 0, -1, 0, 1, 0, 0, 1],
  transposed: [0, 1, 0, 1, 0, 0, 0, 0, 1],
  transversed: [0, -1, 1, -1, 0, 1, 0, 0, 1],
};
const CORNERS = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0, 1],
];
const SMALLEST_DEPTH = 1e-6; // of a point against the middle; behind it, a browser draws nothing

export function multiply(a, b) {
  return IDENTITY.map((_, place) => {
    const [row, column] = [Math.floor(place / 3), place % 3];
    return [0, 1, 2].reduce((sum, k) => sum + a[3 * row + k] * b[3 * k + column], 0);
  });
}

// Null for a matrix that maps the square to a line.
export function invert(matrix) {
  const [a, b, c, d, e, f, g, h, i] = matrix;
  const adjugate = [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, a * e - b * d];
  const determinant = a * adjugate[0] + b * adjugate[3] + c * adjugate[6];
  if (!Number.isFinite(determinant) || Math.abs(determinant) < 1e-12) return null;
  return adjugate.map((value) => value / determinant);
}

// Null for a point at infinity or behind the middle of the picture.
export function apply(matrix, [x, y]) {
  const [a, b, c, d, e, f, g, h, i] = matrix;
  const depth = g * x + h * y + i;
  const middle = g / 2 + h / 2 + i;
  if (!(depth / middle > SMALLEST_DEPTH)) return null;
  return [(a * x + b * y + c) / depth, (d * x + e * y + f) / depth];
}

// The four corners of one picture in the other; null where the matrix does not show the whole picture from the front.
export function outlineOf(matrix) {
  const corners = CORNERS.map((corner) => apply(matrix, corner));
  return corners.every((corner) => corner !== null && corner.every(Number.isFinite)) ? corners : null;
}

// From the whole of a picture to a part of it.
const intoPart = (part) =>
  part ? [part.right - part.left, 0, part.left, 0, part.bottom - part.top, part.top, 0, 0, 1] : IDENTITY;

// A part of the probe looks like the stored picture after a symmetry, or like the part of it that was kept.
export function matrixOfView({ symmetry, part, kept }) {
  const outOfKept = invert(intoPart(kept)) ?? IDENTITY;
  return multiply(intoPart(part), multiply(outOfKept, SYMMETRIES[symmetry] ?? IDENTITY));
}

// How a neighbour's picture is laid over the probe: { matrix, source }, or null where nothing says how.
export function placeNeighbour({ relation, copy_evidence: copy }) {
  const placed = copy?.correspondence
    ? { matrix: copy.correspondence.homography, source: "features" }
    : copy?.symmetry
      ? { matrix: matrixOfView(copy), source: "hash" }
      : relation === "identical" || relation === "near_duplicate"
        ? { matrix: IDENTITY, source: "same" }
        : null;
  return placed && outlineOf(placed.matrix) && invert(placed.matrix) ? placed : null;
}

// For an element of `from` pixels, with its origin in the top left corner, above an element of `to` pixels. The 3 x 3 matrix
// takes the third and sixth place of the two rows that CSS reads column by column.
export function cssTransform(matrix, from, to) {
  const pixels = multiply(multiply([to.width, 0, 0, 0, to.height, 0, 0, 0, 1], matrix), [1 / from.width, 0, 0, 0, 1 / from.height, 0, 0, 0, 1]);
  const middle = (pixels[6] * from.width) / 2 + (pixels[7] * from.height) / 2 + pixels[8];
  const [a, b, c, d, e, f, g, h, i] = pixels.map((value) => value / middle); // in front of the eye, whatever the sign was
  return `matrix3d(${[a, d, 0, g, b, e, 0, h, 0, 0, 1, 0, c, f, 0, i].join(", ")})`;
}
