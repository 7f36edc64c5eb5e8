// Holds the page's verifier to the published test vectors, in the browser that runs it. Cases that it has no
// function for, and numbers over 2^53 - 1, which it refuses by design, are left out.
import {
  Tree, climb, equal, fromBase64, isConsistent, leafHash, nodeHash, openCheckpoint, parseBundle, parseKey,
  parseNote, rootOfAll, tilePath, toBase64,
} from './verify.js';

const entryOf = (index) => new TextEncoder().encode(String(index));
const isSafe = (...texts) => texts.every((text) => Number.isSafeInteger(Number(text)));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The log of the vectors' rule as tiles, hashed here. */
class Log {
  constructor() {
    this.levels = [[]];
  }

  async grow(size) {
    for (let at = this.levels[0].length; at < size; at += 4096) {
      const numbers = Array.from({ length: Math.min(4096, size - at) }, (_, n) => at + n);
      this.levels[0].push(...(await Promise.all(numbers.map((number) => leafHash(entryOf(number))))));
    }
    for (let level = 1; level < 3; level += 1) {
      const below = this.levels[level - 1];
      this.levels[level] ??= [];
      while ((this.levels[level].length + 1) * 256 <= below.length) {
        const first = this.levels[level].length * 256;
        let row = below.slice(first, first + 256);
        while (row.length > 1) {
          row = await Promise.all(row.filter((_, n) => n % 2 === 0).map((left, n) => nodeHash(left, row[2 * n + 1])));
        }
        this.levels[level].push(row[0]);
      }
    }
  }

  async get(path) {
    const [, kind, index, width] = path.match(/^tile\/(entries|[0-9]+)\/([x0-9/]+)(?:\.p\/([0-9]+))?$/);
    const first = Number(index.replace(/[x/]/g, '')) * 256;
    const end = first + Number(width ?? 256);
    if (kind !== 'entries') return concat(this.levels[kind].slice(first, end));
    const parts = [];
    for (let number = first; number < end; number += 1) {
      parts.push(Uint8Array.of(0, entryOf(number).length), entryOf(number));
    }
    return concat(parts);
  }

  tree(size) {
    return new Tree(size, (path) => this.get(path));
  }
}

function concat(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const log = new Log();
const LARGEST = 70001;

// Each gives whether the verifier accepts and finds what the case says, or throws; null where it has no say.
const judges = {
  async hashes({ entry, children, hash }) {
    const found = entry === null ? await nodeHash(...children.map(fromBase64)) : await leafHash(fromBase64(entry));
    return equal(found, fromBase64(hash));
  },
  async roots({ size, root }) {
    // From tiles always; from every entry where that is quick.
    const isSame = size === 0 || equal(await log.tree(size).root(0, size), fromBase64(root));
    return isSame && (size > 5000 || equal(await rootOfAll(log.tree(size)), fromBase64(root)));
  },
  async inclusion({ comment, index, size, leaf, root, proof }) {
    if (!isSafe(index, size)) return null;
    if (/^entry \d+ of \d+$/.test(comment)) {
      const made = await log.tree(Number(size)).proof(Number(index));
      if (!same(made.map(toBase64), proof)) return false;
    }
    const found = await climb(Number(index), Number(size), fromBase64(leaf), proof.map(fromBase64));
    return equal(found.root, fromBase64(root));
  },
  async consistency(it) {
    if (!isSafe(it.old_size, it.new_size)) return null;
    const roots = [it.old_root, it.new_root].map(fromBase64);
    return isConsistent(Number(it.old_size), Number(it.new_size), ...roots, it.proof.map(fromBase64));
  },
  async tile_paths({ result, path, level, index, width }) {
    if (result !== 'valid' || !isSafe(index)) return null;
    return tilePath(level, Number(index), width) === path;
  },
  async bundles({ width, content, entries }) {
    const found = parseBundle(fromBase64(content), width).map(toBase64);
    return entries === null || same(found, entries);
  },
  async vkeys(it) {
    // The page trims what a visitor pastes, and knows no key of a witness.
    if (it.vkey.trim() !== it.vkey || it.signature_type === 4) return null;
    const key = await parseKey(it.vkey);
    return it.name === null || (key.name === it.name && toBase64(key.bytes) === it.public_key);
  },
  async notes(it) {
    // Whom a note must be signed by, the checkpoints show.
    let isNote = true;
    try {
      const { text } = parseNote(it.note);
      if (it.text !== null && text !== it.text) return false;
    } catch {
      isNote = false;
    }
    return isNote === it.well_formed ? null : it.result !== 'valid';
  },
  async checkpoints(it) {
    if (it.result === 'valid' && !isSafe(it.size)) return null;
    const head = await openCheckpoint(it.note, await parseKey(it.vkey));
    if (head.isSigned === null) throw new Error('this browser has no Ed25519');
    if (it.result !== 'valid') return true;
    const found = [head.origin, String(head.size), toBase64(head.root)];
    return head.isSigned && same(found, [it.origin, it.size, it.root]);
  },
};

async function run() {
  const wrong = [];
  let count = 0;
  await log.grow(LARGEST);
  for (const [name, judge] of Object.entries(judges)) {
    const { cases } = await (await fetch(`/vectors/${name}.json`)).json();
    for (const it of cases) {
      if (it.result === 'acceptable') continue;
      let accepts;
      try {
        accepts = await judge(it);
      } catch {
        accepts = false;
      }
      if (accepts === null) continue;
      count += 1;
      if (accepts !== (it.result !== 'invalid')) wrong.push(`${name}: ${it.result}: ${it.comment ?? it.size}`);
    }
  }
  return [`${count} cases, ${wrong.length} disagreements`, ...wrong];
}

const lines = await run().catch((error) => [String(error)]);
document.body.textContent = lines.join('\n');
document.body.dataset.isDone = '';
