//! `cargo xtask setup`: installs what the other commands need, and touches nothing that is already there.

use std::path::Path;
use std::process::Command;

use crate::drivers::{self, Driver};
use crate::process::{Failure, Outcome, ask, cargo, heading, program, root, run as run_command};

/// Oldest major version of node that the Tint check runs on.
const OLDEST_NODE: u32 = 18;

/// One thing the project needs from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Loader,
    Driver(Driver),
    Node,
    Npm,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Loader => drivers::loader_is_installed(),
            Self::Driver(driver) => driver.find().is_some(),
            Self::Node => node_major().is_some_and(|major| major >= OLDEST_NODE),
            Self::Npm => ask(program("npm").arg("--version")).is_some(),
        }
    }

    /// The Debian package that brings it.
    fn package(self) -> &'static str {
        match self {
            Self::Loader => "libvulkan1",
            Self::Driver(Driver::Lavapipe) => "mesa-vulkan-drivers",
            Self::Driver(Driver::SwiftShader) => "chromium",
            Self::Node => "nodejs",
            Self::Npm => "npm",
        }
    }

    /// What it is, and how to get it where apt-get does not have it.
    fn advice(self) -> String {
        match self {
            Self::Loader => "the Vulkan loader (libvulkan.so.1): your distribution's vulkan-loader or \
                             vulkan-icd-loader package"
                .to_owned(),
            Self::Driver(driver @ Driver::Lavapipe) => format!(
                "lavapipe, Mesa's Vulkan driver for CPUs (lvp_icd*.json): your distribution's Mesa Vulkan drivers \
                 (vulkan-swrast, mesa-vulkan-drivers); or name its ICD manifest in {}",
                driver.variable()
            ),
            Self::Driver(driver @ Driver::SwiftShader) => format!(
                "SwiftShader, the Vulkan driver inside Chromium (vk_swiftshader_icd.json): install Chromium, or Google \
                 Chrome where Chromium is only a snap (Ubuntu); or name its ICD manifest in {}",
                driver.variable()
            ),
            Self::Node => format!("node {OLDEST_NODE} or newer"),
            Self::Npm => "npm".to_owned(),
        }
    }
}

/// Everything: drivers, node, and the tools that npm brings.
pub(crate) fn run() -> Outcome {
    heading("set-up");
    rust_components()?;
    meet(&[
        Need::Loader,
        Need::Driver(Driver::Lavapipe),
        Need::Driver(Driver::SwiftShader),
        Need::Node,
        Need::Npm,
    ])?;
    npm_packages("xtask/tint")?;
    println!("set-up is complete");
    Ok(())
}

/// Only what compiling and replaying a model needs: the loader and one driver.
pub(crate) fn run_for_replay() -> Outcome {
    heading("set-up");
    meet(&[Need::Loader, Need::Driver(Driver::Lavapipe)])
}

/// Only what the Tint check needs.
pub(crate) fn run_for_tint() -> Outcome {
    heading("set-up");
    meet(&[Need::Node, Need::Npm])?;
    npm_packages("xtask/tint")
}

/// Installs what is missing; fails with advice for whatever is missing afterwards.
fn meet(needs: &[Need]) -> Outcome {
    let missing = unmet(needs);
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        if let Need::Driver(driver) = need
            && let Some(named) = driver.named()
        {
            // Installing the driver would not help: the variable goes before what is found.
            let path = named.display();
            return Err(Failure::new(format!(
                "{} names {path}, and there is no such file",
                driver.variable()
            )));
        }
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package()).collect();
    println!("missing: {}", packages.join(", "));
    let installed = apt_install(&packages);
    let missing = unmet(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let advice: Vec<String> = missing.iter().map(|need| format!("  - {}", need.advice())).collect();
    let why = installed.err().map_or_else(String::new, |failure| format!("\n{failure}"));
    Err(Failure::new(format!("still missing on this machine:\n{}{why}", advice.join("\n"))))
}

fn unmet(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_met()).collect()
}

