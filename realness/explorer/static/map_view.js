/**
 * An image with its heatmap on top.
 *
 * The browser has the image and the values of the map and draws the colours, so opacity, contrast, colours and
 * range change without a message to the kernel. The Python class `MapView` documents the traits.
 *
 * Messages to the kernel, in pixels of the image:
 *   { kind: 'hover', x, y }       the pointer rests on a location
 *   { kind: 'pin', x, y }         a click or Enter
 *   { kind: 'box', x, y, w, h }   a dragged box, or Shift and the arrow keys
 *   { kind: 'leave' }             the pointer has left the image
 *   { kind: 'clear' }             Escape
 *
 * Text reaches the page through `textContent` alone: a file name is never parsed as HTML.
 */

const HOVER_DELAY = 90; // milliseconds that the pointer must rest before a location is looked up
const DRAG_DISTANCE = 4; // screen pixels after which a click becomes a drag
const MAX_LEVEL = 65535; // the map arrives as 16-bit levels between its lowest and highest value
const PAINT_SHIFT = 4; // 16 neighbouring levels share one colour
const DEFAULT_WIDTH = 480; // screen pixels before the page is laid out

// traits that change only the drawing
const REDRAW = 'opacity contrast image_range cmap ramp outline colour_tables marks cursor placeholder'.split(
  ' ',
);

const DIRECTIONS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

const KEYS_HELP =
  'Move: arrow keys. Pin: Enter. Draw a box: Shift and arrow keys. ' +
  'Show the image alone: hold Space. Clear: Escape.';

// ---- helpers

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

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** A number with about three significant digits. */
function formatNumber(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text; // no negative zero
}

/** The box with two opposite corners [x, y], both included. */
function boxBetween(first, second) {
  return {
    x: Math.min(first[0], second[0]),
    y: Math.min(first[1], second[1]),
    w: Math.abs(first[0] - second[0]) + 1,
    h: Math.abs(first[1] - second[1]) + 1,
  };
}

// ---- the values of a map

/** A map as the kernel sends it (see `raster` in Python), with look-ups in pixels of the image. */
class MapValues {
  constructor(map, [imageWidth, imageHeight]) {
    this.map = map;
    [this.rows, this.columns] = map.shape;
    this.levels = new Uint16Array(toBytes(map.values).slice().buffer);
    this.rowScale = this.rows / imageHeight;
    this.columnScale = this.columns / imageWidth;
  }

  fromLevel(level) {
    return this.map.min + (level / MAX_LEVEL) * (this.map.max - this.map.min);
  }

  toLevel(value) {
    return ((value - this.map.min) / (this.map.max - this.map.min || 1)) * MAX_LEVEL;
  }

  /** The border of the values above `value`; computed again only for another value. */
  border(value) {
    if (this.borderValue !== value) {
      this.borderValue = value;
      this.borderOfValue = borderPath(this, this.toLevel(value));
    }
    return this.borderOfValue;
  }

  at(x, y) {
    const row = clamp(Math.floor(y * this.rowScale), 0, this.rows - 1);
    const column = clamp(Math.floor(x * this.columnScale), 0, this.columns - 1);
    return this.fromLevel(this.levels[row * this.columns + column]);
  }

  mean(box) {
    const top = Math.floor(box.y * this.rowScale);
    const left = Math.floor(box.x * this.columnScale);
    const bottom = Math.min(this.rows, Math.max(top + 1, Math.round((box.y + box.h) * this.rowScale)));
    const right = Math.min(this.columns, Math.max(left + 1, Math.round((box.x + box.w) * this.columnScale)));
    let sum = 0;
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) sum += this.levels[row * this.columns + column];
    }
    const count = (bottom - top) * (right - left);
    return count > 0 ? this.fromLevel(sum / count) : null;
  }

  /** Lowest and highest value of the colours. Contrast narrows the range about its middle. */
  range(useImageRange, contrast) {
    let [low, high] = useImageRange ? [this.map.min, this.map.max] : [this.map.lo, this.map.hi];
    if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
    const middle = (low + high) / 2;
    const half = (high - low) / 2 / contrast;
    return [middle - half, middle + half];
  }
}

