//! `[[grants.http]]` of a job and `[[policy.http]]` of the operator's file: to whom requests may go, and how large.
//!
//! Never: lets a job fetch what no single rule of the operator's covers, or open a network that is not public. An address
//! is written in one way, the one in which it is judged later. Without a rule of the operator's there is no web.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::ceiling::{Ceiling, Excess, Shown};
use super::kinds::{Choice, Kind, List, Name, Repeats, Text, Wrong, wrong};
use super::mistake::{Mistake, listed};
use super::operator::OperatorFile;
use super::reader::{Found, Key, Read, Reader, Section};
use super::secrets;
use crate::rules::address::Network;
use crate::rules::egress::{MAX_URL_BYTES, Target};
use crate::rules::http::{HttpGrant, HttpLimits, Scheme, Site};
use crate::rules::spec::Origin;

/// The key of both lists.
pub(super) const HTTP: &str = "http";

/// Rules of a file: each request is held against all of them.
const MOST_RULES: usize = 64;
/// Networks of a rule.
const MOST_NETWORKS: usize = 64;
/// Secrets of a rule: each is put into every request.
const MOST_SECRETS: usize = 8;
/// Bytes of one body: the host holds it whole, and the journal keeps it.
const MOST_BODY_BYTES: u64 = 8 << 20;
/// The longest exchange: 10 minutes.
const MOST_MS: u64 = 600_000;
/// Each redirect is a connection of its own.
const MOST_REDIRECTS: u64 = 10;

/// What is not written, in both files.
const DEFAULTS: HttpLimits =
    HttpLimits { max_request_bytes: 64 << 10, max_response_bytes: 1 << 20, total_ms: 30_000, max_redirects: 0 };

const URL: Key<Rule> = Key { name: "url", kind: Rule, example: "\"https://api.example.com/v1/\"" };
const METHODS: Key<List<Choice<&'static str>>> = Key {
    name: "methods",
    kind: List {
        of: Choice(&[
            ("GET", "GET"),
            ("HEAD", "HEAD"),
            ("POST", "POST"),
            ("PUT", "PUT"),
            ("PATCH", "PATCH"),
            ("DELETE", "DELETE"),
            ("OPTIONS", "OPTIONS"),
        ]),
        least: 1,
        most: 7,
        repeats: Repeats::Refused,
    },
    example: "[\"GET\"]",
};
const URLS: Key<List<Rule>> = Key {
    name: HTTP,
    kind: List { of: Rule, least: 0, most: MOST_RULES, repeats: Repeats::Refused },
    example: "[\"https://api.example.com/v1/\"]",
};
const SECRETS: Key<List<Name>> = Key {
    name: "secrets",
    kind: List { of: secrets::NAME, least: 0, most: MOST_SECRETS, repeats: Repeats::Refused },
    example: "[\"api-key\"]",
};
const NETWORKS: Key<List<Range4Or6>> = Key {
    name: "networks",
    kind: List { of: Range4Or6, least: 0, most: MOST_NETWORKS, repeats: Repeats::Refused },
    example: "[\"10.0.0.0/8\"]",
};

/// A bound of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Request,
    Response,
    Timeout,
    Redirects,
}

impl Bound {
    const ALL: [Self; 4] = [Self::Request, Self::Response, Self::Timeout, Self::Redirects];

    fn key(self) -> Key<Amount> {
        let body = Amount::new(Unit::Size, 0, MOST_BODY_BYTES);
        match self {
            Bound::Request => Key { name: "request", kind: body, example: "\"64KiB\"" },
            Bound::Response => Key { name: "response", kind: body, example: "\"1MiB\"" },
            Bound::Timeout => {
                Key { name: "timeout", kind: Amount::new(Unit::Duration, 1, MOST_MS), example: "\"30s\"" }
            }
            Bound::Redirects => {
                Key { name: "redirects", kind: Amount::new(Unit::Count, 0, MOST_REDIRECTS), example: "3" }
            }
        }
    }

