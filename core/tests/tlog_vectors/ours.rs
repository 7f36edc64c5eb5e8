//! What `core::tlog` says of the files.

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::{
    Checkpoint, Hash, MemTree, Note, Tile, TileKind, TlogProof, VerifyingKey, bundle, leaf_hash,
    node_hash, open_note, verify_consistency, verify_inclusion,
};
use sha2::{Digest as _, Sha256};

use crate::format::{
    BundleCase, CheckpointCase, ConsistencyCase, HashCase, InclusionCase, KeyCase, NoteCase,
    PathCase, ProofFileCase, RootCase, SignerOf, TileCase, Verdict, decode, encode, entry, read,
};
use crate::{tiles, trees};

/// Every valid case is accepted, every other one refused.
fn agree(file: &str, comment: &str, result: Verdict, accepts: bool) {
    assert_eq!(result == Verdict::Valid, accepts, "{file}: {comment}");
}

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

fn hashes(texts: &[String]) -> Vec<Hash> {
    texts.iter().map(|text| hash(text)).collect()
}

#[test]
fn agrees_on_hashes_and_roots() {
    for case in read::<HashCase>("hashes.json") {
        let found = match (&case.entry, &case.children) {
            (Some(entry), None) => leaf_hash(&decode(entry)),
            (None, Some([left, right])) => node_hash(&hash(left), &hash(right)),
            _ => panic!("{}: either an entry or children", case.comment),
        };
        assert_eq!(found, hash(&case.hash), "{}", case.comment);
    }
    let cases = read::<RootCase>("roots.json");
    let mut tree = MemTree::new();
    for case in cases {
        while tree.size() < case.size {
            tree.push(leaf_hash(&entry(tree.size())));
        }
        assert_eq!(tree.root(), hash(&case.root), "{}", case.size);
    }
}

#[test]
fn agrees_on_proofs() {
    for case in read::<InclusionCase>("inclusion.json") {
        let (index, size) = (case.index.parse().unwrap(), case.size.parse().unwrap());
        let (leaf, root) = (hash(&case.leaf), hash(&case.root));
        let found = verify_inclusion(index, size, &leaf, &hashes(&case.proof), &root);
        agree("inclusion.json", &case.comment, case.result, found.is_ok());
    }
    for case in read::<ConsistencyCase>("consistency.json") {
        let (old, new) = (
            case.old_size.parse().unwrap(),
            case.new_size.parse().unwrap(),
        );
        let (before, after) = (hash(&case.old_root), hash(&case.new_root));
        let found = verify_consistency(old, new, &before, &after, &hashes(&case.proof));
        agree(
            "consistency.json",
            &case.comment,
            case.result,
            found.is_ok(),
        );
    }
}

#[test]
fn agrees_on_paths_tiles_and_bundles() {
    for case in read::<PathCase>("tile_paths.json") {
        let found: Option<Tile> = case.path.parse().ok();
        agree("tile_paths.json", &case.path, case.result, found.is_some());
        let Some(tile) = found else { continue };
        let level = match tile.kind {
            TileKind::Hashes { level } => level.to_string(),
            TileKind::Entries => "entries".to_owned(),
        };
        let parts = (level, tile.index.to_string(), tile.width);
        assert_eq!(
            parts,
            (
                case.level.unwrap(),
                case.index.unwrap(),
                case.width.unwrap()
            )
        );
    }
    let tree = trees::tree(70_000);
    for case in read::<TileCase>("tiles.json") {
        let tile: Tile = case.path.parse().unwrap();
        let right = tile
            .is_within(case.size)
            .then(|| tiles::content(&tree, &tile));
        if let Some(content) = &case.content {
            assert_eq!(to_hex(&Sha256::digest(decode(content))), case.sha256);
        }
        let digest = right.map(|content| to_hex(&Sha256::digest(content)));
        agree(
            "tiles.json",
            &case.comment,
            case.result,
            digest == Some(case.sha256),
        );
    }
    for case in read::<BundleCase>("bundles.json") {
        let content = decode(&case.content);
        let found = bundle::parse(&content, case.width).ok();
        agree("bundles.json", &case.comment, case.result, found.is_some());
        let found = found.map(|entries| entries.into_iter().map(encode).collect::<Vec<_>>());
        assert_eq!(found, case.entries);
    }
}

#[test]
fn agrees_on_keys_and_notes() {
    for case in read::<KeyCase>("vkeys.json") {
        let found: Option<VerifyingKey> = case.vkey.parse().ok();
        agree("vkeys.json", &case.comment, case.result, found.is_some());
        if let Some(key) = found {
            let parts = (Some(key.name()), Some(to_hex(&key.id())), key.to_string());
            assert_eq!(parts, (case.name.as_deref(), case.key_id, case.vkey));
        }
    }
    for case in read::<NoteCase>("notes.json") {
        let keys: Vec<VerifyingKey> = case.keys.iter().map(|key| key.parse().unwrap()).collect();
        if case.result != Verdict::Acceptable {
            let is_note = Note::parse(&case.note).is_ok();
            assert_eq!(is_note, case.well_formed, "{}", case.comment);
        }
        let found = open_note(&case.note, &keys).ok();
        agree("notes.json", &case.comment, case.result, found.is_some());
        let Some(opened) = found else { continue };
        let signers = opened.signers.iter().map(|signer| SignerOf {
            key: signer.key,
            timestamp: (signer.time > 0).then(|| signer.time.to_string()),
        });
        assert_eq!(case.signers, Some(signers.collect()), "{}", case.comment);
        assert_eq!(case.text, Some(opened.text));
    }
}

#[test]
fn agrees_on_checkpoints_and_proof_files() {
    for case in read::<CheckpointCase>("checkpoints.json") {
        let found = Checkpoint::open(&case.note, &case.vkey.parse().unwrap()).ok();
        agree(
            "checkpoints.json",
            &case.comment,
            case.result,
            found.is_some(),
        );
        let Some(head) = found else { continue };
        assert_eq!(
            (
                Some(head.origin),
                Some(head.size.to_string()),
                Some(head.root.to_string())
            ),
            (case.origin, case.size, case.root)
        );
        assert_eq!(Some(head.extensions), case.extensions);
    }
    for case in read::<ProofFileCase>("proof_files.json") {
        let (key, entry) = (case.vkey.parse().unwrap(), decode(&case.entry));
        let found = TlogProof::parse(&case.file).ok();
        let found = found.and_then(|proof| Some((proof.verify(&entry, &key).ok()?, proof)));
        agree(
            "proof_files.json",
            &case.comment,
            case.result,
            found.is_some(),
        );
        let Some((head, proof)) = found else { continue };
        assert_eq!(
            (Some(proof.index.to_string()), Some(head.size.to_string())),
            (case.index, case.size)
        );
        assert_eq!(proof.extra.map(encode), case.extra);
    }
}
