//! `holdfast-init`: the first process of the appliance image.

use std::process::ExitCode;

fn main() -> ExitCode {
    init::run()
}