    fn of(self, limits: &HttpLimits) -> u64 {
        match self {
            Bound::Request => limits.max_request_bytes,
            Bound::Response => limits.max_response_bytes,
            Bound::Timeout => limits.total_ms,
            Bound::Redirects => u64::from(limits.max_redirects),
        }
    }

    fn set(self, limits: &mut HttpLimits, amount: u64) {
        match self {
            Bound::Request => limits.max_request_bytes = amount,
            Bound::Response => limits.max_response_bytes = amount,
            Bound::Timeout => limits.total_ms = amount,
            Bound::Redirects => limits.max_redirects = u32::try_from(amount).expect("the most redirects fit"),
        }
    }
}

/// A rule as a file says it.
struct Written {
    url: Found<Place>,
    methods: Found<Vec<(&'static str, Range<usize>)>>,
    /// Where a bound is not written, its default without a place.
    limits: Vec<(Bound, u64, Option<Range<usize>>)>,
}

impl Written {
    /// The keys that rules of both files have. `None`: one of them has a mistake, which was reported.
    fn read(section: &mut Section<'_>, reader: &mut Reader) -> Option<Self> {
        let url = section.required(reader, &URL);
        let methods = section.required(reader, &METHODS);
        let limits: Vec<_> = Bound::ALL
            .into_iter()
            .map(|bound| match section.read(reader, &bound.key()) {
                Read::Absent => Some((bound, bound.of(&DEFAULTS), None)),
                Read::Wrong => None,
                Read::Found(found) => Some((bound, found.value, Some(found.span))),
            })
            .collect();
        let limits = limits.into_iter().collect::<Option<Vec<_>>>();
        Some(Self { url: url?, methods: methods?, limits: limits? })
    }

