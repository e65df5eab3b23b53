//! The operator's file, and what it means for a job.

use super::*;
use crate::rules::line::Line;
use crate::rules::retry::{DEFAULT_RETRIES, MOST_RETRIES};
use crate::rules::spec::{CheckRun, Dialect, Effort, KeySource, Provider, WireLimits};

/// A job that grants a model and has none of its own.
fn without_script(name: &str) -> String {
    let script = &JOB[JOB.find("[models.coder]").expect("stands there")..JOB.find("[budget]").expect("stands there")];
    with(&with(JOB, script, ""), "models = [\"coder\"]", &format!("models = [{name:?}]"))
}

#[test]
fn no_file_is_an_empty_file() {
    assert_eq!(operator(""), Ok(OperatorFile::default()));
    assert_eq!(operator("[policy]\n"), Ok(OperatorFile::default()));
}

#[test]
fn a_provider_means_what_it_says_and_its_defaults() {
    let file = theirs(OPERATOR);
    let gpt = &file.models["gpt"].spec;
    assert_eq!(
        gpt.reach,
        Reach::Provider(Provider {
            dialect: Dialect::Openai,
            url: "https://host/v1".to_owned(),
            model: "gpt-x".to_owned(),
            key: KeySource::Environment("OPENAI_API_KEY".to_owned()),
            auth: None,
            cap_field: None,
            temperature_hundredths: None,
            effort: None,
            headers: Default::default(),
            query: Default::default(),
            stream: true,
            limits: WireLimits::default(),
        })
    );
    let profile = &gpt.profile;
    assert_eq!((profile.norm_factor_milli, profile.request_overhead, profile.message_overhead), (3_000, 64, 16));
    assert_eq!((gpt.requests_per_minute, gpt.tokens_per_minute), (None, None));
    assert_eq!(file.policy.models, ["gpt".to_owned(), "local".to_owned()].into());
    assert_eq!(file.models["local"].spec.profile.price, None);
}

#[test]
fn a_pace_ends_where_it_says() {
    for (tokens, requests) in [(1, 1), (1_000_000_000_000, 1_000_000)] {
        let paces = format!("window = 4096\ntokens-per-minute = {tokens}\nrequests-per-minute = {requests}");
        let local = theirs(&with(OPERATOR, "window = 4096", &paces)).models["local"].spec.clone();
        assert_eq!((local.tokens_per_minute, local.requests_per_minute), (Some(tokens), Some(requests)));
    }
}

#[test]
fn a_call_is_made_again_up_to_n_times_and_n_plus_1_does_not_load() {
    let retries = |retries: u32| with(OPERATOR, "window = 4096", &format!("window = 4096\nretries = {retries}"));
    for count in [0, MOST_RETRIES] {
        assert_eq!(theirs(&retries(count)).models["local"].spec.retries, count);
    }
    assert!(operator(&retries(MOST_RETRIES + 1)).is_err());
    let spec = job(&without_script("gpt"), &theirs(OPERATOR), &Overrides::default()).expect("it is right");
    assert_eq!(spec.models["gpt"].retries, DEFAULT_RETRIES);
    assert_eq!(setting(&spec, "models.gpt.retries"), ("4", Origin::Default));
}

#[test]
fn a_temperature_is_0_to_2_with_two_decimals_at_most_and_an_effort_is_one_of_seven_words() {
    let set = |line: &str| operator(&with(OPERATOR, "window = 4096", &format!("window = 4096\n{line}")));
    for (written, hundredths) in [("0", 0), ("0.0", 0), ("0.7", 70), ("1.25", 125), ("2", 200), ("2.00", 200)] {
        let file = set(&format!("temperature = {written}")).expect("it is right");
        let Reach::Provider(provider) = &file.models["local"].spec.reach else { panic!("a provider") };
        assert_eq!(provider.temperature_hundredths, Some(hundredths), "{written}");
    }
    for wrong in ["2.01", "-0.5", "3", "0.125", "1e0", "\"0.7\"", "nan", "+0.5", "0_1"] {
        assert!(set(&format!("temperature = {wrong}")).is_err(), "{wrong}");
    }
    let file = set("effort = \"xhigh\"").expect("it is right");
    let Reach::Provider(provider) = &file.models["local"].spec.reach else { panic!("a provider") };
    assert_eq!(provider.effort, Some(Effort::Xhigh));
    assert!(set("effort = \"hardest\"").is_err());
}

