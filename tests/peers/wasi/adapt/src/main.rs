//! `adapt FROM TO`: wraps a module of WASI preview 1 into a component of WASI 0.2, as everybody's tools do.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else { panic!("adapt FROM TO") };
    let module = std::fs::read(from).expect("reads the module");
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        })
        .and_then(|mut encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("{from}: {error:#}"));
    std::fs::write(to, component).expect("writes the component");
}
