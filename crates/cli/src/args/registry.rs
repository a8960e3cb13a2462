//! Where bundles are kept, as it is typed.
use clap::{Args as ClapArgs, ValueEnum};
use deliver::package::Form;
use deliver::store::{Access, Location};
use std::path::PathBuf;

/// How a registry is reached; who asks is never typed.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// Certificates (PEM) to trust instead of the system's. Who asks is taken from YOLOSLIM_REGISTRY_USER and
    /// YOLOSLIM_REGISTRY_PASSWORD, or from docker's config.json.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Use HTTP without TLS; to registries on this machine it is used anyway, unless there is a --ca-file.
    #[arg(long, conflicts_with = "ca_file")]
    pub(crate) plain_http: bool,
}

impl RegistryArgs {
    /// As the registry's client takes it.
    pub(crate) fn access(&self) -> Access {
        Access { ca_file: self.ca_file.clone(), plain_http: self.plain_http, ..Access::default() }
    }
}

/// Arguments of `push`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PushArgs {
    /// The bundle's folder.
    pub(crate) bundle: PathBuf,
    /// Where to: HOST[:PORT]/REPOSITORY[:TAG], or a folder, oci:PATH[:TAG]; the tag is latest by default.
    pub(crate) location: Location,
    /// What it is stored as.
    #[arg(long = "as", value_enum, default_value_t = FormName::Modelpack, value_name = "FORM")]
    pub(crate) form: FormName,
    /// Another repository of the same registry, whose blobs need not be sent again.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) mount_from: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// What a bundle is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormName {
    /// An artifact by the CNCF ModelPack specification: for registries, `agent` and tools that know models.
    Modelpack,
    /// An image of files below /models: for Kubernetes image volumes and KServe.
    Image,
}

impl FormName {
    /// As it is stored.
    pub(crate) fn form(self) -> Form {
        match self {
            Self::Modelpack => Form::ModelPack,
            Self::Image => Form::Image,
        }
    }
}

/// Arguments of `pull`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PullArgs {
    /// Where from: HOST[:PORT]/REPOSITORY[:TAG][@sha256:…], or a folder, oci:PATH[:TAG]; the tag is latest by default.
    pub(crate) location: Location,
    /// The folder to make. A download that broke off goes on where it was.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Public key, or a folder of them (*.pub): take only what one of them signed. It is verified before models are fetched.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