#[test]
fn a_granted_name_is_the_operators_model_and_its_settings_say_so() {
    let spec = job(&without_script("gpt"), &theirs(OPERATOR), &Overrides::default()).expect("it is right");
    assert_eq!(setting(&spec, "models.gpt"), ("the operator's gpt", Origin::Operator));
    assert_eq!(setting(&spec, "models.gpt.url"), ("https://host/v1", Origin::Operator));
    assert_eq!(setting(&spec, "models.gpt.key-env"), ("OPENAI_API_KEY", Origin::Operator));
    assert_eq!(setting(&spec, "models.gpt.stream"), ("true", Origin::Default));
    assert_eq!(setting(&spec, "models.gpt.idle"), ("2m", Origin::Default));
    assert_eq!(setting(&spec, "models.gpt.requests-per-minute"), ("as many as come", Origin::Default));
    assert_eq!(setting(&spec, "models.gpt.tokens-per-minute"), ("as many as come", Origin::Default));
    assert_eq!(setting(&spec, "policy.models"), ("[gpt, local]", Origin::Default));
    assert_eq!(spec.budget.attempt[&Line::NetBytes], 32 << 20);
}

#[test]
fn the_command_line_is_before_the_job_and_the_job_before_the_operator() {
    let file = theirs(&OPERATOR.replace("[models.local]", "[models.coder]"));
    let is_script = |spec: &RunSpec| matches!(spec.models["coder"].reach, Reach::Script { .. });
    let spec = job(JOB, &file, &Overrides::default()).expect("it is right");
    assert!(is_script(&spec));
    assert_eq!(setting(&spec, "models.coder"), ("the job's script", Origin::Job));
    let chosen = BTreeMap::from([("coder".to_owned(), "gpt".to_owned())]);
    let spec = job(JOB, &file, &Overrides { models: chosen, ..Overrides::default() }).expect("it is right");
    assert!(!is_script(&spec));
    assert_eq!(setting(&spec, "models.coder"), ("the operator's gpt", Origin::Flag));
    assert_eq!(setting(&spec, "models.coder.window"), ("128000", Origin::Operator));
}

#[test]
fn a_model_without_a_price_is_not_used() {
    let text = without_script("local");
    let mistakes = job(&text, &theirs(OPERATOR), &Overrides::default()).expect_err("unpriced");
    assert_eq!(seen(&text, &mistakes), [("\"local\"", "unpriced model `local` under a money limit")]);
    assert_eq!(
        mistakes[0].help,
        "allowed: dollars for a million tokens in and out; \"0\" if it is free\n\
         write in [models.local] of the operator's file:\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\""
    );
}

#[test]
fn nothing_above_the_operators_ceiling_loads() {
    let policy =
        "[policy]\nfiles = \"read-only\"\ncommands = [[\"cargo\", \"test\"]]\nmodels = []\nmax-wall = \"30s\"\n";
    let file = theirs(&format!("{OPERATOR}{policy}"));
    let text = with(&without_script("gpt"), "crate = \"..\"", "command = [\"cargo\", \"test\", \"--all\"]");
    let mistakes = job(&text, &file, &Overrides::default()).expect_err("above it four times");
    assert_eq!(
        seen(&text, &mistakes),
        [
            ("\"read-write\"", "`grants.files` is read-write, and the operator allows read-only"),
            ("\"gpt\"", "the granted model `gpt` is not one that the operator lets jobs use"),
            ("\"60s\"", "`budget.wall` is 1m, and the operator allows 30s"),
            ("[\"cargo\", \"test\", \"--all\"]", "`check.tests.command` is not approved by the operator"),
        ]
    );
    for (mistake, setting) in mistakes.iter().zip(["files", "models", "max-wall", "commands"]) {
        assert!(mistake.label.contains(&format!("`policy.{setting}`")), "{}", mistake.label);
    }
}

