//! Usage that a server says in the headers of a response.
//!
//! Never: lowers what the body says, takes less than a whole number for a count. Invariant: of several values the largest
//! holds. Headers come before a body: of a stream they cannot know the end.

use reqwest::header::HeaderMap;

use crate::rules::model::{Part, Usage};

/// One server's names.
struct Names {
    /// Input, each part apart if `is_apart`: fresh, read from a cache, written into one. Otherwise the first is the whole.
    input: &'static str,
    cached: Option<&'static str>,
    written: Option<&'static str>,
    is_apart: bool,
    output: Option<&'static str>,
    total: Option<&'static str>,
}

const NAMES: [Names; 4] = [
    // Bedrock: <https://github.com/aws/aws-sdk-js-v3/issues/8172>.
    Names {
        input: "x-amzn-bedrock-input-token-count",
        cached: Some("x-amzn-bedrock-cache-read-input-token-count"),
        written: Some("x-amzn-bedrock-cache-write-input-token-count"),
        is_apart: true,
        output: Some("x-amzn-bedrock-output-token-count"),
        total: None,
    },
    // LoRAX: <https://github.com/predibase/lorax>.
    Names {
        input: "x-prompt-tokens",
        cached: None,
        written: None,
        is_apart: false,
        output: Some("x-generated-tokens"),
        total: Some("x-total-tokens"),
    },
    // Praxis: <https://github.com/praxis-proxy/ai/issues/86>.
    Names {
        input: "x-token-input",
        cached: None,
        written: None,
        is_apart: false,
        output: Some("x-token-output"),
        total: Some("x-token-total"),
    },
    // Fireworks says no output: <https://docs.fireworks.ai/api-reference/post-chatcompletions>.
    Names {
        input: "fireworks-prompt-tokens",
        cached: Some("fireworks-cached-prompt-tokens"),
        written: None,
        is_apart: false,
        output: None,
        total: None,
    },
];

/// What headers say. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    part: Part,
}

impl Said {
    pub fn read(headers: &HeaderMap) -> Self {
        let count = |name: &str| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.filter_map(|value| value.trim().parse::<u64>().ok()).max()
        };
        NAMES.iter().fold(Self::default(), |most, names| {
            let [cached, written] = [names.cached, names.written].map(|name| name.and_then(count).unwrap_or(0));
            let apart = if names.is_apart { cached.saturating_add(written) } else { 0 };
            let tokens_in = count(names.input).map(|input| input.saturating_add(apart));
            let rest = names.total.and_then(count).map(|total| total.saturating_sub(tokens_in.unwrap_or(total)));
            let tokens_out = names.output.and_then(count).map(|output| output.max(rest.unwrap_or(0)));
            Self {
                tokens_in: most.tokens_in.max(tokens_in),
                tokens_out: most.tokens_out.max(tokens_out),
                part: Part {
                    cached: most.part.cached.max(cached),
                    written: most.part.written.max(written),
                    ..Part::default()
                },
            }
        })
    }

    /// Whether they say that a model ran.
    pub fn shows_a_model(&self) -> bool {
        self.tokens_in.max(self.tokens_out).is_some_and(|tokens| tokens > 0)
    }

    /// What they say alone, if it is all.
    pub fn alone(&self) -> Option<Usage> {
        Some(Usage { part: self.part, ..Usage::of(self.tokens_in?, self.tokens_out?) })
    }

    /// The larger of what a body and they say. What of it has a price of its own the body says.
    pub fn at_least(&self, usage: Usage) -> Usage {
        Usage {
            tokens_in: usage.tokens_in.max(self.tokens_in.unwrap_or(0)),
            tokens_out: usage.tokens_out.max(self.tokens_out.unwrap_or(0)),
            part: Part { written: usage.part.written.max(self.part.written), ..usage.part },
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn said(headers: &[(&'static str, &'static str)]) -> Said {
        let each = headers.iter();
        let each = each.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut all = HeaderMap::new();
        for (name, value) in each {
            all.append(name, value);
        }
        Said::read(&all)
    }

    #[test]
    fn each_server_says_it_in_its_own_names() {
        let bedrock = said(&[
            ("x-amzn-bedrock-input-token-count", "5"),
            ("x-amzn-bedrock-cache-read-input-token-count", "20"),
            ("x-amzn-bedrock-cache-write-input-token-count", "100"),
            ("x-amzn-bedrock-output-token-count", "2"),
        ]);
        let part = Part { cached: 20, written: 100, ..Part::default() };
        assert_eq!(bedrock.alone(), Some(Usage { part, ..Usage::of(125, 2) }));
        let lorax = said(&[("x-prompt-tokens", "5"), ("x-generated-tokens", "2"), ("x-total-tokens", "9")]);
        assert_eq!(lorax.alone(), Some(Usage::of(5, 4)));
        assert_eq!(said(&[("x-token-input", "5"), ("x-token-output", "2")]).alone(), Some(Usage::of(5, 2)));
        let fireworks = said(&[("fireworks-prompt-tokens", "50"), ("fireworks-cached-prompt-tokens", "40")]);
        assert_eq!((fireworks.alone(), fireworks.shows_a_model()), (None, true));
        assert_eq!(fireworks.at_least(Usage::of(5, 2)), Usage::of(50, 2));
    }

    #[test]
    fn of_several_values_the_largest_holds_and_what_is_no_number_is_none() {
        let two = [("x-token-input", "5"), ("x-token-input", "7"), ("x-token-input", "many"), ("x-token-output", "-2")];
        let said = said(&two);
        assert_eq!((said.alone(), said.at_least(Usage::of(6, 3))), (None, Usage::of(7, 3)));
        assert_eq!(said.at_least(Usage::of(9, 3)), Usage::of(9, 3));
    }
}
