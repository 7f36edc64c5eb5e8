//! The build that decides, as records name it.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::BuildRef;
use sha2::{Digest as _, Sha256};

/// Version and digest of the running executable. The file is read once a process, from the running
/// image, even when the file at its path was replaced since.
pub fn build_ref() -> io::Result<BuildRef> {
    static EXECUTABLE: OnceLock<Digest> = OnceLock::new();
    let executable = match EXECUTABLE.get() {
        Some(digest) => *digest,
        None => {
            let mut hasher = Sha256::new();
            let mut file = File::open("/proc/self/exe")?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = io::Read::read(&mut file, &mut buffer)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
            }
            *EXECUTABLE.get_or_init(|| Digest(hasher.finalize().into()))
        }
    };
    Ok(BuildRef {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        executable,
    })
}