    fn grant(&self) -> HttpGrant {
        let mut limits = DEFAULTS;
        self.limits.iter().for_each(|(bound, amount, _)| bound.set(&mut limits, *amount));
        let Place { site: Site { scheme, host, port }, path } = self.url.value.clone();
        let methods = self.methods.value.iter().map(|(method, _)| (*method).to_owned()).collect();
        HttpGrant { methods, scheme, host, port, path, networks: Vec::new(), secrets: Vec::new(), limits }
    }
}

/// Reads `[[policy.http]]`. A rule with a mistake is left out: the file does not load then.
pub(super) fn rules(policy: &mut Section<'_>, reader: &mut Reader) -> Vec<HttpGrant> {
    let sections = policy.sections(reader, HTTP);
    at_most(&sections, reader);
    if sections.is_empty() {
        reader.set(policy.key(HTTP), NONE, Origin::Default);
    }
    sections.into_iter().filter_map(|section| rule(section, reader)).collect()
}

/// What stands where there is no rule.
pub(super) const NONE: &str = "none";

fn rule(mut section: Section<'_>, reader: &mut Reader) -> Option<HttpGrant> {
    let ((written, networks), _) = reader.apart(|reader| {
        let written = Written::read(&mut section, reader);
        (written, section.or_default(reader, &NETWORKS, Vec::new()))
    });
    if let Some(span) = section.misplaced(SECRETS.name) {
        reader.mistake(Mistake {
            span: Some(span),
            message: format!("`{}` is given, and which secrets go where says each secret", section.key(SECRETS.name)),
            label: "not a key of the operator's rules".to_owned(),
            help: "allowed: `origins` in [secrets.NAME]\nwrite in [secrets.NAME]: origins = [\"https://host\"]"
                .to_owned(),
        });
    }
    let key = section.key("");
    section.finish(reader);
    let networks = networks.into_iter().map(|(network, _)| network).collect();
    let grant = HttpGrant { networks, ..written?.grant() };
    // One line a rule: these are kept with every run.
    reader.set(key.trim_end_matches('.'), shown(&grant), Origin::Operator);
    Some(grant)
}

/// A rule of the operator's in one line.
fn shown(grant: &HttpGrant) -> String {
    let bounds = Bound::ALL.map(|bound| {
        let Key { name, kind, .. } = bound.key();
        format!("{name} {}", kind.show(&bound.of(&grant.limits)))
    });
    let networks = if grant.networks.is_empty() { NONE.to_owned() } else { grant.networks.join(", ") };
    format!("{grant} · {} · networks {networks}", bounds.join(" · "))
}

fn at_most(sections: &[Section<'_>], reader: &mut Reader) {
    if let Some(over) = sections.get(MOST_RULES) {
        reader.mistake(Mistake {
            span: Some(over.place()),
            message: format!("there are {} rules of at most {MOST_RULES}", sections.len()),
            label: "one too many".to_owned(),
            help: format!("allowed: at most {MOST_RULES} {}\nwrite: a rule with a shorter path", over.title()),
        });
    }
}

/// Reads `[[grants.http]]` of a job. `None`: there is a mistake, which was reported.
pub(super) fn grants(
    section: &mut Section<'_>,
    reader: &mut Reader,
    operator: &OperatorFile,
) -> Option<Vec<HttpGrant>> {
    let sections = section.sections(reader, HTTP);
    at_most(&sections, reader);
    if sections.is_empty() {
        reader.set(section.key(HTTP), NONE, Origin::Default);
    }
    let grants: Vec<Option<HttpGrant>> = sections.into_iter().map(|section| grant(section, reader, operator)).collect();
    let grants: Vec<HttpGrant> = grants.into_iter().collect::<Option<_>>()?;
    let named: BTreeSet<&String> = grants.iter().flat_map(|grant| &grant.secrets).collect();
    for name in named {
        secrets::note(reader, operator, name);
    }
    Some(grants)
}

/// Reads the `http` of a tool: which of the job's rules it may use as well, by their addresses. `None`: there is a mistake,
/// here or in the job's rules, which was reported.
pub(super) fn of_the_jobs(
    section: &mut Section<'_>,
    reader: &mut Reader,
    grants: Option<&[HttpGrant]>,
) -> Option<Vec<HttpGrant>> {
    let (places, grants) = match (section.optional(reader, &URLS, "[]"), grants) {
        (Read::Absent, _) => return Some(Vec::new()),
        (Read::Wrong, _) | (_, None) => return None,
        (Read::Found(found), Some(grants)) => (found.value, grants),
    };
    let mut named = Vec::new();
    for (place, span) in places {
        let same: Vec<&HttpGrant> =
            grants.iter().filter(|grant| (&grant.site(), &grant.path) == (&place.site, &place.path)).collect();
        if same.is_empty() {
            let known: Vec<String> = grants.iter().map(|grant| format!("{}{}", grant.site(), grant.path)).collect();
            reader.mistake(Mistake {
                span: Some(span),
                message: format!("`{}` names a rule that the job does not have", section.key(URLS.name)),
                label: "no [[grants.http]] with this url".to_owned(),
                help: format!(
                    "allowed: {}\nwrite a [[grants.http]] of the same url",
                    listed(known.iter().map(String::as_str))
                ),
            });
            return None;
        }
        named.extend(same.into_iter().cloned());
    }
    Some(named)
}

fn grant(mut section: Section<'_>, reader: &mut Reader, operator: &OperatorFile) -> Option<HttpGrant> {
    let written = Written::read(&mut section, reader);
    if let Some(span) = section.misplaced(NETWORKS.name) {
        reader.mistake(Mistake {
            span: Some(span),
            message: format!("`{}` is given, and no job opens a network", section.key(NETWORKS.name)),
            label: "the operator's alone".to_owned(),
            help: format!(
                "allowed: public addresses, and the networks of the operator's rule\n\
                 write in [[policy.http]] of the operator's file: {} = {}",
                NETWORKS.name, NETWORKS.example
            ),
        });
    }
    let named = section.read(reader, &SECRETS);
    let key = section.key("");
    section.finish(reader);
    let written = written?;
    let (mut grant, origins) = held(&written, &key, reader, &operator.policy.http)?;
    for (bound, origin) in Bound::ALL.into_iter().zip(origins) {
        let Key { name, kind, .. } = bound.key();
        reader.set(format!("{key}{name}"), kind.show(&bound.of(&grant.limits)), origin);
    }
    let (names, origin) = match named {
        Read::Absent => (Vec::new(), Origin::Default),
        Read::Wrong => return None,
        Read::Found(found) => (found.value, Origin::Job),
    };
    reader.set(format!("{key}{}", SECRETS.name), SECRETS.kind.show(&names), origin);
    let networks: Vec<(String, Range<usize>)> = grant.networks.iter().map(|it| (it.clone(), 0..0)).collect();
    let origin = if networks.is_empty() { Origin::Default } else { Origin::Operator };
    reader.set(format!("{key}{}", NETWORKS.name), NETWORKS.kind.show(&networks), origin);
    let allowed = secrets::check(reader, operator, &grant.site(), &format!("{key}{}", SECRETS.name), &names);
    grant.secrets = names.into_iter().map(|(name, _)| name).collect();
    allowed.then_some(grant)
}

/// A job's rule under the one of the operator's that covers it, and whose word each of its bounds is.
fn held(
    written: &Written,
    key: &str,
    reader: &mut Reader,
    rules: &[HttpGrant],
) -> Option<(HttpGrant, [Origin; Bound::ALL.len()])> {
    let asked = written.grant();
    let mut candidates = rules.iter().filter(|rule| rule.covers(&asked.site(), &asked.path)).peekable();
    let Some(&first) = candidates.peek() else {
        reader.mistake(uncovered(written, key, rules));
        return None;
    };
    let within = |rule: &&HttpGrant| {
        let bounds =
            written.limits.iter().all(|(bound, amount, span)| span.is_none() || *amount <= bound.of(&rule.limits));
        bounds && asked.methods.iter().all(|method| rule.methods.contains(method))
    };
    let Some(rule) = candidates.find(within) else {
        report(written, key, reader, first);
        return None;
    };
    let mut grant = HttpGrant { networks: rule.networks.clone(), ..asked };
    let mut origins = [Origin::Default; Bound::ALL.len()];
    for (origin, (bound, amount, span)) in origins.iter_mut().zip(&written.limits) {
        let most = bound.of(&rule.limits);
        *origin = match span {
            Some(_) => Origin::Job,
            None if *amount > most => {
                bound.set(&mut grant.limits, most);
                Origin::Operator
            }
            None => Origin::Default,
        };
    }
    Some((grant, origins))
}

fn uncovered(written: &Written, key: &str, rules: &[HttpGrant]) -> Mistake {
    let allowed: Vec<String> = rules.iter().map(HttpGrant::to_string).collect();
    let Written { url, methods, .. } = written;
    let (url_text, methods) = (URL.kind.show(&url.value), METHODS.kind.show(&methods.value));
    Mistake {
        span: Some(url.span.clone()),
        message: format!("`{key}{}` is {url_text}, and no rule of the operator's covers it", URL.name),
        label: "in no [[policy.http]] of the operator's file".to_owned(),
        help: format!(
            "allowed: {}\nwrite in the operator's file:\n[[policy.http]]\nurl = {url_text:?}\nmethods = {}",
            listed(allowed.iter().map(String::as_str)),
            quoted(&methods),
        ),
    }
}

/// A shown list of words as it is written.
fn quoted(shown: &str) -> String {
    let words: Vec<String> = shown.trim_matches(['[', ']']).split(", ").map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}

/// Reports all that a rule of the operator's, which covers the place, does not allow.
fn report(written: &Written, key: &str, reader: &mut Reader, rule: &HttpGrant) {
    for (method, span) in &written.methods.value {
        if !rule.methods.iter().any(|allowed| allowed == method) {
            reader.mistake(Mistake {
                span: Some(span.clone()),
                message: format!("`{key}{}` has {method}, which the operator does not allow there", METHODS.name),
                label: "not in the `methods` of the operator's rule".to_owned(),
                help: format!(
                    "allowed: {}\nwrite in [[policy.http]] of the operator's file: methods = [.., {method:?}]",
                    rule.methods.join(", ")
                ),
            });
        }
    }
    for (bound, amount, span) in &written.limits {
        let (Key { name, kind, .. }, most) = (bound.key(), bound.of(&rule.limits));
        if let Some(span) = span.clone().filter(|_| *amount > most) {
            let [asked, most] = [*amount, most].map(|amount| Shown::amount(&kind, amount));
            let (key, ceiling) = (format!("{key}{name}"), Ceiling { section: "[policy.http]", name });
            reader.mistake(Excess { key: &key, span: Some(span), asked, most, ceiling, instead: None }.mistake());
        }
    }
}

/// The grants of a run of the past under the operator's rules of today: the networks are today's.
///
/// # Errors
/// Every reason why not, a sentence each.
pub(super) fn again(grants: &[HttpGrant], operator: &OperatorFile) -> Result<Vec<HttpGrant>, Vec<String>> {
    let (mut now, mut wrong) = (Vec::new(), Vec::new());
    if grants.len() > MOST_RULES {
        wrong.push(format!("there are {} grants of http in the run, and at most {MOST_RULES} may be", grants.len()));
    }
    for grant in grants {
        let within = |rule: &&HttpGrant| {
            rule.covers(&grant.site(), &grant.path)
                && grant.methods.iter().all(|method| rule.methods.contains(method))
                && Bound::ALL.iter().all(|bound| bound.of(&grant.limits) <= bound.of(&rule.limits))
        };
        match operator.policy.http.iter().find(within) {
            Some(rule) => now.push(HttpGrant { networks: rule.networks.clone(), ..grant.clone() }),
            None => wrong.push(format!("no [[policy.http]] of today covers {grant} with its bounds")),
        }
        wrong.extend(secrets::again(operator, grant));
    }
    if wrong.is_empty() { Ok(now) } else { Err(wrong) }
}

/// A server and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Its host may begin with `*.`.
    site: Site,
    path: String,
}

/// To whom requests may go.
struct Rule;

impl Kind for Rule {
    type Value = Place;

