// A verifier of transparency logs for browsers and any other JavaScript with WebCrypto: RFC 6962 trees, C2SP
// tlog-tiles, signed notes and checkpoints. It believes nothing that it did not compute: what a server says
// (`get`) is checked up to the head, and the head up to the key that its caller brings.
//
// Sizes and indices are JavaScript numbers: at most 2^53 - 1.

const TILE = 256;
const MAX_NOTE_CHARS = 524288;
const MAX_SIGNATURES = 64;

/** What does not hold. */
export class Wrong extends Error {}

function need(holds, message) {
  if (!holds) throw new Wrong(message);
}

async function sha256(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', all));
}

export const leafHash = (entry) => sha256(Uint8Array.of(0), entry);
export const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

export function equal(a, b) {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** Strict base64: padded, no white space, unused bits zero. */
export function fromBase64(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    throw new Wrong('must be base64');
  }
  need(toBase64(bytes) === text, 'must be canonical base64');
  return bytes;
}

export const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
const utf8 = (text) => new TextEncoder().encode(text);

function decimal(text, what) {
  const value = Number(text);
  need(/^(0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(value), `${what} must be a decimal number`);
  return value;
}

/** Whether `name` may name a key. */
const isName = (name) => name !== '' && !/[\p{White_Space}+]/u.test(name);

/** `NAME+KEYID+BASE64` of an Ed25519 key. */
export async function parseKey(vkey) {
  const [name, id, ...rest] = vkey.trim().split('+');
  const bytes = fromBase64(rest.join('+'));
  need(bytes.length === 33 && bytes[0] === 1, 'the key must be a verifier key of an Ed25519 key');
  const hash = await sha256(utf8(`${name}\n`), bytes);
  const expected = Array.from(hash.slice(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join('');
  need(isName(name) && id === expected, 'the key must have the id that its name and bytes give it');
  return { name, id: hash.slice(0, 4), bytes: bytes.slice(1) };
}

/** The parts of a signed note: its text and its signatures. */
export function parseNote(note) {
  need(note.length <= MAX_NOTE_CHARS, 'a note must not be that long');
  need(!/[\0-\t\v-\x1f]/.test(note), 'a note must not hold control characters');
  const split = note.lastIndexOf('\n\n');
  need(split >= 0 && note.endsWith('\n'), 'a note must be a text, an empty line and signatures');
  const lines = note.slice(split + 2, -1).split('\n');
  need(lines.length <= MAX_SIGNATURES, `a note must have at most ${MAX_SIGNATURES} signatures`);
  const signatures = lines.map((line) => {
    const [dash, name, base64, ...rest] = line.split(' ');
    need(dash === '\u2014' && isName(name ?? '') && base64 && rest.length === 0, 'a signature line must be "\u2014 NAME BASE64"');
    const bytes = fromBase64(base64);
    need(bytes.length > 4, 'a signature must have a key id');
    return { name, id: bytes.slice(0, 4), bytes: bytes.slice(4) };
  });
  return { text: note.slice(0, split + 1), signatures };
}

/** The head that a checkpoint states: `{origin, size, root}`. */
export function parseHead(text) {
  const [origin, size, root, ...more] = text.split('\n');
  need(more.length >= 1 && more.pop() === '' && !more.includes(''), 'a checkpoint must be lines');
  const head = { origin, size: decimal(size, 'a size'), root: fromBase64(root) };
  need(origin && head.root.length === 32, 'a checkpoint must have an origin, a size and a root');
  return head;
}

/**
 * Opens a checkpoint. With a key (`parseKey`) its signature must hold; without one nothing is known of who signed.
 * `isSigned` is null where the browser cannot check Ed25519.
 */
export async function openCheckpoint(note, key) {
  const { text, signatures } = parseNote(note);
  const head = parseHead(text);
  if (!key) return { ...head, isSigned: false };
  need(head.origin === key.name, `the checkpoint is of ${head.origin}, and the key of ${key.name}`);
  const own = signatures.filter((it) => it.name === key.name && equal(it.id, key.id));
  need(own.length > 0, 'the checkpoint must be signed with the key');
  let imported;
  try {
    imported = await crypto.subtle.importKey('raw', key.bytes, { name: 'Ed25519' }, false, ['verify']);
  } catch {
    return { ...head, isSigned: null };
  }
  for (const signature of own) {
    need(await crypto.subtle.verify('Ed25519', imported, signature.bytes, utf8(text)), 'the signature must hold');
  }
  return { ...head, isSigned: true };
}

/** The path of a tile: `kind` is a level or `entries`. */
export function tilePath(kind, index, width) {
  let path = String(index % 1000).padStart(3, '0');
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  }
  return `tile/${kind}/${path}${width === TILE ? '' : `.p/${width}`}`;
}

/** The entries of a bundle of `width`. */
export function parseBundle(bytes, width) {
  const entries = [];
  let at = 0;
  while (at < bytes.length) {
    need(at + 2 <= bytes.length, 'a bundle must not end within a length');
    const end = at + 2 + bytes[at] * 256 + bytes[at + 1];
    need(end <= bytes.length, 'a bundle must not end within an entry');
    entries.push(bytes.slice(at + 2, end));
    at = end;
  }
  need(entries.length === width, `a bundle must have ${width} entries`);
  return entries;
}

/** The largest power of two below `size`, which is at least 2. */
function split(size) {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

/** The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2), and each step on the way. */
export async function climb(index, size, leaf, proof) {
  need(Number.isSafeInteger(index) && index >= 0 && index < size, 'the index must be below the size');
  // From the top: which side of each split the leaf is on.
  const sides = [];
  for (let first = 0, count = size; count > 1; ) {
    const left = split(count);
    const isRight = index - first >= left;
    sides.push(isRight);
    if (isRight) first += left;
    count = isRight ? count - left : left;
  }
  need(proof.length === sides.length, `the proof must have ${sides.length} hashes`);
  const steps = [];
  let hash = leaf;
  for (const sibling of proof) {
    const isRight = sides.pop();
    hash = isRight ? await nodeHash(sibling, hash) : await nodeHash(hash, sibling);
    steps.push({ sibling, isSiblingLeft: isRight, hash });
  }
  return { root: hash, steps };
}

/** Whether the tree of `to` begins with that of `from` (RFC 9162 section 2.1.4.2). */
export async function isConsistent(from, to, fromRoot, toRoot, proof) {
  need(from >= 1 && from <= to, 'the sizes must be 1 <= from <= to');
  const hashes = [...proof];
  // Gives the roots of both trees over `count` entries, of which the older tree has `known`.
  const walk = async (known, count, isOldest) => {
    if (known === count) {
      const root = isOldest ? fromRoot : hashes.shift();
      need(root, 'the proof must have more hashes');
      return [root, root];
    }
    const left = split(count);
    if (known <= left) {
      const [old, now] = await walk(known, left, isOldest);
      const right = hashes.shift();
      need(right, 'the proof must have more hashes');
      return [old, await nodeHash(now, right)];
    }
    const [old, now] = await walk(known - left, count - left, false);
    const before = hashes.shift();
    need(before, 'the proof must have more hashes');
    return [await nodeHash(before, old), await nodeHash(before, now)];
  };
  const [old, now] = await walk(from, to, true);
  return hashes.length === 0 && equal(old, fromRoot) && equal(now, toRoot);
}

/** A tree of a given size over tiles; `get` gives the bytes of a path. Tiles are asked for once. */
export class Tree {
  constructor(size, get) {
    this.size = size;
    this.get = get;
    this.tiles = new Map();
  }

  async tile(kind, index) {
    const nodes = kind === 'entries' ? this.size : Math.floor(this.size / TILE ** kind);
    const width = Math.min(TILE, nodes - index * TILE);
    need(width > 0, 'the tree has no such tile');
    const path = tilePath(kind, index, width);
    if (!this.tiles.has(path)) this.tiles.set(path, this.get(path));
    return { bytes: await this.tiles.get(path), width };
  }

  /** The entries of a bundle. */
  async entries(bundle) {
    const { bytes, width } = await this.tile('entries', bundle);
    return parseBundle(bytes, width);
  }

  /** One entry, not yet proven. */
  async entry(index) {
    need(index < this.size, 'the index must be below the size');
    return (await this.entries(Math.floor(index / TILE)))[index % TILE];
  }

  /** The root over `count` entries from `first`; both as a tree splits them. */
  async root(first, count) {
    let level = 0;
    let width = 1;
    while (width * 2 <= count) width *= 2;
    if (width !== count) {
      return nodeHash(await this.root(first, width), await this.root(first + width, count - width));
    }
    while (TILE ** (level + 1) <= count) level += 1;
    const nodes = count / TILE ** level;
    const start = first / TILE ** level;
    const { bytes } = await this.tile(level, Math.floor(start / TILE));
    const at = start % TILE;
    need(bytes.length >= (at + nodes) * 32, 'a tile must have a hash for each of its nodes');
    let row = Array.from({ length: nodes }, (_, n) => bytes.slice((at + n) * 32, (at + n + 1) * 32));
    while (row.length > 1) {
      row = await Promise.all(row.filter((_, n) => n % 2 === 0).map((left, n) => nodeHash(left, row[2 * n + 1])));
    }
    return row[0];
  }

  /** The inclusion proof of an entry, from the leaf up. */
  async proof(index) {
    const proof = [];
    for (let first = 0, count = this.size; count > 1; ) {
      const left = split(count);
      if (index - first < left) {
        proof.unshift(await this.root(first + left, count - left));
        count = left;
      } else {
        proof.unshift(await this.root(first, left));
        first += left;
        count -= left;
      }
    }
    return proof;
  }
}

/** One entry with its way up to the root of `head`. */
export async function proveEntry(tree, head, index) {
  const entry = await tree.entry(index);
  const leaf = await leafHash(entry);
  const { root, steps } = await climb(index, head.size, leaf, await tree.proof(index));
  return { entry, leaf, steps, root, holds: equal(root, head.root) };
}

/** The root over every entry, from their bytes alone; `progress` hears how many are done. */
export async function rootOfAll(tree, progress = () => {}) {
  // The roots of whole subtrees, their sizes falling: as in a binary counter.
  const stack = [];
  for (let bundle = 0; bundle * TILE < tree.size; bundle += 1) {
    const entries = await tree.entries(bundle);
    for (const leaf of await Promise.all(entries.map(leafHash))) {
      let node = { hash: leaf, size: 1 };
      while (stack.length > 0 && stack.at(-1).size === node.size) {
        const left = stack.pop();
        node = { hash: await nodeHash(left.hash, node.hash), size: 2 * node.size };
      }
      stack.push(node);
    }
    progress(Math.min(tree.size, (bundle + 1) * TILE));
  }
  let root = stack.pop()?.hash ?? (await sha256());
  while (stack.length > 0) root = await nodeHash(stack.pop().hash, root);
  return root;
}
