/**
 * The page "Try it in your browser": drop an image, see its map. Nothing leaves the browser.
 *
 * The build of the site adds the localizer and ONNX Runtime (`.ci/live_demo.py`) and describes them in
 * `live.json`. This is no module, because browsers load no modules from disk. Text reaches the page through `textContent` alone.
 */

(() => {
  const LARGEST_SIDE = 4096; // pixels; larger images are reduced when they are decoded
  const OPACITY = 0.75; // of the strongest colour, as in saved heatmaps
  const STEP = 16; // pixels of the map that an arrow key moves
  const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const root = document.querySelector('#live-demo');
  const base = new URL('live/', document.baseURI);
  const part = (name) => root.querySelector(`[data-part=${name}]`);
  const state = { id: 0, image: null, result: null, colours: null, worker: null, started: 0, cursor: null };

  function say(text, isProblem = false) {
    part('status').textContent = text;
    part('status').classList.toggle('live-problem', isProblem);
  }

  // ---- images

  function rgbOf(canvas) {
    const { width, height } = canvas;
    const rgba = canvas.getContext('2d', { willReadFrequently: true }).getImageData(0, 0, width, height).data;
    const data = new Uint8ClampedArray(width * height * 3);
    for (let i = 0; i < width * height; i++) data.set(rgba.subarray(i * 4, i * 4 + 3), i * 3);
    return { width, height, data };
  }

  /** Draw an upright image on white, as `load_image` does. */
  function drawBitmap(canvas, bitmap) {
    const factor = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * factor));
    canvas.height = Math.max(1, Math.round(bitmap.height * factor));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.imageSmoothingQuality = 'high';
    context.fillStyle = 'white';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  }

  async function show(blob, name) {
    state.id += 1;
    const { id } = state;
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
    } catch {
      say(`${name} is no image that this browser can read. Try a JPEG, PNG or WebP file.`, true);
      return;
    }
    if (id !== state.id) return;
    drawBitmap(part('image'), bitmap);
    bitmap.close();
    part('view').hidden = false;
    part('map').getContext('2d').clearRect(0, 0, part('map').width, part('map').height);
    part('name').textContent = name;
    Object.assign(state, { result: null, cursor: null, started: performance.now() });
    part('facts').replaceChildren();
    say('Computing the map ...');
    const image = rgbOf(part('image'));
    state.worker.postMessage({ id, image }, [image.data.buffer]);
  }

  // ---- maps

  function paint() {
    const { map } = state.result;
    const canvas = part('map');
    canvas.width = map.width;
    canvas.height = map.height;
    const context = canvas.getContext('2d');
    const pixels = context.createImageData(map.width, map.height);
    map.values.forEach((value, i) => {
      const level = Math.min(255, Math.max(0, Math.round(value * 255)));
      pixels.data.set(state.colours[level], i * 4);
      pixels.data[i * 4 + 3] = Math.round(255 * OPACITY * value);
    });
    context.putImageData(pixels, 0, 0);
    drawCursor(context);
  }

  function drawCursor(context) {
    if (!state.cursor) return;
    const { x, y } = state.cursor;
    const radius = Math.max(4, state.result.map.width / 90);
    for (const [colour, width] of [
      ['black', radius / 2],
      ['white', radius / 4],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function percent(value) {
    return `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
  }

  function addFact(name, text) {
    const term = document.createElement('dt');
    const value = document.createElement('dd');
    term.textContent = name;
    value.textContent = text;
    part('facts').append(term, value);
  }

  function strongest(map) {
    let best = 0;
    map.values.forEach((value, i) => {
      if (value > map.values[best]) best = i;
    });
    return { x: best % map.width, y: Math.floor(best / map.width), value: map.values[best] };
  }

  function describePlace({ x, y }, { width, height }) {
    const across = ['left', 'centre', 'right'][Math.min(2, Math.floor((3 * x) / width))];
    const down = ['top', 'middle', 'bottom'][Math.min(2, Math.floor((3 * y) / height))];
    return `${down} ${across}`;
  }

  function summarise({ map, whole, seconds }) {
    const best = strongest(map);
    const marked = map.values.filter((value) => value > 0.5).length / map.values.length;
    part('facts').replaceChildren();
    addFact(
      'Highest chance that a person would mark the place',
      `${percent(best.value)} (${describePlace(best, map)})`,
    );
    addFact('Share of the image above one half', percent(marked));
    addFact('Chance that the whole image is no photograph', percent(whole));
    addFact('Time in your browser', `${seconds.toFixed(1)} s`);
    const verdict =
      marked > 0.001 ? `The least real place is at the ${describePlace(best, map)}.` : 'Nothing stands out.';
    say(`${verdict} Point at the image, tap it or use the arrow keys to read the map.`);
  }

  function receive({ data }) {
    if (data.ready) {
      root.dataset.state = 'ready';
      if (!state.image && !state.id) say('Ready. Drop an image, paste one, or choose an example.');
    } else if (data.error) {
      say(`The map could not be computed: ${data.error}`, true);
    } else if (data.id === state.id) {
      state.result = data;
      state.wall = (performance.now() - state.started) / 1000;
      paint();
      summarise(data);
      root.dataset.done = data.id;
    }
  }

  // ---- reading the map

  function readAt(x, y) {
    if (!state.result) return;
    const { map } = state.result;
    state.cursor = {
      x: Math.min(map.width - 1, Math.max(0, Math.round(x))),
      y: Math.min(map.height - 1, Math.max(0, Math.round(y))),
    };
    paint();
    const value = map.values[state.cursor.y * map.width + state.cursor.x];
    part('value').textContent = `Chance at this place: ${percent(value)}`;
  }

  function followPointer(event) {
    const box = part('map').getBoundingClientRect();
    if (!state.result || !box.width) return;
    const { map } = state.result;
    readAt(
      ((event.clientX - box.left) / box.width) * map.width,
      ((event.clientY - box.top) / box.height) * map.height,
    );
  }

  function followKeys(event) {
    const step = KEYS[event.key];
    if (!step || !state.result) return;
    event.preventDefault();
    const { map } = state.result;
    const { x, y } = state.cursor || strongest(map);
    readAt(x + step[0] * STEP, y + step[1] * STEP);
  }

  // ---- the page

  function connectInputs() {
    part('file').addEventListener('change', ({ target }) => {
      if (target.files[0]) show(target.files[0], target.files[0].name);
      target.value = '';
    });
    root.addEventListener('dragover', (event) => {
      event.preventDefault();
      root.classList.add('live-drop');
    });
    root.addEventListener('dragleave', () => root.classList.remove('live-drop'));
    root.addEventListener('drop', (event) => {
      event.preventDefault();
      root.classList.remove('live-drop');
      const file = event.dataTransfer.files[0];
      if (file) show(file, file.name);
    });
    document.addEventListener('paste', ({ clipboardData }) => {
      const file = [...clipboardData.files].find(({ type }) => type.startsWith('image/'));
      if (file) show(file, file.name || 'pasted image');
    });
    part('opacity').addEventListener('input', ({ target }) => {
      part('map').style.opacity = target.value / 100;
    });
    part('view').addEventListener('pointermove', followPointer);
    part('view').addEventListener('pointerdown', followPointer);
    part('view').addEventListener('keydown', followKeys);
  }

  function addExamples(examples) {
    for (const { file, label } of examples) {
      const button = document.createElement('button');
      const image = document.createElement('img');
      button.type = 'button';
      image.src = new URL(file, base).href;
      image.alt = '';
      button.append(image, label);
      button.addEventListener('click', async () => {
        const response = await fetch(image.src);
        show(await response.blob(), label);
      });
      part('examples').append(button);
    }
  }

  async function start() {
    if (location.protocol === 'file:') {
      say(
        'Browsers compute no maps on pages opened from disk. Serve the folder of the site, for example with ' +
          '"python -m http.server 8000" in it, and open http://localhost:8000/live_demo.html.',
        true,
      );
      return;
    }
    const response = await fetch(new URL('live.json', base));
    const { colours, examples } = response.ok ? await response.json() : {};
    if (!colours) {
      say('This copy of the site was built without the demo (it needs npm and the extra onnx).', true);
      return;
    }
    state.colours = colours;
    part('bar').style.background =
      `linear-gradient(to right, ${colours.map((c) => `rgb(${c.join(' ')})`).join(',')})`;
    state.worker = new Worker(new URL('live_worker.js', base), { type: 'module' });
    state.worker.addEventListener('message', receive);
    state.worker.addEventListener('error', () => say('This browser cannot run the demo.', true));
    addExamples(examples);
    connectInputs();
    part('controls').hidden = false;
    say('Loading the localizer (20 MB, once) ...');
  }

  root.demo = { show, state }; // for tests
  start().catch((error) => say(`The demo could not start: ${error.message}`, true));
})();
