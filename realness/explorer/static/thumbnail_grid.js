/**
 * A page of thumbnails, one of them selected.
 *
 * The kernel sends the JPEGs of the images on the page; the browser sets the selected image and the page number.
 * The Python class `ThumbnailGrid` documents the traits.
 *
 * Text reaches the page through `textContent` alone: a file name is never parsed as HTML.
 */

function createElement(tag, className, parent, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text != null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

/** The bytes of a binary trait, which arrives as a DataView. */
function toBytes(value) {
  if (value instanceof DataView) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return new Uint8Array(value || 0);
}

/** A number that differs for different bytes (FNV-1a). */
function hashBytes(bytes) {
  let hash = 2166136261;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 16777619);
  return hash >>> 0;
}

/** Object URLs of the thumbnails on the page; URLs that are not used again are released. */
class ThumbnailUrls {
  constructor() {
    this.current = new Map();
    this.next = new Map();
  }

  /** The URL of a JPEG. An image with the same id and bytes keeps its URL, so that it does not flicker. */
  get(id, jpeg) {
    const key = `${id}:${hashBytes(jpeg)}`;
    const url = this.current.get(key) || URL.createObjectURL(new Blob([jpeg], { type: 'image/jpeg' }));
    this.current.delete(key);
    this.next.set(key, url);
    return url;
  }

  releaseUnused() {
    for (const url of this.current.values()) URL.revokeObjectURL(url);
    this.current = this.next;
    this.next = new Map();
  }
}

class ThumbnailGrid {
  constructor(model, root) {
    this.model = model;
    this.urls = new ThumbnailUrls();
    this.buildElements(root);
    this.handlers = [
      ['change:items change:total change:page', () => this.show()],
      ['change:selected', () => this.markSelected()],
    ];
    for (const [events, handler] of this.handlers) model.on(events, handler);
    this.show();
  }

  buildElements(root) {
    root.classList.add('rl-thumbnails');
    this.grid = createElement('div', 'rl-grid', root);
    this.grid.setAttribute('role', 'listbox');
    this.grid.setAttribute('aria-label', 'images');
    this.grid.addEventListener('keydown', (event) => this.onKeyDown(event));
    this.pager = createElement('div', 'rl-pager', root);
    this.previous = this.createPagerButton('‹', 'previous images', -1);
    this.position = createElement('span', '', this.pager);
    this.position.setAttribute('aria-live', 'polite');
    this.buildPageInput();
    this.next = this.createPagerButton('›', 'next images', 1);
  }

  createPagerButton(text, title, step) {
    const button = createElement('button', '', this.pager, text);
    button.title = title;
    button.setAttribute('aria-label', title);
    button.addEventListener('click', () => {
      this.goTo(this.model.get('page') + step);
    });
    return button;
  }

  /** An input for the number of the page, which counts from 1. */
  buildPageInput() {
    const label = createElement('label', 'rl-page', this.pager, 'page');
    this.pageInput = createElement('input', '', label);
    this.pageInput.type = 'number';
    this.pageInput.min = 1;
    this.pageInput.addEventListener('change', () => this.goTo(Number(this.pageInput.value) - 1));
    this.pageInput.addEventListener('keydown', (event) => event.stopPropagation());
  }

  /** The id of the first image on the page. */
  get firstId() {
    return this.grid.firstElementChild?.dataset.id;
  }

  get lastPage() {
    return Math.max(0, Math.ceil(this.model.get('total') / this.model.get('per_page')) - 1);
  }

  /** Show another page; `entry` says which of its images is selected: 'first', 'last' or null for none. */
  goTo(page, entry = null) {
    const target = Math.min(this.lastPage, Math.max(0, Math.round(page) || 0));
    this.pageInput.value = target + 1;
    if (target === this.model.get('page')) return;
    this.entry = entry;
    this.leftId = this.firstId; // the images of the new page arrive later
    this.model.set('page', target);
    this.model.save_changes();
  }

  /** After the arrow keys have left a page: select and focus an image of the new one. */
  enterPage() {
    const button = this.entry === 'last' ? this.grid.lastElementChild : this.grid.firstElementChild;
    this.entry = null;
    if (!button) return;
    this.select(Number(button.dataset.id));
    button.focus();
  }

