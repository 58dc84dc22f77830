/**
 * What the page around the explorer needs: a state in its address, names for screen readers, and a message while
 * the connection to the kernel is lost. The Python class `ExplorerPage` documents the traits.
 *
 * Messages to the kernel: { kind: 'restore', state }, with the state from the address of the page, and
 * { kind: 'file', id, name, size, parts } with a part of a file that the user has dropped, pasted or chosen.
 */

const CHECK_INTERVAL = 3000; // milliseconds between checks whether the server answers again
const CHECKS_BEFORE_RELOAD = 2; // the connection may come back by itself
const PART_BYTES = 2 ** 21; // of a file in one message
const LOST_DELAY = 1500; // milliseconds; shorter interruptions are not shown
const GONE = new Set(['dead', 'terminating', 'restarting', 'autorestarting']);
const TYPED = 'input, textarea, select, button, [role=slider], .rl-canvas';
const APP_MESSAGE = 'The connection to the explorer is lost. It is restored as soon as the server answers.';
const CELL_MESSAGE = 'The connection to the kernel is lost. If the kernel has stopped, run the cell again.';

const FIELDS = 'input, textarea, select, [contenteditable]'; // where letters are typed
const KEYS = [
  ['?', 'Show or hide this list'],
  ['/', 'Search images'],
  ['n, p', 'Next image, previous image'],
  ['d', 'Type a description'],
  ['t', 'Type tags of the image'],
  ['1 to 9', 'Add or remove the tag of this number'],
  ['a', 'Add images of your own (or drop or paste them)'],
  ['c', 'Compare two maps'],
  ['m', 'Go to the map'],
  ['h', 'Show or hide the maps (heatmaps) on the thumbnails'],
  ['Arrow keys', 'Move the pointer on the map (with Alt by one pixel)'],
  ['Enter', 'Pin the location under the pointer'],
  ['Shift + arrow keys', 'Draw a box on the map'],
  ['Escape', 'Remove the pin or the box'],
  ['Space', 'Show the image alone while the key is held'],
  ['s', 'Save the box or the pin as a finding'],
  ['r', 'Name the box as a region; then press Add region'],
];

function createElement(tag, className, parent, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text != null) element.textContent = text;
  parent.append(element);
  return element;
}

/** A dialog with all keyboard shortcuts. */
function createKeysDialog(parent) {
  const dialog = createElement('dialog', 'rl-keys', parent);
  dialog.setAttribute('aria-label', 'Keyboard shortcuts');
  createElement('h2', '', dialog, 'Keyboard shortcuts');
  const list = createElement('dl', '', dialog);
  for (const [keys, meaning] of KEYS) {
    createElement('dt', '', list, keys);
    createElement('dd', '', list, meaning);
  }
  const close = createElement('button', 'jupyter-button', dialog, 'Close');
  close.addEventListener('click', () => dialog.close());
  return dialog;
}

