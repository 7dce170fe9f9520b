//! What the server's binary can be told on its command line. Settings are environment variables.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Serves a BlueKing plugin. Without a command it serves until it is told to stop; docs/configuration.md has the
/// environment variables that it reads.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
pub(crate) struct CommandLine {
    /// What the process does, in place of BK_PLUGIN_ROLE: web, worker or all
    #[arg(long)]
    pub(crate) role: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// BlueKing's API gateway in front of the plugin
    Apigw {
        #[command(subcommand)]
        command: Apigw,
    },
    /// Takes over the invocations that a Python deployment of this app has left unfinished in its database
    ImportPython {
        /// Print what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Apigw {
    /// Registers the plugin at the gateway: stage, resources, grants, and a released version
    Sync {
        /// Print what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// A file of your own in place of the built-in definition.yaml: gateway, stage and grants
        #[arg(long, value_name = "FILE")]
        definition: Option<PathBuf>,
        /// A file of your own in place of the built-in resources.yaml: what can be called
        #[arg(long, value_name = "FILE")]
        resources: Option<PathBuf>,
    },
    /// Prints the gateway's public key, which is what BK_APIGW_PUBLIC_KEY is set to
    PublicKey,
}
