//! The contract in `wit/` as Rust types, made by wasmtime's generator.
//!
//! Never: logic. The imports of the verifier and of a tool are the worker's, so that one host serves both.

/// The world of a worker.
pub mod worker {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "worker",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
        // A guest in a cell is told its task, and answers, through a pipe.
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

/// The world of a tool.
pub mod tool {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tool",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
        // A guest in a cell is told its task, and answers, through a pipe.
        additional_derives: [serde::Serialize, serde::Deserialize],
        with: {
            "jidoka:agent/types": super::worker::jidoka::agent::types,
            "jidoka:agent/evidence": super::worker::jidoka::agent::evidence,
            "jidoka:agent/andon": super::worker::jidoka::agent::andon,
            "jidoka:agent/log": super::worker::jidoka::agent::log,
            "jidoka:agent/clock": super::worker::jidoka::agent::clock,
            "jidoka:agent/random": super::worker::jidoka::agent::random,
        },
    });
}

/// The world of a verifier.
pub mod verifier {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "verifier",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
        // A guest in a cell is told its task, and answers, through a pipe.
        additional_derives: [serde::Serialize, serde::Deserialize],
        with: {
            "jidoka:agent/types": super::worker::jidoka::agent::types,
            "jidoka:agent/model": super::worker::jidoka::agent::model,
            "jidoka:agent/evidence": super::worker::jidoka::agent::evidence,
            "jidoka:agent/andon": super::worker::jidoka::agent::andon,
            "jidoka:agent/log": super::worker::jidoka::agent::log,
            "jidoka:agent/clock": super::worker::jidoka::agent::clock,
            "jidoka:agent/random": super::worker::jidoka::agent::random,
        },
    });
}
