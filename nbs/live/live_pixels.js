/**
 * Resize an image as Pillow does with `Image.resize(size, BICUBIC, reducing_gap=2)`, and interpolate maps.
 *
 * A canvas resizes with another filter, and the localizer sees the difference. An image here is
 * { width, height, data }: three bytes a pixel.
 */

const REDUCING_GAP = 2;
const SUPPORT = 2; // of the bicubic filter, in pixels of the smaller image

function bicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** First pixel and weights for every pixel of one resized side; `length` may end within a pixel. */
function filterWeights(pixels, length, target) {
  const scale = length / target;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: target }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - SUPPORT * stretch + 0.5));
    const end = Math.min(pixels, Math.trunc(centre + SUPPORT * stretch + 0.5));
    const weights = Float64Array.from({ length: end - first }, (__, j) =>
      bicubic((first + j - centre + 0.5) / stretch),
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Filter along one side: `step` bytes lie between neighbours along it, and `others` lists the other starts. */
function filterSide(source, target, plan, side) {
  for (const [from, to] of side.starts) {
    plan.forEach(({ first, weights }, i) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        let place = from + first * side.step + channel;
        for (const weight of weights) {
          sum += weight * source[place];
          place += side.step;
        }
        target[to + i * side.targetStep + channel] = Math.round(sum); // clamped by the array
      }
    });
  }
}

const range = (n, make) => Array.from({ length: n }, (_, i) => make(i));

/** Average boxes of pixels; boxes at the right and the lower border may be smaller. */
function reduce(image, factorX, factorY) {
  const width = Math.ceil(image.width / factorX);
  const height = Math.ceil(image.height / factorY);
  const sums = new Float64Array(width * height * 3);
  const counts = new Uint32Array(width * height);
  for (let y = 0; y < image.height; y++) {
    const row = Math.floor(y / factorY) * width;
    for (let x = 0; x < image.width; x++) {
      const cell = row + Math.floor(x / factorX);
      const place = (y * image.width + x) * 3;
      counts[cell] += 1;
      for (let channel = 0; channel < 3; channel++) sums[cell * 3 + channel] += image.data[place + channel];
    }
  }
  const data = Uint8ClampedArray.from(sums, (sum, i) => Math.floor(sum / counts[Math.floor(i / 3)] + 0.5));
  return { width, height, data };
}

export function resize(image, width, height) {
  const factorX = Math.trunc(image.width / width / REDUCING_GAP) || 1;
  const factorY = Math.trunc(image.height / height / REDUCING_GAP) || 1;
  const small = factorX > 1 || factorY > 1 ? reduce(image, factorX, factorY) : image;
  const wide = new Uint8ClampedArray(width * small.height * 3);
  filterSide(small.data, wide, filterWeights(small.width, image.width / factorX, width), {
    step: 3,
    targetStep: 3,
    starts: range(small.height, (y) => [y * small.width * 3, y * width * 3]),
  });
  const data = new Uint8ClampedArray(width * height * 3);
  filterSide(wide, data, filterWeights(small.height, image.height / factorY, height), {
    step: width * 3,
    targetStep: width * 3,
    starts: range(width, (x) => [x * 3, x * 3]),
  });
  return { width, height, data };
}

/** Round halves to the even number, as Python does. */
function roundEven(x) {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** Width and height for the network: multiples of 32, with `side` pixels on the longer side. */
export function networkSize(image, side) {
  const factor = side / Math.max(image.width, image.height);
  return [image.width, image.height].map((length) => Math.max(32, roundEven((length * factor) / 32) * 32));
}

/** Pixels of an image as the network reads them: three planes, values in 0-1. */
export function networkPixels(image, side) {
  const [width, height] = networkSize(image, side);
  const { data } = resize(image, width, height);
  const pixels = new Float32Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels[channel * width * height + i] = data[i * 3 + channel] / 255;
    }
  }
  return { width, height, pixels };
}

/** Whether an image has one colour. */
export function isPlain(image) {
  const low = [255, 255, 255];
  const high = [0, 0, 0];
  image.data.forEach((value, i) => {
    low[i % 3] = Math.min(low[i % 3], value);
    high[i % 3] = Math.max(high[i % 3], value);
  });
  return low.every((value, i) => high[i] - value <= 1);
}

function neighbours(old, target) {
  return range(target, (i) => {
    const place = Math.min(Math.max(((i + 0.5) * old) / target - 0.5, 0), old - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, old - 1), place - first];
  });
}

const at = (map, row, column) => map.values[row * map.width + column];

/** Enlarge a map { width, height, values } by bilinear interpolation between the centres of its cells. */
export function enlarge(map, width, height) {
  const columns = neighbours(map.width, width);
  const values = new Float32Array(width * height);
  neighbours(map.height, height).forEach(([upper, lower, down], y) => {
    columns.forEach(([left, right, along], x) => {
      const above = at(map, upper, left) + (at(map, upper, right) - at(map, upper, left)) * along;
      const below = at(map, lower, left) + (at(map, lower, right) - at(map, lower, left)) * along;
      values[y * width + x] = above + (below - above) * down;
    });
  });
  return { width, height, values };
}

export function meanMap(maps, width, height) {
  const sum = new Float32Array(width * height);
  for (const map of maps) {
    enlarge(map, width, height).values.forEach((value, i) => {
      sum[i] += value / maps.length;
    });
  }
  return { width, height, values: sum };
}

/** Quantile with linear interpolation, as numpy computes it. */
export function quantile(values, share) {
  const sorted = Float32Array.from(values).toSorted();
  const place = share * (sorted.length - 1);
  const first = Math.floor(place);
  const second = Math.min(first + 1, sorted.length - 1);
  return sorted[first] + (sorted[second] - sorted[first]) * (place - first);
}
