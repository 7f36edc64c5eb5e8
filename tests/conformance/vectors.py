#!/usr/bin/env python3
"""Reads the test vectors beside it and says where it disagrees.

    vectors.py [FOLDER]

Written from RFC 6962 and the C2SP specifications alone, with the standard library of Python 3.11: no code is shared
with what wrote the vectors. A case that is `acceptable` may go either way. The exit code is 0 when nothing disagrees.
"""

import base64
import hashlib
import json
import os
import re
import sys

import ed25519


class Wrong(Exception):
    """What does not hold."""


def need(holds, message):
    if not holds:
        raise Wrong(message)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def decode64(text):
    """The bytes of a strict base64 text."""
    try:
        found = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise Wrong("not base64") from None
    need(base64.b64encode(found).decode() == text, "not canonical base64")
    return found


def hash_of(text):
    found = decode64(text)
    need(len(found) == 32, "a hash has 32 bytes")
    return found


def decimal(text):
    need(re.fullmatch("0|[1-9][0-9]*", text, re.ASCII), "a number must be decimal")
    need(int(text) < 1 << 63, "a number must be below 2^63")
    return int(text)


# RFC 6962 section 2.1


def leaf_hash(entry):
    return sha256(b"\x00", entry)


def node_hash(left, right):
    return sha256(b"\x01", left, right)


def split(count):
    """The largest power of two below a count of at least 2."""
    return 1 << (count - 1).bit_length() - 1


class Log:
    """The log of the vectors' rule: entry n is n in decimal digits."""

    def __init__(self):
        self.cache = {}

    def entry(self, index):
        return str(index).encode()

    def root(self, start, end):
        """MTH(D[start:end])."""
        if end == start:
            return sha256()
        if end - start == 1:
            return leaf_hash(self.entry(start))
        if (start, end) not in self.cache:
            middle = start + split(end - start)
            self.cache[start, end] = node_hash(self.root(start, middle), self.root(middle, end))
        return self.cache[start, end]


LOG = Log()


def check_inclusion(index, size, leaf, root, proof):
    need(index < size, "the index must be in the tree")
    sides = []
    while size > 1:
        left = split(size)
        sides.append(index >= left)
        index, size = (index - left, size - left) if index >= left else (index, left)
    need(len(proof) == len(sides), "the proof must have one hash a level")
    found = leaf
    for sibling in proof:
        found = node_hash(sibling, found) if sides.pop() else node_hash(found, sibling)
    need(found == root, "the proof must lead to the root")


def check_consistency(old_size, new_size, old_root, new_root, proof):
    need(1 <= old_size <= new_size, "the sizes must be 1 <= old <= new")
    rest = list(proof)

    def take():
        need(rest, "the proof is too short")
        return rest.pop(0)

    def walk(known, count, is_oldest):
        """Both roots over `count` entries, of which the old tree has `known`."""
        if known == count:
            part = old_root if is_oldest else take()
            return part, part
        left = split(count)
        if known <= left:
            old, new = walk(known, left, is_oldest)
            return old, node_hash(new, take())
        old, new = walk(known - left, count - left, False)
        before = take()
        return node_hash(before, old), node_hash(before, new)

    found = walk(old_size, new_size, True)
    need(not rest, "the proof is too long")
    need(found == (old_root, new_root), "the proof must lead to both roots")


# C2SP tlog-tiles


def parse_path(path):
    """Level (or "entries"), index and width."""
    form = r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
    found = re.fullmatch(form, path, re.ASCII)
    need(found, "not a tile's path")
    level, index, width = found.groups()
    need(level == "entries" or int(level) <= 63, "a level is at most 63")
    need(width is None or int(width) <= 255, "a partial tile has at most 255 hashes")
    need(not index.startswith("x000"), "an index has one text")
    return level, int(index.replace("x", "").replace("/", "")), int(width or 256)


def tile_of(size, path):
    """The content of a tile of the tree of the rule's first `size` entries."""
    level, index, width = parse_path(path)
    span = 1 if level == "entries" else 256 ** int(level)
    first = 256 * index
    need((first + width) * span <= size, "the tree has no such tile")
    numbers = range(first, first + width)
    if level == "entries":
        entries = [LOG.entry(number) for number in numbers]
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    return b"".join(LOG.root(number * span, (number + 1) * span) for number in numbers)


def parse_bundle(content, width):
    entries = []
    while content:
        need(len(content) >= 2, "a length has two bytes")
        end = 2 + int.from_bytes(content[:2], "big")
        need(len(content) >= end, "an entry is cut short")
        entries.append(content[2:end])
        content = content[end:]
    need(len(entries) == width, "a bundle has as many entries as it is wide")
    return entries


# C2SP signed-note and tlog-cosignature


def is_name(name):
    return name and "+" not in name and not any(char.isspace() for char in name)


class Key:
    def __init__(self, text):
        parts = text.split("+", 2)
        need(len(parts) == 3 and is_name(parts[0]), "a verifier key has a name, an id and a key")
        self.name, key_id, material = parts[0], parts[1], decode64(parts[2])
        need(len(material) == 33 and material[0] in (1, 4), "a type and 32 bytes")
        self.id = sha256(self.name.encode(), b"\n", material)[:4]
        need(key_id == self.id.hex(), "the id is that of name and key")
        self.type, self.public = material[0], material[1:]

    def verify(self, text, signature):
        """Whether it signed, and the time of a cosignature."""
        message, time = text.encode(), None
        if self.type == 4:
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            need(time < 1 << 63, "a time is below 2^63")
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
        need(ed25519.verify(self.public, message, signature), f"{self.name}: the signature is wrong")
        return time


