//! `qwenc serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::{Diagnostic, IntoDiagnostic};

use super::out::say;
use crate::serve::{ServeError, Server};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address to listen on; 0.0.0.0 lets other machines in, whose browsers have WebGPU only over https
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Let pages of another origin read the bundle: `*`, or one such as http://localhost:5173
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Option<String>,
}

/// The server cannot be started.
#[derive(Debug, thiserror::Error, Diagnostic)]
enum StartError {
    #[error(transparent)]
    #[diagnostic(code(qwenc::serve::bundle), help("compile one first: qwenc compile <model> -o <folder>"))]
    Bundle(ServeError),
    #[error(transparent)]
    #[diagnostic(code(qwenc::serve::listen), help("give another --port (0 takes a free one) or --host"))]
    Listen(ServeError),
}

/// Serves a bundle until the program is ended.
pub(super) fn execute(args: &ServeArgs) -> miette::Result<ExitCode> {
    let server =
        Server::bind(&args.bundle, &args.host, args.port, args.allow_origin.clone()).map_err(|error| {
            match error {
                ServeError::NotABundle(_) => StartError::Bundle(error),
                ServeError::Listen { .. } => StartError::Listen(error),
            }
        })?;
    let address = server.address();
    // A browser gives WebGPU to localhost and to https; the wildcard address is none to visit.
    let visit = if address.ip().is_unspecified() || address.ip().is_loopback() {
        format!("http://localhost:{}/", address.port())
    } else {
        format!("http://{address}/")
    };
    say!("{} is served at {visit}", args.bundle.display());
    if !server.has_page() {
        say!("note: this bundle has no page (index.html); an app can load it from {visit} all the same");
    }
    say!("Ctrl-C ends it.");
    server.run().into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}
