//! Writes `crds/*.yaml` from the Rust types: `cargo run -p axiom_hive_operator --bin crdgen`.

use std::path::Path;

use axiom_hive_operator::api::crd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    std::fs::create_dir_all(&directory)?;
    for (name, definition) in crd::definitions()? {
        std::fs::write(directory.join(name), crd::to_yaml(&definition)?)?;
    }
    Ok(())
}