def parse_note(note):
    """The text and the signature lines."""
    need(not any(char < " " and char != "\n" for char in note), "a control character")
    text, separator, lines = note.rpartition("\n\n")
    need(separator and lines.endswith("\n"), "a text, an empty line, signatures")
    signatures = []
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        need(len(parts) == 3 and parts[0] == "—" and is_name(parts[1]), "a dash, a name and base64")
        material = decode64(parts[2])
        need(len(material) > 4, "a key id and a signature")
        signatures.append((parts[1], material[:4], material[4:]))
    return text + "\n", signatures


def open_note(note, keys):
    """The text, and who signed it when: position and time."""
    text, signatures = parse_note(note)
    signers = {}
    for name, key_id, signature in signatures:
        for position, key in enumerate(keys):
            if (key.name, key.id) == (name, key_id):
                signers.setdefault(position, key.verify(text, signature))
    need(signers, "no known key signed")
    return text, sorted(signers.items())


# C2SP tlog-checkpoint and tlog-proof


def open_checkpoint(note, key):
    text, _ = open_note(note, [key])
    origin, *lines = text[:-1].split("\n")
    need(origin == key.name, "the origin is the key's name")
    need(len(lines) >= 2 and all(lines), "three lines or more, none empty")
    return origin, decimal(lines[0]), hash_of(lines[1]), lines[2:]


def open_proof_file(file, entry, key):
    head, separator, note = file.partition("\n\n")
    need(separator, "a proof and a checkpoint")
    first, *lines = head.split("\n")
    need(first == "c2sp.org/tlog-proof@v1", "the first line names the format")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode64(lines.pop(0)[6:])
    need(lines and lines[0].startswith("index "), "an index")
    index, proof = decimal(lines[0][6:]), [hash_of(line) for line in lines[1:]]
    _, size, root, _ = open_checkpoint(note, key)
    check_inclusion(index, size, leaf_hash(entry), root, proof)
    return index, size, extra


# The files: each function gives what the case says that a reader finds, or raises


def on_hashes(case):
    if case["entry"] is not None:
        return leaf_hash(decode64(case["entry"])) == hash_of(case["hash"])
    return node_hash(*map(hash_of, case["children"])) == hash_of(case["hash"])


def on_roots(case):
    return LOG.root(0, case["size"]) == hash_of(case["root"])


def on_inclusion(case):
    proof = [hash_of(text) for text in case["proof"]]
    check_inclusion(decimal(case["index"]), decimal(case["size"]), hash_of(case["leaf"]), hash_of(case["root"]), proof)
    return True


def on_consistency(case):
    sizes, roots = map(decimal, (case["old_size"], case["new_size"])), map(hash_of, (case["old_root"], case["new_root"]))
    check_consistency(*sizes, *roots, [hash_of(text) for text in case["proof"]])
    return True


def on_tile_paths(case):
    level, index, width = parse_path(case["path"])
    return [level, str(index), width] == [case["level"], case["index"], case["width"]]


def on_tiles(case):
    found = tile_of(case["size"], case["path"])
    need(sha256(found).hex() == case["sha256"], "the tile holds something else")
    return case["content"] is None or decode64(case["content"]) == found


def on_bundles(case):
    found = parse_bundle(decode64(case["content"]), case["width"])
    return found == [decode64(entry) for entry in case["entries"]]


def on_vkeys(case):
    key = Key(case["vkey"])
    found = [key.name, key.id.hex(), key.type, key.public]
    return found == [case["name"], case["key_id"], case["signature_type"], decode64(case["public_key"])]


def on_notes(case):
    text, signers = open_note(case["note"], [Key(vkey) for vkey in case["keys"]])
    expected = [(signer["key"], signer["timestamp"] and int(signer["timestamp"])) for signer in case["signers"]]
    return (text, signers) == (case["text"], expected)


def on_checkpoints(case):
    origin, size, root, extensions = open_checkpoint(case["note"], Key(case["vkey"]))
    found = [origin, str(size), root, extensions]
    return found == [case["origin"], case["size"], hash_of(case["root"]), case["extensions"]]


def on_proof_files(case):
    index, size, extra = open_proof_file(case["file"], decode64(case["entry"]), Key(case["vkey"]))
    expected = case["extra"] if case["extra"] is None else decode64(case["extra"])
    return [str(index), str(size), extra] == [case["index"], case["size"], expected]


FILES = ["hashes", "roots", "inclusion", "consistency", "tile_paths", "tiles", "bundles", "vkeys", "notes", "checkpoints"]
FILES.append("proof_files")


def is_well_formed(note):
    try:
        parse_note(note)
    except Wrong:
        return False
    return True


def verdict(judge, case):
    """Whether a reader may behave so."""
    expected = case.get("result", "valid")
    if expected == "acceptable":
        return True
    if "well_formed" in case and is_well_formed(case["note"]) != case["well_formed"]:
        return False
    try:
        found = judge(case)
    except Wrong:
        return expected == "invalid"
    # What was accepted must also be read rightly.
    return expected == "valid" and found


def main(arguments):
    folder = arguments[0] if arguments else os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors")
    count, wrong = 0, 0
    for name in FILES:
        with open(os.path.join(folder, name + ".json"), encoding="utf-8") as file:
            cases = json.load(file)["cases"]
        for case in cases:
            count += 1
            if not verdict(globals()["on_" + name], case):
                wrong += 1
                print(f"{name}.json: {case.get('result', '')}: {case.get('comment', case.get('size'))}")
    print(f"{count} cases, {wrong} disagreements")
    return 1 if wrong or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
