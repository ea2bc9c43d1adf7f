//! The binary `kerria`.

fn main() {}