#[test]
fn an_approved_command_is_approved_word_for_word() {
    let file = theirs("[policy]\ncommands = [[\"cargo\", \"test\"]]\n");
    let text = with(JOB, "crate = \"..\"", "command = [\"cargo\", \"test\"]");
    let spec = job(&text, &file, &Overrides::default()).expect("it is approved");
    assert_eq!(spec.checks[0].run, CheckRun::Command(vec!["cargo".to_owned(), "test".to_owned()]));
    for other in ["[\"cargo\"]", "[\"cargo\", \"test\", \"\"]", "[\"cargo\", \"tests\"]", "[\"cargo test\"]"] {
        assert!(job(&text.replace("[\"cargo\", \"test\"]", other), &file, &Overrides::default()).is_err(), "{other}");
    }
}

#[test]
fn a_key_in_the_file_is_refused_and_not_repeated() {
    let text = with(OPERATOR, "key-env = \"OPENAI_API_KEY\"", "key = \"sk-12345678\"");
    let mistakes = operator(&text).expect_err("a key");
    assert_eq!(
        seen(&text, &mistakes),
        [("\"sk-12345678\"", "`models.gpt.key` holds a key; keys never stand in a file, because files get committed")]
    );
    assert!(!format!("{:?}", (&mistakes[0].message, &mistakes[0].label, &mistakes[0].help)).contains("sk-"));
    assert!(mistakes[0].help.contains("key-env"), "{}", mistakes[0].help);
    let text = with(OPERATOR, "\"OPENAI_API_KEY\"", "\"sk-12345678\"");
    let mistakes = operator(&text).expect_err("a key in the place of its variable");
    assert_eq!(mistakes[0].message, "`models.gpt.key-env` has the character '-'");
}

#[test]
fn each_mistake_of_an_operator_is_reported_where_it_is() {
    for (old, new, shown, message) in [
        ("dialect = \"openai\"\nurl = \"https", "url = \"https", "[models.gpt]", "`models.gpt.dialect` is missing"),
        ("\"gpt-x\"", "\"\"", "\"\"", "`models.gpt.model` is empty"),
        ("key = \"none\"\n", "", "[models.local]", "[models.local] has none of `key-env`, `key-file`, `key`"),
        (
            "key = \"none\"\n",
            "key = \"none\"\nkey-file = \"k\"\n",
            "\"none\"",
            "[models.local] has both `key-file` and `key`",
        ),
        ("key = \"none\"\n", "key = \"none\"\napi-key = \"k\"\n", "api-key", "unknown key `models.local.api-key`"),
        ("window = 4096\n", "", "[models.local]", "`models.local.window` is missing"),
        (
            "window = 4096",
            "window = 4096\nnorm-factor = \"0.999\"",
            "\"0.999\"",
            "`models.local.norm-factor` is below 1.0",
        ),
        ("window = 4096", "window = 4096\nstream = \"yes\"", "\"yes\"", "`models.local.stream` is a text"),
        (
            "window = 4096",
            "window = 4096\nrequests-per-minute = 0",
            "0",
            "`models.local.requests-per-minute` is below 1",
        ),
        (
            "window = 4096",
            "window = 4096\nmax-response = \"1B\"",
            "\"1B\"",
            "`models.local.max-response` is below 1KiB",
        ),
        ("window = 4096", "window = 4096\ntokens-per-minute = 0", "0", "`models.local.tokens-per-minute` is below 1"),
        (
            "window = 4096",
            "window = 4096\ntokens-per-minute = 1000000000001",
            "1000000000001",
            "`models.local.tokens-per-minute` is above 1000000000000",
        ),
        ("window = 4096", "window = 4096\nconnect = \"0s\"", "\"0s\"", "`models.local.connect` is below 1ms"),
        ("window = 4096", "window = 4096\ntotal = \"25h\"", "\"25h\"", "`models.local.total` is above 24h"),
        ("[models.local]", "[models.\"my local\"]", "\"my local\"", "the model name `my local` has the character ' '"),
        (
            "max-output = 512\n",
            "max-output = 512\n[policy]\nmodels = [\"gtp\"]\n",
            "\"gtp\"",
            "`policy.models` names `gtp`, which is not defined",
        ),
        (
            "max-output = 512\n",
            "max-output = 512\n[policy]\nmax-wall = \"0s\"\n",
            "\"0s\"",
            "`policy.max-wall` is below 1ms",
        ),
        (
            "max-output = 512\n",
            "max-output = 512\n[policy]\ncommands = [[]]\n",
            "[]",
            "`policy.commands` is too short: 0 of at least 1",
        ),
        ("max-output = 512\n", "max-output = 512\n[polcy]\n", "polcy", "unknown key `polcy`"),
    ] {
        let text = with(OPERATOR, old, new);
        let mistakes = operator(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(shown, message)], "{old:?} -> {new:?}");
        assert!(mistakes[0].help.starts_with("allowed"), "{}", mistakes[0].help);
    }
}

