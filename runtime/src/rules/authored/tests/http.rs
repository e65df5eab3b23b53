//! Requests over HTTP: what the two files say together, and each mistake where it stands.

use super::*;
use crate::rules::authored::again::{Changed, Whose, again};
use crate::rules::http::{HttpGrant, HttpLimits, Scheme, Site};
use crate::rules::line::Line;
use crate::rules::secret::{Placement, SecretSource, SecretSpec};

fn web(job: &str) -> Result<RunSpec, Vec<Mistake>> {
    self::job(job, &theirs(WEB), &Overrides::default())
}

fn with_http(rule: &str) -> String {
    with(LEAST, "[budget]\n", &format!("[[grants.http]]\n{rule}[budget]\nnet = \"8MiB\"\n"))
}

#[test]
fn a_rule_means_what_it_says_and_its_defaults() {
    let spec = web(FETCHER).expect("it is right");
    let [first, second]: [HttpGrant; 2] = spec.grants.http.clone().try_into().expect("two");
    assert_eq!(
        first,
        HttpGrant {
            methods: vec!["GET".into(), "POST".into()],
            scheme: Scheme::Https,
            host: "api.example".into(),
            port: 443,
            path: "/v1/items/".into(),
            networks: vec![],
            secrets: vec!["api-key".into(), "app".into()],
            limits: HttpLimits {
                max_request_bytes: 64 << 10,
                max_response_bytes: 2 << 20,
                total_ms: 5_000,
                max_redirects: 2,
            },
        }
    );
    assert_eq!((second.host.as_str(), second.port, second.path.as_str()), ("*.docs.local", 8080, "/"));
    assert_eq!(second.networks, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(spec.budget.attempt[&Line::NetBytes], 8 << 20);
    for (key, value, origin) in [
        ("grants.http[1].url", "https://api.example/v1/items/", Origin::Job),
        ("grants.http[1].methods", "[GET, POST]", Origin::Job),
        ("grants.http[1].request", "64KiB", Origin::Default),
        ("grants.http[1].response", "2MiB", Origin::Job),
        ("grants.http[1].timeout", "5s", Origin::Job),
        ("grants.http[1].redirects", "2", Origin::Job),
        ("grants.http[1].secrets", "[api-key, app]", Origin::Job),
        ("grants.http[1].networks", "[]", Origin::Default),
        // The default of a job is cut down to the operator's rule.
        ("grants.http[2].timeout", "1s", Origin::Operator),
        ("grants.http[2].networks", "[10.0.0.0/8, fd00::/8]", Origin::Operator),
        ("secrets.api-key.env", "API_KEY", Origin::Operator),
        ("secrets.api-key.origins", "https://api.example, http://127.0.0.1:9", Origin::Operator),
        ("secrets.api-key.header", "authorization", Origin::Operator),
        ("secrets.api-key.prefix", "\"Bearer \"", Origin::Operator),
        ("secrets.app.command", "\"pass\" and 1 more words", Origin::Operator),
        ("secrets.app.query", "app", Origin::Operator),
        (
            "policy.http[2]",
            "GET http://*.docs.local:8080/ · request 64KiB · response 1MiB · timeout 1s · redirects 0 · \
             networks 10.0.0.0/8, fd00::/8",
            Origin::Operator,
        ),
    ] {
        assert_eq!(setting(&spec, key), (value, origin), "{key}");
    }
    assert!(!spec.settings.iter().any(|setting| setting.value.contains("canary")));
    assert!(!spec.settings.iter().any(|setting| setting.key.starts_with("secrets.unused")));
}

#[test]
fn the_operator_says_where_secrets_are_and_no_run_is_told() {
    let file = theirs(WEB);
    assert_eq!(
        file.secrets["app"],
        SecretSpec {
            source: SecretSource::Command(vec!["pass".into(), "canary".into()]),
            sites: vec![Site { scheme: Scheme::Https, host: "api.example".into(), port: 443 }],
            placement: Placement::Query { name: "app".into() },
        }
    );
    assert_eq!(file.secrets["unused"].source, SecretSource::File("unused.key".into()));
    let written = serde_json::to_string(&web(FETCHER).expect("it is right")).expect("plain data");
    assert!(!written.contains("canary"), "{written}");
}

#[test]
fn a_job_without_http_is_written_as_before_there_was_any() {
    let spec = plain(LEAST).expect("it is right");
    assert!(spec.grants.http.is_empty());
    let written = serde_json::to_string(&spec.grants).expect("plain data");
    assert!(!written.contains("http"), "{written}");
    assert_eq!(serde_json::from_str::<Grants>(&written).expect("its own words"), spec.grants);
}

#[test]
fn the_network_of_a_job_that_fetches_needs_a_bound() {
    let text = with(FETCHER, "net = \"8MiB\"\n", "");
    let mistakes = web(&text).expect_err("unbounded");
    assert_eq!(seen(&text, &mistakes), [("[budget]", "budget line `net` is unbounded")]);
    assert_eq!(mistakes[0].label, "http is granted, so this needs a bound");
    assert!(mistakes[0].help.contains("write in [budget]: net = \"8MiB\""), "{}", mistakes[0].help);
    let inherited = with(FETCHER, "net = \"8MiB\"\n", "net = \"inherit\"\n[budget.item]\nnet = \"9MiB\"\n");
    assert_eq!(web(&inherited).expect("the item bounds it").budget.item[&Line::NetBytes], 9 << 20);
}

#[test]
fn without_a_rule_of_the_operators_there_is_no_web() {
    for operator in ["", "[policy]\n", "[policy]\nhttp = []\n"] {
        let text = with_http("url = \"https://api.example/v1/\"\nmethods = [\"GET\"]\n");
        let mistakes = job(&text, &theirs(operator), &Overrides::default()).expect_err("no web");
        assert_eq!(
            seen(&text, &mistakes),
            [(
                "\"https://api.example/v1/\"",
                "`grants.http[1].url` is https://api.example/v1/, and no rule of the operator's covers it"
            )]
        );
        assert_eq!(
            mistakes[0].help,
            "allowed: none\nwrite in the operator's file:\n[[policy.http]]\nurl = \"https://api.example/v1/\"\n\
             methods = [\"GET\"]"
        );
    }
}

#[test]
fn one_rule_of_the_operators_covers_a_job_s_or_none_does() {
    for (url, methods, fits) in [
        ("https://api.example/v1/", "[\"GET\"]", true),
        ("https://api.example/v1/x", "[\"GET\", \"POST\"]", true),
        ("https://api.example/v1", "[\"GET\"]", false),
        ("https://api.example/", "[\"GET\"]", false),
        ("https://api.example/v10/", "[\"GET\"]", false),
        ("http://api.example/v1/", "[\"GET\"]", false),
        ("https://api.example:8443/v1/", "[\"GET\"]", false),
        ("https://*.api.example/v1/", "[\"GET\"]", false),
        ("https://other.example/v1/", "[\"GET\"]", false),
        ("https://api.example/v1/", "[\"PUT\"]", false),
        ("http://a.docs.local:8080/", "[\"GET\"]", true),
        ("http://*.a.docs.local:8080/x/", "[\"GET\"]", true),
        ("http://*.docs.local:8080/", "[\"GET\"]", true),
        ("http://docs.local:8080/", "[\"GET\"]", false),
        // Each half is in another rule.
        ("https://split.example/", "[\"GET\"]", true),
        ("https://split.example/", "[\"POST\"]", true),
        ("https://split.example/", "[\"GET\", \"POST\"]", false),
    ] {
        let text = with_http(&format!("url = {url:?}\nmethods = {methods}\n"));
        assert_eq!(web(&text).is_ok(), fits, "{url} {methods}");
    }
}

#[test]
fn each_bound_holds_at_the_operators_and_not_above() {
    for (key, most, over) in [
        ("request", "\"64KiB\"", "\"65537B\""),
        ("response", "\"4MiB\"", "\"4194305B\""),
        ("timeout", "\"10s\"", "\"10001ms\""),
        ("redirects", "3", "4"),
    ] {
        let rule = |value: &str| {
            with_http(&format!("url = \"https://api.example/v1/\"\nmethods = [\"GET\"]\n{key} = {value}\n"))
        };
        assert!(web(&rule(most)).is_ok(), "{key}");
        let text = rule(over);
        let mistakes = web(&text).expect_err(key);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(&text[mistakes[0].span.clone().expect("in the job")], over);
        assert!(mistakes[0].message.starts_with(&format!("`grants.http[1].{key}` is ")), "{}", mistakes[0].message);
        assert!(mistakes[0].help.contains("in [[policy.http]] of the operator's file"), "{}", mistakes[0].help);
    }
}

/// Edits of [`FETCHER`] that make one mistake each: what stands there, what instead, the span, the message, a part of the
/// help. One row a line, to be read as a table.
#[rustfmt::skip]
const JOBS: &[(&str, &str, &str, &str, &str)] = &[
    ("url = \"https://api.example/v1/items/\"\n", "", "[[grants.http]]", "`grants.http[1].url` is missing", "write in [[grants.http]]: url = "),
    ("methods = [\"GET\", \"POST\"]\n", "", "[[grants.http]]", "`grants.http[1].methods` is missing", "write in [[grants.http]]: methods = [\"GET\"]"),
    ("[\"GET\", \"POST\"]", "[]", "[]", "`grants.http[1].methods` is too short: 0 of at least 1", "methods = [\"GET\"]"),
    ("[\"GET\", \"POST\"]", "[\"get\"]", "\"get\"", "`grants.http[1].methods` is \"get\", which it cannot be", "\"GET\""),
    ("[\"GET\", \"POST\"]", "[\"CONNECT\"]", "\"CONNECT\"", "`grants.http[1].methods` is \"CONNECT\", which it cannot be", "\"GET\""),
    ("[\"GET\", \"POST\"]", "[\"GET\", \"PUT\"]", "\"PUT\"", "`grants.http[1].methods` has PUT, which the operator does not allow there", "methods = [.., \"PUT\"]"),
    ("https://api.example/v1/items/", "https://api.example/v1/items/#x", "\"https://api.example/v1/items/#x\"", "`grants.http[1].url` has a fragment", "*.host is every name below it"),
    ("https://api.example/v1/items/", "https://me@api.example/v1/", "\"https://me@api.example/v1/\"", "`grants.http[1].url` has a user in it", "https://host/path"),
    ("https://api.example/v1/items/", "https://api.example/v1/?q", "\"https://api.example/v1/?q\"", "`grants.http[1].url` has a query, and a rule is for any", "https://host/path"),
    ("https://api.example/v1/items/", "https://API.example/v1/", "\"https://API.example/v1/\"", "`grants.http[1].url` is not in the form in which it is judged, https://api.example/v1/", "write: url = \"https://api.example/v1/\""),
    ("https://api.example/v1/items/", "https://api.example:443/v1/", "\"https://api.example:443/v1/\"", "`grants.http[1].url` is not in the form in which it is judged, https://api.example/v1/", "write: url = \"https://api.example/v1/\""),
    ("https://api.example/v1/items/", "https://api.example/v1/../v1/", "\"https://api.example/v1/../v1/\"", "`grants.http[1].url` is not in the form in which it is judged, https://api.example/v1/", "write: url = \"https://api.example/v1/\""),
    ("https://api.example/v1/items/", "https://api.example", "\"https://api.example\"", "`grants.http[1].url` is not in the form in which it is judged, https://api.example/", "write: url = \"https://api.example/\""),
    ("https://api.example/v1/items/", "https://*/v1/", "\"https://*/v1/\"", "`grants.http[1].url` has a host that is no name", "https://host/path"),
    ("https://api.example/v1/items/", "https://a.*.example/v1/", "\"https://a.*.example/v1/\"", "`grants.http[1].url` has a host that is no name", "https://host/path"),
    ("https://api.example/v1/items/", "https://*.127.0.0.1/", "\"https://*.127.0.0.1/\"", "`grants.http[1].url` has a wildcard before an address", "https://host/path"),
    ("https://api.example/v1/items/", "ftp://api.example/", "\"ftp://api.example/\"", "`grants.http[1].url` is neither http nor https", "https://host/path"),
    ("https://api.example/v1/items/", "api.example", "\"api.example\"", "`grants.http[1].url` is not absolute", "https://host/path"),
    ("https://api.example/v1/items/", "https://b\u{fc}cher.example/", "\"https://b\u{fc}cher.example/\"", "`grants.http[1].url` has a character that is not visible ASCII", "https://host/path"),
    ("response = \"2MiB\"", "response = \"9MiB\"", "\"9MiB\"", "`grants.http[1].response` is above 8MiB", "from 0B to 8MiB"),
    ("response = \"2MiB\"", "response = \"5MiB\"", "\"5MiB\"", "`grants.http[1].response` is 5MiB, and the operator allows 4MiB", "response = \"4MiB\", or in [[policy.http]] of the operator's file: response = \"5MiB\""),
    ("timeout = \"5s\"", "timeout = \"0s\"", "\"0s\"", "`grants.http[1].timeout` is below 1ms", "from 1ms to 10m"),
    ("timeout = \"5s\"", "timeout = \"601s\"", "\"601s\"", "`grants.http[1].timeout` is above 10m", "from 1ms to 10m"),
    ("redirects = 2", "redirects = 11", "11", "`grants.http[1].redirects` is above 10", "from 0 to 10"),
    ("redirects = 2", "networks = [\"127.0.0.0/8\"]", "networks", "`grants.http[1].networks` is given, and no job opens a network", "write in [[policy.http]] of the operator's file: networks ="),
    ("redirects = 2", "redirect = 2", "redirect", "unknown key `grants.http[1].redirect`", "write: redirects = 3"),
    ("\"app\"", "\"other\"", "\"other\"", "`grants.http[1].secrets` names `other`, which is not defined", "allowed: api-key, app, elsewhere, same, unused\nwrite in the operator's file: [secrets.other] with its keys"),
    ("\"app\"", "\"elsewhere\"", "\"elsewhere\"", "`grants.http[1].secrets` names `elsewhere`, which is not for https://api.example", "allowed: https://other.example\nwrite in [secrets.elsewhere] of the operator's file: origins = [.., \"https://api.example\"]"),
    ("\"app\"", "\"same\"", "\"same\"", "`grants.http[1].secrets` names `same` and `api-key`, which stand in the same place", "one of the two"),
    ("\"app\"", "\"api-key\"", "\"api-key\"", "`grants.http[1].secrets` has api-key twice", "secrets = [\"api-key\"]"),
    ("\"app\"", "\"App\"", "\"App\"", "`grants.http[1].secrets` has the character 'A'", "a-z, 0-9 and -"),
    ("methods = [\"GET\"]\n", "methods = [\"GET\"]\nsecrets = [\"app\"]\n", "\"app\"", "`grants.http[2].secrets` names `app`, which is not for http://*.docs.local:8080", "origins = [.., \"http://*.docs.local:8080\"]"),
];

#[test]
fn each_mistake_of_a_job_is_shown_where_it_stands() {
    for (old, new, span, message, help) in JOBS {
        let text = with(FETCHER, old, new);
        let mistakes = web(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(*span, *message)], "{new}");
        assert!(mistakes[0].help.contains(help), "{message}: {}", mistakes[0].help);
    }
}

