//! Foreign vectors: the probes of transparency-dev/merkle, the log of transparency-dev/tessera and
//! the notes of golang.org/x/mod, of torchwood and of the C2SP specifications (see `data/README.md`).
#![allow(clippy::unwrap_used, missing_docs)]

use axiom_hive_core::tlog::{
    Checkpoint, Hash, KeyError, KeyType, MemTree, Note, NoteError, SigningKey, Tile, TileKind,
    VerifyingKey, bundle, consistency_proof, cosign, inclusion_proof, leaf_hash, open_note,
    sign_note, verify_consistency, verify_inclusion,
};
use serde_json::Value;

fn probes(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// A hash of a probe. Some are not 32 bytes long, which [`Hash`] cannot hold; their bytes only
/// ever count as equal or different, so a hash of them stands in.
fn hash(value: &Value) -> Hash {
    use base64::Engine as _;
    let text = value.as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    <[u8; 32]>::try_from(bytes.as_slice()).map_or_else(|_| leaf_hash(&bytes), Hash)
}

fn proof(probe: &Value) -> Vec<Hash> {
    probe["proof"]
        .as_array()
        .into_iter()
        .flatten()
        .map(hash)
        .collect()
}

#[test]
fn agrees_with_every_inclusion_probe() {
    let probes = probes(include_str!("data/merkle/inclusion.json"));
    assert_eq!(probes.len(), 98);
    for probe in probes {
        let (index, size) = (
            probe["leafIdx"].as_u64().unwrap(),
            probe["treeSize"].as_u64().unwrap(),
        );
        let want_err = probe["wantErr"].as_bool().unwrap();
        if probe["leafHash"] == "" {
            // No hash at all: the type cannot hold it.
            assert!(want_err && "".parse::<Hash>().is_err());
            continue;
        }
        let (leaf, root) = (hash(&probe["leafHash"]), hash(&probe["root"]));
        let result = verify_inclusion(index, size, &leaf, &proof(&probe), &root);
        assert_eq!(result.is_err(), want_err, "{probe}: {result:?}");
    }
}

#[test]
fn agrees_with_every_consistency_probe() {
    let probes = probes(include_str!("data/merkle/consistency.json"));
    assert_eq!(probes.len(), 98);
    for probe in probes {
        let (old, new) = (
            probe["size1"].as_u64().unwrap(),
            probe["size2"].as_u64().unwrap(),
        );
        let (old_root, new_root) = (hash(&probe["root1"]), hash(&probe["root2"]));
        let result = verify_consistency(old, new, &old_root, &new_root, &proof(&probe));
        assert_eq!(
            result.is_err(),
            probe["wantErr"].as_bool().unwrap(),
            "{probe}: {result:?}"
        );
    }
}

const TESSERA_KEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

#[test]
fn rebuilds_the_tessera_log() {
    let key: VerifyingKey = TESSERA_KEY.parse().unwrap();
    let notes: Vec<String> =
        serde_json::from_str(include_str!("data/tessera/checkpoints.json")).unwrap();
    let entries = bundle::parse(include_bytes!("data/tessera/entries.p15"), 15).unwrap();

    let mut tree = MemTree::new();
    let mut roots = vec![tree.root()];
    for entry in &entries {
        tree.push(leaf_hash(entry));
        roots.push(tree.root());
    }
    for (size, note) in notes.iter().enumerate() {
        let checkpoint = Checkpoint::open(note, &key).unwrap();
        assert_eq!(
            (checkpoint.size, checkpoint.root),
            (size as u64, roots[size])
        );
        // What its signer wrote is what we would write.
        assert_eq!(
            note.strip_prefix(&checkpoint.to_string())
                .unwrap()
                .lines()
                .count(),
            2
        );
    }
    let tile: Tile = "tile/0/000.p/15".parse().unwrap();
    assert_eq!(
        tile,
        Tile {
            kind: TileKind::Hashes { level: 0 },
            index: 0,
            width: 15
        }
    );
    assert_eq!(
        tile.hashes(&tree).unwrap(),
        include_bytes!("data/tessera/tile0.p15")
    );
    for old in 1..=15 {
        let proof = consistency_proof(old, 15, &tree).unwrap();
        let old_root = &roots[usize::try_from(old).unwrap()];
        assert_eq!(
            verify_consistency(old, 15, old_root, &roots[15], &proof),
            Ok(())
        );
        let proof = inclusion_proof(old - 1, 15, &tree).unwrap();
        let leaf = leaf_hash(entries[usize::try_from(old - 1).unwrap()]);
        assert_eq!(
            verify_inclusion(old - 1, 15, &leaf, &proof, &roots[15]),
            Ok(())
        );
    }
}

// From golang.org/x/mod, sumdb/note/note_test.go (BSD-3-Clause, © The Go Authors).
const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const PETER_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";

#[test]
fn agrees_with_the_notes_of_go() {
    let key: VerifyingKey = PETER_KEY.parse().unwrap();
    let keys = [key.clone()];
    let note = format!("{PETER_TEXT}\n{PETER_LINE}");
    assert_eq!(open_note(&note, &keys).unwrap().text, PETER_TEXT);
    // Ed25519 is deterministic: the same key writes the same line.
    let seed: Hash = PETER_SEED.parse().unwrap();
    let signer = SigningKey::new("PeterNeumann", &seed.0).unwrap();
    assert_eq!(signer.verifying_key(), &key);
    assert_eq!(sign_note(PETER_TEXT, &[&signer]).unwrap(), note);

    let bad_name = PETER_LINE.replace("PeterNeumann", "Bad Name");
    let cut = &PETER_LINE[..PETER_LINE.len() - 1];
    for malformed in [
        PETER_TEXT.to_owned(),
        format!("{PETER_TEXT}\n"),
        format!("{PETER_TEXT}\n{cut}"),
        format!("\x01{PETER_TEXT}\n{PETER_LINE}"),
        format!("{PETER_TEXT}\n{bad_name}"),
        format!("{PETER_TEXT}\n{PETER_LINE}Unexpected line.\n"),
    ] {
        let error = open_note(&malformed, &keys).unwrap_err();
        assert!(
            matches!(error, NoteError::Text | NoteError::Signature),
            "{malformed}: {error}"
        );
    }
    // Unknown name or id: ignored, and then nobody signed.
    for unknown in [("PeterNeumann", "CarmenSandiego"), ("x08g", "xxxx")] {
        let line = PETER_LINE.replace(unknown.0, unknown.1);
        let note = format!("{PETER_TEXT}\n{line}");
        assert_eq!(open_note(&note, &keys), Err(NoteError::Unverified));
        let note = format!("{PETER_TEXT}\n{line}{PETER_LINE}");
        assert_eq!(open_note(&note, &keys).unwrap().signers.len(), 1);
    }
    // A bad signature of a known key refuses the note, in whatever company.
    let bad = PETER_LINE.replace("ZJkuBS", "ZJkuBT");
    let note = format!("{PETER_TEXT}\n{PETER_LINE}{bad}");
    assert!(matches!(
        open_note(&note, &keys),
        Err(NoteError::Bad { .. })
    ));
}

#[test]
fn refuses_every_mangling_of_a_verifier_key() {
    for start in 0..PETER_KEY.len() {
        for end in start + 1..=PETER_KEY.len() {
            let whole = (start, end) == (0, PETER_KEY.len());
            assert_eq!(PETER_KEY[start..end].parse::<VerifyingKey>().is_ok(), whole);
        }
    }
    for at in 0..PETER_KEY.len() {
        let mut bytes = PETER_KEY.as_bytes().to_vec();
        bytes[at] += 1;
        assert!(
            String::from_utf8(bytes)
                .unwrap()
                .parse::<VerifyingKey>()
                .is_err(),
            "byte {at}"
        );
    }
    // A longer key and an unknown type, each with the key id that would fit.
    let long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    assert_eq!(long.parse::<VerifyingKey>(), Err(KeyError::Syntax));
    let unknown = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(unknown.parse::<VerifyingKey>(), Err(KeyError::Type(0x65)));
}

#[test]
fn agrees_with_the_example_of_signed_note() {
    let key: VerifyingKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        .parse()
        .unwrap();
    let note = "This is an example message.\n\n\
        — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    assert_eq!(
        open_note(note, &[key]).unwrap().text,
        "This is an example message.\n"
    );
}

