//! Generates the bindings of each world from `wit/` for `src/bindings.rs`.
//!
//! This is `wit_bindgen::generate!` with one difference. Beside the type section that belongs to an export macro, the
//! generator emits one that is linked always; with three worlds in one crate, every guest would import the types of all
//! of them. Here only the section of the attribute that a guest uses reaches its component.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

const CONTRACT: &str = "../wit";

/// The imports that the verifier and the tool world share with the worker world, so that there is one type of each.
const SHARED: [&str; 6] = ["types", "evidence", "andon", "log", "clock", "random"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CONTRACT}");
    // This type has words of its own in the SDK.
    let denied = ("jidoka:agent/types@0.1.0/denied".to_owned(), WithOption::Path("crate::Denied".to_owned()));
    generate("worker", vec![denied])?;
    generate("verifier", SHARED.into_iter().chain(["model"]).map(as_of_worker).collect())?;
    generate("tool", SHARED.into_iter().map(as_of_worker).collect())
}

fn as_of_worker(interface: &str) -> (String, WithOption) {
    let path = format!("crate::bindings::worker::jidoka::agent::{interface}");
    (format!("jidoka:agent/{interface}@0.1.0"), WithOption::Path(path))
}

fn generate(world: &str, with: Vec<(String, WithOption)>) -> Result<(), Box<dyn Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(CONTRACT)?;
    let id = resolve.select_world(&[package], Some(world))?;
    let options = Opts {
        pub_export_macro: true,
        export_macro_name: Some(format!("export_{world}")),
        default_bindings_module: Some(format!("::jidoka::bindings::{world}")),
        disable_custom_section_link_helpers: true,
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        with,
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, id, &mut files)?;
    let (_, source) = files.iter().next().ok_or("the generator wrote no file")?;
    let source = without_shared_section(std::str::from_utf8(source)?, world)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join(format!("{world}.rs")), source)?;
    Ok(())
}

/// Leaves the static of the always linked section, which nothing refers to, but not in a section.
fn without_shared_section(source: &str, world: &str) -> Result<String, String> {
    let end = format!(":{world}-with-all-of-its-exports-removed:encoded world\")]");
    let kept: Vec<&str> =
        source.lines().filter(|line| !(line.contains("link_section") && line.ends_with(&end))).collect();
    // Another version of the generator may name it differently; that must not go unnoticed.
    match source.lines().count() - kept.len() {
        1 => Ok(kept.join("\n")),
        count => Err(format!("the generated world {world} has {count} shared type sections, not 1")),
    }
}
