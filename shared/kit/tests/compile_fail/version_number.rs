use bk_plugin_kit::prelude::*;

// In an `impl`, `cargo build` says the same of it; `cargo check` looks at constants that stand alone.
const META: Meta = Meta::version("1.0");

fn main() {}
