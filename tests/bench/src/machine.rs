//! What the numbers were measured on.

use std::fs;

/// CPU flags that decide how fast hashing and matching can be.
const FLAGS: &[&str] = &[
    "sse4_2",
    "pclmulqdq",
    "avx2",
    "avx512f",
    "avx512bw",
    "sha_ni",
    "gfni",
    "sha2",
    "asimd",
];

/// One line: model, cores, and which of the flags that matter are there.
pub(crate) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |names: [&str; 2]| {
        let line = info
            .lines()
            .find(|line| names.iter().any(|name| line.starts_with(name)));
        line.and_then(|line| line.split_once(": "))
            .map_or("", |(_, value)| value)
    };
    let model = field(["model name", "CPU implementer"]);
    let flags = field(["flags", "Features"]);
    let has = |flag: &str| flags.split(' ').any(|present| present == flag);
    let (present, absent): (Vec<&str>, Vec<&str>) = FLAGS.iter().partition(|flag| has(flag));
    format!(
        "CPU: {model}; {} cores; flags: {}; not there: {}",
        cores(),
        present.join(" "),
        absent.join(" ")
    )
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
