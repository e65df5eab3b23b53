//! Gives the component a larger stack: the engine's parser takes some 17 KiB of it for each bracket within brackets.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=3145728");
    }
}
