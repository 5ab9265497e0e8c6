//! placeholder
use super::Session;
use crate::error::Result;
use crate::exit::Exit;
#[derive(clap::Args, Debug)]
pub struct Args {}
pub fn run(_args: Args, _session: &Session) -> Result<Exit> {
    Ok(Exit::Success)
}
