//! Tile paths, tiles and entry bundles.

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::{MemTree, Tile, TileKind, bundle, leaf_hash, tiles_of};
use sha2::{Digest as _, Sha256};

use crate::format::{BundleCase, PathCase, TileCase, Verdict, encode, entry, write};

const TILES: &str = "https://c2sp.org/tlog-tiles";
const TREE: &str = "tlog-tiles, Merkle Tree";
const PARTIAL: &str = "tlog-tiles, Partial Tiles";
const ENTRIES: &str = "tlog-tiles, Log entries";

/// Paths that are none, and why.
const NO_PATHS: [(&str, &str, &str); 46] = [
    (TREE, "", "empty"),
    (TREE, "tile", "no level"),
    (TREE, "tile/0", "no index"),
    (TREE, "tile/0/", "an empty index"),
    (TREE, "/tile/0/000", "a slash in front"),
    (TREE, "tile/0/000/", "a slash at the end"),
    (TREE, "tile//000", "an empty level"),
    (TREE, "Tile/0/000", "an upper-case letter"),
    (TREE, "tiles/0/000", "another first part"),
    (TREE, "tile/00/000", "a leading zero in the level"),
    (TREE, "tile/01/000", "a leading zero in the level"),
    (TREE, "tile/64/000", "a level over 63"),
    (TREE, "tile/100/000", "a level of three digits"),
    (TREE, "tile/-1/000", "a level with a sign"),
    (TREE, "tile/+1/000", "a level with a plus sign"),
    (TREE, "tile/a/000", "a level that is no number"),
    (TREE, "tile/0x1/000", "a hexadecimal level"),
    (
        TREE,
        "tile/8/0/000",
        "the height in front, as in Go's checksum database",
    ),
    (TREE, "tile/0/0", "an index of one digit"),
    (TREE, "tile/0/00", "an index of two digits"),
    (TREE, "tile/0/0000", "an index of four digits"),
    (TREE, "tile/0/1000", "an index over 999 in one element"),
    (TREE, "tile/0/x000/001", "a superfluous element"),
    (TREE, "tile/0/x001", "the last element has an x"),
    (TREE, "tile/0/001/x002", "the x in the wrong element"),
    (TREE, "tile/0/001/002", "no x in an element before the last"),
    (TREE, "tile/0/X001/002", "an upper-case X"),
    (TREE, "tile/0/x01/002", "an element of two digits"),
    (TREE, "tile/0/xx01/002", "two x"),
    (TREE, "tile/0/-01", "an index with a sign"),
    (TREE, "tile/0/+01", "an index with a plus sign"),
    (TREE, "tile/0/00a", "a hexadecimal index"),
    (TREE, "tile/0/ 01", "a space"),
    (TREE, "tile/0/000\n", "a newline at the end"),
    (
        TREE,
        "tile/0/\u{661}\u{662}\u{663}",
        "digits that are not ASCII",
    ),
    (PARTIAL, "tile/0/000.p", "no width"),
    (PARTIAL, "tile/0/000.p/", "an empty width"),
    (
        PARTIAL,
        "tile/0/000.p/0",
        "width 0: an empty tile is never served",
    ),
    (
        PARTIAL,
        "tile/0/000.p/256",
        "width 256 is that of a full tile, which has no suffix",
    ),
    (PARTIAL, "tile/0/000.p/01", "a leading zero in the width"),
    (PARTIAL, "tile/0/000.p/-1", "a width with a sign"),
    (PARTIAL, "tile/0/000.p/1/2", "something after the width"),
    (PARTIAL, "tile/0/000.p/1 ", "a space after the width"),
    (ENTRIES, "tile/entries", "no index"),
    (ENTRIES, "tile/Entries/000", "an upper-case letter"),
    (ENTRIES, "tile/data/000", "another kind"),
];

