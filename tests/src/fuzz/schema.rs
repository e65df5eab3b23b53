//! A schema as a worker gives it, and a reply to check against it: both are strangers' texts.
//!
//! Up to a line feed, a zero and a line feed the bytes are the schema, after that the reply.

use jidoka::doors::schema::Schema;

/// Characters of what a worker or a journal is told of a schema; a complaint quotes at most two cut texts.
const MOST_COMPLAINT_CHARS: usize = 2_000;

/// The body of the target `schema`.
pub fn run(bytes: &[u8]) {
    let parts = super::parts(bytes);
    let reply = parts.get(1).map_or("null", String::as_str);
    let told = match Schema::compile(&parts[0]) {
        Ok(schema) => {
            let told = schema.check(reply);
            assert_eq!(schema.check(reply), told, "a schema remembers nothing");
            told
        }
        Err(why) => Err(why),
    };
    if let Err(why) = told {
        assert!(why.chars().count() <= MOST_COMPLAINT_CHARS, "{} characters", why.chars().count());
    }
}
