//! Test keys, and verifier keys. Everything is signed here by hand: `core::tlog` does not sign what
//! no reader may accept.

use axiom_hive_core::digest::to_hex;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::format::{KeyCase, Verdict, encode, write};

pub(crate) const NOTE: &str = "https://c2sp.org/signed-note";
const KEYS: &str = "signed-note, Verifier keys";
pub(crate) const COSIGNATURE: &str = "tlog-cosignature, Format";

/// A key whose seed is 32 times one byte, for everybody to sign with.
#[derive(Clone, Copy)]
pub(crate) struct TestKey {
    pub(crate) name: &'static str,
    pub(crate) signature_type: u8,
    pub(crate) seed: u8,
}

pub(crate) const LOG: TestKey = TestKey {
    name: "example.com/log",
    signature_type: 1,
    seed: 1,
};
pub(crate) const OTHER: TestKey = TestKey {
    name: "example.com/other",
    signature_type: 1,
    seed: 2,
};
/// The name of [`LOG`], but not its key.
pub(crate) const NAMESAKE: TestKey = TestKey {
    name: "example.com/log",
    signature_type: 1,
    seed: 3,
};
pub(crate) const WITNESS: TestKey = TestKey {
    name: "witness.example/w1",
    signature_type: 4,
    seed: 5,
};
pub(crate) const TIME: u64 = 1_700_000_000;

impl TestKey {
    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.seed; 32])
    }

    fn public(&self) -> [u8; 32] {
        self.key().verifying_key().to_bytes()
    }

    pub(crate) fn id(&self) -> Vec<u8> {
        key_id(self.name, self.signature_type, &self.public())
    }

    pub(crate) fn vkey(&self) -> String {
        vkey(self.name, self.signature_type, &self.public())
    }

    /// What stands behind the key id.
    pub(crate) fn signature(&self, text: &str, time: u64) -> Vec<u8> {
        if self.signature_type == 1 {
            return self.key().sign(text.as_bytes()).to_vec();
        }
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        let signature = self.key().sign(message.as_bytes());
        [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat()
    }

    /// What follows the name in a signature line.
    pub(crate) fn material(&self, text: &str) -> String {
        encode([self.id(), self.signature(text, TIME)].concat())
    }

    /// The signature line of `text`.
    pub(crate) fn line(&self, text: &str) -> String {
        line(self.name, &self.material(text))
    }
}

fn key_id(name: &str, signature_type: u8, public: &[u8]) -> Vec<u8> {
    let message = [name.as_bytes(), b"\n", &[signature_type], public].concat();
    Sha256::digest(message)[..4].to_vec()
}

fn vkey(name: &str, signature_type: u8, public: &[u8]) -> String {
    let id = to_hex(&key_id(name, signature_type, public));
    let material = [&[signature_type], public].concat();
    format!("{name}+{id}+{}", encode(material))
}

pub(crate) fn line(name: &str, material: &str) -> String {
    format!("— {name} {material}\n")
}

pub(crate) fn keys() -> String {
    let mut cases = Vec::new();
    let unicode = TestKey {
        name: "пример.example/журнал",
        ..LOG
    };
    for (key, comment) in [
        (LOG, "Ed25519, seed 32 times 0x01"),
        (OTHER, "Ed25519, seed 32 times 0x02"),
        (NAMESAKE, "Ed25519, seed 32 times 0x03"),
        (WITNESS, "a witness (type 0x04), seed 32 times 0x05"),
        (
            TestKey {
                signature_type: 4,
                ..LOG
            },
            "the first key as a witness: another key id",
        ),
        (unicode, "a name that is not ASCII"),
        (TestKey { name: "a", ..LOG }, "a name of one character"),
    ] {
        cases.push(KeyCase {
            comment: comment.to_owned(),
            section: if key.signature_type == 4 {
                COSIGNATURE
            } else {
                KEYS
            }
            .to_owned(),
            result: Verdict::Valid,
            vkey: key.vkey(),
            name: Some(key.name.to_owned()),
            key_id: Some(to_hex(&key.id())),
            signature_type: Some(key.signature_type),
            public_key: Some(encode(key.public())),
        });
    }
    for (result, vkey, comment) in wrong_keys() {
        cases.push(KeyCase {
            comment: comment.to_owned(),
            section: KEYS.to_owned(),
            result,
            vkey,
            name: None,
            key_id: None,
            signature_type: None,
            public_key: None,
        });
    }
    write("Verifier keys.", NOTE, &cases)
}

