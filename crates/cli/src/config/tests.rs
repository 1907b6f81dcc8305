use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        config_file: None,
        state_dir: Some("/home/me/.local/state/couplet".into()),
        machine: "studio".into(),
    }
}

fn in_file(text: &str) -> (tempfile::TempDir, Global) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (folder, Global { config: Some(path), ..Global::default() })
}

fn refused(text: &str) -> String {
    let (_folder, global) = in_file(text);
    let failure = load(&global, &Settings::default(), &environment(&[])).unwrap_err();
    assert!(failure.is(Code::ConfigInvalid));
    failure.detail
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let (_folder, mut global) = in_file(
        "server_name = \"file\"\napprove = \"always\"\nlisten = [\"127.0.0.1:1\"]\nstate_dir = \"/file\"\n\
         limits.max_devices = 3\nlimits.max_offers = 2\n",
    );
    global.state_dir = Some("/flag".into());
    let variables = [
        ("COUPLET_STATE_DIR", "/env"),
        ("COUPLET_LISTEN", "127.0.0.1:2, [::1]:3"),
        ("COUPLET_LIMITS__MAX_DEVICES", "4"),
        ("COUPLET_NAME", "env"),
    ];
    let settings = Settings { name: Some("flag".into()), ..Settings::default() };
    let loaded = load(&global, &settings, &environment(&variables)).unwrap();
    let file = format!("file {}", global.config.unwrap().display());
    let config = &loaded.config;
    assert_eq!((config.state_dir.to_str(), loaded.origin("state_dir")), (Some("/flag"), "flag --state-dir".into()));
    assert_eq!((config.server_name.as_str(), loaded.origin("server_name")), ("flag", "flag --name".into()));
    assert_eq!(config.listen, ["127.0.0.1:2".parse().unwrap(), "[::1]:3".parse().unwrap()]);
    assert_eq!(loaded.origin("listen"), "env COUPLET_LISTEN");
    assert_eq!((config.approve, loaded.origin("approve")), (couplet_host::config::Approve::Always, file.clone()));
    assert_eq!(
        (config.limits.max_devices, loaded.origin("limits.max_devices").as_str()),
        (4, "env COUPLET_LIMITS__MAX_DEVICES")
    );
    assert_eq!((config.limits.max_offers, loaded.origin("limits.max_offers")), (2, file));
    assert_eq!((config.limits.max_claims, loaded.origin("limits.max_claims").as_str()), (32, "default"));
    assert_eq!(loaded.origin("gateway"), "default");
}

#[test]
fn apps_come_from_flags_variables_and_files_alike() {
    let settings = Settings { apps: vec!["http://127.0.0.1:3000".into()], ..Settings::default() };
    let loaded = load(&Global::default(), &settings, &environment(&[("COUPLET_APPS", "a=http://h:1")])).unwrap();
    assert_eq!((loaded.config.apps[0].name.as_str(), loaded.origin("apps").as_str()), ("app", "flag APP"));

    let two = environment(&[("COUPLET_APPS", "a=http://h:1, b=http://h:2")]);
    let loaded = load(&Global::default(), &Settings::default(), &two).unwrap();
    assert_eq!((loaded.config.apps[1].name.as_str(), loaded.origin("apps").as_str()), ("b", "env COUPLET_APPS"));

    let (_folder, global) =
        in_file("[[apps]]\nname = \"w\"\nupstream = \"http://h:1\"\nheaders = { X-Key = \"canary\" }\n");
    let loaded = load(&global, &Settings::default(), &environment(&[])).unwrap();
    let shown = loaded.config.flat().into_iter().find(|(key, _)| key == "apps").unwrap().1;
    assert_eq!(shown, serde_json::json!([{"name": "w", "upstream": "http://h:1", "headers": {"X-Key": "[redacted]"}}]));
}

#[test]
fn an_unknown_key_is_refused_with_its_file_and_the_nearest_keys() {
    let detail = refused("aprove = \"always\"\n");
    assert!(detail.starts_with("file /") && detail.contains("config.toml: there is no key \"aprove\""), "{detail}");
    assert!(detail.ends_with("Did you mean approve?"), "{detail}");

    let detail = refused("[limits]\nmax_device = 1\n");
    assert!(detail.contains("config.toml: there is no key \"limits.max_device\""), "{detail}");
    assert!(detail.ends_with("Did you mean limits.max_devices?"), "{detail}");

    let detail = refused("[[apps]]\nname = \"w\"\nupstream = \"http://h\"\nheader = {}\n");
    assert!(detail.contains("config.toml: there is no key \"apps.0.header\""), "{detail}");
    assert!(detail.contains("apps.0.headers"), "{detail}");
}

#[test]
fn a_wrong_value_says_where_it_stands() {
    let detail = refused("approve = \"sometimes\"\n");
    assert!(detail.contains("approve is \"sometimes\"; it may be never, relay, always"), "{detail}");
    let detail = refused("limits.max_devices = \"many\"\n");
    assert!(detail.starts_with("file /") && detail.contains("limits.max_devices: invalid type"), "{detail}");
    let detail = refused("listen = [\"here\"]\n");
    assert!(detail.starts_with("file /") && detail.contains("listen.0"), "{detail}");
    let detail = refused("server_name = \"a\"\nsecret = hunter2\n");
    assert!(detail.contains("config.toml, line 2:") && !detail.contains("hunter2"), "{detail}");
}

#[test]
fn a_misspelt_variable_is_refused_and_a_strange_one_is_not() {
    let load = |name, value| load(&Global::default(), &Settings::default(), &environment(&[(name, value)]));
    for (name, said) in [
        ("COUPLET_APROVE", "did you mean COUPLET_APPROVE?"),
        ("COUPLET_LIMITS_MAX_DEVICES", "did you mean COUPLET_LIMITS__MAX_DEVICES?"),
        ("COUPLET_LIMITS__NONSENSE", "The limits are COUPLET_LIMITS__"),
    ] {
        let detail = load(name, "1").unwrap_err().detail;
        assert!(detail.contains(said), "{detail}");
    }
    assert!(load("COUPLET_PORT_7878_TCP", "tcp://10.0.0.1:7878").is_ok());
    assert!(load("COUPLET_LIMITS__MAX_OFFERS", "eight").unwrap_err().detail.contains("\"eight\" is no number"));
}

#[test]
fn a_named_file_must_exist_and_the_usual_one_need_not() {
    let global = Global { config: Some("/nonexistent/c.toml".into()), ..Global::default() };
    let detail = load(&global, &Settings::default(), &environment(&[])).unwrap_err().detail;
    assert!(detail.starts_with("/nonexistent/c.toml cannot be read"), "{detail}");

    let usual = Environment { config_file: Some("/nonexistent/c.toml".into()), ..environment(&[]) };
    let loaded = load(&Global::default(), &Settings::default(), &usual).unwrap();
    assert_eq!(loaded.config.server_name, "studio");
}

#[test]
fn without_a_home_the_state_folder_must_be_named() {
    let homeless = Environment { state_dir: None, ..environment(&[]) };
    let detail = load(&Global::default(), &Settings::default(), &homeless).unwrap_err().detail;
    assert!(detail.contains("--state-dir"), "{detail}");
    let global = Global { state_dir: Some("/s".into()), ..Global::default() };
    assert!(load(&global, &Settings::default(), &homeless).is_ok());
}
