//! A provider's reply, whole or streamed, in each dialect, cut at every place.
//!
//! The first byte chooses the dialect (its third bit: Responses; else its lowest: OpenAI, Anthropic), the second is the cap on output, the rest is the body.

use jidoka::doors::fold::{Fold, Folded};
use jidoka::rules::effect::{Failure, FailureKind};
use jidoka::rules::model::{Metered, Usage};
use jidoka::rules::spec::Dialect;

/// Places at which a body is cut: all of a short one.
const PLACES: usize = 64;

/// The reply's bytes for one token of the cap, and those that are always allowed.
const TOKEN_BYTES: usize = 256;
const SPARE_BYTES: usize = 4096;

/// How a body is read.
#[derive(Clone, Copy)]
struct Way {
    dialect: Dialect,
    max_output: u32,
}

/// The body of the target `wire`.
pub fn run(bytes: &[u8]) {
    let [how, max_output, body @ ..] = bytes else { return };
    let way = Way {
        dialect: match (how & 4, how & 1) {
            (0, 0) => Dialect::Openai,
            (0, _) => Dialect::Anthropic,
            _ => Dialect::Responses,
        },
        max_output: u32::from(*max_output),
    };
    let whole = way.folded(&mut [body].into_iter());
    way.hold(&whole);
    for size in [1, 2, 3, 17] {
        assert_eq!(way.folded(&mut body.chunks(size)), whole, "in pieces of {size}");
    }
    for place in (0..body.len()).step_by(body.len() / PLACES + 1) {
        let (head, tail) = body.split_at(place);
        assert_eq!(way.folded(&mut [head, tail].into_iter()), whole, "in two at {place}");
        way.hold(&way.folded(&mut [head].into_iter()));
        way.cut(head);
    }
}

impl Way {
    fn folded(self, pieces: &mut dyn Iterator<Item = &[u8]>) -> Folded {
        let mut fold = Fold::new(self.dialect, "one", self.max_output);
        for piece in pieces {
            if fold.push(piece).is_break() {
                break;
            }
        }
        fold.finish()
    }

    /// A reply that is cut is none.
    fn cut(self, head: &[u8]) {
        let mut fold = Fold::new(self.dialect, "one", self.max_output);
        if fold.push(head).is_continue() {
            let failure = Failure { kind: FailureKind::TimedOut, message: "cut".to_owned() };
            let folded = fold.cut(failure);
            assert!(folded.result.is_err());
            self.hold(&folded);
        }
    }

    /// What holds of every outcome.
    fn hold(self, folded: &Folded) {
        let most = self.max_output as usize * TOKEN_BYTES + SPARE_BYTES;
        if let Ok(reply) = &folded.result {
            let arguments: usize = reply.tool_calls.iter().map(|call| call.arguments.len().saturating_sub(2)).sum();
            assert!(reply.text.len() + arguments <= most, "{} and {arguments} bytes", reply.text.len());
            assert!(reply.tool_calls.len() <= 128);
            assert!(reply.tool_calls.iter().all(|call| !call.name.is_empty() && !call.id.is_empty()));
        }
        if let Metered::Exact(usage) = &folded.metered {
            // What was refused before a model ran is free, and nothing else.
            assert!(usage.tokens_in > 0 || (folded.result.is_err() && *usage == Usage::default()), "{usage:?}");
        }
        assert!(folded.raw_usage.as_ref().is_none_or(|usage| usage.len() <= 4096));
    }
}
