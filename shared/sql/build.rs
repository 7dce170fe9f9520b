//! The migrations are compiled in; a change of them has to compile the crate again.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
