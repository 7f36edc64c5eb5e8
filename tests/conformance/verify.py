#!/usr/bin/env python3
"""Verifies a ledger directory or a receipt, without any of our code.

    verify.py ledger DIR VKEY
    verify.py receipt FILE VKEY
    verify.py batch               one of the above a line on stdin, tab-separated; one verdict a line

Written from docs/LEDGER-FORMAT.md and docs/LEDGER-FILES.md alone, with the standard library of Python 3.11:
whoever doubts the Rust code can read this instead. The exit code is 0 when everything holds.
"""

import base64
import hashlib
import os
import re
import sys

import ed25519
import record as records
from record import Wrong, need


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def decode64(text):
    """The one base64 text of some bytes, or None."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return found if base64.b64encode(found).decode() == text else None


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def number(data):
    return int.from_bytes(data, "big")


# Keys, notes and checkpoints


class Key:
    """A log's verifier key."""

    def __init__(self, text):
        parts = text.split("+", 2)
        need(len(parts) == 3, "a verifier key must have three parts")
        self.name, key_id, data = parts[0], parts[1], decode64(parts[2])
        need(data is not None and len(data) == 33 and data[0] == 1, "the key must be Ed25519")
        self.id = sha256(self.name.encode(), b"\n", data)[:4]
        need(key_id == self.id.hex(), "the key's id must be that of name and key")
        self.text, self.public = text, data[1:]

    def signed(self, text, signature):
        return ed25519.verify(self.public, text.encode(), signature)


def checkpoint_text(origin, size, root):
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def decimal(text):
    need(re.fullmatch(r"0|[1-9][0-9]{0,19}", text), "a number must be decimal")
    return int(text)


def open_checkpoint(note, key):
    """Size and root of a signed checkpoint."""
    need(len(note.encode()) <= 524288, "a note has at most 524288 bytes")
    need(not re.search("[\x00-\x09\x0b-\x1f]", note), "a note has no control characters")
    text, separator, lines = note.rpartition("\n\n")
    need(separator and lines.endswith("\n"), "a note has text, an empty line and signatures")
    text += "\n"
    lines = lines[:-1].split("\n")
    need(len(lines) <= 64, "a note has at most 64 signatures")
    is_signed = False
    for line in lines:
        parts = line.split(" ")
        data = decode64(parts[2]) if len(parts) == 3 and parts[0] == "—" else None
        need(data is not None and len(data) >= 5, "a signature line must be well-formed")
        need(parts[1] and "+" not in parts[1], "a signature must have a name")
        if parts[1] == key.name and data[:4] == key.id:
            need(key.signed(text, data[4:]), "the signature of the log must be good")
            is_signed = True
    need(is_signed, "the log must have signed")
    need(len(text.encode()) <= 16384, "a checkpoint has at most 16384 bytes")
    origin, size, root, *extensions = text[:-1].split("\n")
    need(origin == key.name, "the origin must be the key's name")
    need(all(extensions), "an extension line is not empty")
    size, root = decimal(size), decode64(root)
    need(root is not None and len(root) == 32 and size < 1 << 63, "a checkpoint has a root of 32 bytes")
    need(size > 0 or root == sha256(), "the empty tree has one root")
    return size, root


# The tree


def leaf_hash(entry):
    return sha256(b"\x00", entry)


def node_hash(left, right):
    return sha256(b"\x01", left, right)


class Tree:
    """All complete subtrees over the leaves, by level."""

    def __init__(self, leaves):
        self.levels = [leaves]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            pairs = zip(below[::2], below[1::2])
            self.levels.append([node_hash(left, right) for left, right in pairs])

    def root(self, size):
        root, start = None, 0
        parts = []
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                parts.append(self.levels[level][start >> level])
                start += 1 << level
        for part in reversed(parts):
            root = part if root is None else node_hash(part, root)
        return sha256() if root is None else root


def root_of_inclusion(index, size, leaf, hashes):
    """RFC 9162 section 2.1.3.2."""
    need(index < size, "the index must be in the tree")
    first, last, root = index, size - 1, leaf
    for sibling in hashes:
        need(last > 0, "the proof must not be too long")
        if first & 1 or first == last:
            root = node_hash(sibling, root)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        first, last = first >> 1, last >> 1
    need(last == 0, "the proof must not be too short")
    return root


# Receipts


