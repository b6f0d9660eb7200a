//! A migration that was added is built in, although no source has changed.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
