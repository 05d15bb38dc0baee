//! The `infer` binary.

fn main() {}
