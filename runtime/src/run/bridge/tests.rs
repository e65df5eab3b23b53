//! The bridge, on real components.

mod bounds;
mod calls;
mod component;
mod errors;
mod kinds;
mod random;
mod resources;
