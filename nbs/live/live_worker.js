/**
 * Maps images in a thread of its own, with ONNX Runtime compiled to WebAssembly.
 *
 * Message from the page: { id, image } with an image of `live_pixels.js`, and the size of the map.
 * Messages to the page: { ready } after loading; { id, map, whole, seconds } or { id, error }.
 * The computation is that of the Python class `OnnxLocalizer`.
 */

import { isPlain, meanMap, networkPixels, quantile } from './live_pixels.js';

const LARGEST_MAP = 1024; // pixels of the longer side of a map

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

async function load() {
  const ort = await import('./ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = new URL('./', import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  const response = await fetch(new URL('model.json', import.meta.url));
  if (!response.ok) throw new Error(`model.json: ${response.status}`);
  const facts = await response.json();
  const file = new URL(facts.file, import.meta.url).href;
  const session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'] });
  return { ort, facts, session };
}

const loaded = load();
loaded.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ error: String(error.message || error) }),
);

function flatten(map) {
  const values = Float32Array.from(map.values).toSorted();
  return { ...map, values: map.values.fill(values[Math.floor((values.length - 1) / 2)]) };
}

const asMap = ({ dims, data }) => ({ height: dims[2], width: dims[3], values: Float32Array.from(data) });

/** Logits of cells, strengths of features, and the logit of the image, with `side` pixels on the longer side. */
async function compute({ ort, session }, image, side) {
  const { width, height, pixels } = networkPixels(image, side);
  const output = await session.run({ image: new ort.Tensor('float32', pixels, [1, 3, height, width]) });
  const maps = { flaws: asMap(output.flaws), strength: asMap(output.strength) };
  if (isPlain(image)) for (const name of Object.keys(maps)) maps[name] = flatten(maps[name]);
  return { ...maps, whole: output.whole.data[0] };
}

/** Logits of the centre prior, a Gaussian a quarter of the sides wide. */
function centrePrior(x, y, width, height) {
  const [across, down] = [(x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5].map((place) => place / 0.25);
  return -(across * across + down * down) / 2;
}

function combine(facts, outputs, width, height) {
  const flaws = outputs.map((output) => output.flaws);
  const last = flaws.at(-1);
  const logits = meanMap(flaws, width, height);
  const { slope, shift, centre, salience } = facts;
  let weight = 0;
  if (salience) {
    const evidence = quantile(meanMap(flaws, last.width, last.height).values, 0.995);
    weight = salience.weight / (1 + Math.exp(2 * (evidence - salience.fade)));
  }
  const strengths = meanMap(
    outputs.map((output) => output.strength),
    width,
    height,
  ).values;
  const values = logits.values.map((logit, i) => {
    const stands = weight ? (weight * (strengths[i] - salience.mean)) / salience.spread : 0;
    const middle = centre ? centre * centrePrior(i % width, Math.floor(i / width), width, height) : 0;
    return sigmoid(slope * logit + shift + stands + middle);
  });
  return { width, height, values };
}

async function mapImage(image) {
  const start = performance.now();
  const model = await loaded;
  const outputs = await Promise.all(model.facts.sides.map((side) => compute(model, image, side)));
  const factor = Math.min(1, LARGEST_MAP / Math.max(image.width, image.height));
  const size = [image.width, image.height].map((length) => Math.max(1, Math.round(length * factor)));
  const map = combine(model.facts, outputs, ...size);
  const { whole } = await compute(model, image, model.facts.whole_side);
  return { map, whole: sigmoid(whole), seconds: (performance.now() - start) / 1000 };
}

let queue = Promise.resolve(); // one image at a time

self.addEventListener('message', ({ data: { id, image } }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ id, ...(await mapImage(image)) });
    } catch (error) {
      postMessage({ id, error: String(error.message || error) });
    }
  });
});
