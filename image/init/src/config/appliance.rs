//! The appliance's own configuration file, made of `[appliance]` and of what the image knows.
//!
//! Invariant: what an operator wrote stays; the image adds only what is absent. Absent on purpose:
//! what the keys mean.

use std::net::{IpAddr, SocketAddr};

use super::Config;

/// What the image knows about the appliance.
pub struct Appliance<'a> {
    /// What the operator said.
    pub config: &'a Config,
    /// Where the appliance keeps everything.
    pub root: &'a str,
    /// Its own address.
    pub address: IpAddr,
    /// The boot files; none if it was not booted from any.
    pub image: Option<Image<'a>>,
}

/// Where updates go.
pub struct Image<'a> {
    /// Where the EFI partition is mounted.
    pub esp: &'a str,
    /// The boot file that runs; empty if it is none of those.
    pub booted: &'a str,
}

impl Appliance<'_> {
    /// The file.
    ///
    /// # Errors
    /// A sentence about `[appliance]`: a table is something else there.
    pub fn to_toml(&self) -> Result<String, String> {
        let config = self.config;
        let mut file = config.appliance.clone();
        file.insert("root".to_owned(), self.root.into());
        file.insert("name".to_owned(), config.name.as_str().into());
        let mesh = table(&mut file, "mesh")?;
        let port = mesh.get("listen").and_then(|listen| listen.as_str()?.parse().ok());
        let port = port.map_or(MESH_PORT, |listen: SocketAddr| listen.port());
        let own = SocketAddr::new(self.address, port).to_string();
        mesh.entry("advertise").or_insert_with(|| vec![own].into());
        let admin = table(&mut file, "admin")?;
        admin.entry("listen").or_insert_with(|| ADMIN_LISTEN.into());
        if let Some(Image { esp, booted }) = self.image {
            let key = config.public_key.as_deref().unwrap_or_default();
            let image = table(&mut file, "image")?;
            image.insert("esp".to_owned(), esp.into());
            image.insert("booted".to_owned(), booted.into());
            image.insert("public_key".to_owned(), key.into());
        }
        toml::to_string(&file).map_err(|fault| format!("`[appliance]` can't be written: {fault}"))
    }
}

/// Where the appliance's socket is, for the commands; none is its default.
pub fn admin_socket(config: &Config) -> Option<&str> {
    config.appliance.get("admin")?.get("socket")?.as_str()
}

fn table<'a>(file: &'a mut toml::Table, name: &str) -> Result<&'a mut toml::Table, String> {
    let entry = file.entry(name).or_insert_with(|| toml::Table::new().into());
    entry.as_table_mut().ok_or_else(|| {
        format!("`appliance.{name}` is no table: write `[appliance.{name}]` and its keys below")
    })
}

/// The appliance's own default.
const MESH_PORT: u16 = 2050;
const ADMIN_LISTEN: &str = "[::]:2051";
