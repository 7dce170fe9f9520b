//! What the compiler says about a version that lacks something: it names the cure.
//!
//! With `TRYBUILD=overwrite` the texts are written anew, to be read before they are committed.

#[test]
fn mistakes_do_not_compile_and_the_message_names_the_cure() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
