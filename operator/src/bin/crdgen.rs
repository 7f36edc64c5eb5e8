//! Writes `crds/*.yaml`, the templates of the chart `axiom-hive-crds` and `docs/API.md` from the Rust types:
//! `cargo run -p axiom_hive_operator --bin crdgen`.

use std::path::Path;

use axiom_hive_operator::api::{crd, reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (plain, chart) = (root.join("crds"), root.join(crd::CHART_TEMPLATES));
    std::fs::create_dir_all(&plain)?;
    std::fs::create_dir_all(&chart)?;
    for (name, definition) in crd::definitions()? {
        std::fs::write(plain.join(name), crd::to_yaml(&definition)?)?;
        std::fs::write(chart.join(name), crd::to_template(definition)?)?;
    }
    std::fs::write(root.join(reference::FILE), reference::page()?)?;
    Ok(())
}