#[test]
fn a_url_is_encrypted_or_stays_on_this_machine() {
    let file = |url: &str| operator(&with(OPERATOR, "http://127.0.0.1:8080/v1", url));
    for url in [
        "https://host",
        "https://host:8443/v1/",
        "http://localhost:1/v1",
        "http://127.255.0.1",
        "http://[::1]:8080/v1",
        "https://[2001:db8::1]/v1",
    ] {
        assert!(file(url).is_ok(), "{url}: {:?}", file(url));
    }
    for (url, why) in [
        ("http://host/v1", "in plain text"),
        ("http://127.0.0.1.example.com", "in plain text"),
        ("http://127.1", "in plain text"),
        ("http://localhost.example.com", "in plain text"),
        ("http://0.0.0.0", "in plain text"),
        ("http://localhost@host", "has a user"),
        ("https://user:pass@host", "has a user"),
        ("ftp://host", "neither https"),
        ("HTTPS://host", "neither https"),
        ("https://", "no host"),
        ("https://:80", "no host"),
        ("https://host:0", "a port"),
        ("https://host:65536", "a port"),
        ("https://host:+1", "a port"),
        ("https://host/v1?key=1", "a query"),
        ("https://host/v1#x", "a query"),
        ("https://ho st", "a character"),
        ("http://host\\\\@localhost", "a backslash"),
    ] {
        let mistakes = file(url).expect_err(url);
        assert!(mistakes[0].message.contains(why), "{url}: {}", mistakes[0].message);
        assert!(!mistakes[0].message.contains("pass"));
    }
}

#[test]
fn a_dialect_with_one_name_for_the_cap_has_no_key_for_it() {
    const GPT: &str = "[models.gpt]\ndialect = \"openai\"";
    let of = |dialect: &str| {
        with(OPERATOR, GPT, &format!("[models.gpt]\ndialect = {dialect:?}\ncap-field = \"max_tokens\""))
    };
    assert!(operator(&of("openai")).is_ok());
    for (dialect, name) in [("responses", "max_output_tokens"), ("anthropic", "max_tokens")] {
        let mistakes = operator(&of(dialect)).expect_err("nothing enforces it");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].message.starts_with("`models.gpt.cap-field` is given, but"), "{mistakes:?}");
        assert!(mistakes[0].label.contains(name), "{mistakes:?}");
    }
    let responses = theirs(&with(OPERATOR, GPT, "[models.gpt]\ndialect = \"responses\"")).models["gpt"].spec.clone();
    assert!(matches!(responses.reach, Reach::Provider(Provider { dialect: Dialect::Responses, cap_field: None, .. })));
}