/** One packed colour (ABGR, as canvas memory holds it) for each group of neighbouring levels. */
function paintTable(values, { table, range: [low, high], opacity, ramp }) {
  const colours = new Uint32Array((MAX_LEVEL + 1) >> PAINT_SHIFT);
  const step = 1 << PAINT_SHIFT;
  for (let i = 0; i < colours.length; i++) {
    const value = values.fromLevel(i * step + step / 2);
    const share = clamp((value - low) / (high - low), 0, 1);
    const entry = 3 * Math.min(255, Math.floor(share * 256));
    const unreal = values.map.flip ? 1 - share : share;
    const alpha = Math.round(255 * opacity * (ramp ? unreal : 1));
    colours[i] = ((alpha << 24) | (table[entry + 2] << 16) | (table[entry + 1] << 8) | table[entry]) >>> 0;
  }
  return colours;
}

// ---- outlines: the border of the less real half of the colour range

/** Where the border crosses an edge between two neighbouring values, as a share of the edge; null if it does not. */
function crossing(first, second, threshold) {
  return first > threshold === second > threshold ? null : (threshold - first) / (second - first);
}

/** The pieces of the border within the square of four neighbouring values, as pairs of points (row, column). */
function piecesOfSquare([topLeft, topRight, bottomLeft, bottomRight], threshold) {
  const points = [
    [crossing(topLeft, topRight, threshold), (share) => [0, share]],
    [crossing(topRight, bottomRight, threshold), (share) => [share, 1]],
    [crossing(bottomLeft, bottomRight, threshold), (share) => [1, share]],
    [crossing(topLeft, bottomLeft, threshold), (share) => [share, 0]],
  ]
    .filter(([share]) => share !== null)
    .map(([share, place]) => place(share));
  return points.length === 4 ? [points.slice(0, 2), points.slice(2)] : points.length ? [points] : [];
}

/** The border of the values above a level, as a path in units of the values. */
function borderPath({ levels, rows, columns }, threshold) {
  const path = new Path2D();
  for (let row = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const start = row * columns + column;
      const below = start + columns;
      const square = [levels[start], levels[start + 1], levels[below], levels[below + 1]];
      const count = square.filter((level) => level > threshold).length;
      if (count === 0 || count === 4) continue;
      for (const [[y0, x0], [y1, x1]] of piecesOfSquare(square, threshold)) {
        path.moveTo(column + x0 + 0.5, row + y0 + 0.5);
        path.lineTo(column + x1 + 0.5, row + y1 + 0.5);
      }
    }
  }
  return path;
}

