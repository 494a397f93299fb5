//! The commands. `serve` runs an appliance; all others talk to the running one over its socket.

use std::path::PathBuf;
use std::process::ExitCode;

use admin::{CheckView, CreateVolume, ExportView, FaultView, StatusView, VolumeView};
use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{ExportAccess, Squash};
use serde::Serialize;

use crate::client::{Client, Method};
use crate::config::{Config, SOCKET_DEFAULT};
use crate::{print, serve};

/// An NFS appliance on BTRFS.
#[derive(Parser)]
#[command(name = "holdfast", version, about, arg_required_else_help = true)]
struct Cli {
    /// The running appliance's socket [default: $HOLDFAST_SOCKET or /run/holdfast/admin.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run an appliance until it is told to stop (SIGTERM, Ctrl-C)
    Serve(ConfigFile),
    /// Read a configuration and say what is wrong with it
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Show the running appliance at a glance
    Status,
    /// Make, show, check and delete volumes
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Show and change who may mount a volume
    #[command(subcommand)]
    Export(ExportVerb),
    /// Show and clear faults of single objects
    #[command(subcommand)]
    Object(ObjectVerb),
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/holdfast/appliance.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum VolumeVerb {
    /// Make a volume; nobody may mount it until `export set`
    Create {
        /// Its name: clients mount /NAME
        name: String,
        /// Owner of its root directory
        #[arg(long, default_value_t = 0)]
        root_uid: u32,
        /// Group of its root directory
        #[arg(long, default_value_t = 0)]
        root_gid: u32,
        /// Mode of its root directory, octal
        #[arg(long, default_value = "0755", value_parser = octal)]
        root_mode: u32,
    },
    /// List all volumes
    List,
    /// Show one volume
    Show {
        /// Its name
        name: String,
    },
    /// Delete a volume with all its files, for good
    Delete {
        /// Its name
        name: String,
        /// Yes, all its files, for good
        #[arg(long)]
        yes: bool,
    },
    /// Walk a volume and name everything that does not fit together
    Check {
        /// Its name
        name: String,
    },
}

#[derive(Subcommand)]
enum ExportVerb {
    /// List the rules of one volume, or of all
    List {
        /// Its name
        volume: Option<String>,
    },
    /// Set the rule for some clients; a new pattern is tried after those there are
    Set(ExportRuleArgs),
    /// Remove the rule for some clients
    Remove {
        /// The volume
        volume: String,
        /// The pattern as `export list` shows it
        client: String,
    },
}

#[derive(Args)]
struct ExportRuleArgs {
    /// The volume
    volume: String,
    /// A network (10.0.0.0/8), an address, or *
    client: String,
    /// What they may do
    #[arg(long, value_enum, default_value_t = AccessArg::Rw)]
    access: AccessArg,
    /// Who becomes the anonymous user
    #[arg(long, value_enum, default_value_t = SquashArg::Root)]
    squash: SquashArg,
    /// The anonymous user
    #[arg(long, default_value_t = model::ANONYMOUS_ID)]
    anonuid: u32,
    /// The anonymous group
    #[arg(long, default_value_t = model::ANONYMOUS_ID)]
    anongid: u32,
    /// Take source ports of 1024 and above
    #[arg(long)]
    insecure: bool,
    /// Look groups up on the appliance
    #[arg(long)]
    manage_gids: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccessArg {
    Rw,
    Ro,
}

#[derive(Clone, Copy, ValueEnum)]
enum SquashArg {
    Root,
    All,
    None,
}

#[derive(Subcommand)]
enum ObjectVerb {
    /// List objects whose copy is stale: writes to them answer an I/O error
    Faults {
        /// Of this volume only
        volume: Option<String>,
    },
    /// Take an object's copy for good again, after looking at it
    Clear {
        /// Its volume
        volume: String,
        /// Its number
        object: u64,
    },
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Serve(ConfigFile { config }) => serve::run(&config),
        Verb::CheckConfig { file } => check_config(Show { json: cli.json }, &file),
        verb => talk(&cli.socket, cli.json, verb),
    };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("holdfast: {message}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(show: Show, file: &std::path::Path) -> Result<ExitCode, String> {
    Config::read(file).map_err(|bad| bad.to_string())?;
    let good = serde_json::json!({ "good": file.display().to_string() });
    show.print(&good, |_| format!("{} is good\n", file.display()))
}

fn talk(socket: &Option<PathBuf>, json: bool, verb: Verb) -> Result<ExitCode, String> {
    let socket = socket
        .clone()
        .or_else(|| std::env::var_os("HOLDFAST_SOCKET").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(SOCKET_DEFAULT));
    let client = Client::new(socket);
    let show = Show { json };
    match verb {
        Verb::Serve(_) | Verb::CheckConfig { .. } => unreachable!("done by run()"),
        Verb::Status => {
            let status: StatusView = client.ask(Method::Get, "/v1/status")?;
            show.print(&status, print::status)
        }
        Verb::Volume(verb) => volume(&client, show, verb),
        Verb::Export(verb) => export(&client, show, verb),
        Verb::Object(verb) => object(&client, show, verb),
    }
}

fn volume(client: &Client, show: Show, verb: VolumeVerb) -> Result<ExitCode, String> {
    match verb {
        VolumeVerb::Create { name, root_uid, root_gid, root_mode } => {
            let wanted = CreateVolume { name, root_uid, root_gid, root_mode };
            let made: VolumeView = client.send_json("/v1/volumes", &wanted)?;
            show.print(&made, |made| print::volumes(std::slice::from_ref(made)))
        }
        VolumeVerb::List => {
            let volumes: Vec<VolumeView> = client.ask(Method::Get, "/v1/volumes")?;
            show.print(&volumes, |volumes| print::volumes(volumes))
        }
        VolumeVerb::Show { name } => {
            let path = format!("/v1/volumes/{}", escaped(&name));
            let volume: VolumeView = client.ask(Method::Get, &path)?;
            show.print(&volume, print::volume)
        }
        VolumeVerb::Delete { name, yes: false } => Err(format!(
            "volume {name:?} was not deleted: all its files would be gone for good. \
             Say --yes if that is what you want"
        )),
        VolumeVerb::Delete { name, yes: true } => {
            let path = format!("/v1/volumes/{}", escaped(&name));
            client.tell(Method::Delete, &path)?;
            show.print(&serde_json::json!({ "deleted": name }), |_| format!("{name} is deleted\n"))
        }
        VolumeVerb::Check { name } => {
            let path = format!("/v1/volumes/{}/check", escaped(&name));
            let check: CheckView = client.ask(Method::Post, &path)?;
            let clean = check.clean;
            show.print(&check, print::check)?;
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn export(client: &Client, show: Show, verb: ExportVerb) -> Result<ExitCode, String> {
    let volumes: Vec<VolumeView> = match verb {
        ExportVerb::List { volume: None } => client.ask(Method::Get, "/v1/volumes")?,
        ExportVerb::List { volume: Some(name) } => {
            vec![client.ask(Method::Get, &format!("/v1/volumes/{}", escaped(&name)))?]
        }
        ExportVerb::Set(args) => {
            let rule = ExportView {
                client: args.client,
                access: match args.access {
                    AccessArg::Rw => ExportAccess::ReadWrite,
                    AccessArg::Ro => ExportAccess::ReadOnly,
                },
                squash: match args.squash {
                    SquashArg::Root => Squash::Root,
                    SquashArg::All => Squash::All,
                    SquashArg::None => Squash::None,
                },
                anonuid: args.anonuid,
                anongid: args.anongid,
                insecure: args.insecure,
                manage_gids: args.manage_gids,
            };
            let path = format!("/v1/volumes/{}/exports", escaped(&args.volume));
            vec![client.send_json(&path, &rule)?]
        }
        ExportVerb::Remove { volume, client: pattern } => {
            let (volume, pattern) = (escaped(&volume), escaped(&pattern));
            let path = format!("/v1/volumes/{volume}/exports?client={pattern}");
            vec![client.ask(Method::Delete, &path)?]
        }
    };
    show.print(&volumes, |volumes| print::exports(volumes))
}

fn object(client: &Client, show: Show, verb: ObjectVerb) -> Result<ExitCode, String> {
    match verb {
        ObjectVerb::Faults { volume } => {
            let query = volume.map(|name| format!("?volume={}", escaped(&name)));
            let path = format!("/v1/faults{}", query.unwrap_or_default());
            let faults: Vec<FaultView> = client.ask(Method::Get, &path)?;
            show.print(&faults, |faults| print::faults(faults))
        }
        ObjectVerb::Clear { volume, object } => {
            let name = escaped(&volume);
            client.tell(Method::Post, &format!("/v1/volumes/{name}/faults/{object}/clear"))?;
            let cleared = serde_json::json!({ "volume": volume, "cleared": object });
            show.print(&cleared, |_| format!("object {object} of {volume} takes writes again\n"))
        }
    }
}

/// Tables for people, JSON for scripts.
#[derive(Clone, Copy)]
struct Show {
    json: bool,
}

impl Show {
    fn print<T: Serialize>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<ExitCode, String> {
        if self.json {
            let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
            println!("{text}");
        } else {
            print!("{}", table(value));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Percent-encodes what is not plain in a path or query (RFC 3986 section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is no mode: write it in octal, such as 0755"))
}
