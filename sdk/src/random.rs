//! Random bytes from the run's seed, the same on replay. Not for keys: whoever has the journal has the seed.

use crate::denied::Denied;
use crate::host;

/// The next bytes of the run's random stream.
///
/// `Err` with `refused`: `count` is over 65,536.
pub fn bytes(count: u32) -> Result<Vec<u8>, Denied> {
    host::random::bytes(count)
}

/// The next number of the run's random stream.
pub fn number() -> Result<u64, Denied> {
    let mut number = 0_u64;
    for byte in bytes(8)? {
        number = (number << 8) | u64::from(byte);
    }
    Ok(number)
}