pub(crate) fn paths() -> String {
    let level = |level| TileKind::Hashes { level };
    let mut cases = Vec::new();
    let tiles = [
        (level(0), 0, 256, TREE, "the first tile"),
        (level(0), 0, 1, PARTIAL, "a tree of one entry"),
        (level(0), 0, 255, PARTIAL, "the widest partial tile"),
        (level(0), 999, 256, TREE, "the last index of one element"),
        (level(0), 1000, 256, TREE, "the first index of two elements"),
        (level(0), 1001, 7, PARTIAL, "partial, two elements"),
        (
            level(0),
            999_999,
            256,
            TREE,
            "the last index of two elements",
        ),
        (
            level(0),
            1_000_000,
            256,
            TREE,
            "the first index of three elements",
        ),
        (
            level(0),
            1_234_067,
            256,
            TREE,
            "the example of the specification",
        ),
        (level(0), 1_234_067, 8, PARTIAL, "the example, partial"),
        (level(0), 273, 112, PARTIAL, "of a tree of 70,000"),
        (level(1), 1, 17, PARTIAL, "of a tree of 70,000"),
        (level(2), 0, 1, PARTIAL, "of a tree of 70,000"),
        (
            level(7),
            0,
            127,
            PARTIAL,
            "the last tile of a tree of 2^63 - 1",
        ),
        (
            level(0),
            (1 << 55) - 1,
            255,
            PARTIAL,
            "the last tile of level 0 of a tree of 2^63 - 1",
        ),
        (level(9), 12, 256, TREE, "a level that no tree reaches"),
        (level(10), 0, 256, TREE, "a level of two digits"),
        (level(63), 0, 256, TREE, "the last level"),
        (TileKind::Entries, 0, 256, ENTRIES, "the first bundle"),
        (TileKind::Entries, 273, 112, ENTRIES, "of a tree of 70,000"),
        (TileKind::Entries, 1_234_067, 256, ENTRIES, "three elements"),
    ];
    for (kind, index, width, section, comment) in tiles {
        cases.push(PathCase {
            comment: comment.to_owned(),
            section: section.to_owned(),
            result: Verdict::Valid,
            path: Tile { kind, index, width }.to_string(),
            level: Some(match kind {
                TileKind::Hashes { level } => level.to_string(),
                TileKind::Entries => "entries".to_owned(),
            }),
            index: Some(index.to_string()),
            width: Some(width),
        });
    }
    let refused =
        NO_PATHS.map(|(section, path, comment)| (section, path, comment, Verdict::Invalid));
    let over = "an index of which no 64-bit size has a tile";
    let open = [(
        TREE,
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        over,
        Verdict::Acceptable,
    )];
    for (section, path, comment, result) in refused.into_iter().chain(open) {
        cases.push(PathCase {
            comment: comment.to_owned(),
            section: section.to_owned(),
            result,
            path: path.to_owned(),
            level: None,
            index: None,
            width: None,
        });
    }
    write("Paths of tiles and of entry bundles.", TILES, &cases)
}

/// What a tree of the rule's entries has under a path.
pub(crate) fn content(tree: &MemTree, tile: &Tile) -> Vec<u8> {
    if tile.kind != TileKind::Entries {
        return tile.hashes(tree).unwrap();
    }
    let first = tile.index * 256;
    let mut content = Vec::new();
    for index in first..first + u64::from(tile.width) {
        bundle::push_entry(&mut content, &entry(index)).unwrap();
    }
    content
}

fn tile_case(size: u64, path: &str, content: &[u8], result: Verdict, comment: &str) -> TileCase {
    let is_bundle = path.starts_with("tile/entries/");
    let section = match (is_bundle, path.contains(".p/")) {
        (true, _) => ENTRIES,
        (false, true) => PARTIAL,
        (false, false) => TREE,
    };
    let is_shown = content.len() <= 128 || result != Verdict::Valid;
    TileCase {
        comment: comment.to_owned(),
        section: section.to_owned(),
        result,
        size,
        path: path.to_owned(),
        sha256: to_hex(&Sha256::digest(content)),
        content: is_shown.then(|| encode(content)),
    }
}

pub(crate) fn tiles(tree: &MemTree) -> String {
    let mut cases = Vec::new();
    for size in [1, 2, 255, 256, 257, 512, 65_535, 65_536, 65_537, 70_000] {
        let all: Vec<Tile> = tiles_of(size).collect();
        // The first and the last of each row.
        let ends = |at: usize| {
            let is_first = at == 0 || all[at - 1].kind != all[at].kind;
            is_first || all.get(at + 1).is_none_or(|next| next.kind != all[at].kind)
        };
        for at in (0..all.len()).filter(|at| ends(*at)) {
            let tile = all[at];
            let comment = if tile.is_full() {
                "a full tile"
            } else {
                "a partial tile"
            };
            let content = content(tree, &tile);
            cases.push(tile_case(
                size,
                &tile.to_string(),
                &content,
                Verdict::Valid,
                comment,
            ));
        }
    }
    cases.extend(wrong_tiles(tree));
    write(
        "Tiles and bundles of trees of the rule's entries.",
        TILES,
        &cases,
    )
}

