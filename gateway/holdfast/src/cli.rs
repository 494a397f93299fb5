//! The commands. `serve` runs an appliance; all others talk to the running one over its socket.

mod balance;
mod events;
mod fleet;
mod image;
mod object;
mod scrub;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;

use admin::{ExportView, Join, StatusView, TokenView, VolumeView};
use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{ExportAccess, Squash};
use serde::Serialize;

use self::events::NotifyVerb;
use self::fleet::{FleetVerb, JobVerb};
use self::image::ImageVerb;
use self::object::ObjectVerb;
use self::scrub::ScrubVerb;
use self::volume::VolumeVerb;
use crate::client::{Client, Method, Remote};
use crate::config::{Config, SOCKET_DEFAULT};
use crate::{print, serve, supervise};

/// An NFS appliance on BTRFS.
#[derive(Parser)]
#[command(name = "holdfast", version, about, arg_required_else_help = true)]
struct Cli {
    /// The running appliance's socket [default: $HOLDFAST_SOCKET or /run/holdfast/admin.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// An appliance on another machine, instead: https://HOST:PORT, its `admin.listen`
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    url: Option<String>,
    /// A file with the token that `holdfast admin token` prints there
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The fingerprint that `holdfast status` shows there
    #[arg(long, global = true, value_name = "HEX", requires = "url")]
    fingerprint: Option<String>,
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
    /// Run an appliance and start it again whenever it dies; clients that connect meanwhile wait
    Supervise(ConfigFile),
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
    /// Show, move and mend single files
    #[command(subcommand)]
    Object(ObjectVerb),
    /// Make a fleet, invite to it, look at it
    #[command(subcommand)]
    Fleet(FleetVerb),
    /// Join a fleet with the token that `fleet invite` printed; this appliance then starts anew
    Join {
        /// The token
        token: String,
        /// Where one of the fleet is reached: ADDRESS:PORT
        address: String,
        /// Vote, and hold no data
        #[arg(long)]
        witness: bool,
    },
    /// Show, wait for and cancel jobs
    #[command(subcommand)]
    Job(JobVerb),
    /// Read all copies of all files from their disks, compare them, and mend what is bad
    #[command(subcommand)]
    Scrub(ScrubVerb),
    /// Show what a person must know: what broke, and what is well again
    Events {
        /// Go on with what comes
        #[arg(long)]
        follow: bool,
    },
    /// Try the webhooks and mails that the configuration names
    #[command(subcommand)]
    Notify(NotifyVerb),
    /// Show and change what an appliance boots from, if that is an image
    #[command(subcommand)]
    Image(ImageVerb),
    /// Show which files changed their owner, when and why
    Ledger,
    /// Show what opens this appliance's admin API to other machines
    #[command(subcommand)]
    Admin(AdminVerb),
}

#[derive(Subcommand)]
enum AdminVerb {
    /// Print the token; whoever has it can do everything that these commands can
    Token,
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/holdfast/appliance.toml")]
    config: PathBuf,
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

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Serve(ConfigFile { config }) => serve::run(&config),
        Verb::Supervise(ConfigFile { config }) => supervise::run(&config),
        Verb::CheckConfig { file } => check_config(Show { json: cli.json }, &file),
        verb => match way(&cli.socket, cli.url, cli.token_file, cli.fingerprint) {
            Ok(client) => talk(&client, Show { json: cli.json }, verb),
            Err(message) => Err(message),
        },
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

/// The appliance that the command line names.
fn way(
    socket: &Option<PathBuf>,
    url: Option<String>,
    token_file: Option<PathBuf>,
    fingerprint: Option<String>,
) -> Result<Client, String> {
    let Some(url) = url else {
        let socket = socket
            .clone()
            .or_else(|| std::env::var_os("HOLDFAST_SOCKET").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(SOCKET_DEFAULT));
        return Ok(Client::new(socket));
    };
    match (token_file, fingerprint) {
        (Some(token), Some(fingerprint)) => {
            Remote::new(&url, &token, &fingerprint).map(Client::remote)
        }
        (None, _) => Err("--url wants --token-file too: a file with what `holdfast admin token` \
            prints on that appliance"
            .to_owned()),
        (_, None) => Err("--url wants --fingerprint too: `holdfast status` on that appliance \
            shows it"
            .to_owned()),
    }
}

fn talk(client: &Client, show: Show, verb: Verb) -> Result<ExitCode, String> {
    match verb {
        Verb::Serve(_) | Verb::Supervise(_) | Verb::CheckConfig { .. } => {
            unreachable!("done by run()")
        }
        Verb::Status => {
            let status: StatusView = client.ask(Method::Get, "/v1/status")?;
            show.print(&status, print::status)
        }
        Verb::Volume(verb) => volume::volume(client, show, verb),
        Verb::Export(verb) => export(client, show, verb),
        Verb::Object(verb) => object::object(client, show, verb),
        Verb::Fleet(verb) => fleet::fleet(client, show, verb),
        Verb::Join { token, address, witness } => {
            fleet::join(client, show, &Join { token, address, witness })
        }
        Verb::Job(verb) => fleet::job(client, show, verb),
        Verb::Scrub(verb) => scrub::scrub(client, show, verb),
        Verb::Events { follow: false } => events::list(client, show),
        Verb::Events { follow: true } => events::follow(client, show),
        Verb::Notify(NotifyVerb::Test) => events::try_targets(client, show),
        Verb::Image(verb) => image::image(client, show, verb),
        Verb::Ledger => object::ledger(client, show, None),
        Verb::Admin(AdminVerb::Token) => {
            let token: TokenView = client.ask(Method::Get, "/v1/admin/token")?;
            show.print(&token, print::token)
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

/// Tables for people, JSON for scripts.
#[derive(Clone, Copy)]
pub struct Show {
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

#[cfg(test)]
mod tests;
