//! Generates the types of ONNX model files from `proto/onnx.proto`, and the list of files that make a bundle a web page.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The package whose files a bundle carries.
const WEB: &str = "../runtime/web";
/// What `cargo xtask web` builds there.
const BUILT: [&str; 2] = ["dist/qwenc.js", "dist/qwenc_bg.wasm"];
/// Files of the page that lie in a bundle's root: a service worker is in charge of its own folder only.
const IN_ROOT: [&str; 3] = ["index.html", "manifest.webmanifest", "sw.js"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto/onnx.proto");
    let schema = protox::compile(["proto/onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        // Byte fields share the buffer that a model is decoded from, so that weights are not copied.
        .bytes(["."])
        // The schema's comments are not written for rustdoc.
        .disable_comments(["."])
        .compile_fds(schema)?;
    web_files()?;
    Ok(())
}

/// Writes `web_files.rs`: pairs of path in the bundle and content, sorted by path; empty when the runtime is not built.
fn web_files() -> Result<(), Box<dyn std::error::Error>> {
    let web = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join(WEB);
    let mut files = Vec::new();
    if BUILT.iter().all(|file| web.join(file).is_file()) {
        for folder in ["dist", "page", "src"] {
            println!("cargo::rerun-if-changed={}", web.join(folder).display());
            collect(&web, Path::new(folder), &mut files)?;
        }
    } else {
        // Looked at again once it is there. (A file that does not exist would have everything built again each time.)
        println!("cargo::rerun-if-changed={}", web.display());
        println!(
            "cargo::warning=the web runtime is not built (`cargo xtask web`): bundles will have no page"
        );
    }
    files.sort();
    let mut source = String::from("pub(super) static FILES: &[(&str, &[u8])] = &[\n");
    for (path, file) in &files {
        writeln!(source, "    ({path:?}, include_bytes!({:?})),", file.display().to_string())?;
    }
    source.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("web_files.rs"), source)?;
    Ok(())
}

/// Every file below a folder of the package that a browser reads, by its path in a bundle.
fn collect(
    web: &Path,
    folder: &Path,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn std::error::Error>> {
    for entry in std::fs::read_dir(web.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(web, &path, files)?;
            continue;
        }
        let name = path.to_str().ok_or("a file's name is no text")?.replace('\\', "/");
        // Types are for those who write programs; they take the package.
        if name.ends_with(".d.ts") || entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // The package's own modules are taken as `cargo xtask web` made them short, unless they have changed since.
        if name.starts_with("dist/src/") {
            continue;
        }
        let short = web.join("dist").join(&path);
        let file = if is_newer(&short, &web.join(&path)) { short } else { web.join(&path) };
        let in_root = name.strip_prefix("page/").filter(|rest| IN_ROOT.contains(rest));
        let place = in_root.map_or_else(|| format!("web/{name}"), str::to_owned);
        files.push((place, file));
    }
    Ok(())
}

/// The first file is there, and was written after the second.
fn is_newer(first: &Path, second: &Path) -> bool {
    let written = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    matches!((written(first), written(second)), (Some(first), Some(second)) if first >= second)
}
