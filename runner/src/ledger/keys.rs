//! Keys and pins, outside every ledger directory.
//!
//! ```text
//! $XDG_STATE_HOME/axiom-hive/keys/<origin>/     default ~/.local/state/axiom-hive/keys/<origin>/
//!   key        32-byte Ed25519 seed (RFC 8032), mode 0600
//!   vkey       the verifier key of the log, one line
//!   pin/0 pin/1  the last head, in two slots (see the module `head`)
//!   lock       held while a process writes to the ledger
//! ```
//!
//! The pin is the anchor off the ledger's volume: a ledger that is shorter than its pin, or has
//! another root at its size, was rolled back or rewritten. The lock keeps two copies of one ledger
//! from growing apart at the same time.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::{SigningKey, VerifyingKey};

use super::error::{LedgerError, Problem, io_error};
use super::head::Slots;
use super::storage::{Disk, Storage};

/// What every origin of an embedded ledger begins with.
const ORIGIN_PREFIX: &str = "axiom-hive.local/";

/// The user's keys and pins, one folder per ledger.
#[derive(Clone)]
pub struct KeyStore {
    pub(super) storage: Arc<dyn Storage>,
    /// The one key, when it does not lie in the store.
    given: Option<Arc<SigningKey>>,
    /// For messages.
    root: PathBuf,
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyStore({})", self.root.display())
    }
}

impl KeyStore {
    /// The store of this user: below `$XDG_STATE_HOME`, or `~/.local/state`. A relative
    /// `XDG_STATE_HOME` is ignored (XDG Base Directory Specification).
    pub fn of_user() -> Result<Self, LedgerError> {
        let absolute = |name: &str| {
            let path = env::var_os(name).map(PathBuf::from)?;
            path.is_absolute().then_some(path)
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .ok_or(LedgerError::NoStateDirectory)?;
        Ok(Self::at(&state.join("axiom-hive/keys")))
    }

    /// A store in the directory `root`, which need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            storage: Arc::new(Disk::new(root, 0o600)),
            given: None,
            root: root.to_owned(),
        }
    }

    /// A store in the directory `root` for the one ledger of `key`, which comes from elsewhere and is
    /// not written: here lie its pin and its lock only. Refuses a key whose name cannot be a path.
    pub fn of_key(root: &Path, key: SigningKey) -> Result<Self, LedgerError> {
        let origin = key.verifying_key().name();
        if !is_origin(origin) {
            return Err(LedgerError::Origin(origin.to_owned()));
        }
        Ok(Self {
            given: Some(Arc::new(key)),
            ..Self::at(root)
        })
    }

    /// A store on any storage.
    #[must_use]
    pub fn on(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            given: None,
            root: PathBuf::new(),
        }
    }

    /// Whether its one key does not lie in the store.
    pub(super) fn is_of_key(&self) -> bool {
        self.given.is_some()
    }

    /// This store, for the one ledger of `key`, which lies in it.
    pub(super) fn with_key(&self, key: SigningKey) -> Self {
        Self {
            given: Some(Arc::new(key)),
            ..self.clone()
        }
    }

    /// The pinned verifier key of the log `origin`; `None` when this user has none, or when what is
    /// there is no key of that log.
    pub fn verifying_key(&self, origin: &str) -> Result<Option<VerifyingKey>, LedgerError> {
        if !is_local_origin(origin) {
            return Ok(None);
        }
        let path = format!("{origin}/vkey");
        let text = self.storage.read(&path).map_err(self.io("read", &path))?;
        let key: Option<VerifyingKey> = text
            .and_then(|text| String::from_utf8(text).ok())
            .and_then(|text| text.strip_suffix('\n')?.parse().ok());
        Ok(key.filter(|key| key.name() == origin))
    }

    /// Makes a key for a new ledger, or takes the given one, with an empty pin.
    pub(super) fn create(&self) -> Result<SigningKey, LedgerError> {
        if let Some(given) = &self.given {
            let folder = format!("{}/pin", given.verifying_key().name());
            Slots::create(&*self.storage, &folder).map_err(self.io("write", &folder))?;
            return Ok((**given).clone());
        }
        let mut id = [0; 8];
        let mut seed = [0; 32];
        for bytes in [id.as_mut_slice(), seed.as_mut_slice()] {
            getrandom::fill(bytes).map_err(|error| LedgerError::Random(error.to_string()))?;
        }
        let origin = format!("{ORIGIN_PREFIX}{}", to_hex(&id));
        let key = SigningKey::new(&origin, &seed)
            .map_err(|error| LedgerError::Random(error.to_string()))?;
        let vkey = format!("{}\n", key.verifying_key());
        for (name, bytes) in [("key", seed.as_slice()), ("vkey", vkey.as_bytes())] {
            let path = format!("{origin}/{name}");
            let written = self.storage.replace(&path, bytes, true);
            written.map_err(self.io("write", &path))?;
        }
        let folder = format!("{origin}/pin");
        Slots::create(&*self.storage, &folder).map_err(self.io("write", &folder))?;
        Ok(key)
    }

    /// The private key of the log with this verifier key, or what is wrong with it.
    pub(super) fn signing_key(&self, public: &VerifyingKey) -> Result<SigningKey, Problem> {
        let origin = public.name();
        let file = format!("keys/{origin}/key");
        let no = |what: String| Problem::of_file(file.clone(), what);
        if let Some(given) = &self.given {
            let is_same = given.verifying_key() == public;
            let other = || no("the key given is not the one that the log names".to_owned());
            return is_same.then(|| (**given).clone()).ok_or_else(other);
        }
        if !is_local_origin(origin) {
            return Err(no(format!("{origin:?} is no origin of a local ledger")));
        }
        let seed = self.storage.read(&format!("{origin}/key"));
        let seed = seed
            .map_err(|error| no(error.to_string()))?
            .ok_or_else(|| no(format!("missing below {}", self.root.display())))?;
        let seed: [u8; 32] = seed
            .try_into()
            .map_err(|_| no("a key is 32 bytes long".to_owned()))?;
        let key = SigningKey::new(origin, &seed).map_err(|error| no(error.to_string()))?;
        if key.verifying_key() != public {
            return Err(no("this key is not the one that the log names".to_owned()));
        }
        Ok(key)
    }

    /// The pin of the log `origin`.
    pub(super) fn pin(&self, origin: &str) -> Result<Slots, LedgerError> {
        let folder = format!("{origin}/pin");
        Slots::read(&*self.storage, &folder).map_err(self.io("read", &folder))
    }

    /// Where the file `path` of this store lies, for messages.
    pub(super) fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    fn io(&self, verb: &str, path: &str) -> impl FnOnce(std::io::Error) -> LedgerError {
        io_error(format!("{verb} {}", self.shown(path)))
    }
}