/// The same for [`WEB`].
#[rustfmt::skip]
const OPERATORS: &[(&str, &str, &str, &str, &str)] = &[
    ("networks = [\"10.0.0.0/8\", \"fd00::/8\"]", "networks = [\"10.0.0.0\"]", "\"10.0.0.0\"", "`policy.http[2].networks` has no / with the number of its bits", "10.0.0.0/8 or fd00::/8"),
    ("networks = [\"10.0.0.0/8\", \"fd00::/8\"]", "networks = [\"10.0.0.1/8\"]", "\"10.0.0.1/8\"", "`policy.http[2].networks` has bits beyond its length", "10.0.0.0/8"),
    ("networks = [\"10.0.0.0/8\", \"fd00::/8\"]", "secrets = [\"app\"]", "secrets", "`policy.http[2].secrets` is given, and which secrets go where says each secret", "write in [secrets.NAME]: origins"),
    ("timeout = \"1s\"", "timeouts = \"1s\"", "timeouts", "unknown key `policy.http[2].timeouts`", "write: timeout = \"30s\""),
    ("url = \"http://*.docs.local:8080/\"\n", "", "[[policy.http]]", "`policy.http[2].url` is missing", "write in [[policy.http]]: url"),
    ("env = \"API_KEY\"\n", "", "[secrets.api-key]", "[secrets.api-key] has none of `env`, `file`, `command`", "write in [secrets.api-key]: env = \"API_KEY\""),
    ("env = \"API_KEY\"\n", "env = \"API_KEY\"\nfile = \"x\"\n", "\"x\"", "[secrets.api-key] has both `env` and `file`", "exactly one of"),
    ("env = \"API_KEY\"\n", "env = \"sk-canary\"\n", "\"sk-canary\"", "`secrets.api-key.env` has the character '-'", "A-Z, a-z, 0-9 and _"),
    ("env = \"API_KEY\"\n", "value = \"canary\"\nenv = \"API_KEY\"\n", "value", "unknown key `secrets.api-key.value`", "delete this key"),
    ("query = \"app\"\n", "", "[secrets.app]", "[secrets.app] has none of `header`, `query`", "header = \"authorization\""),
    ("query = \"app\"\n", "query = \"app\"\nprefix = \"x\"\n", "\"x\"", "a `prefix` is given for a secret of the query", "delete this key"),
    ("query = \"app\"\n", "query = \"a&b\"\n", "\"a&b\"", "`secrets.app.query` has the character '&'", "A-Z, a-z"),
    ("prefix = \"Bearer \"", "prefix = \"Bearer\\r\\n\"", "\"Bearer\\r\\n\"", "`secrets.api-key.prefix` has a character that it cannot have there", "visible ASCII"),
    ("header = \"x-same\"", "header = \"Authorization\"", "\"Authorization\"", "`secrets.unused.header` is no name of a header in lower case", "in lower case"),
    ("header = \"x-same\"", "header = \"host\"", "\"host\"", "`secrets.unused.header` is host, which the host writes", "does not write itself"),
    ("header = \"x-same\"", "header = \"proxy-authorization\"", "\"proxy-authorization\"", "`secrets.unused.header` is proxy-authorization, which the host writes", "does not write itself"),
    ("origins = [\"https://unused.example\"]", "origins = []", "[]", "`secrets.unused.origins` is too short: 0 of at least 1", "write: origins = [\"https://api.example.com\"]"),
    ("origins = [\"https://unused.example\"]", "origins = [\"https://unused.example/\"]", "\"https://unused.example/\"", "`secrets.unused.origins` is more than the server https://unused.example", "https://host"),
    ("origins = [\"https://unused.example\"]", "origins = [\"https://*.example\"]", "\"https://*.example\"", "`secrets.unused.origins` has a host that is no name", "https://host"),
    ("origins = [\"https://unused.example\"]", "origins = [\"http://unused.example\"]", "\"http://unused.example\"", "`secrets.unused.origins` would get a secret in plain text: http is for this machine only", "for this machine"),
    ("[secrets.unused]", "[secrets.Unused]", "Unused", "the secret name `Unused` has the character 'U'", "write: [secrets.api-key]"),
];

