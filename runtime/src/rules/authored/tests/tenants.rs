//! On whose account a run is.

use super::*;

/// One tenant owns `triage`; two take what comes.
const TENANTS: &str = "[tenants.acme]\nlines = [\"triage\"]\n[tenants.globex]\n[tenants.initech]\n";
/// Every tenant has its lines.
const LISTED: &str = "[tenants.acme]\nlines = [\"triage\"]\n[tenants.default]\nlines = []\n";
/// A tenant for runs that nobody names one for.
const WITH_DEFAULT: &str = "[tenants.acme]\n[tenants.default]\nrequests-per-minute = 7\n";

fn run(file: &str, line: &str, flag: &str) -> Result<RunSpec, Vec<Mistake>> {
    let text = with(LEAST, "line = \"examples\"", &format!("line = {line:?}"));
    let tenant = Some(flag.to_owned()).filter(|flag| !flag.is_empty());
    job(&text, &theirs(file), &Overrides { tenant, ..Overrides::default() })
}

#[test]
fn a_run_is_its_lines_tenants_or_the_named_ones_or_the_default() {
    for (file, line, flag, tenant, origin) in [
        ("", "triage", "", "default", Origin::Default),
        ("", "triage", "anybody", "anybody", Origin::Flag),
        (TENANTS, "triage", "", "acme", Origin::Operator),
        (TENANTS, "triage", "acme", "acme", Origin::Operator),
        (TENANTS, "examples", "globex", "globex", Origin::Flag),
        (WITH_DEFAULT, "examples", "", "default", Origin::Default),
        (WITH_DEFAULT, "examples", "default", "default", Origin::Flag),
        (WITH_DEFAULT, "examples", "acme", "acme", Origin::Flag),
    ] {
        let spec = run(file, line, flag).expect("it is right");
        assert_eq!(
            (spec.tenant.as_str(), setting(&spec, "tenant")),
            (tenant, (tenant, origin)),
            "{file} {line} {flag}"
        );
    }
    assert_eq!(run(WITH_DEFAULT, "examples", "").expect("it is right").shared.tenant_requests_per_minute, Some(7));
}

#[test]
fn a_run_without_a_tenant_of_its_own_does_not_load() {
    for (file, line, flag, message, help) in [
        (
            TENANTS,
            "triage",
            "globex",
            "--tenant globex may not run the line `triage`, which is `acme`'s",
            "allowed: acme\nwrite: --tenant acme",
        ),
        (
            TENANTS,
            "examples",
            "ghost",
            "--tenant ghost is not defined",
            "allowed: acme, globex, initech\nwrite: in the operator's file: [tenants.ghost]",
        ),
        (
            TENANTS,
            "examples",
            "globx",
            "--tenant globx is not defined",
            "allowed: acme, globex, initech\nwrite: --tenant globex",
        ),
        (
            TENANTS,
            "examples",
            "acme",
            "the tenant `acme` may not run the line `examples`",
            "allowed: globex, initech\nwrite: --tenant globex",
        ),
        (
            TENANTS,
            "examples",
            "",
            "no tenant is named for the line `examples`",
            "allowed: globex, initech\nwrite: --tenant globex",
        ),
        (
            LISTED,
            "examples",
            "",
            "the tenant `default` may not run the line `examples`",
            "allowed: none\nwrite: in [tenants.default] of the operator's file: lines = [.., \"examples\"]",
        ),
        (
            LISTED,
            "examples",
            "acme",
            "the tenant `acme` may not run the line `examples`",
            "allowed: none\nwrite: in [tenants.acme] of the operator's file: lines = [.., \"examples\"]",
        ),
        (
            "[tenants.acme]\nlines = []\n",
            "examples",
            "",
            "no tenant is named for the line `examples`",
            "allowed: none\nwrite: in [tenants.acme] of the operator's file: lines = [.., \"examples\"]",
        ),
        (
            "",
            "examples",
            "a/b",
            "--tenant \"a/b\" has the character '/'",
            "allowed: 1 to 64 of a-z, 0-9 and -\nwrite: --tenant acme",
        ),
    ] {
        let mistakes = run(file, line, flag).expect_err(message);
        assert_eq!(seen("", &mistakes), [("-", message)], "{file} {line} {flag}");
        assert_eq!(mistakes[0].help, help);
    }
}

#[test]
fn a_tenants_name_ends_where_a_lines_does() {
    assert!(run("", "examples", &"a".repeat(64)).is_ok());
    let mistakes = run("", "examples", &"a".repeat(65)).expect_err("too long");
    assert!(mistakes[0].message.ends_with("is too long: 65 bytes of at most 64"), "{}", mistakes[0].message);
}

#[test]
fn nothing_is_said_of_the_tenant_of_a_line_that_is_wrong() {
    let wrong = with(LEAST, "line = \"examples\"", "line = 7");
    let mistakes = job(&wrong, &theirs(TENANTS), &Overrides::default()).expect_err("no line");
    assert_eq!(seen(&wrong, &mistakes), [("7", "`line` is an integer")]);
    let overrides = Overrides { tenant: Some("ghost".to_owned()), ..Overrides::default() };
    let mistakes = job(&wrong, &theirs(TENANTS), &overrides).expect_err("no line and no tenant");
    assert_eq!(mistakes.len(), 2);
}

#[test]
fn no_tenant_has_the_hosts_name() {
    let refused = run("", "triage", "host").expect_err("means something else");
    assert_eq!(refused[0].message, "--tenant host means the host itself");
    let mistakes = operator("[tenants.host]\n").expect_err("means something else");
    assert_eq!(mistakes[0].message, "a tenant cannot be called `host`");
}
