//! Generates the types of ONNX model files from `proto/onnx.proto`, and the list of files that make a bundle a web page.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The package whose files a bundle carries.
const WEB: &str = "../runtime/web";
/// What `cargo xtask web` builds there.
const BUILT: [&str; 2] = ["dist/qwenc.js", "dist/qwenc_bg.wasm"];
/// Its modules, put together there.
const MADE: &str = "dist/src";
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
        }
        collect(&web, Path::new("page"), &mut files)?;
        // The package's own modules are taken as `cargo xtask web` put them together, unless they have changed since.
        let (mut made, mut sources) = (Vec::new(), Vec::new());
        collect(&web, Path::new(MADE), &mut made)?;
        collect(&web, Path::new("src"), &mut sources)?;
        if written(&made).min() >= written(&sources).max() {
            for (path, file) in made {
                files.push((path.replace(MADE, "src"), file));
            }
        } else {
            files.append(&mut sources);
            add(&web, BUILT[0], &mut files);
        }
        add(&web, BUILT[1], &mut files);
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

/// When files were written, where that is known.
fn written(files: &[(String, PathBuf)]) -> impl Iterator<Item = SystemTime> {
    files.iter().filter_map(|(_, file)| file.metadata().ok()?.modified().ok())
}

/// A file of the package, by its path in a bundle.
fn add(web: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) {
    let in_root = name.strip_prefix("page/").filter(|rest| IN_ROOT.contains(rest));
    let place = in_root.map_or_else(|| format!("web/{name}"), str::to_owned);
    files.push((place, web.join(name)));
}

/// Every file below a folder of the package that a browser reads.
fn collect(
    web: &Path,
    folder: &Path,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn std::error::Error>> {
    if !web.join(folder).is_dir() {
        return Ok(());
    }
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
        add(web, &name, files);
    }
    Ok(())
}