#[test]
fn each_mistake_of_an_operator_is_shown_where_it_stands() {
    for (old, new, span, message, help) in OPERATORS {
        let text = with(WEB, old, new);
        let mistakes = operator(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(*span, *message)], "{new}");
        assert!(mistakes[0].help.contains(help), "{message}: {}", mistakes[0].help);
        let told = format!("{} {} {}", mistakes[0].message, mistakes[0].label, mistakes[0].help);
        assert!(!told.contains("canary"), "{told}");
    }
}

#[test]
fn a_file_has_as_many_rules_as_it_may_and_not_one_more() {
    let rule = "[[policy.http]]\nurl = \"https://api.example/\"\nmethods = [\"GET\"]\n";
    assert!(operator(&rule.repeat(64)).is_ok());
    assert_eq!(operator(&rule.repeat(65)).expect_err("too many")[0].message, "there are 65 rules of at most 64");
    let job_rule = "url = \"https://api.example/v1/\"\nmethods = [\"GET\"]\n";
    let rules = |count: usize| with_http(&vec![job_rule; count].join("[[grants.http]]\n"));
    assert!(web(&rules(64)).is_ok());
    assert_eq!(web(&rules(65)).expect_err("too many")[0].message, "there are 65 rules of at most 64");
}

#[test]
fn a_run_of_the_past_fetches_only_what_the_operator_allows_today() {
    let past = web(FETCHER).expect("it is right");
    let now = |operator: &str| again(past.clone(), &theirs(operator), true, Whose::Theirs, &Changed::default());
    assert_eq!(now(WEB).expect("nothing changed").grants, past.grants);
    // A network of the journal's is not believed.
    let closed = with(WEB, "networks = [\"10.0.0.0/8\", \"fd00::/8\"]\n", "");
    assert_eq!(now(&closed).expect("is covered").grants.http[1].networks, [""; 0]);
    let mut forged = past.clone();
    forged.grants.http[0].networks = vec!["127.0.0.0/8".into()];
    let forged = again(forged, &theirs(WEB), true, Whose::Theirs, &Changed::default());
    assert_eq!(forged.expect("is covered").grants.http[0].networks, [""; 0]);
    for (old, new, why) in [
        (
            "url = \"https://api.example/v1/\"",
            "url = \"https://api.example/v2/\"",
            "no [[policy.http]] of today covers GET, POST https://api.example/v1/items/",
        ),
        (
            "response = \"4MiB\"",
            "response = \"1MiB\"",
            "no [[policy.http]] of today covers GET, POST https://api.example/v1/items/",
        ),
        ("[secrets.app]", "[secrets.gone]", "no secret \"app\" of the operator's is for https://api.example today"),
        (
            "origins = [\"https://api.example\", \"http://127.0.0.1:9\"]",
            "origins = [\"https://elsewhere.example\"]",
            "no secret \"api-key\" of the operator's is for https://api.example today",
        ),
    ] {
        let why_not = now(&with(WEB, old, new)).expect_err(new);
        assert!(why_not.len() == 1 && why_not[0].contains(why), "{why_not:?}");
    }
    assert_eq!(now("").expect_err("no file").len(), 4);
}