  destroy() {
    for (const [events, handler] of this.handlers) this.model.off(events, handler);
    this.urls.releaseUnused();
    this.urls.releaseUnused(); // the second call releases the current URLs
  }

  /** Show the images of the page. The same images keep their buttons, so that a click on one is not lost. */
  show() {
    const hadFocus = this.grid.contains(document.activeElement);
    const items = this.model.get('items');
    const shown = [...this.grid.children];
    if (items.length === shown.length && items.every(({ id }, i) => String(id) === shown[i].dataset.id)) {
      for (const [i, item] of items.entries()) this.fillThumbnail(shown[i], item);
    } else {
      this.grid.replaceChildren(...items.map((item) => this.createThumbnail(item)));
    }
    this.urls.releaseUnused();
    this.updatePager();
    this.markSelected();
    if (this.entry && this.firstId !== this.leftId) this.enterPage();
    else if (hadFocus) this.grid.querySelector('[tabindex="0"]')?.focus();
  }

  createThumbnail(item) {
    const button = createElement('button', 'rl-thumbnail');
    button.type = 'button';
    button.setAttribute('role', 'option');
    button.dataset.id = item.id;
    button.addEventListener('click', () => this.select(item.id));
    this.fillThumbnail(button, item);
    return button;
  }

  fillThumbnail(button, item) {
    const lines = [item.line, item.map_line, item.tags].filter(Boolean);
    button.title = [item.name, ...lines, item.hint].filter(Boolean).join('\n');
    button.replaceChildren();
    const jpeg = toBytes(item.jpeg);
    if (jpeg.length) {
      const image = createElement('img', '', button);
      image.src = this.urls.get(item.id, jpeg);
      image.alt = '';
    } else {
      createElement('div', 'rl-missing', button, item.pending ? '…' : 'cannot be read');
    }
    createElement('span', '', button, item.name.split('/').pop());
    for (const line of lines) createElement('span', 'rl-line', button, line);
  }

  updatePager() {
    const [total, page, size] = ['total', 'page', 'per_page'].map((name) => this.model.get(name));
    const first = page * size + 1;
    const last = Math.min(total, (page + 1) * size);
    this.position.textContent = total ? `${first}–${last} of ${total}` : 'no image matches';
    this.pageInput.value = page + 1;
    this.pageInput.max = this.lastPage + 1;
    this.previous.disabled = page < 1;
    this.next.disabled = last >= total;
    this.pager.style.display = total && total <= size ? 'none' : '';
  }

  select(id) {
    this.model.set('selected', id);
    this.model.save_changes();
  }

  /** Mark the selected thumbnail and put only it in the tab order, or the first one if it is on another page. */
  markSelected() {
    const buttons = [...this.grid.children];
    const selected = buttons.find((button) => Number(button.dataset.id) === this.model.get('selected'));
    for (const button of buttons) {
      button.setAttribute('aria-selected', button === selected);
      button.tabIndex = button === (selected || buttons[0]) ? 0 : -1;
    }
  }

  onKeyDown(event) {
    const buttons = [...this.grid.children];
    const focused = buttons.indexOf(document.activeElement);
    const columns = getComputedStyle(this.grid).gridTemplateColumns.split(' ').length;
    const page = this.model.get('page');
    const pages = { PageUp: page - 1, PageDown: page + 1 };
    const target = {
      ArrowLeft: focused - 1,
      ArrowRight: focused + 1,
      ArrowUp: focused - columns,
      ArrowDown: focused + columns,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (focused < 0 || (target === undefined && pages[event.key] === undefined)) return;
    event.preventDefault();
    event.stopPropagation();
    if (pages[event.key] !== undefined) this.goTo(pages[event.key], 'first');
    else if (target < 0 && page > 0) this.goTo(page - 1, 'last');
    else if (target >= buttons.length && page < this.lastPage) this.goTo(page + 1, 'first');
    else this.focusThumbnail(buttons, target);
  }

  focusThumbnail(buttons, target) {
    const button = buttons[Math.min(buttons.length - 1, Math.max(0, target))];
    this.select(Number(button.dataset.id));
    button.focus();
  }
}

function render({ model, el }) {
  const grid = new ThumbnailGrid(model, el);
  return () => grid.destroy();
}

export default { render };