function setAttribute(element, name, value) {
  if (element && element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// ---- names and states for screen readers

function nameSliders(root) {
  for (const slider of root.querySelectorAll('.widget-slider')) {
    const label = slider.querySelector('.widget-label')?.textContent || 'value';
    const handles = [...slider.querySelectorAll('.noUi-handle')];
    const readout = slider.querySelector('.widget-readout')?.textContent || '';
    const values = readout.split(' – ');
    for (const [i, handle] of handles.entries()) {
      setAttribute(
        handle,
        'aria-label',
        handles.length > 1 ? `${label}, ${['lowest', 'highest'][i]}` : label,
      );
      setAttribute(handle, 'aria-valuetext', values.length === handles.length ? values[i] : readout);
    }
  }
}

function nameButtons(root) {
  for (const button of root.querySelectorAll('.widget-toggle-button, .widget-toggle-buttons button')) {
    setAttribute(button, 'aria-pressed', button.classList.contains('mod-active'));
    if (!button.textContent.trim() && button.title) setAttribute(button, 'aria-label', button.title);
  }
}

function nameInputs(root) {
  for (const input of root.querySelectorAll('input[type=text], textarea')) {
    const label = input.parentElement.querySelector('.widget-label')?.textContent;
    if (!label) setAttribute(input, 'aria-label', input.placeholder || input.title);
  }
}

class ExplorerPage {
  constructor(model, element) {
    this.model = model;
    this.root = null; // the element of the explorer
    this.lost = false;
    this.gone = false; // the kernel has stopped, so that this page cannot be used again
    this.listeners = new AbortController();
    this.banner = createElement('div', 'rl-lost', element);
    this.banner.setAttribute('role', 'alert');
    this.banner.hidden = true;
    this.keys = createKeysDialog(element);
    this.buildButtons(createElement('div', 'rl-page-buttons', element));
    this.sent = Promise.resolve(); // when all files have been sent
    this.fileCount = 0;
    this.live = createElement('div', 'rl-live', element);
    this.live.setAttribute('role', 'status');
    this.element = element;
    this.onState = () => this.writeAddress();
    this.start();
  }

  buildButtons(parent) {
    const createButton = (text, title) => {
      const button = createElement('button', 'jupyter-button', parent, text);
      button.title = title;
      return button;
    };
    const add = createButton('Add images…', 'Or drop them anywhere, or paste one');
    add.addEventListener('click', () => this.fileInput.click());
    this.fileInput = createElement('input', '', parent);
    Object.assign(this.fileInput, { type: 'file', accept: 'image/*', multiple: true, hidden: true });
    this.fileInput.addEventListener('change', () => {
      this.sendFiles(this.fileInput.files);
      this.fileInput.value = ''; // the same file can be chosen again
    });
    const keys = createButton('Keyboard shortcuts (?)', 'List all keys');
    keys.addEventListener('click', () => this.keys.showModal());
  }

  start() {
    this.root = this.element.closest('.rl-app');
    if (!this.root) {
      this.startTimer = setTimeout(() => this.start(), 50);
      return;
    }
    this.nameControls();
    this.observer = new MutationObserver(() => this.nameLater());
    const watched = { childList: true, subtree: true, attributes: true, attributeFilter: ['class'] };
    this.observer.observe(this.root, watched);
    this.listenToSpace();
    this.listenToKeys();
    this.listenToFiles();
    if (this.model.get('app')) this.startApp();
    this.watchConnection();
  }

  startApp() {
    this.root.setAttribute('role', 'main');
    this.model.on('change:state', this.onState);
    window.addEventListener('hashchange', () => this.readAddress(), { signal: this.listeners.signal });
    if (!this.readAddress()) this.writeAddress();
  }

  destroy() {
    this.listeners.abort();
    this.observer?.disconnect();
    this.model.off('change:state', this.onState);
    for (const timer of [this.startTimer, this.nameTimer, this.lostTimer, this.checkTimer])
      clearTimeout(timer);
  }

  // ---- the state in the address

  /** Send the state in the address to the kernel. Returns whether there is one. */
  readAddress() {
    const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    if (!state.image || location.hash === this.written) return false;
    this.model.send({ kind: 'restore', state });
    return true;
  }

  writeAddress() {
    const state = this.model.get('state');
    if (!state.image) return;
    document.title = `${state.image.split('/').pop()} – Heatmap explorer`;
    this.written = `#${new URLSearchParams(state)}`;
    history.replaceState(null, '', this.written);
  }

  // ---- screen readers and keyboard

  nameLater() {
    clearTimeout(this.nameTimer);
    this.nameTimer = setTimeout(() => this.nameControls(), 60);
  }

  nameControls() {
    nameSliders(this.root);
    nameButtons(this.root);
    nameInputs(this.root);
    this.announceStatus();
  }

  /** Announce the lines below the maps when they are complete. */
  announceStatus() {
    const lines = [...this.root.querySelectorAll('.rl-status')];
    if (!lines.length || lines.some((line) => line.classList.contains('busy'))) return;
    const text = lines.map((line) => line.textContent).join('. ');
    if (this.live.textContent !== text) this.live.textContent = text;
  }

  /** Space shows the image alone wherever the focus is, unless it is on a control that uses Space. */
  listenToSpace() {
    for (const name of ['keydown', 'keyup']) {
      document.addEventListener(name, (event) => this.onSpace(event), { signal: this.listeners.signal });
    }
  }

  onSpace(event) {
    const { target } = event;
    const isFree = target === document.body ? this.model.get('app') : this.root.contains(target);
    if (event.key !== ' ' || !isFree || target.closest(TYPED)) return;
    event.preventDefault();
    for (const canvas of this.root.querySelectorAll('.rl-canvas')) {
      canvas.dispatchEvent(new KeyboardEvent(event.type, { key: ' ' }));
    }
  }

  /** Letters work in the app alone, because JupyterLab has shortcuts of its own. */
  listenToKeys() {
    const { signal } = this.listeners;
    document.addEventListener('keydown', (event) => this.onKey(event), { signal });
  }

  onKey(event) {
    if (event.target.closest(FIELDS) || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = this.actionOf(event);
    if (!action) return;
    event.preventDefault();
    action();
  }

  actionOf({ key, target }) {
    const isApp = this.model.get('app');
    if (key === '?' && (isApp || this.root.contains(target))) return () => this.toggleKeys();
    if (!isApp || this.keys.open) return null;
    return /^[1-9]$/.test(key) ? () => this.toggleTag(Number(key)) : this.actions[key];
  }

  toggleKeys() {
    if (this.keys.open) this.keys.close();
    else this.keys.showModal();
  }

  get actions() {
    const focus = (selector) => () => this.root.querySelector(selector)?.focus();
    return {
      '/': focus('input[placeholder^="Search"]'),
      n: () => this.stepImage('ArrowRight'),
      p: () => this.stepImage('ArrowLeft'),
      d: focus('.rl-pane textarea'),
      t: focus('.rl-tag-text input'),
      a: () => this.fileInput.click(),
      c: () => this.press('Compare'),
      m: focus('.rl-canvas'),
      h: () => this.press('Maps'),
      s: () => this.press('Save finding'),
      r: focus('input[placeholder^="What looks unreal"]'),
    };
  }

  /** Select the next or previous image, as an arrow key on the selected thumbnail does. */
  stepImage(key) {
    const thumbnail = this.root.querySelector('.rl-thumbnail[tabindex="0"]');
    thumbnail?.focus();
    thumbnail?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  }

  toggleTag(number) {
    this.root.querySelectorAll('.rl-tag')[number - 1]?.click();
  }

  press(label) {
    const buttons = [...this.root.querySelectorAll('button')];
    buttons.find((button) => button.textContent.trim() === label)?.click();
  }

  // ---- images of the user

  /** Files can be dropped anywhere in the app, and pasted where no text is typed. */
  listenToFiles() {
    const { signal } = this.listeners;
    const area = this.model.get('app') ? document : this.root;
    for (const name of ['dragenter', 'dragover', 'dragleave', 'drop']) {
      area.addEventListener(name, (event) => this.onDrag(event), { signal });
    }
    document.addEventListener('paste', (event) => this.onPaste(event), { signal });
  }

  onDrag(event) {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    event.stopPropagation();
    const hasLeft = event.type === 'dragleave' && !event.relatedTarget;
    this.root.classList.toggle('rl-drop', event.type !== 'drop' && !hasLeft);
    if (event.type === 'drop') this.sendFiles(event.dataTransfer.files);
  }

  onPaste(event) {
    const { files, types } = event.clipboardData;
    const isText = types.includes('text/plain') && event.target.closest(FIELDS);
    const isOurs = this.model.get('app') || this.root.contains(event.target);
    if (!files.length || isText || !isOurs) return;
    event.preventDefault();
    this.sendFiles(files);
  }

  sendFiles(files) {
    for (const file of files) this.sendFile(file);
  }

  /** Send a file in parts, after those that are being sent. A folder cannot be read; it is sent as an empty file. */
  sendFile(file) {
    const { name, size } = file;
    const isTooLarge = size > this.model.get('max_bytes');
    const parts = isTooLarge ? 1 : Math.max(1, Math.ceil(size / PART_BYTES));
    this.fileCount += 1;
    const message = { kind: 'file', id: this.fileCount, name, size, parts };
    const send = (content, part) => this.model.send(content, undefined, [part]);
    for (let i = 0; i < parts; i++) {
      const part = isTooLarge ? new Blob() : file.slice(i * PART_BYTES, (i + 1) * PART_BYTES);
      this.sent = this.sent
        .then(() => part.arrayBuffer())
        .then(
          (bytes) => send(message, bytes),
          () => send({ ...message, parts: 1 }, new ArrayBuffer(0)),
        );
    }
  }

  // ---- the connection

  watchConnection() {
    const kernel = this.model.widget_manager?.kernel;
    if (!kernel?.connectionStatusChanged) return;
    const check = () => this.onConnection(kernel);
    kernel.connectionStatusChanged.connect(check);
    kernel.statusChanged.connect(check);
    this.listeners.signal.addEventListener('abort', () => {
      kernel.connectionStatusChanged.disconnect(check);
      kernel.statusChanged.disconnect(check);
    });
  }

  onConnection(kernel) {
    if (GONE.has(kernel.status)) this.gone = true;
    const isLost = this.gone || kernel.connectionStatus !== 'connected';
    clearTimeout(this.lostTimer);
    if (isLost && !this.lost)
      this.lostTimer = setTimeout(() => this.setLost(true), this.gone ? 0 : LOST_DELAY);
    else if (!isLost && this.lost) this.setLost(false);
  }

  /** Show the message and disable everything else, because changes would have no effect. */
  setLost(lost) {
    this.lost = lost;
    this.banner.hidden = !lost;
    this.banner.textContent = lost ? (this.model.get('app') ? APP_MESSAGE : CELL_MESSAGE) : '';
    for (const part of this.root.children) part.inert = lost && !part.contains(this.element);
    clearTimeout(this.checkTimer);
    if (lost && this.model.get('app')) this.checkServer(0);
  }

  /** Load the page again when the server answers but the connection does not come back. */
  checkServer(answers) {
    this.checkTimer = setTimeout(async () => {
      const answered = await fetch('voila/static/none', { cache: 'no-store' }).then(
        () => true,
        () => false,
      );
      if (!this.lost) return;
      if (answered && answers + 1 >= CHECKS_BEFORE_RELOAD) location.reload();
      else this.checkServer(answered ? answers + 1 : 0);
    }, CHECK_INTERVAL);
  }
}

function render({ model, el }) {
  const page = new ExplorerPage(model, el);
  return () => page.destroy();
}

export default { render };
