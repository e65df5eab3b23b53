//! What several attacks share.
