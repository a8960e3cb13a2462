//! What verbs of keys and signatures take.
use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use deliver::Passphrase;
use std::path::PathBuf;

/// Where the passphrase of a secret key comes from: never from the command line, which others can read.
#[derive(Debug, ClapArgs)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase of the secret key; otherwise the environment's YOLOSLIM_PASSPHRASE is.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase, where there is one.
    pub(crate) fn passphrase(&self) -> Result<Passphrase> {
        let Some(file) = &self.passphrase_file else {
            let given = std::env::var("YOLOSLIM_PASSPHRASE").ok().filter(|text| !text.is_empty());
            return Ok(given.map_or(Passphrase::None, Passphrase::Given));
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            bail!("the first line of {} is empty", file.display());
        }
        Ok(Passphrase::Given(line.to_owned()))
    }
}

/// Arguments of `keygen`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeygenArgs {
    /// Name of the keys: NAME.key signs and stays secret, NAME.pub goes to the devices.
    pub(crate) name: PathBuf,
    /// Leave the secret key unencrypted: whoever reads its file can sign.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) no_passphrase: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

/// Arguments of `sign`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SignArgs {
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// The secret key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The version that it is signed as: devices take none that is lower than what they have had. By default the seconds since 1970.
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

/// Arguments of `verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// Public keys, one of which must have signed it: a file, or a folder of *.pub.
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// Also run the detector on its golden frames. Exit code 1 where it finds something else in them.
    #[arg(long)]
    pub(crate) run: bool,
    /// With --run, the longest that the median frame may take, from pixels to boxes, on one thread. Exit code 1 where it takes longer.
    #[arg(long, value_name = "MS", requires = "run")]
    pub(crate) latency_ms: Option<f64>,
}
