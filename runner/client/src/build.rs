//! The build that decides, as records name it.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::OnceLock;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::BuildRef;
use sha2::{Digest as _, Sha256};

const READ_BYTES: usize = 256 * 1024;

/// Version and digest of the running executable, which is read once a process.
pub fn build_ref() -> io::Result<BuildRef> {
    static EXECUTABLE: OnceLock<Digest> = OnceLock::new();
    let executable = if let Some(digest) = EXECUTABLE.get() {
        *digest
    } else {
        let digest = digest_of_executable()?;
        *EXECUTABLE.get_or_init(|| digest)
    };
    Ok(BuildRef {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        executable,
    })
}

/// Of the running image, even when the file at its path was replaced since.
fn digest_of_executable() -> io::Result<Digest> {
    let mut file = File::open("/proc/self/exe")?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
    }
}
