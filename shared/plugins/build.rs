//! Builds anew when a form is added: the forms that are there are watched by the compiler itself.

#![allow(clippy::print_stdout, reason = "it is how cargo is told")]

fn main() {
    println!("cargo:rerun-if-changed=../../forms");
}