def verify_receipt(path, vkey):
    key = Key(vkey)
    with open(path, "rb") as file:
        data = file.read(1048577)
    need(len(data) <= 1048576, "a receipt has at most 1048576 bytes")
    head, separator, note = data.decode().partition("\n\n")
    need(separator, "a receipt holds a checkpoint after an empty line")
    first, extra, index, *hashes = head.split("\n")
    need(first == "c2sp.org/tlog-proof@v1", "a receipt names its format")
    need(extra.startswith("extra ") and index.startswith("index "), "a receipt has a record and an index")
    entry = decode64(extra[6:])
    need(entry is not None and len(entry) <= 65536, "the record must be base64")
    hashes = [decode64(line) for line in hashes]
    need(len(hashes) <= 64 and all(it and len(it) == 32 for it in hashes), "a proof has at most 64 hashes")
    size, root = open_checkpoint(note, key)
    found = root_of_inclusion(decimal(index[6:]), size, leaf_hash(entry), hashes)
    need(found == root, "the record must be in the log")
    records.read(entry)


# Ledgers

MAX_PAYLOAD_SECTION_BYTES = 40 << 20


def read(*path):
    try:
        with open(os.path.join(*path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


class End(Exception):
    """The log is readable up to here."""


class Frame:
    """A record with its payloads, and the signature of a group's last."""

    def __init__(self, salt, data, at, index, position):
        head = data[at : at + 28]
        if len(head) < 28 or head[:4] != b"AXF1" or crc32c(salt + head[:24]) != number(head[24:]):
            raise End("no frame begins here")
        sizes = [number(head[12:16]), number(head[16:20]), head[23]]
        is_bounded = 1 <= sizes[0] <= 16384 and sizes[1] <= MAX_PAYLOAD_SECTION_BYTES and sizes[2] in (0, 64)
        if not is_bounded or number(head[4:12]) != index or number(head[20:23]) != position or position > 4095:
            raise End("another frame must stand here")
        self.sections, self.covered, self.end = [], salt + head[:24], at + 28
        for size in sizes:
            self.sections.append(data[self.end : self.end + size + 4])
            self.end += size + 4
        if self.end > len(data):
            raise End("the frame is cut short")
        self.is_signed = sizes[2] == 64

    def check(self):
        for section in self.sections:
            need(crc32c(self.covered + section[:-4]) == number(section[-4:]), "a frame must match its checksums")
        self.record, self.payloads, self.signature = (section[:-4] for section in self.sections)


def read_segment(data, first, vkey, frames):
    """Appends the frames of whole groups; raises `End` where they end before the file."""
    length = number(data[24:26])
    end = 26 + length
    need(data[:8] == b"AXHIVEL1" and 1 <= length <= 320, "a segment must have a header")
    need(len(data) >= end + 4 and crc32c(data[:end]) == number(data[end : end + 4]), "its checksum must match")
    need(number(data[8:16]) == first, "a segment must begin where the one before ends")
    need(data[26:end] == vkey.encode(), "the log must be of the key")
    salt, at, group = data[16:24], end + 4, []
    while at < len(data):
        frame = Frame(salt, data, at, len(frames) + len(group), len(group))
        group.append(frame)
        at = frame.end
        if frame.is_signed:
            for frame in group:
                frame.check()
            frames.extend(group)
            group = []
    if group:
        raise End("the last group is not finished")


def read_log(directory, vkey):
    """The frames of the log; what stands behind its last group may be the trace of a crash."""
    names = sorted(name for name in os.listdir(os.path.join(directory, "log")) if re.fullmatch(r"[0-9]{20}", name))
    need(names, "there must be a log")
    frames = []
    for name in names:
        need(int(name) == len(frames), "a segment must be named by its first record")
        try:
            read_segment(read(directory, "log", name), len(frames), vkey, frames)
        except End as end:
            need(name == names[-1], f"log/{name}: {end}")
    return frames


def check_heads(directory, key, tree, size):
    for slot in "01":
        data = read(directory, "heads", slot)
        need(data is not None and len(data) == 112, "there must be two heads of 112 bytes")
        if not any(data):
            continue
        need(data[:4] == b"AXH1" and crc32c(data[:108]) == number(data[108:]), "a head must match its checksum")
        released, root, signature = number(data[4:12]), data[12:44], data[44:108]
        need(released <= size, "no record that was released may be missing")
        need(key.signed(checkpoint_text(key.name, released, root), signature), "a head must be signed")
        need(tree.root(released) == root, "the records must be those that were released")


def check_tile(directory, path, content):
    found = read(directory, "tile", *path)
    need(found is None or found == content, f"{'/'.join(path)} must be what the log says")


def tile_name(index):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return groups


def check_tiles(directory, frames, tree):
    """Full tiles and bundles, as far as they exist."""
    for index in range(len(frames) // 256):
        bundle = bundle_of(frames[256 * index : 256 * index + 256])
        check_tile(directory, ["entries", *tile_name(index)], bundle)
    for level, nodes in enumerate(tree.levels[::8]):
        for index in range(len(nodes) // 256):
            content = b"".join(nodes[256 * index : 256 * index + 256])
            check_tile(directory, [str(level), *tile_name(index)], content)


def bundle_of(frames):
    return b"".join(len(frame.record).to_bytes(2, "big") + frame.record for frame in frames)


def check_published(directory, key, frames, tree, is_sealed):
    """The checkpoint of a sealed ledger, and every tile and bundle of the tree under it."""
    note = read(directory, "checkpoint")
    need(note is not None or not is_sealed, "a sealed ledger must have its checkpoint")
    if note is None:
        return
    size, root = open_checkpoint(note.decode(), key)
    need(size <= len(frames) and root == tree.root(size), "the checkpoint must be of this log")
    for level in range(8):
        count = size >> 8 * level
        for index in range((count + 255) // 256):
            width = min(256, count - 256 * index)
            part = [] if width == 256 else [f"{tile_name(index)[-1]}.p", str(width)]
            name = tile_name(index)[:-1] + (part or tile_name(index)[-1:])
            nodes = tree.levels[8 * level][256 * index : 256 * index + width]
            contents = [(str(level), b"".join(nodes))]
            if level == 0:
                contents.append(("entries", bundle_of(frames[256 * index : 256 * index + width])))
            for kind, content in contents:
                need(read(directory, "tile", kind, *name) is not None, "every published tile must be there")
                check_tile(directory, [kind, *name], content)


def stored_payloads(section):
    """Commitment to encoded payload, None for one that is erased."""
    found, at = {}, 0
    while at < len(section):
        kind, commitment, size = section[at : at + 1], section[at + 1 : at + 33], number(section[at + 33 : at + 37])
        encoded = section[at + 37 : at + 37 + size]
        need(kind in (b"K", b"E") and len(encoded) == size, "a payload must be whole")
        if kind == b"E":
            need(not any(encoded), "an erased payload must be zero")
            found[commitment] = None
        else:
            need(sha256(encoded) == commitment, "a payload must be what it was")
            found[commitment] = records.payload_text(encoded)
        at += 37 + size
    need(len(found) <= 80, "a record has at most 80 payloads")
    return found


def verify_ledger(directory, vkey):
    key = Key(vkey)
    frames = read_log(directory, vkey)
    tree = Tree([leaf_hash(frame.record) for frame in frames])
    root = tree.root(len(frames))
    if frames:
        last = checkpoint_text(key.name, len(frames), root)
        need(key.signed(last, frames[-1].signature), "the last group must be signed")
    check_heads(directory, key, tree, len(frames))
    check_tiles(directory, frames, tree)
    history = records.History()
    for frame in frames:
        history.push(records.read(frame.record), stored_payloads(frame.payloads))
    history.end()
    check_published(directory, key, frames, tree, history.is_sealed)


VERIFIERS = {"ledger": verify_ledger, "receipt": verify_receipt}


def verdict(kind, path, vkey):
    """None when everything holds, else what does not."""
    try:
        VERIFIERS[kind](path, vkey)
    except Wrong as wrong:
        return str(wrong)
    except (ValueError, OSError) as error:
        # Text that is none, a file that is not there.
        return f"{type(error).__name__}: {error}"
    return None


def main(arguments):
    if arguments == ["batch"]:
        for line in sys.stdin:
            print(verdict(*line.rstrip("\n").split("\t")) or "ok", flush=True)
        return 0
    if len(arguments) != 3 or arguments[0] not in VERIFIERS:
        print(__doc__, file=sys.stderr)
        return 2
    wrong = verdict(*arguments)
    print(wrong or "ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
