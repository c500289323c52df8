//! Files beside a model that a bundle carries along as they are: templates and settings. (Its tokenizer is compiled:
//! [`crate::tokenizer`].)

use std::fs::File;
use std::io::Read;
use std::path::Path;

use qwenc_runtime::format::check_plain_path;

use crate::contain::{self, Refusal};

/// Names that are taken along, in the bundle's folder `model/`.
const NAMES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
];

/// Questions for the page.
const EXAMPLES: &str = "examples.json";
/// Most of them.
const MAX_EXAMPLES: usize = 16;

/// One of them, as far as it matters here; the page reads the text.
#[derive(serde::Deserialize)]
struct Example {
    image: Option<String>,
}

/// Largest file that is taken along, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A file to carry along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Path in the bundle.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// A file cannot be taken along.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {message}")]
pub struct AssetError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

/// Reads the known files of a model's folder. What is missing is missing from the bundle. What leads out of the folder
/// is refused ([`contain`]): a model must not put files from elsewhere into what is published.
pub fn read(root: &Path) -> Result<Vec<Asset>, AssetError> {
    let mut out = Vec::new();
    for name in NAMES {
        if let Some(bytes) = read_beside(root, name)? {
            out.push(Asset { path: format!("model/{name}"), bytes });
        }
    }
    Ok(out)
}

/// Questions to begin with, for the bundle's page: `examples.json` beside the model, a list of `{"text": …, "image": …}`, and
/// the pictures that it names in the folder `examples/`. They come along under `web/`.
pub fn examples(root: &Path) -> Result<Vec<Asset>, AssetError> {
    let Some(bytes) = read_beside(root, EXAMPLES)? else { return Ok(Vec::new()) };
    let list = root.join(EXAMPLES);
    let parsed: Vec<Example> = serde_json::from_slice(&bytes)
        .map_err(|problem| error(&list, format!("is no list of examples: {problem}")))?;
    if parsed.len() > MAX_EXAMPLES {
        return Err(error(&list, format!("has more than {MAX_EXAMPLES} examples")));
    }
    let mut images: Vec<String> = parsed.into_iter().filter_map(|example| example.image).collect();
    images.sort();
    images.dedup();
    let mut out = vec![Asset { path: format!("web/{EXAMPLES}"), bytes }];
    for image in images {
        let plain = image.strip_prefix("examples/").is_some_and(|name| !name.contains('/'));
        if !plain || check_plain_path(&image).is_err() {
            return Err(error(
                &list,
                "names a picture that is not directly in the folder `examples/`".into(),
            ));
        }
        let bytes =
            read_beside(root, &image)?.ok_or_else(|| error(&root.join(&image), "does not exist".into()))?;
        out.push(Asset { path: format!("web/{image}"), bytes });
    }
    Ok(out)
}

/// The content of a file of a model's folder, under the same rules; `None` when there is none.
pub fn read_beside(root: &Path, name: &str) -> Result<Option<Vec<u8>>, AssetError> {
    let path = root.join(name);
    match contain::open(root, name) {
        Ok(file) => content(&path, &file).map(Some),
        Err(Refusal::Missing(_)) => Ok(None),
        Err(refusal) => Err(error(&path, refusal.to_string())),
    }
}

/// The content of a plain file of bounded size that the user named; `None` when there is none.
pub fn read_plain(path: &Path) -> Result<Option<Vec<u8>>, AssetError> {
    match File::open(path) {
        Ok(file) => content(path, &file).map(Some),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(problem) => Err(error(path, problem.to_string())),
    }
}

fn error(path: &Path, message: String) -> AssetError {
    AssetError { file: path.display().to_string(), message }
}

fn content(path: &Path, file: &File) -> Result<Vec<u8>, AssetError> {
    let metadata = file.metadata().map_err(|problem| error(path, problem.to_string()))?;
    if !metadata.is_file() {
        return Err(error(path, "is no plain file; copy the file itself here".into()));
    }
    if metadata.len() > MAX_BYTES {
        return Err(error(
            path,
            format!("has {} bytes; at most {MAX_BYTES} are taken along", metadata.len()),
        ));
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile is not read beyond what it was.
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(|problem| error(path, problem.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_bring_their_pictures_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(examples(dir.path()).unwrap(), []);
        std::fs::create_dir(dir.path().join("examples")).unwrap();
        std::fs::write(dir.path().join("examples/a.png"), "picture").unwrap();
        std::fs::write(dir.path().join("secret.png"), "secret").unwrap();
        let list = |text: &str| std::fs::write(dir.path().join("examples.json"), text).unwrap();
        list(r#"[{"text": "Hello"}, {"text": "What is it?", "image": "examples/a.png"}]"#);
        let paths: Vec<String> = examples(dir.path()).unwrap().into_iter().map(|asset| asset.path).collect();
        assert_eq!(paths, ["web/examples.json", "web/examples/a.png"]);
        for image in ["secret.png", "examples/../secret.png", "../a.png", "/etc/hostname", "examples/b.png"] {
            list(&format!(r#"[{{"text": "x", "image": "{image}"}}]"#));
            assert!(examples(dir.path()).is_err(), "{image}");
        }
    }

    #[test]
    fn known_files_come_along_and_links_do_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("chat_template.jinja"), "{}").unwrap();
        std::fs::write(dir.path().join("secrets.txt"), "x").unwrap();
        let assets = read(dir.path()).unwrap();
        assert_eq!(assets, [Asset { path: "model/chat_template.jinja".into(), bytes: b"{}".to_vec() }]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/hostname", dir.path().join("config.json")).unwrap();
            assert!(read(dir.path()).unwrap_err().to_string().contains("config.json"));
        }
    }
}
