//! Rust's standard library for WebAssembly: rustup's where it can be had, else Debian's compiler for it, unpacked into the
//! target folder (installing it would conflict with rustup), whose library is built from its sources once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Outcome, ask, cargo, heading, program, run as run_command, scratch};

/// The target.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages: the compiler, its libraries, LLVM, and the sources of the standard library.
const PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "libllvm22"];
/// Written when all is there, so that a set-up that was cut off starts again.
const COMPLETE: &str = "complete";

/// Makes a cargo command able to build for [`TARGET`].
pub(crate) fn prepare(command: &mut Command) -> Outcome {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = ask(program(rustc).args(["--print", "sysroot"])).map(PathBuf::from);
    let sysroot = sysroot.ok_or_else(|| Failure::new("rustc cannot be run"))?;
    if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return Ok(());
    }
    heading("the standard library for WebAssembly");
    let debian = scratch("wasm-std");
    if !debian.join(COMPLETE).is_file() {
        let added = run_command(program("rustup").args(["target", "add", TARGET]));
        let Err(why) = added else { return Ok(()) };
        println!("rustup has none ({why}); Debian's is taken");
        unpack(&debian)?;
        build(&debian, &sysroot)?;
        write(&debian.join(COMPLETE), "")?;
    }
    command.env("RUSTC", wrapper(&debian));
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker(&sysroot)?);
    Ok(())
}

/// Downloads and unpacks the packages.
fn unpack(debian: &Path) -> Outcome {
    let failed = |error| Failure::new(format!("{}: {error}", debian.display()));
    if debian.exists() {
        std::fs::remove_dir_all(debian).map_err(failed)?;
    }
    let archives = debian.join("archives");
    std::fs::create_dir_all(&archives).map_err(failed)?;
    let library = library_package()?;
    let packages = PACKAGES.iter().map(|name| (*name).to_owned()).chain([library]);
    let mut download = program("apt-get");
    run_command(download.current_dir(&archives).arg("download").args(packages))?;
    for archive in std::fs::read_dir(&archives).map_err(failed)? {
        let archive = archive.map_err(failed)?.path();
        if archive.extension() == Some(OsStr::new("deb")) {
            run_command(program("dpkg-deb").arg("--extract").arg(&archive).arg(debian))?;
        }
    }
    std::fs::remove_dir_all(&archives).map_err(failed)
}

/// The package with the compiler's own libraries, whose name has its version: what `libstd-rust-web-dev` depends on.
fn library_package() -> Outcome<String> {
    let facts = ask(program("apt-cache").args(["depends", "libstd-rust-web-dev"])).unwrap_or_default();
    let names = facts.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.map(str::trim).find(|name| name.starts_with("libstd-rust-web-"));
    found.map(str::to_owned).ok_or_else(|| {
        Failure::new(format!(
            "neither rustup nor Debian's archive has the standard library for {TARGET}; run `rustup target add {TARGET}` \
             where there is a network"
        ))
    })
}

/// Builds the library, and puts it where the compiler looks for it.
fn build(debian: &Path, sysroot: &Path) -> Outcome {
    let compiler = debian.join("usr/bin/rustc");
    let libraries = debian.join("usr/lib/x86_64-linux-gnu");
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        libraries.display(),
        compiler.display()
    );
    write(&wrapper(debian), &script)?;
    run_command(program("chmod").arg("+x").arg(wrapper(debian)))?;
    let package = debian.join("std");
    let made = debian.join("made");
    let manifest = "[package]\nname = \"only-std\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[lib]\n\
                    [profile.release]\nopt-level = \"s\"\npanic = \"abort\"\ncodegen-units = 1\n";
    write(&package.join("Cargo.toml"), manifest)?;
    write(&package.join("src/lib.rs"), "")?;
    let mut command = cargo();
    command.current_dir(&package).args(["build", "--release", "-Zbuild-std=std,panic_abort"]);
    command.args(["--target", TARGET]).arg("--target-dir").arg(&made);
    command.env("RUSTC", wrapper(debian)).env("RUSTC_BOOTSTRAP", "1");
    // Bitcode lets the module's own build optimise across the library.
    command.env("RUSTFLAGS", "-Cembed-bitcode=yes");
    run_command(command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker(sysroot)?))?;
    let into = debian.join("usr/lib/rustlib").join(TARGET).join("lib");
    let failed = |error| Failure::new(format!("{}: {error}", into.display()));
    std::fs::create_dir_all(&into).map_err(failed)?;
    for file in std::fs::read_dir(made.join(TARGET).join("release/deps")).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.contains("only_std") {
            std::fs::copy(&path, into.join(name)).map_err(failed)?;
        }
    }
    std::fs::remove_dir_all(&made).map_err(failed)
}

fn wrapper(debian: &Path) -> PathBuf {
    debian.join("rustc.sh")
}

/// The linker that rustup's Rust brings.
fn linker(sysroot: &Path) -> Outcome<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
    if linker.is_file() {
        return Ok(linker);
    }
    Err(Failure::new(format!("{} is missing: use a Rust from rustup", linker.display())))
}

fn write(path: &Path, text: &str) -> Outcome {
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
