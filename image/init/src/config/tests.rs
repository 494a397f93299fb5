use super::*;

/// What the configuration `text` is refused for.
#[track_caller]
fn refused(text: &str) -> String {
    Config::parse(text.as_bytes()).unwrap_err().to_string()
}

fn good(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_name_is_enough() {
    let config = good("name = \"ada\"");
    assert_eq!(config.name, "ada");
    assert_eq!(config.network, Network::default());
    assert_eq!(config.disk, Disks { devices: Vec::new(), profile: Profile::Single });
    assert_eq!(config.time_servers, ["2.debian.pool.ntp.org"]);
    assert_eq!((config.syslog, config.public_key), (None, None));
    assert!(config.authorized_keys.is_empty());
    assert_eq!(config.healthy_within, Duration::from_secs(180));
    assert_eq!(config.stop_within, Duration::from_secs(60));
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = good(
        r#"
        name = "ada-2"
        [network]
        interface = "52-54-00-AB-cd-ef"
        address = "fd00::5/64"
        gateway = "fe80::1"
        dns = ["fd00::1", "10.0.0.1"]
        mtu = 9000
        [disk]
        devices = ["/dev/vda", "serial: WD-1 "]
        profile = "raid1"
        [time]
        servers = []
        [syslog]
        target = "tcp://[fd00::9]:6514"
        [ssh]
        authorized_keys = ["ssh-ed25519 AAAAC3Nza ada", 'from="10.0.0.0/8" ssh-rsa AAAAB3 b']
        [image]
        public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
        healthy_within_s = 30
        stop_within_s = 600
        [appliance.nfs]
        listen = ["[::]:2049"]
        "#,
    );
    assert_eq!(config.network.interface, Which::Mac("52:54:00:ab:cd:ef".to_owned()));
    let address = "fd00::5".parse().unwrap();
    assert_eq!(config.network.address, Some(Subnet { address, prefix: 64 }));
    assert_eq!(config.network.mtu, Some(9000));
    let serial = DiskName::Serial("WD-1".to_owned());
    assert_eq!(config.disk.devices, [DiskName::Path("/dev/vda".to_owned()), serial]);
    assert!(config.time_servers.is_empty());
    let syslog = config.syslog.unwrap();
    assert_eq!((syslog.transport, syslog.host.as_str()), (Transport::Tcp, "fd00::9"));
    assert_eq!(syslog.port, 6514);
    assert_eq!(config.authorized_keys.len(), 2);
    assert!(config.appliance.contains_key("nfs"));
}

#[test]
fn what_can_not_be_used_is_named_with_what_would_be_right() {
    let key = "[image]\npublic_key = \"RWQ\"";
    for (text, key, says) in [
        ("[network]\naddress = \"10.0.0.5\"", "network.address", "the prefix is missing"),
        ("[network]\naddress = \"10.0.0.5/33\"", "network.address", "\"10.0.0.5/24\""),
        ("[network]\naddress = \"10.0.0.5/+8\"", "network.address", "prefix"),
        ("[network]\naddress = \"0.0.0.0/24\"", "network.address", "no machine"),
        ("[network]\naddress = \"DHCP\"", "network.address", "write \"dhcp\""),
        ("[network]\ngateway = \"router\"", "network.gateway", "no address"),
        ("[network]\naddress = \"10.0.0.5/24\"\ngateway = \"fd00::1\"", "network.gateway", "10."),
        ("[network]\ndns = [\"0.0.0.0\"]", "network.dns", "no address"),
        ("[network]\nmtu = 576", "network.mtu", "1280 to 9216"),
        ("[network]\ninterface = \"eth0; reboot\"", "network.interface", "neither"),
        ("[network]\ninterface = \"../../etc\"", "network.interface", "neither"),
        ("[disk]\ndevices = [\"vda\"]", "disk.devices", "\"/dev/vda\""),
        ("[disk]\ndevices = [\"/dev/../etc/passwd\"]", "disk.devices", "serial"),
        ("[disk]\ndevices = [\"/dev/a,device=/dev/b\"]", "disk.devices", "serial"),
        ("[disk]\ndevices = [\"/dev/vda\", \"/dev/vdb\"]", "disk.devices", "over 1"),
        ("[disk]\nprofile = \"raid1\"\ndevices = [\"/dev/vda\"]", "disk.devices", "over 2"),
        (
            "[disk]\nprofile = \"raid1\"\ndevices = [\"/dev/vda\", \"/dev/vda\"]",
            "disk.devices",
            "twice",
        ),
        ("[time]\nservers = [\"a b\"]", "time.servers", "no name"),
        ("[time]\nservers = [\"a\\nport 123\"]", "time.servers", "no name"),
        ("[syslog]\ntarget = \"10.0.0.9:514\"", "syslog.target", "udp://"),
        ("[syslog]\ntarget = \"udp://10.0.0.9\"", "syslog.target", "udp://"),
        ("[syslog]\ntarget = \"udp://fd00::9:514\"", "syslog.target", "udp://"),
        ("[syslog]\ntarget = \"tcp://a:0\"", "syslog.target", "udp://"),
        ("[ssh]\nauthorized_keys = [\"ssh-rsa AAAA a\\nssh-rsa AAAA b\"]", "ssh.", "one line"),
        ("[ssh]\nauthorized_keys = [\"-----BEGIN KEY-----\"]", "ssh.", ".pub"),
        ("[ssh]\nauthorized_keys = [\"# ssh-rsa AAAA\"]", "ssh.", ".pub"),
        (key, "image.public_key", "second line"),
        ("[image]\nhealthy_within_s = 1", "image.healthy_within_s", "30 to 3600"),
        ("[image]\nstop_within_s = 0", "image.stop_within_s", "5 to 600"),
        ("[appliance]\nroot = \"/\"", "appliance", "`root`"),
        ("[appliance]\nname = \"b\"", "appliance", "`name`"),
        ("[appliance.image]\nesp = \"/\"", "appliance", "`image`"),
    ] {
        let said = refused(&format!("name = \"ada\"\n{text}"));
        assert!(said.starts_with(&format!("`{key}")), "{text}: {said}");
        assert!(said.contains(says), "{text}: {said}");
    }
    for name in ["", "-ada", "ada-", "a.b", "a b", &"a".repeat(64), "ä"] {
        assert!(refused(&format!("name = {name:?}")).starts_with("`name`"), "{name}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_wherever_it_stands() {
    for table in ["network", "disk", "time", "syslog", "ssh", "image"] {
        let said = refused(&format!("name = \"ada\"\n[{table}]\nnme = 1"));
        assert!(said.starts_with("line 3: unknown field `nme`"), "{table}: {said}");
    }
    assert!(refused("name = \"ada\"\nnetwrk = 1").starts_with("line 2: unknown field"));
    assert!(refused("").contains("missing field `name`"));
    assert!(refused("name = ").starts_with("line 1"));
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    assert_eq!(Config::parse(&vec![b'#'; CONFIG_BYTES_MAX + 1]), Err(BadConfig::TooLong));
    assert_eq!(Config::parse(b"name = \"\xff\""), Err(BadConfig::NoText));
    let deep = format!("name = \"ada\"\nx = {}", "[".repeat(20_000));
    assert!(matches!(Config::parse(deep.as_bytes()), Err(BadConfig::Syntax { .. })));
}

#[test]
fn a_subnet_knows_whom_it_reaches() {
    let subnet: Subnet = "10.1.0.5/20".parse().unwrap();
    assert!(subnet.contains("10.1.15.255".parse().unwrap()));
    assert!(!subnet.contains("10.1.16.0".parse().unwrap()));
    assert!(!subnet.contains("fd00::1".parse().unwrap()));
    let all: Subnet = "fd00::5/64".parse().unwrap();
    assert!(all.contains("fd00::1:2".parse().unwrap()));
    assert!(!all.contains("fd01::1".parse().unwrap()));
}

fn file_of(config: &Config, image: Option<Image<'_>>) -> toml::Table {
    let address = "fd00::5".parse().unwrap();
    let appliance = Appliance { config, root: "/data/holdfast", address, image };
    toml::from_str(&appliance.to_toml().unwrap()).unwrap()
}

#[test]
fn the_appliances_file_has_what_the_operator_wrote_and_what_the_image_knows() {
    let file = file_of(&good("name = \"ada\""), None);
    assert_eq!(file["root"].as_str(), Some("/data/holdfast"));
    assert_eq!(file["name"].as_str(), Some("ada"));
    assert_eq!(file["mesh"]["advertise"][0].as_str(), Some("[fd00::5]:2050"));
    assert_eq!(file["admin"]["listen"].as_str(), Some("[::]:2051"));
    assert!(!file.contains_key("image"));
    let said = "name = \"ada\"\n[appliance.mesh]\nlisten = \"0.0.0.0:3000\"\n\
                [appliance.admin]\nlisten = \"\"\nsocket = \"/run/x.sock\"\n[appliance.log]\nlevel = \"debug\"";
    let config = good(said);
    let file = file_of(&config, Some(Image { esp: "/esp", booted: "a.efi" }));
    assert_eq!(file["mesh"]["advertise"][0].as_str(), Some("[fd00::5]:3000"));
    assert_eq!(file["admin"]["listen"].as_str(), Some(""));
    assert_eq!(file["log"]["level"].as_str(), Some("debug"));
    assert_eq!(file["image"]["esp"].as_str(), Some("/esp"));
    assert_eq!(file["image"]["booted"].as_str(), Some("a.efi"));
    assert_eq!(file["image"]["public_key"].as_str(), Some(""));
    assert_eq!(admin_socket(&config), Some("/run/x.sock"));
    let none = "name = \"ada\"\n[appliance.mesh]\nadvertise = []";
    let file = file_of(&good(none), None);
    assert_eq!(file["mesh"]["advertise"].as_array().unwrap().len(), 0, "said is said");
}

#[test]
fn a_table_that_is_none_is_named() {
    let config = good("name = \"ada\"\n[appliance]\nmesh = 1");
    let address = "10.0.0.5".parse().unwrap();
    let appliance = Appliance { config: &config, root: "/", address, image: None };
    assert!(appliance.to_toml().unwrap_err().contains("`appliance.mesh` is no table"));
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../holdfast.toml");
    let example = Config::parse(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(example, good("name = \"ada\""));
}