/// A key as text, and what is wrong with it.
type WrongKey = (Verdict, String, &'static str);

fn wrong_keys() -> Vec<WrongKey> {
    [wrong_parts(), wrong_materials(), doubtful_keys()].concat()
}

fn wrong_parts() -> Vec<WrongKey> {
    let (good, public, name) = (LOG.vkey(), LOG.public(), LOG.name);
    let (id, material) = (
        to_hex(&LOG.id()),
        encode([&[1], public.as_slice()].concat()),
    );
    let with_id = |id: &str| format!("{name}+{id}+{material}");
    let bare = to_hex(&Sha256::digest([name.as_bytes(), &[1], &public].concat()));
    let named = |name| vkey(name, 1, &public);
    [
        (String::new(), "empty"),
        (name.to_owned(), "the name alone"),
        (format!("{name}+{id}"), "two parts"),
        (format!("{name}+{material}"), "no key id"),
        (format!("{name} {id} {material}"), "spaces for plus signs"),
        (format!(" {good}"), "a space in front"),
        (named(""), "an empty name"),
        (named("example.com log"), "a space in the name"),
        (
            named("example.com\u{a0}log"),
            "a no-break space in the name",
        ),
        (named("example.com\u{2003}log"), "an em space in the name"),
        (named("example.com/log+1"), "a plus sign in the name"),
        (with_id("00000000"), "another key id"),
        (with_id(&id[..7]), "a key id of seven digits"),
        (with_id(&format!("0{id}")), "a key id of nine digits"),
        (with_id("ghijklmn"), "a key id that is not hexadecimal"),
        (with_id(&bare[..8]), "a key id made without the newline"),
    ]
    .map(|(vkey, comment)| (Verdict::Invalid, vkey, comment))
    .into()
}

fn wrong_materials() -> Vec<WrongKey> {
    let (good, public, name) = (LOG.vkey(), LOG.public(), LOG.name);
    let id = to_hex(&LOG.id());
    let with = |material: &[u8]| format!("{name}+{id}+{}", encode(material));
    let mut flipped = public;
    flipped[5] ^= 1;
    let material = encode([&[1], public.as_slice()].concat());
    [
        (
            with(&[&[4], public.as_slice()].concat()),
            "another type than the key id is of",
        ),
        (
            with(&[&[1], flipped.as_slice()].concat()),
            "a bit of the public key is flipped",
        ),
        (
            vkey(name, 1, &public[..31]),
            "31 bytes, with a key id that fits",
        ),
        (
            vkey(name, 1, &[public.as_slice(), &[0]].concat()),
            "33 bytes, with a key id that fits",
        ),
        (vkey(name, 1, &[]), "no public key, with a key id that fits"),
        (
            format!("{name}+{id}+{}", &material[..40]),
            "the material is cut short",
        ),
        (
            format!("{name}+{id}+{}", &material[..43]),
            "the base64 is cut short",
        ),
        (
            format!("{name}+{id}+-{}", &material[1..]),
            "a letter of another alphabet of base64",
        ),
        (format!("{good}="), "base64 with a superfluous pad"),
    ]
    .map(|(vkey, comment)| (Verdict::Invalid, vkey, comment))
    .into()
}

/// What some readers take, and may.
fn doubtful_keys() -> Vec<WrongKey> {
    let (good, public, name) = (LOG.vkey(), LOG.public(), LOG.name);
    let id = to_hex(&LOG.id());
    // y = 2 is on no point of the curve.
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let mut identity = [0; 32];
    identity[0] = 1;
    [
        (
            good.replace(&id, &id.to_uppercase()),
            "a key id in upper case",
        ),
        (format!("{good}\n"), "a newline at the end, which some trim"),
        (
            vkey(name, 1, &off_curve),
            "no point of the curve, with a key id that fits",
        ),
        (
            vkey(name, 1, &identity),
            "a point of small order: it verifies almost anything",
        ),
        (vkey(name, 0x65, &public), "a type that nobody has assigned"),
        (
            vkey(name, 5, &[7; 91]),
            "an RFC 6962 tree head's: a reader need not know every type",
        ),
    ]
    .map(|(vkey, comment)| (Verdict::Acceptable, vkey, comment))
    .into()
}