/** Draw a coloured map, one canvas pixel for each of its values. */
function paintMap(canvas, values, look) {
  if (canvas.width !== values.columns || canvas.height !== values.rows) {
    canvas.width = values.columns;
    canvas.height = values.rows;
  }
  const context = canvas.getContext('2d');
  const colours = paintTable(values, look);
  const image = context.createImageData(values.columns, values.rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[values.levels[i] >> PAINT_SHIFT];
  context.putImageData(image, 0, 0);
}

// ---- marks: white lines with a dark outline, visible on every image

function strokeTwice(context, widths, draw) {
  for (const [colour, width] of [
    ['#000', widths[0]],
    ['#fff', widths[1]],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    draw();
  }
}

/** The outline of a box; `scale` is canvas pixels for each image pixel, `ratio` canvas pixels for each screen pixel. */
function drawBox(context, { scale, ratio }, box) {
  const [x, y, w, h] = [box.x, box.y, box.w, box.h].map((value) => value * scale);
  context.setLineDash(['window', 'drag'].includes(box.kind) ? [5 * ratio, 4 * ratio] : []);
  const widths = ['box', 'drag'].includes(box.kind) ? [4 * ratio, 2 * ratio] : [3 * ratio, 1.2 * ratio];
  strokeTwice(context, widths, () => context.strokeRect(x, y, w, h));
  context.setLineDash([]);
}

const LABEL_HEIGHT = 18; // screen pixels

/** The area that two rectangles { left, top, width, height } share. */
function sharedArea(first, second) {
  const width =
    Math.min(first.left + first.width, second.left + second.width) - Math.max(first.left, second.left);
  const height =
    Math.min(first.top + first.height, second.top + second.height) - Math.max(first.top, second.top);
  return Math.max(0, width) * Math.max(0, height);
}

/** The four edges of a box as thin rectangles on the canvas. */
function edges(box, { scale, ratio }) {
  const [left, top, width, height] = [box.x, box.y, box.w, box.h].map((value) => value * scale);
  const line = 4 * ratio;
  return [
    { left, top: top - line / 2, width, height: line },
    { left, top: top + height - line / 2, width, height: line },
    { left: left - line / 2, top, width: line, height },
    { left: left + width - line / 2, top, width: line, height },
  ];
}

/** Where the label of a box may lie, the usual place first: above, inside at the top, below, inside at the bottom. */
function labelPlaces(box, labelWidth, { canvas, scale, ratio }) {
  const [x, y, w, h] = [box.x, box.y, box.w, box.h].map((value) => value * scale);
  const height = LABEL_HEIGHT * ratio;
  const inset = 2 * ratio; // an inner label does not hide the outline
  const places = [];
  for (const top of [y - height, y + inset, y + h + 1, y + h - height - inset]) {
    for (const left of [x, x + inset, x + w - labelWidth, x + w - labelWidth - inset]) {
      if (top < 0 || top + height > canvas.height) continue;
      places.push({ left: clamp(left, 0, canvas.width - labelWidth), top, width: labelWidth, height });
    }
  }
  return places.length
    ? places
    : [{ left: 0, top: clamp(y, 0, canvas.height - height), width: labelWidth, height }];
}

/** Give each label the first place that covers no other label and the least of the outlines of other boxes. */
function placeLabels(boxes, measure, view) {
  const placed = [];
  for (const box of boxes) {
    if (!box.label) continue;
    const others = boxes.filter((other) => other !== box).flatMap((other) => edges(other, view));
    const cost = (place) =>
      10 * placed.reduce((sum, label) => sum + sharedArea(place, label.place), 0) +
      others.reduce((sum, edge) => sum + sharedArea(place, edge), 0);
    const places = labelPlaces(box, measure(box.label) + 8 * view.ratio, view);
    const costs = places.map(cost);
    placed.push({ text: box.label, place: places[costs.indexOf(Math.min(...costs))] });
  }
  return placed;
}

function drawLabel(context, ratio, { text, place }) {
  context.fillStyle = 'rgba(0, 0, 0, .78)';
  context.fillRect(place.left, place.top, place.width, place.height - ratio);
  context.fillStyle = '#fff';
  context.fillText(text, place.left + 4 * ratio, place.top + 12.6 * ratio);
}

/** Outlines of boxes { x, y, w, h, kind, label }, then their labels, so that no line crosses a label. */
function drawBoxes(context, view, boxes) {
  for (const box of boxes) drawBox(context, view, box);
  context.font = `600 ${12 * view.ratio}px system-ui, sans-serif`;
  const measure = (text) => context.measureText(text).width;
  const labels = placeLabels(boxes, measure, { ...view, canvas: context.canvas });
  for (const label of labels) drawLabel(context, view.ratio, label);
}

function drawCross(context, { scale, ratio }, [x, y]) {
  const centre = [(x + 0.5) * scale, (y + 0.5) * scale];
  const [gap, reach] = [3 * ratio, 9 * ratio];
  strokeTwice(context, [3.5 * ratio, 1.5 * ratio], () => {
    context.beginPath();
    for (const [dx, dy] of Object.values(DIRECTIONS)) {
      context.moveTo(centre[0] + dx * gap, centre[1] + dy * gap);
      context.lineTo(centre[0] + dx * reach, centre[1] + dy * reach);
    }
    context.stroke();
  });
}

// ---- the widget

class MapView {
  constructor(model, root) {
    this.model = model;
    this.image = null; // ImageBitmap
    this.values = null; // MapValues
    this.pointer = null; // [x, y] in pixels of the image
    this.drag = null; // { from, box } while a box is drawn
    this.anchor = null; // where a box drawn by keyboard starts
    this.imageOnly = false; // Space is held
    this.drawRequested = false;
    this.drawCount = 0;
    this.hoverTimer = 0;
    this.mapCanvas = document.createElement('canvas');
    this.buildElements(root);
    this.listenToPage();
    this.listenToModel();
    this.updateImage();
    this.updateValues();
  }

  buildElements(root) {
    root.classList.add('rl-map-view');
    const stage = createElement('div', 'rl-stage', root);
    this.stage = stage;
    this.canvas = createElement('canvas', 'rl-canvas', stage);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'application');
    this.tooltip = createElement('div', 'rl-tooltip', stage);
    this.tooltip.hidden = true;
    this.placeholder = createElement('div', 'rl-placeholder', stage);
    this.legend = createElement('div', 'rl-legend', root);
    this.colourBar = createElement('canvas', 'rl-colour-bar', this.legend);
    this.colourBar.width = 256;
    this.colourBar.height = 1;
    const ticks = createElement('div', 'rl-ticks', this.legend);
    this.ticks = [0, 1, 2].map(() => createElement('span', '', ticks));
    this.quantity = createElement('div', 'rl-quantity', this.legend);
    this.announcement = createElement('div', 'rl-announcement', root); // for screen readers
    this.announcement.setAttribute('aria-live', 'polite');
  }

  get width() {
    return this.model.get('size')[0] || 1;
  }

  get height() {
    return this.model.get('size')[1] || 1;
  }

  // ---- changes from the kernel

  listenToModel() {
    this.handlers = [
      [['image', 'label', 'size'], () => this.updateImage()],
      [['map', 'size'], () => this.updateValues()],
      [REDRAW, () => this.requestDraw()],
    ].map(([traits, handler]) => [traits.map((name) => `change:${name}`).join(' '), handler]);
    for (const [events, handler] of this.handlers) this.model.on(events, handler);
    this.resizes = new ResizeObserver(() => this.requestDraw());
    this.resizes.observe(this.stage);
  }

  destroy() {
    this.listeners.abort();
    this.resizes.disconnect();
    clearTimeout(this.hoverTimer);
    for (const [events, handler] of this.handlers) this.model.off(events, handler);
  }

  updateImage() {
    const bytes = toBytes(this.model.get('image'));
    this.canvas.setAttribute('aria-label', `${this.model.get('label')}. ${KEYS_HELP}`);
    if (!bytes.length) {
      this.image = null;
      this.requestDraw();
      return;
    }
    createImageBitmap(new Blob([bytes], { type: 'image/jpeg' })).then((bitmap) => {
      this.image = bitmap;
      this.requestDraw();
    });
  }

  updateValues() {
    const map = this.model.get('map');
    this.values = map?.values?.byteLength ? new MapValues(map, [this.width, this.height]) : null;
    this.requestDraw();
    if (this.pointer) this.updateTooltip();
  }

  // ---- drawing

  /** Draw once before the next frame, even if several traits have changed. */
  requestDraw() {
    if (this.drawRequested) return;
    this.drawRequested = true;
    requestAnimationFrame(() => this.draw());
  }

  /** Resize the canvas to the page. Returns canvas pixels for each image pixel and for each screen pixel. */
  fitCanvas() {
    const shown = this.canvas.clientWidth || DEFAULT_WIDTH;
    const width = Math.round(shown * Math.min(2, window.devicePixelRatio || 1));
    const height = Math.max(1, Math.round((width * this.height) / this.width));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    return { scale: width / this.width, ratio: width / (this.canvas.clientWidth || width) };
  }

  draw() {
    this.drawRequested = false;
    const context = this.canvas.getContext('2d');
    const view = this.fitCanvas();
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (this.image) context.drawImage(this.image, 0, 0, width, height);
    if (this.values && !this.imageOnly) {
      paintMap(this.mapCanvas, this.values, this.look());
      context.imageSmoothingEnabled = true;
      context.drawImage(this.mapCanvas, 0, 0, width, height);
      if (this.model.get('outline')) this.drawOutline(context, view);
    }
    this.drawMarks(context, view);
    this.updateLegend();
    this.placeholder.textContent = this.image ? '' : this.model.get('placeholder');
    this.placeholder.hidden = Boolean(this.image);
    this.drawCount += 1;
    this.canvas.dataset.draws = this.drawCount; // for tests: how often, and when
    this.canvas.dataset.drawn = performance.now();
  }

  look() {
    return {
      table: toBytes(this.model.get('colour_tables')[this.model.get('cmap')]),
      range: this.values.range(this.model.get('image_range'), this.model.get('contrast')),
      opacity: this.model.get('opacity'),
      ramp: this.model.get('ramp'),
    };
  }

  /** The outline of the less real half of the colour range. */
  drawOutline(context, { ratio }) {
    const [low, high] = this.values.range(this.model.get('image_range'), this.model.get('contrast'));
    const [scaleX, scaleY] = [
      context.canvas.width / this.values.columns,
      context.canvas.height / this.values.rows,
    ];
    const path = new Path2D();
    path.addPath(this.values.border((low + high) / 2), new DOMMatrix([scaleX, 0, 0, scaleY, 0, 0]));
    context.lineCap = 'round';
    strokeTwice(context, [3 * ratio, 1.4 * ratio], () => context.stroke(path));
    context.lineCap = 'butt';
  }

  drawMarks(context, view) {
    const boxes = [...this.model.get('marks')];
    if (this.drag?.box) {
      const mean = this.values?.mean(this.drag.box);
      boxes.push({ ...this.drag.box, kind: 'drag', label: mean == null ? '' : formatNumber(mean) });
    }
    drawBoxes(context, view, boxes);
    const location = this.pointer || this.model.get('cursor');
    if (location?.length === 2) drawCross(context, view, location);
  }

  updateLegend() {
    this.legend.style.visibility = this.values ? '' : 'hidden';
    if (!this.values) return;
    const { table, range, opacity, ramp } = this.look();
    const context = this.colourBar.getContext('2d');
    const bar = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      const unreal = this.values.map.flip ? 255 - i : i;
      const alpha = 255 * opacity * (ramp ? unreal / 255 : 1); // as transparent as the map
      bar.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], Math.round(alpha)], 4 * i);
    }
    context.putImageData(bar, 0, 0);
    const labels = [range[0], (range[0] + range[1]) / 2, range[1]];
    for (const [i, value] of labels.entries()) this.ticks[i].textContent = formatNumber(value);
    const direction = this.values.map.flip ? 'more real' : 'less real';
    const scope = this.model.get('image_range') ? '; range of this image' : '';
    this.quantity.textContent = `${this.values.map.quantity} (${direction} →${scope})`;
  }

  /** The value at the pointer, in a small box beside it. */
  updateTooltip() {
    const value = this.pointer && this.values ? this.values.at(...this.pointer) : null;
    this.tooltip.hidden = value == null || Boolean(this.drag);
    if (this.tooltip.hidden) return;
    this.tooltip.textContent = formatNumber(value);
    const scale = this.canvas.clientWidth / this.width;
    const [x, y] = [this.pointer[0] * scale, this.pointer[1] * scale];
    const nearRightEdge = x > this.canvas.clientWidth - 70;
    this.tooltip.style.left = `${nearRightEdge ? x - 58 : x + 14}px`;
    this.tooltip.style.top = `${y < 34 ? y + 12 : y - 30}px`;
  }

  // ---- user input

  listenToPage() {
    this.listeners = new AbortController();
    const handlers = {
      pointerdown: (event) => this.onPointerDown(event),
      pointermove: (event) => this.onPointerMove(event),
      pointerup: (event) => this.onPointerUp(event),
      pointercancel: () => this.cancelDrag(),
      pointerleave: () => this.onPointerLeave(),
      keydown: (event) => this.onKeyDown(event),
      keyup: (event) => this.onKeyUp(event),
      blur: () => this.onBlur(),
    };
    for (const [name, handler] of Object.entries(handlers)) {
      this.canvas.addEventListener(name, handler, { signal: this.listeners.signal });
    }
  }

  /** Pixel [x, y] of the image under a pointer event. */
  locate(event) {
    const area = this.canvas.getBoundingClientRect();
    return this.clampToImage([
      Math.floor(((event.clientX - area.left) / area.width) * this.width),
      Math.floor(((event.clientY - area.top) / area.height) * this.height),
    ]);
  }

  clampToImage([x, y]) {
    return [clamp(x, 0, this.width - 1), clamp(y, 0, this.height - 1)];
  }

  /** Show the pointer on the other image of a comparison too. */
  shareCursor(location) {
    this.model.set('cursor', location || []);
    this.model.save_changes();
  }

  sendLocation(kind, [x, y]) {
    this.model.send({ kind, x, y });
  }

  /** Pin a location. A pending hover message is dropped, because it would arrive after the pin. */
  pin(location) {
    clearTimeout(this.hoverTimer);
    this.sendLocation('pin', location);
  }

  sendBox(box) {
    clearTimeout(this.hoverTimer);
    this.model.send({ kind: 'box', ...box });
  }

  hoverLater() {
    clearTimeout(this.hoverTimer);
    this.hoverTimer = setTimeout(() => {
      if (!this.pointer) return;
      this.shareCursor(this.pointer);
      this.sendLocation('hover', this.pointer);
    }, HOVER_DELAY);
  }

  onPointerDown(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { from: this.locate(event), start: [event.clientX, event.clientY], box: null };
  }

  onPointerMove(event) {
    this.pointer = this.locate(event);
    if (this.drag) {
      const [x, y] = this.drag.start || [event.clientX, event.clientY];
      const moved = Math.hypot(event.clientX - x, event.clientY - y) > DRAG_DISTANCE;
      if (this.drag.box || moved) this.drag.box = boxBetween(this.drag.from, this.pointer);
    } else {
      this.hoverLater();
    }
    this.updateTooltip();
    this.requestDraw();
  }

  onPointerUp(event) {
    if (!this.drag) return;
    const { box } = this.drag;
    this.drag = null;
    if (box) this.sendBox(box);
    else this.pin(this.locate(event));
    this.updateTooltip();
    this.requestDraw();
  }

  onPointerLeave() {
    if (this.drag) return;
    this.pointer = null;
    clearTimeout(this.hoverTimer);
    this.updateTooltip();
    this.shareCursor(null);
    this.requestDraw();
    this.model.send({ kind: 'leave' });
  }

  cancelDrag() {
    this.drag = null;
    this.requestDraw();
  }

  onKeyDown(event) {
    if (event.key in DIRECTIONS) this.moveByKey(event);
    else if (event.key === 'Enter' && this.pointer) this.pin(this.pointer);
    else if (event.key === 'Escape') this.clear();
    else if (event.key === ' ') this.imageOnly = true;
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.requestDraw();
  }

  /** Arrow keys move the pointer by 1/64 of the width, with Alt by a pixel; with Shift they draw a box. */
  moveByKey(event) {
    const step = event.altKey ? 1 : Math.max(1, Math.round(this.width / 64));
    const [dx, dy] = DIRECTIONS[event.key];
    const from = this.pointer || [this.width >> 1, this.height >> 1];
    if (event.shiftKey && !this.anchor) this.anchor = from;
    this.pointer = this.clampToImage([from[0] + dx * step, from[1] + dy * step]);
    if (event.shiftKey) this.drag = { from: this.anchor, box: boxBetween(this.anchor, this.pointer) };
    this.announce();
    this.updateTooltip();
    this.hoverLater();
  }

  announce() {
    const value = this.drag ? this.values?.mean(this.drag.box) : this.values?.at(...this.pointer);
    const spoken = value == null ? 'no map yet' : formatNumber(value);
    this.announcement.textContent = `${this.pointer[0]}, ${this.pointer[1]}: ${spoken}`;
  }

  clear() {
    this.pointer = null;
    this.anchor = null;
    this.drag = null;
    this.updateTooltip();
    this.shareCursor(null);
    this.model.send({ kind: 'clear' });
  }

  onKeyUp(event) {
    if (event.key === 'Shift' && this.anchor && this.drag) {
      this.sendBox(this.drag.box);
      this.anchor = null;
      this.drag = null;
      this.requestDraw();
    }
    if (event.key === ' ') {
      this.imageOnly = false;
      this.requestDraw();
    }
  }

  onBlur() {
    this.imageOnly = false;
    if (this.anchor) {
      this.anchor = null;
      this.drag = null;
    }
    this.requestDraw();
  }
}

function render({ model, el }) {
  const view = new MapView(model, el);
  return () => view.destroy();
}

export default { render };
