//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::{
    canary, completions, doctor, down, graph, init, kubeconfig, plan, schema, status, token, up,
    verify,
};
use crate::views::{Color, Format, Verbosity};

/// Deploys a service-mesh environment on Amazon EKS, shifts traffic between versions, and takes it all away again.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(after_help = "Try it without an AWS account: meshctl up --sandbox")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
    /// What holds for every command.
    #[command(flatten)]
    pub(super) global: Global,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The environment file [default: ./meshctl.yaml where there is one, else the demo]
    #[arg(short, long, global = true, value_name = "FILE", env = "MESHCTL_FILE")]
    pub file: Option<PathBuf>,
    /// The environment's name, in place of the file's
    #[arg(long, global = true, value_name = "NAME", env = "MESHCTL_ENV")]
    pub env: Option<String>,
    /// The AWS region [default: AWS_REGION, then the file's, then the profile's]
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The AWS profile
    #[arg(long, global = true, env = "AWS_PROFILE")]
    pub profile: Option<String>,
    /// Use the embedded sandbox instead of AWS; it is started when it is not running
    #[cfg(feature = "sandbox")]
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// What output is for
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// Whether to colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Say errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say also what stays as it is
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How many steps work at once at most; those that wait do not count
    #[arg(long, global = true, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallelism: u16,
    /// How long the whole run may take, such as 90s, 45m or 2h
    #[arg(long, global = true, value_name = "TIME", default_value = "90m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Answer yes to every question
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Never ask; what needs an answer is refused
    #[arg(long, global = true)]
    pub no_input: bool,
}

impl Global {
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    #[cfg(feature = "sandbox")]
    pub fn is_sandbox(&self) -> bool {
        self.sandbox
    }

    #[cfg(not(feature = "sandbox"))]
    pub fn is_sandbox(&self) -> bool {
        false
    }

    /// The flags that lead a further command to the same environment.
    pub fn again(&self) -> String {
        let mut flags = String::new();
        if let Some(file) = &self.file {
            flags += &format!(" -f {}", file.display());
        }
        if let Some(env) = &self.env {
            flags += &format!(" --env {env}");
        }
        if let Some(region) = &self.region {
            flags += &format!(" --region {region}");
        }
        if let Some(profile) = &self.profile {
            flags += &format!(" --profile {profile}");
        }
        if self.is_sandbox() {
            flags += " --sandbox";
        }
        flags
    }
}

/// What meshctl can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Up(up::Up),
    Plan(plan::Plan),
    Status(status::Status),
    Canary(Box<canary::Canary>),
    Verify(verify::Verify),
    Down(down::Down),
    Audit(down::Audit),
    Doctor(doctor::Doctor),
    Init(init::Init),
    Graph(graph::GraphArgs),
    Kubeconfig(kubeconfig::Kubeconfig),
    Token(token::Token),
    Schema(schema::Schema),
    Completions(completions::Completions),
    #[cfg(feature = "sandbox")]
    Sandbox(super::sandbox::Sandbox),
}

/// A duration as people write it: `90s`, `45m`, `2h`, `1h30m`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 90s, 45m or 1h30m");
    let mut total = 0u64;
    let mut number = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let value: u64 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
        total = value
            .checked_mul(unit)
            .and_then(|value| total.checked_add(value))
            .ok_or_else(wrong)?;
    }
    if !number.is_empty() {
        let value: u64 = number.parse().map_err(|_| wrong())?;
        total = total.checked_add(value).ok_or_else(wrong)?;
    }
    if total == 0 {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(total))
    }
}
