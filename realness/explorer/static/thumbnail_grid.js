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

/** Object URLs of the thumbnails on the page; URLs that are not used again are released. */
class ThumbnailUrls {
  constructor() {
    this.current = new Map();
    this.next = new Map();
  }

  /** The URL of a JPEG. An image with the same id and size keeps its URL, so that it does not flicker. */
  get(id, jpeg) {
    const key = `${id}:${jpeg.length}`;
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
    this.next = this.createPagerButton('›', 'next images', 1);
  }

  createPagerButton(text, title, step) {
    const button = createElement('button', '', this.pager, text);
    button.title = title;
    button.setAttribute('aria-label', title);
    button.addEventListener('click', () => {
      this.model.set('page', this.model.get('page') + step);
      this.model.save_changes();
    });
    return button;
  }

  destroy() {
    for (const [events, handler] of this.handlers) this.model.off(events, handler);
    this.urls.releaseUnused();
    this.urls.releaseUnused(); // the second call releases the current URLs
  }

  show() {
    const hadFocus = this.grid.contains(document.activeElement);
    const buttons = this.model.get('items').map((item) => this.createThumbnail(item));
    this.grid.replaceChildren(...buttons);
    this.urls.releaseUnused();
    this.updatePager();
    this.markSelected();
    if (hadFocus) this.grid.querySelector('[tabindex="0"]')?.focus();
  }

  createThumbnail(item) {
    const button = createElement('button', 'rl-thumbnail');
    button.type = 'button';
    button.setAttribute('role', 'option');
    button.dataset.id = item.id;
    button.title = [item.name, item.line, item.hint].filter(Boolean).join('\n');
    const jpeg = toBytes(item.jpeg);
    if (jpeg.length) {
      const image = createElement('img', '', button);
      image.src = this.urls.get(item.id, jpeg);
      image.alt = '';
    } else {
      createElement('div', 'rl-missing', button, item.pending ? '…' : 'cannot be read');
    }
    createElement('span', '', button, item.name.split('/').pop());
    if (item.line) createElement('span', 'rl-line', button, item.line);
    button.addEventListener('click', () => this.select(item.id));
    return button;
  }

  updatePager() {
    const [total, page, size] = ['total', 'page', 'per_page'].map((name) => this.model.get(name));
    const first = page * size + 1;
    const last = Math.min(total, (page + 1) * size);
    this.position.textContent = total ? `${first}–${last} of ${total}` : 'no image matches';
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
    const target = {
      ArrowLeft: focused - 1,
      ArrowRight: focused + 1,
      ArrowUp: focused - columns,
      ArrowDown: focused + columns,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (target === undefined || focused < 0) return;
    event.preventDefault();
    event.stopPropagation();
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
