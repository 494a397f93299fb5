use super::*;

fn check(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, text).unwrap();
    Config::read(&path).map_err(|bad| bad.to_string())
}

/// All files below `configs/`.
fn shipped(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => shipped(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn the_shipped_configurations_are_good() {
    let mut files = Vec::new();
    shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs"), &mut files);
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        Config::read(&path).unwrap();
    }
}

#[test]
fn the_fleet_of_three_can_form_and_stands_at_three_sites() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fleet");
    let mut files = Vec::new();
    shipped(&folder, &mut files);
    let fleet: Vec<Config> = files.iter().map(|path| Config::read(path).unwrap()).collect();
    let different = |of: &dyn Fn(&Config) -> String| {
        fleet.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(different(&|config| config.name.clone()), 3);
    assert_eq!(different(&|config| format!("{:?}", config.mesh.addresses().unwrap())), 3);
    assert_eq!(different(&|config| config.labels["site"].clone()), 3);
    // Whoever joins must have no volumes.
    assert_eq!(fleet.iter().filter(|config| !config.volumes.is_empty()).count(), 0);
}

#[test]
fn the_shipped_appliance_configuration_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/appliance.toml");
    let shipped = Config::read(&path).unwrap();
    let least = check("root = \"/var/lib/holdfast\"\nname = \"ada\"\n").unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{least:?}"));
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let refused = check("root = \"/x\"\nname = \"a\"\n[nfs]\nlissten = []\n").unwrap_err();
    assert!(refused.contains("lissten") && refused.contains("line 4"), "{refused}");
}

#[test]
fn values_that_make_no_sense_are_refused_with_key_and_reason() {
    for (text, key) in [
        ("[[volume]]\nname = \"a/b\"\n", "volume \"a/b\""),
        ("[[volume]]\nname = \"a\"\nroot_mode = \"9\"\n", "root_mode"),
        ("[[volume]]\nname = \"a\"\n[[volume.export]]\nclients = [\"x\"]\n", "clients"),
        ("[limits]\nopen_files_max = 1\n", "open_files_max"),
        ("[limits]\nin_flight_bytes_max = 1\n", "in_flight_bytes_max"),
        ("[scrub]\nrate_mib_s = 0\n", "scrub.rate_mib_s"),
        ("[scrub]\nrate_mib_s = 65537\n", "scrub.rate_mib_s"),
        ("[scrub]\nevery_days = 3651\n", "scrub.every_days"),
        ("[scrub]\nevery_days = -1\n", "every_days"),
        ("[scrub]\nrate = 5\n", "rate"),
        ("[admin]\nlisten = \"everywhere\"\n", "admin.listen"),
        ("[admin]\nlisten = \"10.0.0.5\"\n", "admin.listen"),
    ] {
        let refused = check(&format!("root = \"/x\"\nname = \"a\"\n{text}")).unwrap_err();
        assert!(refused.contains(key), "{refused}");
    }
}

#[test]
fn targets_of_notices_are_read_and_bad_ones_refused_by_their_key() {
    let text = |entry: &str| format!("root = \"/x\"\nname = \"x\"\n{entry}\n");
    let good = check(&text("[notify]\nquiet_s = 5\n[[notify.webhook]]\nurl = \"http://[::1]/\""));
    let notify = good.unwrap().notify;
    assert_eq!((notify.quiet_s, notify.webhooks.len()), (5, 1));
    let missing = "[[notify.webhook]]\nurl = \"http://[::1]/\"\nsecret_file = \"/none\"";
    let bad = check(&text(missing)).unwrap_err();
    assert!(bad.contains("a.toml") && bad.contains("[[notify.webhook]] 1: secret_file"), "{bad}");
}

fn floating(listen: &str, interface: &str, addresses: &str) -> Result<Config, String> {
    check(&format!(
        "root = \"/x\"\nname = \"ada\"\n[nfs]\nlisten = [{listen}]\n\
         [floating]\ninterface = \"{interface}\"\naddresses = [{addresses}]\n"
    ))
}

#[test]
fn floating_addresses_need_an_interface_a_subnet_and_a_listener() {
    let all = "\"[::]:2049\"";
    let good = floating(all, "eth0", "\"10.0.0.9/24\", \"fd00::9/64\"").unwrap();
    assert_eq!(good.floating.parsed().unwrap().len(), 2);
    assert_eq!(good.floating.spread_after_s, 60);
    let said = |listen, interface, addresses| floating(listen, interface, addresses).unwrap_err();
    for (listen, interface, addresses, part) in [
        (all, "", "\"10.0.0.9/24\"", "floating: interface: an interface's name has 1 to 15 bytes"),
        (all, "eth0", "\"10.0.0.9\"", "floating: addresses: \"10.0.0.9\" does not say how large"),
        (
            all,
            "eth0",
            "\"10.0.0.9/24\", \"10.0.0.9/16\"",
            "floating: addresses: 10.0.0.9 is named twice",
        ),
        (
            "\"10.0.0.1:2049\"",
            "eth0",
            "\"10.0.0.9/24\"",
            "floating: nobody would answer at 10.0.0.9",
        ),
        ("\"0.0.0.0:2049\"", "eth0", "\"fd00::9/64\"", "floating: nobody would answer at fd00::9"),
    ] {
        let said = said(listen, interface, addresses);
        assert!(said.contains(part), "{said}");
    }
    let many: Vec<String> = (1..=65).map(|n| format!("\"10.0.0.{n}/24\"")).collect();
    assert!(said(all, "eth0", &many.join(",")).contains("floating: at most 64 addresses"));
    assert!(floating(all, "", "").unwrap().floating.parsed().unwrap().is_empty(), "off");
}

#[test]
fn scrubs_are_planned_as_it_says_and_never_if_it_says_so() {
    let settings = |text: &str| {
        let text = format!("root = \"/x\"\nname = \"a\"\n[scrub]\n{text}\n");
        check(&text).unwrap().scrub.settings()
    };
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!((settings("").every, settings("").bytes_per_second), (days(30), 32 << 20));
    let often = settings("every_days = 7\nrate_mib_s = 100");
    assert_eq!((often.every, often.bytes_per_second), (days(7), 100 << 20));
    assert_eq!(settings("every_days = 0").every, None);
}