    fn allowed(&self) -> String {
        "https://host/path or http://host/path; *.host is every name below it, a path with / at its end all below it"
            .to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Place, Vec<Wrong>> {
        let text = Text { least: 1, most: MAX_URL_BYTES }.read(value)?;
        let (plain, wild) = match text.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (text.clone(), false),
        };
        let target = match Target::read(&plain) {
            Ok(target) => target,
            Err(problem) => return wrong(value, problem, "not a place for requests"),
        };
        if target.url().query().is_some() {
            return wrong(value, "has a query, and a rule is for any", "not a place for requests");
        }
        let mut site = target.site();
        if wild {
            if !matches!(target.url().host(), Some(url::Host::Domain(_))) {
                return wrong(value, "has a wildcard before an address", "no names are below it");
            }
            site.host = format!("*.{}", site.host);
        }
        let place = Place { site, path: target.path().to_owned() };
        let canonical = self.show(&place);
        if canonical != text {
            return Err(vec![Wrong {
                span: value.span(),
                problem: format!("is not in the form in which it is judged, {canonical}"),
                label: "one place, one text".to_owned(),
                fix: Some(format!("{canonical:?}")),
            }]);
        }
        Ok(place)
    }

    fn show(&self, value: &Place) -> String {
        format!("{}{}", value.site, value.path)
    }
}

/// A network of addresses.
struct Range4Or6;

impl Kind for Range4Or6 {
    type Value = String;

    fn allowed(&self) -> String {
        "an address and its bits, such as 10.0.0.0/8 or fd00::/8".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = Text { least: 1, most: 64 }.read(value)?;
        match Network::parse(&text) {
            Ok(_) => Ok(text),
            Err(problem) => wrong(value, problem, "not a network"),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// Whether what is sent to a server stays on this machine or is encrypted on its way.
pub(super) fn is_private(site: &Site) -> bool {
    let loopback = |host: &str| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    site.scheme == Scheme::Https || loopback(&site.host)
}