fn wrong_tiles(tree: &MemTree) -> Vec<TileCase> {
    let hashes = |from: u64, to: u64| -> Vec<u8> {
        (from..to)
            .flat_map(|index| leaf_hash(&entry(index)).0)
            .collect()
    };
    let wrong = |size, path, content: &[u8], comment| {
        tile_case(size, path, content, Verdict::Invalid, comment)
    };
    let path = "tile/0/000.p/3";
    let right = hashes(0, 3);
    let swapped = [&right[32..64], &right[..32], &right[64..]].concat();
    let bare: Vec<u8> = (0..3)
        .flat_map(|index| Sha256::digest(entry(index)))
        .collect();
    let bundle = |from, to| {
        let mut content = Vec::new();
        for index in from..to {
            bundle::push_entry(&mut content, &entry(index)).unwrap();
        }
        content
    };
    let root = |size| tree.root_at(size).unwrap().0;
    vec![
        wrong(3, path, &[], "empty"),
        wrong(3, path, &right[..64], "one hash is missing"),
        wrong(3, path, &right[..95], "one byte is missing"),
        wrong(3, path, &hashes(0, 4), "one hash too many"),
        wrong(
            3,
            path,
            &[right.as_slice(), &[0]].concat(),
            "one byte too many",
        ),
        wrong(3, path, &swapped, "two hashes swapped"),
        wrong(
            3,
            path,
            &hashes(1, 4),
            "the hashes of the entries that follow",
        ),
        wrong(
            3,
            path,
            &bare,
            "hashes of the entries without the prefix of a leaf",
        ),
        wrong(256, "tile/1/000.p/1", &root(255), "the root of 255 entries"),
        wrong(
            257,
            "tile/1/000.p/1",
            &root(257),
            "the partial tile below is hashed into the upper one",
        ),
        wrong(3, "tile/0/000.p/4", &hashes(0, 4), "wider than the tree"),
        wrong(3, "tile/0/001.p/1", &hashes(256, 257), "beyond the tree"),
        wrong(
            255,
            "tile/1/000.p/1",
            &root(255),
            "no full tile is below it yet",
        ),
        wrong(
            3,
            "tile/entries/000.p/3",
            &bundle(0, 2),
            "one entry is missing",
        ),
        wrong(
            3,
            "tile/entries/000.p/3",
            &bundle(0, 4),
            "one entry too many",
        ),
        wrong(
            3,
            "tile/entries/000.p/3",
            &bundle(1, 4),
            "the entries that follow",
        ),
    ]
}

pub(crate) fn bundles() -> String {
    let mut cases = Vec::new();
    let long = vec![b'a'; 300];
    let valid: [(&str, &[&[u8]]); 6] = [
        ("one entry", &[b"hi"]),
        ("an empty entry", &[b""]),
        ("three empty entries", &[b"", b"", b""]),
        ("an entry that looks like a length", &[&[0, 1], &[0, 0]]),
        ("a length of two bytes: big-endian", &[&long]),
        (
            "entries with newlines and bytes over ASCII",
            &[b"a\n", &[0xff, 0xfe], b"\r\n"],
        ),
    ];
    for (comment, entries) in valid {
        let mut content = Vec::new();
        for entry in entries {
            bundle::push_entry(&mut content, entry).unwrap();
        }
        cases.push(BundleCase {
            comment: comment.to_owned(),
            section: ENTRIES.to_owned(),
            result: Verdict::Valid,
            width: entries.len() as u16,
            content: encode(content),
            entries: Some(entries.iter().map(encode).collect()),
        });
    }
    let invalid: [(&str, u16, &[u8]); 9] = [
        ("nothing, where one entry must be", 1, b""),
        ("half a length", 1, b"\x00"),
        ("a length and no entry", 1, b"\x00\x01"),
        ("an entry that is cut short", 1, b"\x00\x03ab"),
        ("a byte after the last entry", 1, b"\x00\x01a\x00"),
        ("an entry more than the width", 1, b"\x00\x01a\x00\x01b"),
        ("an entry less than the width", 2, b"\x00\x01a"),
        ("a little-endian length", 1, b"\x01\x00a"),
        ("a length of four bytes", 1, b"\x00\x00\x00\x01a"),
    ];
    for (comment, width, content) in invalid {
        cases.push(BundleCase {
            comment: comment.to_owned(),
            section: ENTRIES.to_owned(),
            result: Verdict::Invalid,
            width,
            content: encode(content),
            entries: None,
        });
    }
    write("Entry bundles of a given width.", TILES, &cases)
}
