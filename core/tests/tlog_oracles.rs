//! Our arithmetic and formats against three crates that others wrote.
#![allow(clippy::unwrap_used, missing_docs)]

mod tlog_support;

use std::collections::BTreeMap;

use axiom_hive_core::tlog::{
    Checkpoint, Frontier, Hash, MAX_TREE_SIZE, MemTree, NodeReader, NoteError, SigningKey, Tile,
    VerifyingKey, bundle, consistency_proof, inclusion_proof, leaf_hash, node_hash, open_note,
    root_at, root_of, sign_note, tiles_of, verify_consistency, verify_inclusion,
};
use ct_merkle::RootHash;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use signed_note::{Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList};
use tlog_support::budget;
use tlog_tiles::{tile as go_tile, tlog as go};

/// Entry `i` of every tree in this file.
fn entry(i: u64) -> Vec<u8> {
    format!("entry {i}").into_bytes()
}

fn tree_of(size: u64) -> MemTree {
    let mut tree = MemTree::new();
    for i in 0..size {
        assert_eq!(tree.push(leaf_hash(&entry(i))), i);
    }
    tree
}

/// The storage of the Go arithmetic: all complete subtrees in its own numbering.
struct GoHashes(Vec<go::Hash>);

impl go::HashReader for GoHashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<go::Hash>, go::Error> {
        Ok(indexes
            .iter()
            .map(|i| self.0[usize::try_from(*i).unwrap()])
            .collect())
    }
}

fn go_tree(size: u64) -> GoHashes {
    let mut stored = GoHashes(Vec::new());
    for i in 0..size {
        let new = go::stored_hashes(i, &entry(i), &stored).unwrap();
        stored.0.extend(new);
    }
    stored
}

fn theirs(hashes: &[Hash]) -> Vec<go::Hash> {
    hashes.iter().map(|hash| go::Hash(hash.0)).collect()
}

#[test]
fn proofs_are_those_of_tlog_tiles() {
    const SIZE: u64 = 2000;
    let (ours, stored) = (tree_of(SIZE), go_tree(SIZE));
    let cases = (1..=SIZE).prop_flat_map(|new| (Just(new), 1..=new, 0..new));
    let mut runner = TestRunner::new(budget("TLOG_ORACLES", 256));
    runner
        .run(&cases, |(new, old, index)| {
            let (root, old_root) = (ours.root_at(new).unwrap(), ours.root_at(old).unwrap());
            let their_root = go::tree_hash(new, &stored).unwrap();
            prop_assert_eq!(root.0, their_root.0);

            let proof = inclusion_proof(index, new, &ours).unwrap();
            prop_assert_eq!(
                theirs(&proof),
                go::prove_record(new, index, &stored).unwrap()
            );
            let leaf = leaf_hash(&entry(index));
            prop_assert_eq!(verify_inclusion(index, new, &leaf, &proof, &root), Ok(()));
            let checked =
                go::check_record(&theirs(&proof), new, their_root, index, go::Hash(leaf.0));
            prop_assert!(checked.is_ok());

            let proof = consistency_proof(old, new, &ours).unwrap();
            prop_assert_eq!(theirs(&proof), go::prove_tree(new, old, &stored).unwrap());
            prop_assert_eq!(
                verify_consistency(old, new, &old_root, &root, &proof),
                Ok(())
            );
            let checked =
                go::check_tree(&theirs(&proof), new, their_root, old, go::Hash(old_root.0));
            prop_assert!(checked.is_ok());
            Ok(())
        })
        .unwrap();
}

#[test]
fn proofs_are_those_of_ct_merkle() {
    let mut runner = TestRunner::new(budget("TLOG_CT_MERKLE", 24));
    let cases = (1..=600_u64).prop_flat_map(|new| (Just(new), 1..=new, 0..new));
    runner
        .run(&cases, |(new, old, index)| {
            let mut other = MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            for i in 0..new {
                other.push(entry(i));
            }
            let ours = tree_of(new);
            let their_root = other.root();
            prop_assert_eq!(&ours.root().0[..], their_root.as_bytes().as_slice());
            let bytes = |proof: &[Hash]| proof.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
            let proof = inclusion_proof(index, new, &ours).unwrap();
            let their_proof = other.prove_inclusion(usize::try_from(index).unwrap());
            prop_assert_eq!(bytes(&proof), their_proof.as_bytes());
            let proof = consistency_proof(old, new, &ours).unwrap();
            let their_proof = other.prove_consistency(usize::try_from(new - old).unwrap());
            prop_assert_eq!(bytes(&proof), their_proof.as_bytes());
            Ok(())
        })
        .unwrap();
}

