//! The command `cluster`.

fn main() {}