/// Whether `origin` is one that [`KeyStore::create`] makes. It comes from a file that anybody may
/// have written and becomes a path, so nothing else is accepted.
pub(super) fn is_local_origin(origin: &str) -> bool {
    origin.strip_prefix(ORIGIN_PREFIX).is_some_and(|id| {
        id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether a given key's name may become a path below the store: 1..=200 bytes, parts of letters,
/// digits, `-`, `_` and `.` between slashes, none of which begins with a dot.
fn is_origin(origin: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_allowed)
    };
    origin.len() <= 200 && origin.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_private_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::at(&root.path().join("keys"));
        let key = store.create().unwrap();
        let public = key.verifying_key();
        assert!(is_local_origin(public.name()));
        assert_eq!(
            store.verifying_key(public.name()).unwrap().as_ref(),
            Some(public)
        );
        assert_eq!(store.signing_key(public).unwrap().verifying_key(), public);
        let file = root.path().join("keys").join(public.name()).join("key");
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_given_key_is_never_written() {
        let root = tempfile::tempdir().unwrap();
        let key = SigningKey::new("log.example/ledger", &[7; 32]).unwrap();
        let store = KeyStore::of_key(root.path(), key.clone()).unwrap();
        let public = store.create().unwrap().verifying_key().clone();
        assert_eq!(&public, key.verifying_key());
        assert!(store.pin(public.name()).unwrap().newest().is_none());
        assert!(!root.path().join("log.example/ledger/key").exists());
        assert!(store.signing_key(&public).is_ok());
        let other = SigningKey::new("log.example/ledger", &[8; 32]).unwrap();
        assert!(store.signing_key(other.verifying_key()).is_err());
        for name in [
            "../log",
            "log/../..",
            "/log",
            "log//x",
            ".log",
            "log/",
            "log:1",
        ] {
            let key = SigningKey::new(name, &[7; 32]).unwrap();
            assert!(KeyStore::of_key(root.path(), key).is_err(), "{name}");
        }
    }

    #[test]
    fn an_origin_is_never_a_path_out_of_the_store() {
        for origin in [
            "../../etc",
            "axiom-hive.local/../../../../x",
            "axiom-hive.local/0",
        ] {
            assert!(!is_local_origin(origin));
        }
        let store = KeyStore::on(Arc::new(super::super::storage::Memory::default()));
        assert_eq!(store.verifying_key("../x").unwrap(), None);
    }
}