/// A tree of any size whose entries are all the same: a node depends on its level only.
struct EqualEntries(Vec<Hash>);

impl EqualEntries {
    fn new() -> Self {
        let leaf = leaf_hash(&entry(0));
        Self(
            std::iter::successors(Some(leaf), |node| Some(node_hash(node, node)))
                .take(63)
                .collect(),
        )
    }
}

impl NodeReader for EqualEntries {
    type Error = std::convert::Infallible;

    fn node(&self, level: u32, _: u64) -> Result<Hash, Self::Error> {
        Ok(self.0[level as usize])
    }
}

fn array_of(hash: &Hash) -> ct_merkle::digest::Output<sha2::Sha256> {
    hash.0.into()
}

/// Sizes of up to 63 bits, all bit lengths alike.
fn any_size() -> impl Strategy<Value = u64> {
    (1..=MAX_TREE_SIZE, 0..63_u32).prop_map(|(size, shift)| (size >> shift).max(1))
}

#[test]
fn ct_merkle_accepts_our_proofs_in_trees_of_any_size() {
    let tree = EqualEntries::new();
    let leaf = leaf_hash(&entry(0));
    let cases = (any_size(), any_size(), any_size());
    let mut runner = TestRunner::new(budget("TLOG_HUGE_TREES", 512));
    runner
        .run(&cases, |(new, old, index)| {
            let (old, new) = (old.min(new), old.max(new));
            let index = index % new;
            let (root, old_root) = (root_at(new, &tree).unwrap(), root_at(old, &tree).unwrap());
            let their_root = RootHash::<sha2::Sha256>::new(array_of(&root), new);

            let proof = inclusion_proof(index, new, &tree).unwrap();
            prop_assert_eq!(verify_inclusion(index, new, &leaf, &proof, &root), Ok(()));
            let digests: Vec<_> = proof.iter().map(array_of).collect();
            let theirs = ct_merkle::InclusionProof::from_digests(&digests);
            prop_assert!(
                their_root
                    .verify_inclusion(&entry(0), index, &theirs)
                    .is_ok()
            );

            let proof = consistency_proof(old, new, &tree).unwrap();
            prop_assert!(proof.len() <= 64);
            prop_assert_eq!(
                verify_consistency(old, new, &old_root, &root, &proof),
                Ok(())
            );
            let digests: Vec<_> = proof.iter().map(array_of).collect();
            let theirs = ct_merkle::ConsistencyProof::from_digests(&digests);
            let their_old = RootHash::new(array_of(&old_root), old);
            prop_assert!(their_root.verify_consistency(&their_old, &theirs).is_ok());
            Ok(())
        })
        .unwrap();
    for size in [MAX_TREE_SIZE, 1 << 62, (1 << 62) + 1] {
        let root = root_at(size, &tree).unwrap();
        let proof = inclusion_proof(size - 1, size, &tree).unwrap();
        assert_eq!(
            verify_inclusion(size - 1, size, &leaf, &proof, &root),
            Ok(())
        );
    }
    assert!(inclusion_proof(0, MAX_TREE_SIZE + 1, &tree).is_err());
    assert!(consistency_proof(1, u64::MAX, &tree).is_err());
    assert!(consistency_proof(0, 1, &tree).is_err());
    assert!(verify_inclusion(0, u64::MAX, &leaf, &[], &leaf).is_err());
    assert!(verify_consistency(1, u64::MAX, &leaf, &leaf, &[]).is_err());
}

