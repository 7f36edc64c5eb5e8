// What the page shows. What holds is decided in verify.js.

import { Tree, Wrong, fromBase64, isConsistent, leafHash, openCheckpoint, parseKey, proveEntry, rootOfAll, toBase64, equal } from './verify.js';

const ROWS = 50;
/** Bundles that the picture of the growth looks into. */
const SAMPLES = 24;
/** More than this takes a browser minutes: the command line does it in seconds. */
const MAX_RECORDS_AT_ONCE = 200_000;
const MAX_TILE_BYTES = 256 * (65535 + 2);
const SVG = 'http://www.w3.org/2000/svg';

const at = (id) => document.getElementById(id);
const short = (hash) => `${toBase64(hash).slice(0, 8)}…`;
const number = (value) => value.toLocaleString('en');

async function get(path) {
  const reply = await fetch(path, { cache: 'default', credentials: 'omit' });
  if (!reply.ok) throw new Wrong(`${path}: the server answers ${reply.status}`);
  const bytes = new Uint8Array(await reply.arrayBuffer());
  if (bytes.length > MAX_TILE_BYTES) throw new Wrong(`${path}: too long`);
  return bytes;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function verdict(state, text) {
  at('verdict').dataset.state = state;
  at('verdict').textContent = text;
}

/** What this browser remembers; a private window may have no memory. */
const memory = {
  read(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  write(key, value) {
    try {
      localStorage.setItem(key, value);
    } catch {
      // Then the next visit knows nothing, and says so.
    }
  },
};

const state = { head: null, tree: null, note: '' };

// --- Head ---

async function readHead() {
  const reply = await fetch('checkpoint', { cache: 'no-store', credentials: 'omit' });
  if (reply.status === 404) return null;
  if (!reply.ok) throw new Wrong(`the server answers ${reply.status} for the checkpoint`);
  return reply.text();
}

function showSignature(head) {
  const said = {
    true: ['good', 'holds, by the key that you gave'],
    false: ['open', 'not checked: give the verifier key below'],
    null: ['open', 'not checked: this browser has no Ed25519'],
  }[String(head.isSigned)];
  at('signature').className = said[0];
  at('signature').textContent = said[1];
}

/** That this tree begins with the one of the last visit. */
async function checkSince(head) {
  const name = `head ${head.origin}`;
  const before = memory.read(name);
  const now = JSON.stringify([head.size, toBase64(head.root)]);
  if (before === null) {
    memory.write(name, now);
    at('since').className = 'none';
    at('since').textContent = 'nothing to compare: this browser has not seen this ledger before';
    return;
  }
  const [size, root] = JSON.parse(before);
  if (size > head.size) throw new Wrong(`the ledger had ${number(size)} records when you last saw it, and has ${number(head.size)} now`);
  let proof = [];
  if (size < head.size) {
    const reply = await get(`v1/consistency?from=${size}&to=${head.size}`);
    proof = JSON.parse(new TextDecoder().decode(reply)).hashes.map(fromBase64);
  }
  if (!(await isConsistent(size, head.size, fromBase64(root), head.root, proof))) {
    throw new Wrong(`the ${number(size)} records that you saw last time were changed`);
  }
  memory.write(name, now);
  at('since').className = 'good';
  at('since').textContent = `${number(head.size - size)} records added, none of the ${number(size)} before changed`;
}

async function start() {
  state.note = await readHead();
  if (state.note === null) {
    verdict('open', 'The ledger has no record yet.');
    at('size').textContent = '0';
    at('list').hidden = true;
    return;
  }
  const vkey = memory.read('key') ?? '';
  at('key').value = vkey;
  const head = await openCheckpoint(state.note, vkey === '' ? null : await parseKey(vkey));
  state.head = head;
  state.tree = new Tree(head.size, get);
  at('origin').textContent = head.origin;
  at('size').textContent = number(head.size);
  at('root').textContent = toBase64(head.root);
  showSignature(head);
  await checkSince(head);
  // Every node of the right edge, against the head.
  const root = await state.tree.root(0, head.size);
  if (!equal(root, head.root)) throw new Wrong('the tiles do not lead to the root that the checkpoint states');
  if (head.isSigned === true) verdict('verified', 'The head is signed with your key, and the tree leads to it.');
  else verdict('open', 'The tree leads to its head. Who signed it is not known: it is self-consistent, NOT authenticated.');
  await route();
}

// --- Records ---

const removed = (record) => record.decided?.answer?.removed?.spans;
const agreed = ({ decided }) => (decided?.vote ? `${decided.vote.leader} of ${decided.vote.asked}` : '');
const when = (record) => record.observed?.endedUnixMs ?? record.observed?.atUnixMs ?? record.atUnixMs;
const time = (unixMs) => (unixMs === undefined ? '' : `${new Date(unixMs).toISOString().slice(0, 19).replace('T', ' ')} UTC`);

function row(index, record) {
  const constitution = record.constitution ?? record.decided?.constitution;
  const cells = [
    ['number', element('a', number(index), { href: `#/record/${index}` })],
    ['', record.kind],
    ['task', record.task ? `${record.task.uid}${record.task.attempt ? `, attempt ${record.task.attempt}` : ''}` : ''],
    ['', constitution ? `${constitution.name} ${constitution.version}` : ''],
    ['', record.decided?.reason ?? ''],
    ['number', agreed(record)],
    ['number', removed(record) === undefined ? '' : String(removed(record))],
    ['', time(when(record))],
  ];
  const made = element('tr');
  for (const [kind, content] of cells) {
    const cell = element('td', undefined, kind === '' ? {} : { class: kind });
    cell.append(content);
    made.append(cell);
  }
  return made;
}

const parse = (entry) => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(entry));

/** `ROWS` records down from `last`, each leaf compared with the hash that the tree has of it. */
async function showRows(last) {
  const first = Math.max(0, last - ROWS + 1);
  const rows = [];
  for (let index = last; index >= first; index -= 1) {
    const entry = await state.tree.entry(index);
    const [leaf, known] = [await leafHash(entry), await state.tree.root(index, 1)];
    if (!equal(leaf, known)) throw new Wrong(`record ${index} is not the one that the tree has`);
    rows.push(row(index, parse(entry)));
  }
  at('rows').replaceChildren(...rows);
  const pages = [];
  if (last < state.head.size - 1) pages.push(element('a', 'Newer', { href: `#/from/${Math.min(state.head.size - 1, last + ROWS)}` }), ' ');
  if (first > 0) pages.push(element('a', 'Older', { href: `#/from/${first - 1}` }));
  at('pages').replaceChildren(...pages);
}

/** Records over time, from the times that records state. */
async function showGrowth() {
  const bundles = Math.ceil(state.head.size / 256);
  const step = Math.max(1, Math.ceil(bundles / SAMPLES));
  const points = [];
  for (let bundle = 0; bundle < bundles; bundle += step) {
    const entries = await state.tree.entries(bundle);
    const every = bundles <= 2 ? Math.ceil(entries.length / SAMPLES) : entries.length;
    entries.forEach((entry, offset) => {
      if (offset % every !== 0 && bundle * 256 + offset !== state.head.size - 1) return;
      const unixMs = when(parse(entry));
      if (unixMs !== undefined) points.push([unixMs, bundle * 256 + offset + 1]);
    });
  }
  const last = when(parse(await state.tree.entry(state.head.size - 1)));
  if (last !== undefined) points.push([last, state.head.size]);
  points.sort((a, b) => a[1] - b[1]);
  const isMoment = points.every(([unixMs]) => unixMs === points[0]?.[0]);
  if (points.length < 3 || isMoment) return;
  const [width, height, left] = [720, 120, 60];
  const times = points.map(([unixMs]) => unixMs);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const x = (unixMs) => left + ((width - left - 10) * (unixMs - from)) / Math.max(1, to - from);
  const y = (count) => height - 20 - ((height - 35) * count) / state.head.size;
  const picture = drawn('svg', { width, height, role: 'img', 'aria-label': `growth to ${state.head.size} records between ${time(from)} and ${time(to)}` });
  const line = points.map(([unixMs, count], n) => `${n === 0 ? 'M' : 'L'}${x(unixMs).toFixed(1)} ${y(count).toFixed(1)}`).join('');
  picture.append(
    drawn('path', { d: `M${left} 10V${height - 20}H${width - 10}` }),
    drawn('path', { d: line, class: 'growth' }),
    drawn('text', { x: left - 6, y: 20, 'text-anchor': 'end', class: 'faint' }, number(state.head.size)),
    drawn('text', { x: left, y: height - 4, class: 'faint' }, time(from)),
    drawn('text', { x: width - 10, y: height - 4, 'text-anchor': 'end', class: 'faint' }, time(to)),
  );
  at('growth').replaceChildren(picture);
}

// --- One record ---

/** The way from the leaf at the foot up to the root, each neighbour on its side. */
function drawProof(index, leaf, steps, holds) {
  const [box, gap, step, middle] = [112, 150, 64, 240];
  const height = (steps.length + 1) * step + 10;
  const picture = drawn('svg', { width: 2 * middle, height, role: 'img', 'aria-label': `inclusion proof of record ${index}, ${steps.length} steps` });
  const node = (x, y, text, kind) => [
    drawn('rect', { x: x - box / 2, y, width: box, height: 28, rx: 4, class: kind }),
    drawn('text', { x, y: y + 18, 'text-anchor': 'middle' }, text),
  ];
  const foot = height - 38;
  const last = (holds ? 'good' : 'bad');
  steps.forEach(({ sibling, isSiblingLeft, hash }, n) => {
    const y = foot - n * step;
    const x = middle + (isSiblingLeft ? -gap : gap);
    const top = y - step;
    picture.append(
      drawn('path', { d: `M${x} ${y}V${y - 18}H${middle}` }),
      drawn('path', { d: `M${middle} ${y}V${top + 28}`, class: 'own' }),
      ...node(x, y, short(sibling), ''),
      ...node(middle, top, short(hash), n === steps.length - 1 ? last : 'own'),
    );
  });
  picture.append(...node(middle, foot, short(leaf), steps.length === 0 ? last : 'own'));
  picture.append(drawn('text', { x: middle - box / 2 - 8, y: foot + 18, 'text-anchor': 'end', class: 'faint' }, `record ${index}`));
  if (steps.length > 0) {
    const top = foot - steps.length * step;
    picture.append(drawn('text', { x: middle + box / 2 + 8, y: top + 18, class: 'faint' }, holds ? 'the root' : 'NOT the root'));
  }
  return picture;
}

function said(holds, text) {
  return element('li', `${holds ? '✓' : '✗'} ${text}`, { class: holds ? 'good' : 'bad' });
}

async function showRecord(index) {
  at('one-title').textContent = `Record ${number(index)}`;
  at('steps').replaceChildren();
  at('record').textContent = '';
  const { entry, leaf, steps, holds } = await proveEntry(state.tree, state.head, index);
  at('record').textContent = JSON.stringify(parse(entry), null, 2);
  at('proof').replaceChildren(drawProof(index, leaf, steps, holds));
  const lines = [
    said(true, `${number(entry.length)} bytes, and their leaf hash ${toBase64(leaf)}`),
    said(holds, `${steps.length} hashes lead from it to ${holds ? 'the root of the head' : 'another root than the head states'}`),
  ];
  if (state.head.isSigned === true) lines.push(said(true, 'the head is signed with your key'));
  else lines.push(element('li', '– the head’s signature is not checked', { class: 'open' }));
  at('steps').replaceChildren(...lines);
  if (!holds) throw new Wrong(`record ${index} is not in the tree of the head`);
  if (state.head.isSigned === true) verdict('verified', `Record ${number(index)} is in the ledger, under a head signed with your key.`);
  else verdict('open', `Record ${number(index)} is in the tree of the head. Who signed that is not known: NOT authenticated.`);
}

// --- What the visitor asks for ---

async function route() {
  const [, what, which] = location.hash.split('/');
  at('one').hidden = what !== 'record';
  at('list').hidden = what === 'record';
  if (what === 'record') return showRecord(Number(which));
  await showRows(Math.min(state.head.size - 1, what === 'from' ? Number(which) : state.head.size - 1));
  return at('growth').hasChildNodes() ? undefined : showGrowth();
}

async function find(text) {
  if (/^[0-9]+$/.test(text) && Number(text) < state.head.size) {
    location.hash = `#/record/${Number(text)}`;
    return;
  }
  const reply = await get(`v1/tasks/${encodeURIComponent(text)}`);
  const { records } = JSON.parse(new TextDecoder().decode(reply));
  if (records.length === 0) at('all-said').textContent = `The ledger has no record of task ${text}.`;
  // The last one is how it ended; where it is in the tree is checked like any other's.
  else location.hash = `#/record/${records.at(-1).index}`;
}

async function checkAll() {
  if (state.head.size > MAX_RECORDS_AT_ONCE) {
    at('all-said').textContent = `More than ${number(MAX_RECORDS_AT_ONCE)} records: axiom_hive_cli verify is made for that.`;
    return;
  }
  const root = await rootOfAll(state.tree, (done) => {
    at('all-said').textContent = `${number(done)} of ${number(state.head.size)}`;
  });
  if (!equal(root, state.head.root)) throw new Wrong('the records do not lead to the root of the head');
  at('all-said').textContent = `All ${number(state.head.size)} records lead to the root of the head.`;
}

/** Whatever fails is said where nobody overlooks it. */
function guarded(action) {
  return async (event) => {
    event?.preventDefault();
    try {
      await action();
    } catch (error) {
      const what = error instanceof Wrong ? error.message : `the page could not check: ${error.message}`;
      verdict('failed', `FAILED: ${what}`);
    }
    document.body.dataset.isDone = 'true';
  };
}

at('key-form').addEventListener('submit', guarded(async () => {
  memory.write('key', at('key').value.trim());
  await start();
}));
at('find-form').addEventListener('submit', guarded(() => find(at('find').value.trim())));
at('all').addEventListener('click', guarded(checkAll));
addEventListener('hashchange', guarded(route));
guarded(start)();
