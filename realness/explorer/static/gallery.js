/**
 * A read-only gallery of images, maps and scores; `realness explore --share-dir` writes it.
 *
 * The data are in images.js. The page works from disk and loads nothing from the network. Text reaches it through
 * `textContent` alone: a file name is never parsed as HTML. The part of the address behind # holds the state.
 */

const PAGE = 200; // images that are added at once
const { title, images } = window.REALNESS_GALLERY;
const QUANTITIES = [
  ['mos', 'MOS'],
  ['predicted', 'Predicted MOS'],
  ['difference', 'Predicted − MOS'],
  ['mean', 'Mean of the map'],
  ['less_real', 'Less real share'],
  ['whole', 'Chance: unreal as a whole'],
];
const find = (selector) => document.querySelector(selector);
const form = find('form');
const dialog = find('dialog');
const collator = new Intl.Collator('en', { numeric: true });
let matches = [];
let shown = 0;
let current = null;

const known = (value) => value != null;
const available = QUANTITIES.filter(([name]) => images.some((image) => known(image[name])));

function create(tag, parent, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

function format(value) {
  return Number(value.toFixed(3)).toString().replace('-', '−');
}

// ---- sort and filter

function readState() {
  return Object.fromEntries(
    [...form.elements]
      .filter(({ name }) => name)
      .map((field) => [field.name, field.type === 'checkbox' ? field.checked : field.value]),
  );
}

function withinRanges(image, state) {
  return available.every(([name]) => {
    const [low, high] = [state[`${name}-min`], state[`${name}-max`]];
    if (low === '' && high === '') return true;
    if (!known(image[name])) return false;
    return (low === '' || image[name] >= Number(low)) && (high === '' || image[name] <= Number(high));
  });
}

function compare(state) {
  const sign = state.descending ? -1 : 1;
  if (state.order === 'name') return (a, b) => sign * collator.compare(images[a].name, images[b].name);
  return (a, b) => {
    const [x, y] = [images[a][state.order], images[b][state.order]];
    if (!known(x) || !known(y)) return Number(known(y)) - Number(known(x)); // unknown values last
    return sign * (x - y) || a - b;
  };
}

function update() {
  const state = readState();
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  matches = [...images.keys()].filter((i) => {
    const text = `${images[i].name} ${images[i].description}`.toLowerCase();
    return words.every((word) => text.includes(word)) && withinRanges(images[i], state);
  });
  matches.sort(compare(state));
  document.body.classList.toggle('no-maps', !state.maps);
  find('#cards').replaceChildren();
  shown = 0;
  showMore();
  find('#count').textContent = `${matches.length} of ${images.length} images`;
  saveState(state);
}

// ---- the state in the address

function saveState(state = readState()) {
  const changed = Object.entries(state).filter(([name, value]) => value !== defaults[name]);
  if (current != null) changed.push(['image', images[current].name]);
  const hash = new URLSearchParams(changed).toString();
  history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
}

function restoreState() {
  const saved = new URLSearchParams(location.hash.slice(1));
  for (const field of form.elements) {
    if (!field.name || !saved.has(field.name)) continue;
    if (field.type === 'checkbox') field.checked = saved.get(field.name) === 'true';
    else field.value = saved.get(field.name);
  }
  return images.findIndex(({ name }) => name === saved.get('image'));
}

// ---- cards

function addPicture(parent, image, source, text) {
  const box = create('span', parent, { className: 'picture' });
  create('img', box, { src: source, alt: text, loading: 'lazy' });
  if (image.map) create('img', box, { src: image.map, alt: '', loading: 'lazy', className: 'layer' });
  return box;
}

function caption(image) {
  if (image.error) return `cannot be read: ${image.error}`;
  const values = available.filter(([name]) => known(image[name])).slice(0, 3);
  const parts = values.map(([name, label]) => `${label} ${format(image[name])}`);
  if (image.problem) parts.push(`no map: ${image.problem}`);
  return parts.join(', ');
}

function addCard(i) {
  const image = images[i];
  const button = create('button', create('li', find('#cards')), { type: 'button' });
  if (image.file) addPicture(button, image, image.file.replace('images/', 'small/'), '');
  create('strong', button, { textContent: image.name });
  create('br', button);
  create('span', button, { textContent: caption(image) });
  button.addEventListener('click', () => openImage(i));
  button.dataset.image = i;
}

function showMore() {
  matches.slice(shown, shown + PAGE).forEach(addCard);
  shown = Math.min(matches.length, shown + PAGE);
  find('#more').hidden = shown >= matches.length;
}

// ---- one image

function addFact(name, text) {
  create('dt', find('#facts'), { textContent: name });
  create('dd', find('#facts'), { textContent: text });
}

function addNumbers(image) {
  for (const [name, label] of available) {
    if (!known(image[name])) continue;
    const hasInterval = name === 'predicted' && known(image.lo);
    addFact(
      label,
      format(image[name]) + (hasInterval ? ` (90 %: ${format(image.lo)} to ${format(image.hi)})` : ''),
    );
  }
}

function addFacts(image) {
  find('#facts').replaceChildren();
  if (image.error || image.problem) addFact('Problem', image.error || image.problem);
  if (image.description) addFact('Description', image.description);
  addNumbers(image);
  if (image.outside) addFact('Domain', 'unlike the training images; the prediction may be wrong');
  if (image.map) addFact('Map', [image.variant, image.quantity, image.model].filter(Boolean).join(', '));
}

function drawScale(image) {
  const scale = find('#scale');
  scale.replaceChildren();
  if (!image.map) return;
  const [low, high] = image.unrealism ? image.range : image.range.toReversed();
  scale.append(`${format(low)} `);
  create('span', scale, { className: 'bar', role: 'img', ariaLabel: 'colours from real to less real' });
  scale.append(` ${format(high)} (less real)`);
}

function setOpacity() {
  const layer = find('#large .layer');
  if (layer) layer.style.opacity = find('#opacity').value / 100;
}

function openImage(i) {
  const image = images[i];
  current = i;
  find('#name').textContent = image.name;
  find('#large').replaceChildren();
  if (image.file) addPicture(find('#large'), image, image.file, image.description || image.name);
  addFacts(image);
  drawScale(image);
  setOpacity();
  if (!dialog.open) dialog.showModal();
  saveState();
}

function step(distance) {
  const place = matches.indexOf(current) + distance;
  if (current != null && place >= 0 && place < matches.length) openImage(matches[place]);
}

function afterClose() {
  const button = find(`#cards [data-image="${current}"]`);
  current = null;
  saveState();
  button?.focus();
}

// ---- the page

function addRange([name, label]) {
  const values = images.map((image) => image[name]).filter(known);
  const field = create('fieldset', find('#ranges'));
  create('legend', field, { textContent: label });
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  for (const [end, word, bound] of [
    ['min', 'from', low],
    ['max', 'to', high],
  ]) {
    const holder = create('label', field, { textContent: `${word} ` });
    create('input', holder, {
      type: 'number',
      name: `${name}-${end}`,
      step: 'any',
      placeholder: format(bound),
    });
    holder.lastChild.setAttribute('aria-label', `${label}, ${word}`);
  }
}

function build() {
  document.title = `${title}: images and maps`;
  find('h1').textContent = title;
  create('option', form.elements.order, { value: 'name', textContent: 'name' });
  for (const [name, label] of available) {
    create('option', form.elements.order, { value: name, textContent: label });
    addRange([name, label]);
  }
  form.addEventListener('input', update);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(update));
  find('#more').addEventListener('click', showMore);
  find('#close').addEventListener('click', () => dialog.close());
  find('#opacity').addEventListener('input', setOpacity);
  dialog.addEventListener('close', afterClose);
  dialog.addEventListener('click', ({ target }) => {
    if (target.dataset.step) step(Number(target.dataset.step));
  });
  dialog.addEventListener('keydown', ({ key, target }) => {
    if (target.type === 'range') return;
    if (key === 'ArrowLeft') step(-1);
    if (key === 'ArrowRight') step(1);
  });
}

for (const image of images) {
  image.difference = known(image.mos) && known(image.predicted) ? image.predicted - image.mos : null;
}
build();
const defaults = readState();
const start = restoreState();
update();
if (start >= 0) openImage(start);