#[test]
fn every_way_to_a_root_agrees() {
    let mut tree = MemTree::new();
    let mut frontier = Frontier::new();
    for size in 0..300_u64 {
        assert_eq!(frontier.size(), size);
        assert_eq!(frontier.root(), tree.root());
        assert_eq!(root_of((0..size).map(entry)), tree.root());
        assert_eq!(tree.root_at(size), Ok(tree.root()));
        assert!(tree.root_at(size + 1).is_err());
        let peaks = frontier.peaks().to_vec();
        assert_eq!(
            Frontier::from_peaks(size, peaks.clone()),
            Some(frontier.clone())
        );
        assert_eq!(
            Frontier::from_peaks(size + 1, peaks).is_some(),
            size.count_ones() == (size + 1).count_ones()
        );
        tree.push(leaf_hash(&entry(size)));
        frontier.push(leaf_hash(&entry(size)));
    }
    for size in (0..300).rev() {
        tree.truncate(size);
        assert!(tree == tree_of(size), "size {size}");
    }
}

#[test]
fn a_changed_proof_never_verifies() {
    let tree = tree_of(100);
    let root = tree.root();
    let mut runner = TestRunner::new(budget("TLOG_MUTATIONS", 512));
    let cases = (
        0..100_u64,
        1..100_u64,
        any::<prop::sample::Index>(),
        0..256_usize,
    );
    runner
        .run(&cases, |(index, old, at, bit)| {
            let mut proof = inclusion_proof(index, 100, &tree).unwrap();
            let leaf = leaf_hash(&entry(index));
            at.get_mut(&mut proof).0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_inclusion(index, 100, &leaf, &proof, &root).is_err());
            let proof = inclusion_proof(index, 100, &tree).unwrap();
            for other in (0..100).filter(|other| *other != index) {
                prop_assert!(verify_inclusion(other, 100, &leaf, &proof, &root).is_err());
            }
            prop_assert!(verify_inclusion(index, 100, &leaf, &proof[1..], &root).is_err());

            let old_root = tree.root_at(old).unwrap();
            let mut proof = consistency_proof(old, 100, &tree).unwrap();
            prop_assert_eq!(
                verify_consistency(old, 100, &old_root, &root, &proof),
                Ok(())
            );
            at.get_mut(&mut proof).0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_consistency(old, 100, &old_root, &root, &proof).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn tiles_are_those_of_tlog_tiles() {
    for size in [
        0, 1, 2, 255, 256, 257, 511, 512, 1999, 65_535, 65_536, 65_537, 70_000,
    ] {
        let ours: Vec<Tile> = tiles_of(size).collect();
        let theirs: Vec<go_tile::Tile> = go_tile::Tile::new_tiles(8, 0, size);
        let mut their_paths: Vec<String> = theirs
            .iter()
            .map(|tile| without_height(&tile.path()))
            .collect();
        let mut data: Vec<String> = Vec::new();
        for tile in theirs.iter().filter(|tile| tile.level() == 0) {
            let mut tile = *tile;
            tile.set_is_data();
            data.push(without_height(&tile.path()));
        }
        their_paths.extend(data);
        their_paths.sort();
        let mut our_paths: Vec<String> = ours.iter().map(ToString::to_string).collect();
        for (tile, path) in ours.iter().zip(&our_paths) {
            assert_eq!(path.parse(), Ok(*tile));
        }
        our_paths.sort();
        assert_eq!(our_paths, their_paths, "size {size}");
    }
}

/// The Go paths name the height (`tile/8/0/000`), those of C2SP do not.
fn without_height(path: &str) -> String {
    path.replacen("tile/8/data/", "tile/entries/", 1)
        .replacen("tile/8/", "tile/", 1)
}

#[test]
fn tile_contents_are_those_of_tlog_tiles() {
    const SIZE: u64 = 66_000;
    let (ours, stored) = (tree_of(SIZE), go_tree(SIZE));
    let by_path: BTreeMap<String, go_tile::Tile> = go_tile::Tile::new_tiles(8, 0, SIZE)
        .into_iter()
        .map(|tile| (without_height(&tile.path()), tile))
        .collect();
    for tile in tiles_of(SIZE).filter(|tile| by_path.contains_key(&tile.to_string())) {
        let content = tile.hashes(&ours).unwrap();
        assert_eq!(
            content,
            by_path[&tile.to_string()].read_data(&stored).unwrap(),
            "{tile}"
        );
        assert_eq!(
            tile.parse_hashes(&content).unwrap().len(),
            usize::from(tile.width)
        );
        assert!(tile.parse_hashes(&content[1..]).is_err());
    }
}

#[test]
fn tile_paths_of_any_index_are_those_of_tlog_tiles() {
    let mut runner = TestRunner::new(budget("TLOG_TILE_PATHS", 512));
    let cases = (0..=6_u8, 0..(1_u64 << 50), 1..=256_u16, any::<bool>());
    runner
        .run(&cases, |(level, index, width, is_data)| {
            let theirs = go_tile::Tile::new(
                8,
                if is_data { 0 } else { level },
                index,
                width.into(),
                is_data,
            );
            let path = without_height(&theirs.path());
            let tile: Tile = path.parse().unwrap();
            prop_assert_eq!((tile.index, tile.width), (index, width));
            prop_assert_eq!(tile.to_string(), path);
            Ok(())
        })
        .unwrap();
}

#[test]
fn refuses_other_spellings_of_a_tile_path() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/X001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/+00",
        "tile/entry/000",
        "tile/0/000.p/+1",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ] {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
}

#[test]
fn notes_verify_both_ways() {
    let mut runner = TestRunner::new(budget("TLOG_NOTES", 64));
    let cases = (
        any::<[u8; 32]>(),
        "[a-z]{1,8}/[A-Za-z0-9é]{1,8}",
        "([^\\x00-\\x1f]{0,20}\n){1,5}",
    );
    runner
        .run(&cases, |(seed, name, text)| {
            let key = SigningKey::new(&name, &seed).unwrap();
            let vkey = key.verifying_key().to_string();
            let verifier = StandardVerifier::new(&vkey).unwrap();
            prop_assert_eq!(verifier.key_id().to_be_bytes(), key.verifying_key().id());

            let ours = sign_note(&text, &[&key]).unwrap();
            let note = signed_note::Note::from_bytes(ours.as_bytes()).unwrap();
            let list = VerifierList::new(vec![Box::new(verifier)]);
            let (known, unknown) = note.verify(&list).unwrap();
            prop_assert_eq!((known.len(), unknown.len()), (1, 0));
            prop_assert_eq!(note.text(), text.as_bytes());

            let material = [&[1], seed.as_slice()].concat();
            let id = axiom_hive_core::digest::to_hex(&key.verifying_key().id());
            let skey = format!("PRIVATE+KEY+{name}+{id}+{}", base64_of(&material));
            let signer = StandardSigner::new(&skey).unwrap();
            prop_assert_eq!(signer.name(), &name);
            let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
            note.add_sigs(&[&signer]).unwrap();
            prop_assert_eq!(String::from_utf8(note.to_bytes()).unwrap(), ours);
            Ok(())
        })
        .unwrap();
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn checkpoints_are_those_of_tlog_tiles() {
    let tree = tree_of(1000);
    let key = SigningKey::new("example.com/log", &[3; 32]).unwrap();
    for size in [0, 1, 999, 1000] {
        let ours = Checkpoint::new("example.com/log", size, tree.root_at(size).unwrap());
        let theirs =
            tlog_tiles::checkpoint::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap();
        assert_eq!(
            (theirs.origin(), theirs.size(), theirs.hash().0),
            ("example.com/log", size, ours.root.0)
        );
        assert_eq!(theirs.to_bytes(), ours.to_string().into_bytes());
        assert_eq!(
            Checkpoint::open(&ours.sign(&key).unwrap(), key.verifying_key()),
            Ok(ours)
        );
    }
}

#[test]
fn bundles_hold_what_was_put_in() {
    let mut runner = TestRunner::new(budget("TLOG_BUNDLES", 128));
    let entries = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..257);
    runner
        .run(&entries, |entries| {
            let mut content = Vec::new();
            for entry in &entries {
                bundle::push_entry(&mut content, entry).unwrap();
            }
            let width = u16::try_from(entries.len()).unwrap();
            prop_assert_eq!(bundle::parse(&content, width).unwrap(), entries);
            prop_assert!(bundle::parse(&content, width + 1).is_err());
            content.push(0);
            prop_assert!(bundle::parse(&content, width).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_note_of_another_log_is_refused() {
    let key = SigningKey::new("example.com/log", &[3; 32]).unwrap();
    let other: VerifyingKey = SigningKey::new("example.com/log", &[4; 32])
        .unwrap()
        .verifying_key()
        .clone();
    let note = sign_note("text\n", &[&key]).unwrap();
    assert_eq!(open_note(&note, &[other]), Err(NoteError::Unverified));
}