// Written by filippo.io/torchwood v0.9.0 (`NewCosignatureSigner`) from the seed 05…05.
const WITNESS_KEY: &str =
    "witness.example/w1+567cde09+BG56HN0psLeP0Tr0xVmP7/TvKpcWbjym8uT7/M2AUFvx";
const COSIGNED: &str = "example.com/log
0
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
extension

— witness.example/w1 VnzeCQAAAABrA9XpVDPDfm5YNPhWPMLkZ1hAlxVoR6WuBZb7b3ozYlqhe5HUXf0l6CzroHv0L9hRNhf8kDiTi4+Mt+lRgDiMDa3jAQ==
";

#[test]
fn agrees_with_a_cosignature_of_torchwood() {
    let witness =
        SigningKey::with_type("witness.example/w1", KeyType::Cosignature, &[5; 32]).unwrap();
    assert_eq!(witness.verifying_key().to_string(), WITNESS_KEY);
    let opened = open_note(COSIGNED, &[WITNESS_KEY.parse().unwrap()]).unwrap();
    assert_eq!(opened.signers[0].time, 0x6b03_d5e9);
    assert_eq!(
        Checkpoint::parse(&opened.text).unwrap().extensions,
        ["extension"]
    );

    let log = SigningKey::new("example.com/log", &[1; 32]).unwrap();
    let signed = sign_note(&opened.text, &[&log]).unwrap();
    let ours = Note::parse(&cosign(&signed, &witness, 0x6b03_d5e9).unwrap()).unwrap();
    assert_eq!(
        ours.signatures[1],
        Note::parse(COSIGNED).unwrap().signatures[0]
    );
}