/// Installs Debian packages, as root or through sudo. Packages that this release does not have are left out, so that
/// one of them does not keep the others from being installed.
fn apt_install(packages: &[&str]) -> Outcome {
    if ask(program("apt-get").arg("--version")).is_none() {
        return Err(Failure::new("there is no apt-get here: install them in the way of your system"));
    }
    let as_root: &[&str] = if ask(program("id").arg("-u")).as_deref() == Some("0") {
        &[]
    } else if ask(program("sudo").arg("--version")).is_some() {
        &["sudo"]
    } else {
        return Err(Failure::new(format!(
            "not root, and there is no sudo: run as root `apt-get install --no-install-recommends {}`",
            packages.join(" ")
        )));
    };
    run_command(&mut apt_get(as_root, &["update"]))?;
    let (available, absent): (Vec<&str>, Vec<&str>) =
        packages.iter().partition(|package| has_candidate(package));
    if !absent.is_empty() {
        println!("not in this system's archive: {}", absent.join(", "));
    }
    if available.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(available);
    run_command(&mut apt_get(as_root, &arguments))
}

fn apt_get(as_root: &[&str], arguments: &[&str]) -> Command {
    // Through env, because sudo drops most of the environment.
    let words = [as_root, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    let mut command = program(words[0]);
    command.args(&words[1..]);
    command
}

fn has_candidate(package: &str) -> bool {
    let policy = ask(program("apt-cache").args(["policy", package]).env("LC_ALL", "C")).unwrap_or_default();
    policy
        .lines()
        .any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)"))
}

/// Major version of the installed node.
fn node_major() -> Option<u32> {
    let version = ask(program("node").arg("--version"))?;
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Formatter, linter and documentation are rustup components that a minimal toolchain lacks.
fn rust_components() -> Outcome {
    let lacks = |subcommand| ask(cargo().args([subcommand, "--version"])).is_none();
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(sub, _)| lacks(sub))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if ask(program("rustup").arg("--version")).is_none() {
        let missing = missing.join(" and ");
        return Err(Failure::new(format!(
            "{missing} not found, and there is no rustup: install them with your Rust"
        )));
    }
    run_command(program("rustup").args(["component", "add"]).args(&missing))
}

/// Only what `cargo xtask web` needs.
pub(crate) fn run_for_web() -> Outcome {
    heading("set-up");
    meet(&[Need::Node, Need::Npm])?;
    npm_packages("xtask/bindgen")
}

/// `npm ci` in a folder, unless what is installed there already is what the lock file says.
pub(crate) fn npm_packages(folder: &str) -> Outcome {
    let folder = root().join(folder);
    if installed_from(&folder) {
        return Ok(());
    }
    // No install scripts: the one package here that has any needs them on macOS only.
    let flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run_command(program("npm").args(flags).current_dir(&folder))?;
    let copied = std::fs::copy(folder.join(LOCK), folder.join(INSTALLED_LOCK));
    copied
        .map(drop)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.join(INSTALLED_LOCK).display())))
}

const LOCK: &str = "package-lock.json";
/// Copy of the lock file that `node_modules` was installed from.
const INSTALLED_LOCK: &str = "node_modules/.installed-from.json";

fn installed_from(folder: &Path) -> bool {
    let wanted = std::fs::read(folder.join(LOCK));
    let installed = std::fs::read(folder.join(INSTALLED_LOCK));
    matches!((wanted, installed), (Ok(wanted), Ok(installed)) if wanted == installed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{INSTALLED_LOCK, LOCK, installed_from};
    use crate::process::fresh_scratch;

    #[test]
    fn packages_are_installed_again_when_the_lock_changes() {
        let folder = fresh_scratch("test-npm").unwrap();
        assert!(!installed_from(&folder));
        fs::create_dir(folder.join("node_modules")).unwrap();
        fs::write(folder.join(LOCK), "one").unwrap();
        assert!(!installed_from(&folder));
        fs::write(folder.join(INSTALLED_LOCK), "one").unwrap();
        assert!(installed_from(&folder));
        fs::write(folder.join(LOCK), "two").unwrap();
        assert!(!installed_from(&folder));
    }
}
